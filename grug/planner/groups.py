"""What is wanted of the units of a line: groups of values, each read again and again; and when.

Values only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from grug.model import Priority, Span
from grug.planner.plan import hull_of
from grug.planner.traits import UnitTraits

ALONE = -1
"""The number of no tick."""

SAME = 1e-6
"""Periods whose ratio is this close to a whole number are multiples of each other."""


@dataclass(frozen=True, slots=True)
class Group:
    """Values of one unit that are read together, again and again."""

    name: str
    period_s: float
    spans: tuple[Span, ...]
    priority: Priority = Priority.NORMAL
    is_snapshot: bool = False
    """Whether all of them have to come in one transaction."""

    @property
    def values(self) -> tuple[Span, ...]:
        """What can be read by itself: of a snapshot only all of it."""
        return (hull_of(self.spans),) if self.is_snapshot and self.spans else self.spans


@dataclass(frozen=True, slots=True)
class UnitLoad:
    """One unit, and what is wanted of it."""

    name: str
    unit_id: int
    groups: tuple[Group, ...]
    traits: UnitTraits = field(default_factory=UnitTraits)


@dataclass(frozen=True, slots=True)
class Ticks:
    """When a group is asked for: once in each of its periods."""

    phase_s: float
    """Where its first period begins."""
    period_s: float
    faster: Ticks | None = None
    """The ticks of another group of the unit: each tick of this one is one of those, so that both
    are read together. None: on the beginning of the period."""
    numbers: tuple[int, ...] = ()
    """Which of the faster ticks, for each period of a cycle, ``ALONE`` for the period's beginning;
    without them, the first of the period."""
    numbers_in_cycle: int = 0
    """How many faster ticks a cycle has."""

    def tick_s(self, number: int) -> float:
        """Time of the tick in a period; to the last bit that of the faster tick, if it is one."""
        if self.faster is None:
            return self.begins_s(number)
        if not self.numbers:
            return self.faster.next_s(self.begins_s(number))
        cycles, at = divmod(number, len(self.numbers))
        if self.numbers[at] == ALONE:
            return self.begins_s(number)
        return self.faster.tick_s(self.numbers[at] + cycles * self.numbers_in_cycle)

    def begins_s(self, number: int) -> float:
        """When a period begins; what is read in the one before is late then."""
        return self.phase_s + number * self.period_s

    def next_s(self, from_s: float) -> float:
        """The first tick from a time on."""
        periods = (from_s - self.phase_s) / self.period_s
        number = max(0, math.floor(periods + SAME))
        tick_s = self.tick_s(number)
        return tick_s if tick_s >= from_s - SAME * self.period_s else self.tick_s(number + 1)


def hyperperiod_s(periods: Iterable[float]) -> float:
    """After how long groups with these periods begin together again."""
    return math.lcm(*map(microseconds, periods)) / 1e6


def microseconds(period_s: float) -> int:
    """A period in whole microseconds, at least one."""
    return max(1, round(period_s * 1e6))
