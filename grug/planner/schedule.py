"""When the poll groups of one line are read: slow values ride with fast ones, and none is late.

Groups of one unit that fall on the same tick wait together, and the bus reads them by one plan. So
each group ticks on the ticks of the next faster one of its unit, which costs about what the lower
bound says; and different units, and slow groups, are spread over the time that is left.

Whether that works out is not estimated but tried: ``schedule_line`` plays a whole cycle with the
bus owner's own queue (priority, then earliest deadline first, one read at a time, never broken
off). As that is what will happen, the test is exact for the line's timing as given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from grug.messages import Message, ReadFailed, ReadRegisters, RegistersRead, WriteDone, WriteFailed
from grug.model import Priority, Span
from grug.planner.bound import Needed, least_s
from grug.planner.plan import (
    ReadCost,
    ReadLimits,
    Transaction,
    hull_of,
    plan_reads,
    plan_s,
)
from grug.planner.queue import BusQueue, ReadJob
from grug.planner.units import UnitTraits, WireTiming

TICKS_MAX = 4000
"""Ticks that are played; odd periods together can have cycles of days."""

TRIES_MAX = 4
"""Cycles that are played until nothing is late."""

OFFSETS_MAX = 64
"""Offsets tried for each group."""

BINS_MAX = 4096
"""Resolution at which busy and quiet times are told apart while offsets are chosen."""

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
    """The ticks of another group of the unit: each tick of this one falls on the first of those
    in the period, so that both are read together. None: on the beginning of the period."""

    def tick_s(self, number: int) -> float:
        """Time of the tick in a period."""
        begins_s = self.begins_s(number)
        return begins_s if self.faster is None else self.faster.next_s(begins_s)

    def begins_s(self, number: int) -> float:
        """When a period begins; what is read in the one before is late then."""
        return self.phase_s + number * self.period_s

    def next_s(self, from_s: float) -> float:
        """The first tick from a time on."""
        periods = (from_s - self.phase_s) / self.period_s
        number = max(0, math.floor(periods + SAME))
        tick_s = self.tick_s(number)
        return tick_s if tick_s >= from_s - SAME * self.period_s else self.tick_s(number + 1)


class PlayedRead(NamedTuple):
    """One transaction of the cycle."""

    unit: str
    transaction: Transaction
    started_s: float
    ended_s: float
    """End of the reply."""
    groups: tuple[str, ...]
    """Whose values it brings."""


class Late(NamedTuple):
    """Readings of one group that came after the next were due."""

    unit: str
    group: str
    late: int
    of: int


@dataclass(frozen=True, slots=True)
class LineSchedule:
    """One cycle of a line."""

    cycle_s: float
    is_whole: bool
    """Whether the cycle was played to its end, so that all that follows repeats it."""
    ticks: Mapping[tuple[str, str], Ticks]
    """By unit and group."""
    reads: tuple[PlayedRead, ...]
    """From 0 to ``cycle_s``, in order."""
    late: tuple[Late, ...]
    utilisation: float
    """Share of the time that reads take with the line's gaps, 1 = all of it."""
    used: float
    """The same with the silences that units want beyond the line's gap; others may be asked
    meanwhile. This is what plans minimise, what ``line_bound`` is a bound of, and what the next
    one compares with."""
    one_by_one: float
    """If each value were read by itself."""


def lower_bound(groups: Sequence[Group], cost: ReadCost, limits: ReadLimits) -> float:
    """Share of the time that no schedule of one unit's groups can go below; see ``bound``."""
    cycle_us = math.lcm(*(_microseconds(group.period_s) for group in groups))
    values = [
        Needed(span, cycle_us // _microseconds(group.period_s))
        for group in groups
        for span in group.values
    ]
    return least_s(values, cost, limits) / (cycle_us / 1e6)


def line_bound(timing: WireTiming, units: Iterable[UnitLoad]) -> float:
    """The sum of ``lower_bound`` over the units of a line."""
    return sum(
        lower_bound(unit.groups, unit.traits.read_cost(timing), unit.traits.limits)
        for unit in units
    )


def one_by_one(groups: Iterable[Group], cost: ReadCost) -> float:
    """Share of the time that it takes to read each value by itself."""
    return sum(
        cost.read_s(span.table, span.count) / group.period_s
        for group in groups
        for span in group.values
    )


def schedule_line(timing: WireTiming, units: Sequence[UnitLoad]) -> LineSchedule:
    """Choose when each group ticks, and play the cycle that results.

    Args:
        timing: the line's.
        units: all that are polled there; unit ids, and names of groups within a unit, are unique.
    """
    units = [unit for unit in units if any(group.spans for group in unit.groups)]
    periods = [group.period_s for unit in units for group in unit.groups]
    if not periods:
        return LineSchedule(0.0, True, {}, (), (), 0.0, 0.0, 0.0)
    whole_s = _hyperperiod_s(periods)
    most_s = TICKS_MAX / sum(1 / period_s for period_s in periods)
    cycle_s = min(whole_s, max(most_s, max(periods)))
    play = _best_play(timing, units, cycle_s)
    costs = {unit.name: unit.traits.read_cost(timing) for unit in units}
    rests = {unit.name: unit.traits.rest_s(timing) for unit in units}
    used_s = plain_s = 0.0
    for read in play.reads:
        span = read.transaction.span
        read_s = costs[read.unit].read_s(span.table, span.count)
        used_s += read_s
        plain_s += read_s - rests[read.unit]
    return LineSchedule(
        cycle_s=cycle_s,
        is_whole=cycle_s == whole_s,
        ticks=play.ticks,
        reads=tuple(play.reads),
        late=play.late(),
        utilisation=plain_s / cycle_s,
        used=used_s / cycle_s,
        one_by_one=sum(one_by_one(unit.groups, costs[unit.name]) for unit in units),
    )


def _best_play(timing: WireTiming, units: Sequence[UnitLoad], cycle_s: float) -> _Play:
    """Let all ride; what is late because it waits for a faster tick then rides no longer."""
    alone: frozenset[tuple[str, str]] = frozenset()
    plays: list[_Play] = []
    everybody = frozenset((unit.name, group.name) for unit in units for group in unit.groups)
    for number in range(TRIES_MAX):
        play = _Play(timing, units, _spread(timing, units, cycle_s, alone), cycle_s)
        plays.append(play)
        late = {(each.unit, each.group) for each in play.late()}
        if not late or alone == everybody:
            break
        is_of_use = number < TRIES_MAX - 2 and not late <= alone
        alone = alone | late if is_of_use else everybody
    return min(plays, key=lambda each: sum(late.late for late in each.late()))


def _levels(groups: Iterable[Group]) -> list[tuple[float, frozenset[Span]]]:
    """Periods from the fastest, each with all spans that are wanted at least that often."""
    levels: list[tuple[float, frozenset[Span]]] = []
    spans: frozenset[Span] = frozenset()
    in_order = sorted((group for group in groups if group.spans), key=lambda each: each.period_s)
    for group in in_order:
        spans = spans.union(group.values)
        if levels and levels[-1][0] == group.period_s:
            levels.pop()
        levels.append((group.period_s, spans))
    return levels


def _hyperperiod_s(periods: Iterable[float]) -> float:
    return math.lcm(*map(_microseconds, periods)) / 1e6


def _microseconds(period_s: float) -> int:
    return max(1, round(period_s * 1e6))


# When


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
    work_s: float
    """What they cost on top of what is read with them anyway."""


def _spread(
    timing: WireTiming,
    units: Sequence[UnitLoad],
    cycle_s: float,
    alone: AbstractSet[tuple[str, str]],
) -> dict[tuple[str, str], Ticks]:
    """Give each group its ticks: fastest first, each where it clashes least with those before.

    Args:
        timing: the line's.
        units: what is polled.
        cycle_s: after which all repeats.
        alone: groups, with their units, that do not wait for a faster one's tick.
    """
    levels: list[_Level] = []
    for unit in units:
        cost = unit.traits.read_cost(timing)
        before_s = 0.0
        for period_s, spans in _levels(unit.groups):
            read_s = plan_s(plan_reads(spans, cost, unit.traits.limits), cost)
            levels.append(_Level(unit, period_s, max(0.0, read_s - before_s)))
            before_s = read_s
    levels.sort(key=lambda level: (level.period_s, -level.work_s))
    busy = _Busy(cycle_s, levels[0].period_s)
    last: dict[str, Ticks] = {}
    ticks: dict[tuple[str, str], Ticks] = {}
    for level in levels:
        names = [
            (level.unit.name, group.name)
            for group in level.unit.groups
            if group.period_s == level.period_s
        ]
        faster = last.get(level.unit.name) if alone.isdisjoint(names) else None
        choices = _choices(level, faster, levels[0].period_s)
        best = min(choices, key=lambda each: busy.clash(each.phase_s, level.period_s, level.work_s))
        busy.add(best.phase_s, level.period_s, level.work_s)
        if faster is not None or level.unit.name not in last:
            last[level.unit.name] = best
        ticks.update(dict.fromkeys(names, best))
    return ticks


def _choices(level: _Level, faster: Ticks | None, fastest_s: float) -> list[Ticks]:
    """Where a level may tick: with the next faster one of its unit, if there is one."""
    if faster is None:
        steps = max(1, round(8 * level.period_s / fastest_s))
        return [Ticks(level.period_s * at / steps, level.period_s) for at in _some(steps)]
    steps = int(level.period_s / faster.period_s + SAME)
    return [
        Ticks(faster.phase_s + faster.period_s * at, level.period_s, faster) for at in _some(steps)
    ]


def _some(count: int) -> list[int]:
    """Numbers from 0 on, thinned out where there are too many."""
    return list(range(0, count, -(-count // OFFSETS_MAX)))


# What then happens


class _Asked:
    """One tick's request."""

    __slots__ = ("answer", "group", "is_abandoned", "request", "unit")

    def __init__(self, unit: UnitLoad, group: Group, due_s: float) -> None:
        self.unit = unit
        self.group = group
        self.request = ReadRegisters(
            unit.unit_id, group.spans, due_s, group.priority, is_snapshot=group.is_snapshot
        )
        self.is_abandoned = False
        self.answer: RegistersRead | ReadFailed | None = None

    @property
    def is_late(self) -> bool:
        answer = self.answer
        if isinstance(answer, RegistersRead):
            return answer.read_s > self.request.deadline_s
        return True

    def reply(self, reply: RegistersRead | ReadFailed | WriteDone | WriteFailed) -> None:
        assert isinstance(reply, RegistersRead | ReadFailed), "only reads are asked for"
        self.answer = reply


class _Play:
    """A bus owner's queue, on a line that takes exactly as long as is said."""

    def __init__(
        self,
        timing: WireTiming,
        units: Sequence[UnitLoad],
        ticks: Mapping[tuple[str, str], Ticks],
        cycle_s: float,
    ) -> None:
        self._timing = timing
        self._units = {unit.unit_id: unit for unit in units}
        self.ticks = ticks
        self._queue = BusQueue(
            "line", timing, {unit.unit_id: unit.traits for unit in units}, _nobody_listens
        )
        self._queue.line_opened(0.0)
        self._asked: list[_Asked] = []
        self.reads = self._run(cycle_s)

    def _run(self, cycle_s: float) -> list[PlayedRead]:
        """Play a cycle to settle, and then the one whose reads are returned."""
        start_s = cycle_s + max(ticks.phase_s for ticks in self.ticks.values())
        # From a multiple of the cycle on, so that phases show as they are.
        start_s = math.ceil(start_s / cycle_s) * cycle_s
        end_s = start_s + cycle_s
        due = self._requests(end_s)
        now_s = 0.0
        at = 0
        reads: list[PlayedRead] = []
        waiting: list[_Asked] = []
        while now_s < end_s:
            while at < len(due) and due[at][0] <= now_s:
                asked = due[at][1]
                self._queue.add(asked, now_s)
                waiting.append(asked)
                if start_s <= due[at][0]:
                    self._asked.append(asked)
                at += 1
            job = self._queue.pick(now_s)
            if job is None:
                next_s = due[at][0] if at < len(due) else end_s
                now_s = max(min(next_s, self._queue.wake_s), math.nextafter(now_s, math.inf))
                continue
            assert isinstance(job, ReadJob)
            waiting = [each for each in waiting if each.answer is None]
            read = self._carry_out(job, now_s, waiting)
            if now_s >= start_s:
                reads.append(
                    read._replace(
                        started_s=read.started_s - start_s, ended_s=read.ended_s - start_s
                    )
                )
            now_s = read.ended_s + self._timing.gap_s
        self._asked = [each for each in self._asked if each.request.deadline_s <= end_s]
        return reads

    def _requests(self, end_s: float) -> list[tuple[float, _Asked]]:
        """What is asked when, in order."""
        requests: list[tuple[float, _Asked]] = []
        for unit in self._units.values():
            for group in unit.groups:
                ticks = self.ticks.get((unit.name, group.name))
                if ticks is None:
                    continue  # It has no values.
                number = 0
                while (tick_s := ticks.tick_s(number)) < end_s:
                    asked = _Asked(unit, group, ticks.begins_s(number + 1))
                    requests.append((tick_s, asked))
                    number += 1
        requests.sort(key=lambda each: each[0])
        return requests

    def _carry_out(self, job: ReadJob, now_s: float, waiting: Sequence[_Asked]) -> PlayedRead:
        unit = self._units[job.unit.unit_id]
        span = job.transaction.span
        cost = unit.traits.read_cost(self._timing)
        # The gap after the reply is the line's, and the rest after that the unit's own.
        after_s = self._timing.gap_s + unit.traits.rest_s(self._timing)
        ended_s = now_s + cost.read_s(span.table, span.count) - after_s
        covers = set(job.transaction.covers)
        groups = tuple(
            each.group.name
            for each in waiting
            if each.unit is unit and not covers.isdisjoint(each.group.spans)
        )
        width = 1 if span.table.is_bits else 2
        self._queue.succeeded(job, bytes(width * span.count), now_s, ended_s)
        return PlayedRead(unit.name, job.transaction, now_s, ended_s, tuple(dict.fromkeys(groups)))

    def late(self) -> tuple[Late, ...]:
        """Which groups' readings came too late."""
        counts: dict[tuple[str, str], list[int]] = {}
        for asked in self._asked:
            count = counts.setdefault((asked.unit.name, asked.group.name), [0, 0])
            count[0] += asked.is_late
            count[1] += 1
        return tuple(
            Late(unit, group, late, of) for (unit, group), (late, of) in counts.items() if late
        )


def _nobody_listens(_message: Message) -> None:
    """Health and counters are of no interest here."""
