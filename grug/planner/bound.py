"""The least time that any schedule of one unit's reads can take.

In a cycle each value is needed a number of times. Whatever the schedule, its reads cover each value
at least so often, and so cost no less than the cheapest multiset of legal reads that does: that is
the bound, and it says nothing of when anything is read. On values sorted by address it is a flow
of least cost. As many units as the fastest value is needed flow from the first value to the last; a
unit passes values by a read, which costs, or passes a single one for nothing, which it may only
do as often as the value is not needed; reads may overlap, so that flowing back is free.

It would be easier to sum, over all j, the cheapest plan of all that is needed j times or more. That
is the same where reads may have any length (and it counts values within each other, which the flow
cannot); but not with a limit: of two slow values on the two
sides of a fast one, which no read can bring together, each may ride with the fast one, in turns.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from grug.model import Span, Table
from grug.planner.groups import Group, microseconds
from grug.planner.plan import ReadCost, ReadLimits, hull_of, legal_ends, plan_reads, plan_s

ROUND_S = 1e-12
"""Differences of path lengths below this are rounding."""

CYCLE_US_MAX = 10**15
"""Odd periods together have cycles with more digits than a float; in a part of the cycle as long as
this, each value is needed at least as often as it has whole periods there."""


class Needed(NamedTuple):
    """One value, and how many times it is needed in a cycle."""

    span: Span
    times: int


def least_s(values: Iterable[Needed], cost: ReadCost, limits: ReadLimits) -> float:
    """Seconds of a cycle that the reads of these values take at least."""
    times: dict[Span, int] = {}
    for span, number in values:
        times[span] = max(number, times.get(span, 0))
    total_s = 0.0
    for table in Table:
        needed = [Needed(span, number) for span, number in times.items() if span.table is table]
        if needed:
            line = _in_line(needed)
            table_s = _Flow(line, cost, limits).least_s()
            if len(line) < len(needed) and _may_be_any(needed, cost, limits):
                table_s = max(table_s, _in_layers_s(needed, cost, limits))
            total_s += table_s
    return total_s


def lower_bound(groups: Sequence[Group], cost: ReadCost, limits: ReadLimits) -> float:
    """Share of the time that no schedule of one unit's groups can go below, 1 = all of it."""
    values, cycle_s = _in_a_cycle(groups)
    return least_s(values, cost, limits) / cycle_s


def sum_of_layers(groups: Sequence[Group], cost: ReadCost, limits: ReadLimits) -> float:
    """What one unit's groups take if all that is needed j times or more is read at once, for all j.

    A yardstick that is easy to understand: what each of these reads at best costs, 1 = all of the
    time. Where reads have a longest length it is no bound, see ``least_s``.
    """
    values, cycle_s = _in_a_cycle(groups)
    return _in_layers_s(values, cost, limits) / cycle_s


def _in_a_cycle(groups: Sequence[Group]) -> tuple[list[Needed], float]:
    """The values of groups, how often each is needed in a cycle, and how long that is."""
    cycle_us = min(CYCLE_US_MAX, math.lcm(*(microseconds(group.period_s) for group in groups)))
    values = [
        Needed(span, cycle_us // microseconds(group.period_s))
        for group in groups
        for span in group.values
    ]
    return values, cycle_us / 1e6


def _may_be_any(needed: Sequence[Needed], cost: ReadCost, limits: ReadLimits) -> bool:
    """Whether no read of some of these words would be too long."""
    whole = hull_of([span for span, _ in needed])
    return (
        not whole.table.is_bits
        and whole.count <= limits.words_max
        and cost.read_s(whole.table, whole.count) <= limits.transaction_s_max
    )


def _in_layers_s(needed: Sequence[Needed], cost: ReadCost, limits: ReadLimits) -> float:
    """The sum over all j of the cheapest plan of what is needed j times or more.

    No set of reads costs less where reads may have any length, values within values included: of
    two reads that overlap, their union and what they share cost the same together and bring each
    value as often; when no two overlap any more unless one lies in the other, the outermost reads
    bring all that is needed, the next ones all that is needed twice, and so on.
    """
    total_s, before = 0.0, 0
    for times in sorted({number for _, number in needed}):
        spans = [span for span, number in needed if number >= times]
        total_s += (times - before) * plan_s(plan_reads(spans, cost, limits), cost)
        before = times
    return total_s


def _in_line(values: Iterable[Needed]) -> list[Needed]:
    """The values by address; of one that lies within another the one that is needed more often.

    Leaving one out can only make the bound lower.
    """
    line: list[Needed] = []
    for value in sorted(values, key=lambda each: (each.span.address, -each.span.count)):
        while line and _nest(line[-1].span, value.span):
            if line[-1].times >= value.times:
                break
            line.pop()
        else:
            line.append(value)
    return line


def _nest(first: Span, second: Span) -> bool:
    return second.end <= first.end or second.address == first.address


class _Arc:
    """One way to pass values, and the way back along it that the search may take."""

    __slots__ = ("back", "price_s", "room", "to")

    def __init__(self, to: int, room: float, price_s: float) -> None:
        self.to = to
        self.room = room
        self.price_s = price_s
        self.back: _Arc


class _Flow:
    """Successive shortest paths, each as wide as it can be."""

    def __init__(self, values: Sequence[Needed], cost: ReadCost, limits: ReadLimits) -> None:
        self._most = max(value.times for value in values)
        self._arcs: list[list[_Arc]] = [[] for _ in range(len(values) + 1)]
        spans = [value.span for value in values]
        for at, last in enumerate(legal_ends(spans, cost, limits)):
            start = spans[at].address
            for through in range(at, last):
                read_s = cost.read_s(spans[at].table, spans[through].end - start)
                self._connect(at, through + 1, math.inf, read_s)
            if self._most > values[at].times:
                self._connect(at, at + 1, self._most - values[at].times, 0.0)
            self._connect(at + 1, at, math.inf, 0.0)

    def _connect(self, start: int, end: int, room: float, price_s: float) -> None:
        there, back = _Arc(end, room, price_s), _Arc(start, 0, -price_s)
        there.back, back.back = back, there
        self._arcs[start].append(there)
        self._arcs[end].append(back)

    def least_s(self) -> float:
        """Price of the whole flow."""
        left: float = self._most
        total_s = 0.0
        heights = [0.0] * len(self._arcs)
        while left > 0:
            lengths, ways = self._shortest(heights)
            heights = [height + length for height, length in zip(heights, lengths, strict=True)]
            path: list[_Arc] = []
            at = len(self._arcs) - 1
            while at:
                path.append(ways[at])
                at = ways[at].back.to
            width = min(left, *(arc.room for arc in path))
            for arc in path:
                arc.room -= width
                arc.back.room += width
            total_s += width * sum(arc.price_s for arc in path)
            left -= width
        return total_s

    def _shortest(self, heights: Sequence[float]) -> tuple[list[float], dict[int, _Arc]]:
        """Lengths of the shortest paths from the first value, and the last arc of each."""
        lengths = [math.inf] * len(heights)
        lengths[0] = 0.0
        ways: dict[int, _Arc] = {}
        nearest = [(0.0, 0)]
        while nearest:
            length, at = heapq.heappop(nearest)
            if length > lengths[at]:
                continue
            for arc in self._arcs[at]:
                if arc.room > 0:
                    to = arc.to
                    further = length + max(0.0, arc.price_s + heights[at] - heights[to])
                    if further < lengths[to] - ROUND_S:
                        lengths[to] = further
                        ways[to] = arc
                        heapq.heappush(nearest, (further, to))
        return lengths, ways
