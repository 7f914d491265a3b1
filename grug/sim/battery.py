"""A battery: stored energy, limits that taper near full and empty, losses. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatterySetup:
    """One battery behind one inverter."""

    capacity_wh: float = 14_000.0
    start_soc_pct: float = 45.0
    charge_w_max: float = 4500.0
    discharge_w_max: float = 4800.0
    efficiency: float = 0.96
    """Each way: 0.96 stored of 1 charged, and 0.96 delivered of 1 taken from the store."""
    empty_soc_pct: float = 15.0
    """Discharging ends here."""
    taper_pct: float = 4.0
    """Within this distance of full or empty the limits go down linearly."""


class Battery:
    """State of one battery; power plus = charging."""

    __slots__ = (
        "_empty_wh",
        "_taper_wh",
        "capacity_wh",
        "charge_w_max",
        "discharge_w_max",
        "efficiency",
        "in_ws",
        "out_ws",
        "power_w",
        "setup",
        "stored_wh",
    )

    def __init__(self, setup: BatterySetup) -> None:
        self.setup = setup
        self.capacity_wh = setup.capacity_wh
        self.efficiency = setup.efficiency
        self.charge_w_max = setup.charge_w_max
        """What the inverter's settings allow; may be lowered at any time."""
        self.discharge_w_max = setup.discharge_w_max
        self._empty_wh = setup.capacity_wh * setup.empty_soc_pct / 100.0
        self._taper_wh = setup.capacity_wh * setup.taper_pct / 100.0
        self.stored_wh = setup.capacity_wh * setup.start_soc_pct / 100.0
        self.power_w = 0.0
        self.in_ws = 0.0
        """Energy charged since the start, in W s, at the terminals."""
        self.out_ws = 0.0

    @property
    def soc_pct(self) -> float:
        """State of charge, 0..100."""
        return 100.0 * self.stored_wh / self.capacity_wh

    def charge_limit_w(self) -> float:
        """The most that it takes now, in W, not below 0."""
        room_wh = self.capacity_wh - self.stored_wh
        if room_wh >= self._taper_wh:
            return self.charge_w_max
        return self.charge_w_max * room_wh / self._taper_wh if room_wh > 0.0 else 0.0

    def discharge_limit_w(self) -> float:
        """The most that it gives now, in W, not below 0."""
        left_wh = self.stored_wh - self._empty_wh
        if left_wh >= self._taper_wh:
            return self.discharge_w_max
        return self.discharge_w_max * left_wh / self._taper_wh if left_wh > 0.0 else 0.0

    def step(self, power_w: float, step_s: float) -> None:
        """Charge (plus) or discharge (minus) for one step; the caller keeps to the limits."""
        self.power_w = power_w
        energy_ws = power_w * step_s
        if energy_ws >= 0.0:
            self.in_ws += energy_ws
            self.stored_wh += energy_ws * self.efficiency / 3600.0
        else:
            self.out_ws -= energy_ws
            self.stored_wh += energy_ws / (self.efficiency * 3600.0)
