"""The sky over the house: where the sun stands, and the clouds before it. Pure.

``Sky`` is stepped once a second; each ``PvString`` turns it into DC power.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class SkySetup:
    """What kinds of weather there are, and how sharp the clouds' edges."""

    regimes: tuple[tuple[float, float], ...] = (
        (0.05, 300.0),
        (0.35, 70.0),
        (0.55, 60.0),
        (0.85, 200.0),
    )
    """(share of the time that a cloud is before the sun, mean duration of one cloud in s)."""
    edge_s: tuple[float, float] = (4.0, 15.0)
    """Shortest and longest time in which the sun would go from full to none."""
    lasts_s_min: float = 10.0
    """Neither a cloud nor a gap is shorter."""


CHANGING = SkySetup()
CLEAR = SkySetup(regimes=((0.0, 1e9),))
BROKEN = SkySetup(regimes=((0.5, 8.0), (0.35, 15.0)), edge_s=(1.0, 2.0), lasts_s_min=1.0)
"""Small sharp clouds: the sun changes from one second to the next."""


class Sky:
    """Sun and broken clouds of one place and day; repeats the sun, not the clouds, every day.

    Source of the clear-sky beam: A. and M. Meinel, Applied Solar Energy, 1976: 1353 W/m2 times
    0.7 to the power of (air mass to the power of 0.678).
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        latitude_deg: float = 50.0,
        day_of_year: int = 172,
        setup: SkySetup = CHANGING,
    ) -> None:
        """Start under a clear sky.

        Args:
            rng: source of the clouds.
            latitude_deg: plus = north.
            day_of_year: 172 is the 21st of June.
            setup: the weather.
        """
        self._setup = setup
        declination = math.radians(23.44) * math.sin(math.tau * (284 + day_of_year) / 365)
        latitude = math.radians(latitude_deg)
        self._up_mean = math.sin(latitude) * math.sin(declination)
        self._up_swing = math.cos(latitude) * math.cos(declination)
        self._north_mean = math.cos(latitude) * math.sin(declination)
        self._north_swing = -math.sin(latitude) * math.cos(declination)
        self._east_swing = -math.cos(declination)
        self._rng = rng
        self._regime_end_s = 0.0
        self._cover, self._cloud_s = setup.regimes[min(1, len(setup.regimes) - 1)]
        self._change_s = 0.0
        self._is_cloudy = True
        self._target = 1.0
        self._per_s = 0.1
        self.transmission = 1.0
        """Share of the beam that passes the clouds, 0..1."""
        self.beam_w_per_m2 = 0.0
        self.diffuse_w_per_m2 = 0.0
        self.east = self.north = self.up = 0.0
        """Unit vector towards the sun."""

    def step(self, elapsed_s: float, second_of_day: float) -> None:
        """Go on by one second.

        Args:
            elapsed_s: seconds since the start of the simulation.
            second_of_day: solar time; 43200 is when the sun is highest.
        """
        if elapsed_s >= self._change_s:
            self._change_clouds(elapsed_s)
        missing = self._target - self.transmission
        self.transmission += max(-self._per_s, min(self._per_s, missing))
        angle = math.tau * (second_of_day / DAY_S - 0.5)
        cosine = math.cos(angle)
        up = self.up = self._up_mean + self._up_swing * cosine
        self.north = self._north_mean + self._north_swing * cosine
        self.east = self._east_swing * math.sin(angle)
        if up <= 0.01:
            self.beam_w_per_m2 = self.diffuse_w_per_m2 = 0.0
            return
        clear = 1353.0 * 0.7 ** ((1.0 / up) ** 0.678)
        self.beam_w_per_m2 = clear * self.transmission
        self.diffuse_w_per_m2 = up * (70.0 + 160.0 * (1.0 - self.transmission))

    def _change_clouds(self, elapsed_s: float) -> None:
        """A cloud comes or goes; now and then the kind of weather changes as well."""
        rng, setup = self._rng, self._setup
        if elapsed_s >= self._regime_end_s:
            self._regime_end_s = elapsed_s + rng.uniform(1500.0, 6000.0)
            self._cover, self._cloud_s = rng.choice(setup.regimes)
        if not self._cover:
            self._change_s = self._regime_end_s
            return
        self._is_cloudy = not self._is_cloudy
        if self._is_cloudy:
            self._target = rng.uniform(0.15, 0.6)
            lasts_s = self._cloud_s
        else:
            self._target = rng.uniform(0.95, 1.0)
            lasts_s = self._cloud_s * (1.0 - self._cover) / self._cover
        self._per_s = 1.0 / rng.uniform(*setup.edge_s)
        wait_s = max(rng.expovariate(1.0 / lasts_s), setup.lasts_s_min)
        self._change_s = elapsed_s + min(wait_s, 3600.0)


@dataclass(frozen=True, slots=True)
class PvSetup:
    """One string of panels on one MPPT tracker."""

    peak_w: float = 1800.0
    """At 1000 W/m2, losses included."""
    azimuth_deg: float = 180.0
    """Direction it looks in: 90 east, 180 south, 270 west."""
    tilt_deg: float = 35.0
    voltage_v: float = 340.0


class PvString:
    """What the sky gives to one string."""

    __slots__ = ("_east", "_north", "_scale", "_up", "setup")

    def __init__(self, setup: PvSetup) -> None:
        self.setup = setup
        azimuth, tilt = math.radians(setup.azimuth_deg), math.radians(setup.tilt_deg)
        self._east = math.sin(azimuth) * math.sin(tilt)
        self._north = math.cos(azimuth) * math.sin(tilt)
        self._up = math.cos(tilt)
        self._scale = setup.peak_w / 1000.0

    def power_w(self, sky: Sky) -> float:
        """DC power at the maximum power point, in W, not below 0."""
        facing = self._east * sky.east + self._north * sky.north + self._up * sky.up
        direct = sky.beam_w_per_m2 * facing if facing > 0.0 else 0.0
        return self._scale * (direct + sky.diffuse_w_per_m2)
