"""The days on which steering is judged: always the same, as setup data of the simulated house."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from grug.sim.battery import BatterySetup
from grug.sim.house import HouseSetup
from grug.sim.household import LoadSetup
from grug.sim.inverter import InverterSetup
from grug.sim.sky import BROKEN, CHANGING, CLEAR, SkySetup

STEP_W = 2000.0
STEP_EVERY_S = 150.0
"""In every scenario a load goes on and off like this, so that each run has steps to measure."""

_USUAL = InverterSetup(converter_s=1.0)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of day."""

    name: str
    sky: SkySetup = CHANGING
    load: LoadSetup = field(
        default_factory=lambda: LoadSetup(step_w=STEP_W, step_every_s=STEP_EVERY_S)
    )
    inverters: tuple[InverterSetup, InverterSetup] = (
        replace(_USUAL, phase=0),
        replace(_USUAL, phase=1),
    )
    day_of_year: int = 172
    centre_hour: float = 12.0
    """Solar time half way through a run."""
    faults: tuple[tuple[str, float, float], ...] = ()
    """(``target:kind``, begin, length), both times as shares of the run's length."""
    lost: str = ""
    """The inverter that goes off half way, and does not answer any more."""

    def setup(self, hours: float) -> HouseSetup:
        """The house for a run of this length."""
        return HouseSetup(
            inverters=self.inverters,
            chargers=(),
            load=self.load,
            start_hour=(self.centre_hour - hours / 2.0) % 24.0,
            day_of_year=self.day_of_year,
            sky=self.sky,
        )

    def fault_texts(self, hours: float) -> list[str]:
        """What goes wrong in a run of this length, as ``parse_fault`` reads it."""
        length_s = hours * 3600.0
        faults = list(self.faults)
        if self.lost:
            faults += [(f"{self.lost}:silent", 0.5, 0.5), (f"{self.lost}_meter:silent", 0.5, 0.5)]
        return [
            f"{what}@{begin * length_s:.1f}+{length * length_s:.1f}"
            for what, begin, length in faults
        ]


def _pair(first: InverterSetup, second: InverterSetup) -> tuple[InverterSetup, InverterSetup]:
    return replace(first, phase=0), replace(second, phase=1)


_RESCANNING = replace(_USUAL, rescan_s=60.0)
_KETTLES = LoadSetup(
    step_w=STEP_W, step_every_s=STEP_EVERY_S, kettle_every_s=60.0, kettle_s=(15.0, 90.0)
)

SCENARIOS = (
    Scenario("clear", sky=CLEAR, centre_hour=13.0),
    Scenario("broken clouds", sky=BROKEN),
    Scenario("winter", day_of_year=355, centre_hour=15.5),
    Scenario("kettle storm", load=_KETTLES, centre_hour=18.0),
    Scenario("inverter lost", sky=CLEAR, lost="solis1"),
    Scenario(
        "meter lost",
        centre_hour=20.0,
        faults=(("grid:silent", 0.3, 0.2), ("grid:silent", 0.7, 0.02)),
    ),
    Scenario("rescans", sky=CLEAR, inverters=_pair(_RESCANNING, _RESCANNING)),
    Scenario(
        "dead times",
        inverters=_pair(
            replace(_USUAL, dead_time_s=0.2), replace(_USUAL, dead_time_s=1.0, lag_s=0.6)
        ),
    ),
    Scenario(
        "full and low",
        inverters=_pair(
            replace(_USUAL, battery=BatterySetup(start_soc_pct=99.0)),
            replace(_USUAL, battery=BatterySetup(start_soc_pct=30.0)),
        ),
    ),
)
"""Nine; a controller may not know which one it is in."""
