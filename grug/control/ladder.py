"""Which reading of the grid's power is believed: live, second meter, ramp, silent. Pure.

One goes down a rung when nothing better is left, and up again with the first good reading. No rung
makes a reading younger: each keeps the time at which it was read, and what is served is valid no
longer than that allows.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import msgspec

GRID_POWER_W_MAX = 100_000.0
"""More than any house's connection carries: a reading beyond it is a broken one."""


class Rung(enum.StrEnum):
    """Where the grid's power comes from."""

    LIVE = "live"
    SECOND = "second meter"
    RAMP = "ramp"
    """The last reading is not live any more, but not too old either: the offset goes to zero."""
    SILENT = "silent"


class GridReading(msgspec.Struct, frozen=True):
    """The grid's power as it was read."""

    power_w: float
    """Plus = import."""
    read_s: float
    fault: str = ""
    """Why it must not be used; empty when it is good."""


@dataclass(frozen=True, slots=True)
class LadderSettings:
    """Ages at which a rung is left."""

    live_s: float = 0.7
    """A reading of the grid meter that is older is not live."""
    second_s: float = 1.5
    """A reading of the second meter that is older is of no use."""
    max_age_s: float = 1.5
    """After this nobody may be told anything of a reading; the longest of the fake meters."""


class Step(msgspec.Struct, frozen=True):
    """The rung that holds now."""

    rung: Rung
    reading: GridReading
    """The one to act on; with its fault when there is none."""
    reason: str


def problem_of_reading(reading: GridReading) -> str:
    """Why a reading must not be used, whatever its age; or an empty text."""
    if reading.fault:
        return reading.fault
    # Written so that NaN, which compares as false, counts as implausible.
    if not -GRID_POWER_W_MAX <= reading.power_w <= GRID_POWER_W_MAX:
        return "grid power is implausible"
    return ""


@dataclass(slots=True)
class Readings:
    """What the two meters said last, and what the first said last that was good."""

    first: GridReading | None = None
    good: GridReading | None = None
    second: GridReading | None = None
    relayed: GridReading | None = None
    """What an inverter said last that its own meter says."""

    def take_first(self, reading: GridReading) -> None:
        """The grid meter was read, or could not be."""
        self.first = reading
        if not problem_of_reading(reading):
            self.good = reading

    def take_second(self, reading: GridReading) -> None:
        """The second meter was read; a failure changes nothing, its last reading just ages."""
        if not problem_of_reading(reading):
            self.second = reading

    def take_relayed(self, reading: GridReading) -> None:
        """An inverter that has a true meter told what that says, in place of a second meter.

        It goes on telling the last power when it has lost its meter. So only a power that has
        changed is news, and it counts as old as the last look that still found another one.
        """
        if problem_of_reading(reading):
            return
        before, self.relayed = self.relayed, reading
        if before is not None and before.power_w != reading.power_w:
            self.second = GridReading(reading.power_w, before.read_s)


def choose(settings: LadderSettings, known: Readings, now_s: float) -> Step:
    """Find the highest rung that holds.

    Args:
        settings: the ages.
        known: the latest readings.
        now_s: monotonic time.
    """
    first, good, second = known.first, known.good, known.second
    problem = "grid meter never read" if first is None else problem_of_reading(first)
    good_age_s = math.inf if good is None else now_s - good.read_s
    if good is not None and good is first and good_age_s <= settings.live_s:
        return Step(Rung.LIVE, good, "grid meter is live")
    if not problem:
        problem = f"grid meter read {good_age_s:.1f} s ago"
    if second is not None and now_s - second.read_s <= settings.second_s:
        age_s = now_s - second.read_s
        return Step(Rung.SECOND, second, f"{problem}; second meter read {age_s:.1f} s ago")
    if good is not None and good_age_s <= settings.max_age_s:
        return Step(Rung.RAMP, good, f"{problem}; offset goes to zero")
    read_s = now_s if good is None else good.read_s
    return Step(Rung.SILENT, GridReading(math.nan, read_s, problem), problem)


def next_look_s(settings: LadderSettings, known: Readings, step: Step) -> float:
    """When the rung changes if nothing more is read; infinite on the last one."""
    match step.rung:
        case Rung.LIVE:
            return step.reading.read_s + settings.live_s
        case Rung.SECOND:
            return step.reading.read_s + settings.second_s
        case Rung.RAMP:
            return step.reading.read_s + settings.max_age_s
        case Rung.SILENT:
            return math.inf
