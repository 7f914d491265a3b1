"""When each group of a line is read: slow values on ticks of their unit's fastest, many together.

Every group has periods, and is read once in each of them. All slow groups of a unit are read on
ticks of its fastest group, since a read that goes out anyway carries more values for little. On
which tick in each period is chosen so that the reads cost least together: slow groups meet on the
same ticks, and where a read has a longest length, those that fit together do.

Devices, and slow groups of a device, begin where the line is least busy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from grug.model import Span
from grug.planner.groups import ALONE, SAME, Group, Ticks, UnitLoad, microseconds
from grug.planner.plan import plan_reads, plan_s
from grug.planner.traits import WireTiming

TICKS_MAX = 4000
"""Ticks that are looked at; odd periods together can have cycles of days."""

OFFSETS_MAX = 64
"""Offsets tried for each group."""

BINS_MAX = 4096
"""Resolution at which busy and quiet times are told apart while offsets are chosen."""

ROUNDS_MAX = 6
"""How often each group's ticks are chosen anew with regard to the others'."""

CROWD_S = 0.02
"""What a tick counts as dearer each time that something near it came too late."""

ROUND_S = 1e-9
"""Differences in price below this are rounding."""

GroupName: TypeAlias = tuple[str, str]
"""Unit and group."""


class _Busy:
    """How busy a line will be over a cycle, roughly."""

    def __init__(self, cycle_s: float, fastest_s: float) -> None:
        self._bins = [0.0] * max(1, min(BINS_MAX, round(8 * cycle_s / fastest_s)))
        self._bin_s = cycle_s / len(self._bins)
        self._cycle_s = cycle_s

    def _share(self, phase_s: float, period_s: float, work_s: float) -> list[tuple[int, float]]:
        parts: list[tuple[int, float]] = []
        for number in range(max(1, round(self._cycle_s / period_s))):
            at = int((phase_s + number * period_s) / self._bin_s)
            left_s = work_s
            while left_s > 0:
                parts.append((at % len(self._bins), min(left_s, self._bin_s)))
                left_s -= self._bin_s
                at += 1
        return parts

    def clash(self, phase_s: float, period_s: float, work_s: float) -> float:
        """How much this work would stand in others' way."""
        return sum(self._bins[at] * part_s for at, part_s in self._share(phase_s, period_s, work_s))

    def add(self, phase_s: float, period_s: float, work_s: float) -> None:
        """Take this work into account from now on."""
        for at, part_s in self._share(phase_s, period_s, work_s):
            self._bins[at] += part_s


class _Level(NamedTuple):
    """The groups of a unit with one period."""

    unit: UnitLoad
    period_s: float
    values: frozenset[Span]
    work_s: float
    """What they cost on top of what is read with them anyway."""

    @property
    def names(self) -> list[GroupName]:
        return [
            (self.unit.name, group.name)
            for group in self.unit.groups
            if group.period_s == self.period_s
        ]


def spread(
    timing: WireTiming,
    units: Sequence[UnitLoad],
    cycle_s: float,
    alone: AbstractSet[GroupName] = frozenset(),
    crowds: Sequence[tuple[float, float]] = (),
) -> dict[GroupName, Ticks]:
    """Give each group its ticks: fastest first, each where it clashes least with those before.

    Args:
        timing: the line's.
        units: what is polled.
        cycle_s: after which all repeats.
        alone: groups that do not wait for a faster one's tick.
        crowds: times of the cycle, from and to, in which less should be read since something came
            too late; one that comes several times counts as often.
    """
    levels = [level for unit in units for level in _levels(timing, unit)]
    levels.sort(key=lambda level: (level.period_s, -level.work_s))
    busy = _Busy(cycle_s, levels[0].period_s)
    ticks: dict[GroupName, Ticks] = {}
    chosen: dict[str, list[tuple[_Level, Ticks]]] = {}
    for level in levels:
        riding = chosen.setdefault(level.unit.name, [])
        is_riding = not riding or alone.isdisjoint(level.names)
        choices = _choices(level, riding[-1][1] if riding and is_riding else None, levels)
        best = min(choices, key=lambda each: busy.clash(each.phase_s, level.period_s, level.work_s))
        busy.add(best.phase_s, level.period_s, level.work_s)
        if is_riding:
            riding.append((level, best))
        else:
            ticks.update(dict.fromkeys(level.names, best))
    for riding in chosen.values():
        for (level, _), each in zip(riding, _ridden(timing, riding, crowds), strict=True):
            ticks.update(dict.fromkeys(level.names, each))
    return ticks


def _levels(timing: WireTiming, unit: UnitLoad) -> list[_Level]:
    """The periods of a unit from the fastest, each with what is read in it."""
    cost, limits = unit.traits.read_cost(timing), unit.traits.limits
    groups = sorted((group for group in unit.groups if group.spans), key=_period_of)
    levels: list[_Level] = []
    before: frozenset[Span] = frozenset()
    before_s = 0.0
    for period_s in dict.fromkeys(map(_period_of, groups)):
        values = _values_of(group for group in groups if group.period_s == period_s)
        read_s = plan_s(plan_reads(before | values, cost, limits), cost)
        levels.append(_Level(unit, period_s, values, max(0.0, read_s - before_s)))
        before, before_s = before | values, read_s
    return levels


def _period_of(group: Group) -> float:
    return group.period_s


def _values_of(groups: Iterable[Group]) -> frozenset[Span]:
    return frozenset(span for group in groups for span in group.values)


def _choices(level: _Level, faster: Ticks | None, levels: Sequence[_Level]) -> list[Ticks]:
    """Where a level may begin: with the next faster one of its unit, if there is one."""
    if faster is None:
        steps = max(1, round(8 * level.period_s / levels[0].period_s))
        return [Ticks(level.period_s * at / steps, level.period_s) for at in _some(steps)]
    steps = int(level.period_s / faster.period_s + SAME)
    return [Ticks(faster.phase_s + faster.period_s * at, level.period_s) for at in _some(steps)]


def _some(count: int) -> list[int]:
    """Numbers from 0 on, thinned out where there are too many."""
    return list(range(0, count, -(-count // OFFSETS_MAX)))


# On which of the fastest group's ticks


def _ridden(
    timing: WireTiming,
    riding: Sequence[tuple[_Level, Ticks]],
    crowds: Sequence[tuple[float, float]],
) -> list[Ticks]:
    """The ticks of one unit's levels, all on those of the first."""
    fast = riding[0][1]
    cycle_us = math.lcm(*(microseconds(level.period_s) for level, _ in riding))
    count = cycle_us // microseconds(fast.period_s)
    if count > TICKS_MAX:  # It hardly ever repeats: always the first tick, then.
        return [fast, *(replace(ticks, faster=fast) for _, ticks in riding[1:])]
    choice = _Choice(timing, [level for level, _ in riding], fast, count)
    for from_s, to_s in crowds:
        choice.avoid(from_s, to_s)
    for level, ticks in riding[1:]:
        choice.add(ticks, cycle_us // microseconds(level.period_s))
    return [fast, *choice.made()]


class _Rider:
    """A level that rides, the ticks that each of its periods may have, and the one it has."""

    def __init__(self, ticks: Ticks, options: list[range]) -> None:
        self.ticks = ticks
        self.options = options
        self.chosen = [each[0] for each in options]


class _Choice:
    """Chooses a tick of the fastest group for each period of the slower ones, by the price."""

    def __init__(
        self, timing: WireTiming, levels: Sequence[_Level], fast: Ticks, count: int
    ) -> None:
        traits = levels[0].unit.traits
        self._cost, self._limits = traits.read_cost(timing), traits.limits
        self._levels = levels
        self._prices: dict[int, float] = {}
        self._together = [1] * count
        """For each tick of the fastest group, which levels are read there, a bit for each."""
        self._avoided = [0.0] * count
        """For each tick, what it counts as dearer, in seconds."""
        self._riders: list[_Rider] = []
        self._fast = fast

    def avoid(self, from_s: float, to_s: float) -> None:
        """Let the ticks of a time count as dearer than they are."""
        fast = self._fast
        first = math.ceil((from_s - fast.phase_s) / fast.period_s - SAME)
        last = math.floor((to_s - fast.phase_s) / fast.period_s + SAME)
        for at in range(first, min(last + 1, first + len(self._avoided))):
            self._avoided[at % len(self._avoided)] += CROWD_S

    def add(self, ticks: Ticks, periods: int) -> None:
        """Add the next slower level; to begin with each period has its first tick."""
        fast = self._fast
        options: list[range] = []
        for number in range(periods):
            begins_s = ticks.begins_s(number) - fast.phase_s
            first = math.ceil(begins_s / fast.period_s - SAME)
            end_s = begins_s + ticks.period_s
            options.append(range(first, max(first + 1, math.ceil(end_s / fast.period_s - SAME))))
        rider = _Rider(ticks, options)
        self._riders.append(rider)
        for at in rider.chosen:
            self._together[at % len(self._together)] |= 1 << len(self._riders)

    def made(self) -> Iterable[Ticks]:
        """Choose, from the slowest to the fastest, until nothing gets cheaper."""
        for _ in range(ROUNDS_MAX):
            places = range(len(self._riders), 0, -1)
            changes = [self._choose_again(self._riders[at - 1], 1 << at) for at in places]
            if not any(changes):
                break
        for rider in self._riders:
            yield replace(
                rider.ticks,
                faster=self._fast,
                numbers=tuple(rider.chosen),
                numbers_in_cycle=len(self._together),
            )

    def _choose_again(self, rider: _Rider, bit: int) -> bool:
        """Choose all ticks of a level anew, the others being as they are."""
        together, count = self._together, len(self._together)
        has_changed = False
        alone_s = _rounded(self._price(bit))
        for number, options in enumerate(rider.options):
            now = rider.chosen[number]
            if now != ALONE:
                together[now % count] &= ~bit
            more_s, _, best = min([(self._more(at % count, bit), at != now, at) for at in options])
            if alone_s < more_s:
                best = ALONE
            else:
                together[best % count] |= bit
            rider.chosen[number] = best
            has_changed = has_changed or best != now
        return has_changed

    def _more(self, at: int, bit: int) -> float:
        """What it costs to read a level at a tick, too."""
        levels = self._together[at]
        return _rounded(self._price(levels | bit) - self._price(levels) + self._avoided[at])

    def _price(self, levels: int) -> float:
        price_s = self._prices.get(levels)
        if price_s is None:
            values = [
                span
                for at, level in enumerate(self._levels)
                if levels >> at & 1
                for span in level.values
            ]
            plan = plan_reads(values, self._cost, self._limits)
            price_s = self._prices[levels] = plan_s(plan, self._cost)
        return price_s


def _rounded(price_s: float) -> float:
    return round(price_s / ROUND_S) * ROUND_S
