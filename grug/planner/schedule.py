"""What happens on a line when its poll groups are read, and how near that is to the least.

``riding`` chooses when each group is read. Whether that works out is not estimated but tried:
``schedule_line`` plays a whole cycle with the bus owner's own queue (priority, then earliest
deadline first, one read at a time, never broken off). As that is what will happen, the test is
exact for the line's timing as given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from grug.messages import Message, ReadFailed, ReadRegisters, RegistersRead, WriteDone, WriteFailed
from grug.planner.bound import lower_bound
from grug.planner.cuts import lies_within
from grug.planner.groups import Group, Ticks, UnitLoad, hyperperiod_s
from grug.planner.plan import ReadCost, Transaction
from grug.planner.queue import BusQueue, ReadJob
from grug.planner.riding import TICKS_MAX, GroupName, spread
from grug.planner.traits import WireTiming

__all__ = [
    "Group",
    "Late",
    "LineSchedule",
    "PlayedRead",
    "Ticks",
    "UnitLoad",
    "line_bound",
    "lower_bound",
    "one_by_one",
    "schedule_line",
]

TRIES_MAX = 24
"""How often ticks are chosen anew until nothing is late, before some groups ride no longer."""

LATE_SHARE_MAX = 0.2
"""Where more than this part of the readings is late, there is too much to read, whenever it is."""

APART_MAX = 4
"""Slow groups that are tried off their tick one after the other."""

MOMENT_S = 1e-6
"""Times this close to each other are the same."""


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
    whole_s = hyperperiod_s(periods)
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
    """Let all ride, elsewhere where something is late; in the end the late ones ride no longer."""
    crowds: list[tuple[float, float]] = []
    best = _Play(timing, units, spread(timing, units, cycle_s), cycle_s)
    play = best
    for _ in range(TRIES_MAX):
        if not best.lateness or best.lateness > LATE_SHARE_MAX * best.readings:
            return best
        crowds += play.crowds()
        ticks = spread(timing, units, cycle_s, crowds=crowds)
        if ticks != play.ticks:  # Else the same times count once more, the next time.
            play = _Play(timing, units, ticks, cycle_s)
            best = min(best, play, key=_lateness_of)
    if not best.lateness:
        return best
    plays = (
        _Play(timing, units, spread(timing, units, cycle_s, alone), cycle_s)
        for alone in _apart(units, best)
    )
    return min((each for each in plays if not each.lateness), key=_busy_s_of, default=best)


def _apart(units: Sequence[UnitLoad], play: _Play) -> Iterator[set[GroupName]]:
    """Which groups may ride no longer, where some are late: the late, a slow one, all."""
    yield {(asked.unit.name, asked.group.name) for asked in play.late_ones}
    slow = [
        (unit.name, group.name)
        for unit in units
        for group in unit.groups
        if group.period_s > min(each.period_s for each in unit.groups)
    ]
    yield from ({name} for name in slow[:APART_MAX])
    yield {(unit.name, group.name) for unit in units for group in unit.groups}


def _lateness_of(play: _Play) -> int:
    return play.lateness


def _busy_s_of(play: _Play) -> float:
    return sum(read.ended_s - read.started_s for read in play.reads)


# What then happens


class _Asked:
    """One tick's request."""

    __slots__ = ("answer", "done_s", "due_s", "group", "is_abandoned", "request", "tick_s", "unit")

    def __init__(self, unit: UnitLoad, group: Group, ticks: Ticks, number: int) -> None:
        self.unit = unit
        self.group = group
        self.tick_s = ticks.tick_s(number)
        self.due_s = ticks.begins_s(number + 1)
        self.request = ReadRegisters(
            unit.unit_id,
            group.spans,
            self.due_s,
            group.priority,
            is_snapshot=group.is_snapshot,
            next_s=ticks.tick_s(number + 1),
            next_deadline_s=ticks.begins_s(number + 2),
        )
        self.is_abandoned = False
        self.done_s = math.inf
        """When the last of it had been read."""
        self.answer: RegistersRead | ReadFailed | None = None

    @property
    def is_late(self) -> bool:
        return self.done_s > self.due_s or not isinstance(self.answer, RegistersRead)

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
        from_s = math.ceil(start_s / cycle_s) * cycle_s
        self._from_s = from_s
        # Sums of periods are not exact: what begins with the next cycle is none of this one.
        start_s, end_s = from_s - MOMENT_S, from_s - MOMENT_S + cycle_s
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
                        started_s=max(0.0, read.started_s - from_s), ended_s=read.ended_s - from_s
                    )
                )
            now_s = read.ended_s + self._timing.gap_s
        self._asked = [
            each for each in self._asked if each.request.deadline_s <= from_s + cycle_s + MOMENT_S
        ]
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
                    requests.append((tick_s, _Asked(unit, group, ticks, number)))
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
        groups = tuple(
            each.group.name
            for each in waiting
            if each.unit is unit and any(lies_within(wanted, span) for wanted in each.group.spans)
        )
        width = 1 if span.table.is_bits else 2
        self._queue.succeeded(job, bytes(width * span.count), now_s, ended_s)
        for each in waiting:
            if each.answer is not None:
                each.done_s = ended_s
        return PlayedRead(unit.name, job.transaction, now_s, ended_s, tuple(dict.fromkeys(groups)))

    @property
    def late_ones(self) -> list[_Asked]:
        """The readings that came too late."""
        return [asked for asked in self._asked if asked.is_late]

    def crowds(self) -> list[tuple[float, float]]:
        """Times in which the line was so busy that something came too late in the end."""
        return [
            (self._busy_since_s(asked.tick_s) - MOMENT_S, asked.due_s - MOMENT_S)
            for asked in self.late_ones
        ]

    def _busy_since_s(self, at_s: float) -> float:
        """Since when the line had no pause that lasted until then."""
        at_s -= self._from_s
        since_s = at_s
        for read in reversed(self.reads):
            if read.started_s >= at_s:
                continue
            if read.ended_s + self._timing.gap_s < since_s - MOMENT_S:
                break
            since_s = read.started_s
        return since_s + self._from_s

    @property
    def readings(self) -> int:
        """How many there are in a cycle."""
        return len(self._asked)

    @property
    def lateness(self) -> int:
        """How many they are."""
        return len(self.late_ones)

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
