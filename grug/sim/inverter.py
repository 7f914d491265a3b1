"""A hybrid inverter like the Solis S5-EH1P-6K: two PV strings, a battery, a loop. Pure.

The inner loop integrates the active power that its meter reports until that is zero. What it wants
reaches the AC port after a dead time, with a lag, a slew limit and the limits of port, PV and
battery. When the meter has been silent for too long it stops battery work and gives out its PV
only, until the meter is back.

Source: the seed's notes on its own house (what the loop does, rescans of 2.5 to 3.5 s, fail-safe).
The loop's numbers are chosen so that a 2 kW step settles in a few seconds with a total delay of
about one second.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from grug.sim.battery import Battery, BatterySetup
from grug.sim.dispatch import Dispatched, DispatchMode
from grug.sim.sky import PvSetup, PvString, Sky


@dataclass(frozen=True, slots=True)
class InverterSetup:
    """One inverter."""

    name: str = "inverter"
    phase: int = 0
    """The phase of its AC port, 0..2."""
    strings: tuple[PvSetup, PvSetup] = (PvSetup(azimuth_deg=130.0), PvSetup(azimuth_deg=220.0))
    battery: BatterySetup = field(default_factory=BatterySetup)
    ac_w_max: float = 6000.0
    """Limit of the AC port in both directions."""
    gain_per_s: float = 0.45
    """W of change per second for each W that the meter shows."""
    dead_time_s: float = 0.4
    lag_s: float = 0.3
    slew_w_per_s: float = 4000.0
    meter_lost_s: float = 5.0
    """Silence of the meter after which the fail-safe begins."""
    fail_safe_slew_w_per_s: float = 400.0
    curtails: bool = False
    """Whether PV that nobody needs is thrown away instead of exported."""
    converter_s: float = 0.0
    """How slowly the battery's converter takes over what PV changes: meanwhile it shows at the AC
    port. 0 is at once."""
    rescan_s: float = 1200.0
    """Mean time between two MPPT rescans of one string."""


BELIEF_S_MAX = 0.5
"""No meter value is integrated for longer than this: a gap in the answers does not wind it up."""
BELIEFS_MAX = 16
"""Meter values on their way, at 14 a second over a second."""


class Inverter:
    """State of one inverter; AC power plus = into the house."""

    __slots__ = (
        "_ahead",
        "_ahead_at",
        "_beliefs",
        "_lag_share",
        "_passed_w",
        "_rescan_due_s",
        "_rescan_end_s",
        "_rng",
        "_slew_w",
        "_slope_w",
        "_slow_pv_w",
        "_slow_share",
        "_string_w",
        "_strings",
        "_wanted_w",
        "ac_w",
        "battery",
        "belief_s",
        "belief_w",
        "dispatched",
        "export_ws",
        "has_grid",
        "import_ws",
        "is_meter_lost",
        "is_on",
        "pv_w",
        "pv_ws",
        "setup",
        "slow_battery_w",
        "stays_off_grid",
    )

    def __init__(self, setup: InverterSetup, rng: random.Random, step_s: float) -> None:
        self.setup = setup
        self._rng = rng
        self._strings = tuple(PvString(string) for string in setup.strings)
        self.battery = Battery(setup.battery)
        self.is_on = True
        self.has_grid = True
        """Whether there is a grid at its AC port; without one it feeds its backup output alone."""
        self.stays_off_grid = False
        """Whether its settings keep it off a grid that is there."""
        self.ac_w = 0.0
        self.pv_w = 0.0
        self.slow_battery_w = 0.0
        """The battery's power as the inverter reports it: some seconds late."""
        self.pv_ws = self.export_ws = self.import_ws = 0.0
        """Energies since the start, in W s; export is out of the AC port."""
        self.belief_w = 0.0
        """What the meter said last, plus = import; meaningless before the first answer."""
        self.belief_s = -1e9
        """When it said so, in seconds since the start."""
        self.is_meter_lost = True
        self.dispatched: Dispatched | None = None
        """What its registers tell it to do, while they do."""
        self._beliefs: deque[tuple[float, float]] = deque(maxlen=BELIEFS_MAX)
        self._wanted_w = 0.0
        self._ahead = [0.0] * max(1, round(setup.dead_time_s / step_s))
        self._ahead_at = 0
        self._lag_share = min(1.0, step_s / setup.lag_s)
        self._slow_share = min(1.0, step_s / setup.converter_s) if setup.converter_s else 1.0
        self._slow_pv_w = 0.0
        self._passed_w = 0.0
        """What of PV's changes is at the AC port now."""
        self._slew_w = setup.slew_w_per_s * step_s
        self._string_w = [0.0, 0.0]
        self._slope_w = [0.0, 0.0]
        self._rescan_due_s = [rng.expovariate(1.0 / setup.rescan_s) + 30.0 for _ in self._strings]
        self._rescan_end_s = [0.0, 0.0]

    @property
    def string_w(self) -> tuple[float, float]:
        """What each MPPT tracker takes in, in W."""
        first, second = self._string_w
        both = first + second
        share = self.pv_w / both if both > 0.0 else 0.0
        return first * share, second * share

    def is_lit(self, string: int) -> bool:
        """Whether there is sun on a string, whatever its tracker makes of it."""
        return self._string_w[string] + self._slope_w[string] > 1.0

    @property
    def is_off_grid(self) -> bool:
        """Whether it feeds its backup output alone, where nothing is connected in this house."""
        return self.stays_off_grid or not self.has_grid

    @property
    def reach_w(self) -> tuple[float, float]:
        """The least and the most that its AC port could give now, whatever its meter says.

        Of what the sun gives, and not of what is left of it when the battery is full.
        """
        if not self.is_on or self.is_off_grid:
            return 0.0, 0.0
        pv_w, most_w = sum(self._string_w), self.setup.ac_w_max
        low_w = (0.0 if self.setup.curtails else pv_w) - self.battery.charge_limit_w()
        high_w = pv_w + self.battery.discharge_limit_w()
        return max(min(low_w, most_w), -most_w), min(high_w, most_w)

    def believe(self, power_w: float, at_s: float) -> None:
        """The meter's answer: active power (plus = import), known to the inverter from ``at_s``."""
        self._beliefs.append((at_s, power_w))

    def wake(self, sky: Sky) -> None:
        """Start as if it had been running: PV on the AC port, battery idle."""
        self._string_w = [string.power_w(sky) for string in self._strings]
        self.pv_w = self._slow_pv_w = sum(self._string_w)
        self.ac_w = min(self.pv_w, self.setup.ac_w_max)
        self._forget(self.ac_w)

    def look_up(self, elapsed_s: float, sky: Sky) -> None:
        """Once a second: what the strings get, the MPPT's rescans, slow measurements."""
        self.slow_battery_w += 0.4 * (self.battery.power_w - self.slow_battery_w)
        for index, string in enumerate(self._strings):
            if elapsed_s >= self._rescan_due_s[index]:
                self._rescan_due_s[index] = (
                    elapsed_s + 60.0 + self._rng.expovariate(1.0 / self.setup.rescan_s)
                )
                self._rescan_end_s[index] = elapsed_s + self._rng.uniform(2.5, 3.5)
            if elapsed_s < self._rescan_end_s[index] - 1.0:
                self._string_w[index] = self._slope_w[index] = 0.0
            else:
                self._slope_w[index] = string.power_w(sky) - self._string_w[index]

    def step(self, elapsed_s: float, step_s: float) -> None:
        """Go on by one step that ends at ``elapsed_s``."""
        self._collect(elapsed_s, step_s)
        if not self.is_on:
            self.pv_w = 0.0
            self._forget(0.0)
            self._balance(0.0, 0.0, 0.0, step_s)
            return
        while self._beliefs and self._beliefs[0][0] <= elapsed_s:
            self._integrate(*self._beliefs.popleft())
        if self.is_off_grid:
            self._stand_alone(elapsed_s, step_s)
            return
        order_w = None if self.dispatched is None else self._ordered_w(self.dispatched, elapsed_s)
        if order_w is not None:
            self._wanted_w = order_w
        pv_w, battery, setup = self.pv_w, self.battery, self.setup
        low_w = pv_w - battery.charge_limit_w()
        high_w = pv_w + battery.discharge_limit_w()
        ac_w_max = setup.ac_w_max
        low_w = max(min(low_w, ac_w_max), -ac_w_max)
        high_w = min(high_w, ac_w_max)
        self.is_meter_lost = elapsed_s - self.belief_s > setup.meter_lost_s
        ac_w = self.ac_w - self._passed_w
        if self.is_meter_lost and order_w is None:
            slew_w = setup.fail_safe_slew_w_per_s * step_s
            ac_w += max(-slew_w, min(slew_w, pv_w - ac_w))
            self._forget(ac_w)
        else:
            wanted_w = self._wanted_w
            if wanted_w < low_w and not setup.curtails:
                wanted_w = low_w
            self._wanted_w = wanted_w = min(max(wanted_w, -ac_w_max), high_w)
            at = self._ahead_at
            delayed_w, self._ahead[at] = self._ahead[at], wanted_w
            self._ahead_at = (at + 1) % len(self._ahead)
            change_w = (delayed_w - ac_w) * self._lag_share
            ac_w += max(-self._slew_w, min(self._slew_w, change_w))
        self._slow_pv_w += self._slow_share * (pv_w - self._slow_pv_w)
        self._passed_w = pv_w - self._slow_pv_w
        self._balance(ac_w + self._passed_w, low_w, high_w, step_s)

    def _stand_alone(self, elapsed_s: float, step_s: float) -> None:
        """Off grid: the meter is heard but moves nothing, and the sun charges the battery."""
        self.is_meter_lost = elapsed_s - self.belief_s > self.setup.meter_lost_s
        self._forget(0.0)
        self._slow_pv_w, self._passed_w = self.pv_w, 0.0
        self._balance(0.0, 0.0, 0.0, step_s)

    def _balance(self, ac_w: float, low_w: float, high_w: float, step_s: float) -> None:
        """Keep to what PV, battery and port can do, and count the energies."""
        ac_w = min(ac_w, high_w)
        if ac_w < low_w:
            if self.setup.curtails:
                self.pv_w = max(0.0, self.pv_w - (low_w - ac_w))
            else:
                ac_w = low_w
        # What neither the port nor the battery takes is left on the roof.
        self.pv_w = min(self.pv_w, max(0.0, ac_w + self.battery.charge_limit_w()))
        self.ac_w = ac_w
        self.battery.step(self.pv_w - ac_w, step_s)
        self.pv_ws += self.pv_w * step_s
        if ac_w >= 0.0:
            self.export_ws += ac_w * step_s
        else:
            self.import_ws -= ac_w * step_s

    def _collect(self, elapsed_s: float, step_s: float) -> None:
        """Follow the strings between two looks at the sky."""
        string_w, slope_w = self._string_w, self._slope_w
        string_w[0] += slope_w[0] * step_s
        string_w[1] += slope_w[1] * step_s
        if elapsed_s < self._rescan_end_s[0] or elapsed_s < self._rescan_end_s[1]:
            for index in (0, 1):
                if elapsed_s < self._rescan_end_s[index]:
                    string_w[index] = 0.0
        self.pv_w = string_w[0] + string_w[1]

    def _integrate(self, at_s: float, power_w: float) -> None:
        """One new meter value: move towards what would make it zero."""
        lasted_s = at_s - self.belief_s
        if lasted_s > self.setup.meter_lost_s:
            self._forget(self.ac_w)
        error_w = power_w
        if self.dispatched is not None and self.dispatched.mode == DispatchMode.GRID:
            error_w += self.dispatched.power_w
        self._wanted_w += self.setup.gain_per_s * error_w * min(lasted_s, BELIEF_S_MAX)
        self.belief_w = power_w
        self.belief_s = at_s

    def _ordered_w(self, dispatched: Dispatched, elapsed_s: float) -> float | None:
        """What the registers want at the AC port whatever the meter says; None asks the meter."""
        if elapsed_s >= dispatched.until_s:
            self.dispatched = None
            return None
        match dispatched.mode:
            case DispatchMode.HOLD:
                return self.pv_w
            case DispatchMode.BATTERY:
                return self.pv_w - dispatched.power_w
            case DispatchMode.PORT:
                return dispatched.power_w
        return None

    def _forget(self, ac_w: float) -> None:
        """Start the loop afresh from what the port does now."""
        self._wanted_w = ac_w
        for index in range(len(self._ahead)):
            self._ahead[index] = ac_w
