"""Whether a line's polls can be in time at all: what is proved, either way, and with which numbers.

Reads are not broken off, and a line may also wait idly for a better moment. Whether there are
phases with which all are in time then is NP-hard (Howell and Venkatrao, "On non-preemptive
scheduling of recurring tasks using inserted idle times", Information and Computation 117, 1995),
and so it is for given phases without idle time (Jeffay, Stanat and Martel, "On non-preemptive
scheduling of periodic and sporadic tasks", RTSS 1991). So there are three answers here:
``infeasible`` gives theorems by which *no* schedule is in time, with any phases, any order, any
idle time, and any values riding in the reads of others of their unit; ``can_be_in_time`` gives the
theorem by which the polls can be in time whatever their phases; what neither proves is found out
by playing a schedule (``planner.schedule``), and where that is late another might not be.

"In time" is once in each period of a group, wholly: after its beginning and before its end. All of
it holds for the line's timing as given. The longest transaction that a line's fast polls
suggest is no law of the wire and is not counted here.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from grug.model import Span
from grug.planner.bound import lower_bound
from grug.planner.groups import Group, UnitLoad, microseconds
from grug.planner.plan import ReadCost, ReadLimits, plan_reads, plan_s
from grug.planner.traits import WireTiming

ROUNDING = 1e-9
"""Of what was computed with floats, differences below this prove nothing."""

STEPS_MAX = 20_000
"""Points of time at which Jeffay's condition is looked at, at most; beyond, it is not known."""


class Why(enum.Enum):
    """Which theorem refuses."""

    LINE = "the line's reads take more than all of its time"
    UNIT = "a unit's reads with its own silences take more than all of the time"
    PAUSE = "a read that is not broken off is longer than the pauses that others leave"


class Pause(NamedTuple):
    """A read, and the pauses of a group in which it does not fit."""

    unit: str
    group: str
    span: Span
    """What cannot be split."""
    read_s: float
    """How long that holds the line at least."""
    longest_s: float
    """The longest pause that there can ever be."""
    most: float
    """Share of the pauses that can be so long, as those before and after are shorter then."""


class Infeasible(NamedTuple):
    """Why no schedule of a line is in time."""

    why: Why
    unit: str
    group: str
    """Whose period would have to be longer, first of all."""
    least: float
    """Share of the time that is needed at least, 1 = all of it; with ``PAUSE`` that of pauses."""
    alone: float
    """Share of the time that this group takes alone."""
    pause: Pause | None = None


class Often(NamedTuple):
    """Reads that take their time again and again."""

    period_s: float
    takes_s: float


def infeasible(timing: WireTiming, units: Sequence[UnitLoad]) -> tuple[Infeasible, ...]:
    """Prove that polls of a line cannot be in time; nothing is proved where this is empty.

    A read holds the line for a time c, gap g after it included, within its period T and that gap.

    1. *Line.* In the long run each value is read once in each of its periods, so that the sum of
       the units' lower bounds (``planner.bound``) is taken, which cannot exceed 1. (Liu and
       Layland, JACM 20, 1973, for jobs of fixed length; the bound takes the place of their sum.)
    2. *Unit.* The same with the silence that one unit wants after each of its frames, in which
       others may talk but it may not be asked.
    3. *Pause.* See ``crowded_out``.

    Args:
        timing: the line's.
        units: all that are polled there; names of units, and of groups within one, are unique.
            Each value can be read, each snapshot at once.

    Returns:
        The first of these that applies; of 2, one for each unit.
    """
    units = [
        replace(unit, groups=tuple(group for group in unit.groups if group.spans)) for unit in units
    ]
    line = _over_line(timing, units)
    if line is not None:
        return (line,)
    slow = tuple(filter(None, (_over_unit(timing, unit) for unit in units)))
    if slow:
        return slow
    pause = _without_pause(timing, units)
    return () if pause is None else (pause,)


def _over_line(timing: WireTiming, units: Sequence[UnitLoad]) -> Infeasible | None:
    alone = {
        (unit.name, group.name): _alone_s(group, unit, _on_wire(unit, timing)) / group.period_s
        for unit in units
        for group in unit.groups
    }
    if sum(alone.values()) <= 1 + ROUNDING:
        return None  # Each group by itself takes at least as much as the bound.
    least = sum(lower_bound(unit.groups, _on_wire(unit, timing), _limits(unit)) for unit in units)
    if least <= 1 + ROUNDING:
        return None
    unit_name, group_name = max(alone, key=alone.__getitem__)
    return Infeasible(Why.LINE, unit_name, group_name, least, alone[unit_name, group_name])


def _over_unit(timing: WireTiming, unit: UnitLoad) -> Infeasible | None:
    cost = unit.traits.read_cost(timing)
    alone = {group.name: _alone_s(group, unit, cost) / group.period_s for group in unit.groups}
    if sum(alone.values()) <= 1 + ROUNDING:
        return None
    least = lower_bound(unit.groups, cost, _limits(unit))
    if least <= 1 + ROUNDING:
        return None
    name = max(alone, key=alone.__getitem__)
    return Infeasible(Why.UNIT, unit.name, name, least, alone[name])


class _Whole(NamedTuple):
    """A value that is not split, and how long it holds the line at least."""

    unit: UnitLoad
    group: Group
    span: Span
    read_s: float


def _without_pause(timing: WireTiming, units: Sequence[UnitLoad]) -> Infeasible | None:
    values = [
        _Whole(unit, group, span, _on_wire(unit, timing).read_s(span.table, span.count))
        for unit in units
        for group in unit.groups
        for span in group.values
    ]
    for unit in units:
        for group in unit.groups:
            takes_s = _alone_s(group, unit, _on_wire(unit, timing))
            within_s = group.period_s + timing.gap_s
            beside = [
                value
                for value in values
                if value.read_s > within_s - takes_s
                and (value.unit is not unit or not _rides(value, group, timing, within_s))
            ]
            pause = _too_few_pauses(unit, group, takes_s, beside, timing.gap_s)
            if pause is not None:
                return pause
    return None


def _rides(value: _Whole, group: Group, timing: WireTiming, within_s: float) -> bool:
    """Whether reads can bring a group and a value of its unit with it, in time for the group.

    Where even the cheapest ones take more than that, no read by which the group comes brings the
    value too: it needs one of its own, in some pause.
    """
    cost = _on_wire(value.unit, timing)
    reads = plan_reads((*group.values, value.span), cost, _limits(value.unit))
    return plan_s(reads, cost) <= within_s + ROUNDING


def _too_few_pauses(
    unit: UnitLoad, group: Group, takes_s: float, beside: Sequence[_Whole], gap_s: float
) -> Infeasible | None:
    others: dict[str, list[Often]] = {}
    for value in beside:
        others.setdefault(value.unit.name, []).append(Often(value.group.period_s, value.read_s))
    fast = Often(group.period_s, takes_s)
    crowded = crowded_out(fast, tuple(others.values()), gap_s)
    if crowded is None:
        return None
    slow = min(
        (value for value in beside if value.read_s >= crowded.read_s),
        key=lambda value: value.group.period_s,
    )
    longest_s = 2 * (group.period_s - takes_s) + gap_s
    pause = Pause(slow.unit.name, slow.group.name, slow.span, slow.read_s, longest_s, crowded.most)
    share = takes_s / group.period_s
    return Infeasible(Why.PAUSE, unit.name, group.name, crowded.needed, share, pause)


class Crowded(NamedTuple):
    """Reads for which there are too few pauses."""

    read_s: float
    """The shortest of them."""
    needed: float
    """Share of the pauses that they need at least, which may be more than all."""
    most: float
    """Share of the pauses that can be long enough, below 1."""


def crowded_out(
    fast: Often, others: Sequence[Sequence[Often]], gap_s: float = 0.0
) -> Crowded | None:
    """Prove that reads which bring nothing of a group do not fit between those of that group.

    Let the group's reads take C of each period T, and write x(k) for how long after the beginning
    of period k they begin, so 0 <= x(k) <= T + g - C, where the gap g may reach over the end. A
    read of c > T + g - C cannot lie among the group's reads of one period, since both would take
    more than that. So it lies in the pause between the reads of two periods, which is T + x(k+1) -
    x(k) - C at most. Then x grows by e = c + C - T or more over such a pause; as no pause has two
    such reads (x would grow by more than it can be), and x has room for m = floor((T + g - C) / e)
    of them only, of any m + 1 pauses in a row m at most have one. With m = 0 none has: c is more
    than 2 (T - C) + g, one as early and the next as late as their periods let them.

    Each unit needs one of its values at least once in that value's period, by a read that takes as
    long as the value alone or longer, and reads of two units are two.

    Args:
        fast: period, and seconds that the group's reads take in each, gaps included.
        others: for each unit, what cannot be split, and cannot come with the group's own: that of
            other units, and what would make the group late if its reads brought it too.
        gap_s: silence after a read, in which it has been in time already.

    Source:
        Jeffay, Stanat and Martel, RTSS 1991, whose second condition asks whether one long job fits
        beside the fast ones for the *worst* phases; this is what is left of it for the best.
    """
    room_s = fast.period_s + gap_s - fast.takes_s
    if not 0 <= fast.takes_s <= fast.period_s:
        return None  # More than all of the time: that is refused by itself.
    lengths = {read.takes_s for reads in others for read in reads}
    for read_s in sorted(lengths):
        growth_s = read_s + fast.takes_s - fast.period_s
        if growth_s <= gap_s + ROUNDING:
            continue
        fits = math.floor(room_s / growth_s + ROUNDING)
        most = fits / (fits + 1)
        needed = sum(
            max(
                (fast.period_s / each.period_s for each in reads if each.takes_s >= read_s),
                default=0.0,
            )
            for reads in others
        )
        if needed > most + ROUNDING:
            return Crowded(read_s, needed, most)
    return None


def can_be_in_time(timing: WireTiming, units: Sequence[UnitLoad]) -> bool:
    """Whether polls can be in time whatever their phases, each group read by itself.

    The unit's own silence counts as if nobody else could be asked meanwhile. False proves nothing.
    """
    return can_all_be_in_time(
        [
            Often(group.period_s, plan_s([read], cost))
            for unit in units
            for cost in (unit.traits.read_cost(timing),)
            for group in unit.groups
            if group.spans
            for read in plan_reads(group.values, cost, unit.traits.limits)
        ]
    )


def can_all_be_in_time(reads: Iterable[Often]) -> bool:
    """Jeffay's condition: whether reads are in time with any phases, the earliest deadline first.

    By period, shortest first, with lengths c and periods p in whole units of time: the sum of c/p
    is at most 1, and for each read i and each L between the first period and its own,
    L >= c(i) + sum over j < i of floor((L - 1) / p(j)) c(j). As the sum is at most U L, with U the
    share of time that the reads before i take, no L beyond c(i) / (1 - U) need be looked at.

    Source:
        Jeffay, Stanat and Martel, "On non-preemptive scheduling of periodic and sporadic tasks",
        RTSS 1991: necessary for sporadic tasks, and for periodic ones sufficient.
    """
    tasks = sorted(
        (microseconds(each.period_s), math.ceil(each.takes_s * 1e6 - ROUNDING)) for each in reads
    )
    if sum(Fraction(takes, period) for period, takes in tasks) > 1:
        return False
    left = STEPS_MAX
    share = 0.0
    for at, (period, takes) in enumerate(tasks):
        end = float(period) if share >= 1 else min(period, takes / (1 - share) + 1)
        before = tasks[:at]
        moments = {
            number * each + 1
            for each in {each for each, _ in before}
            for number in range(1, min(left, int(end / each)) + 1)
        }
        left -= len(moments)
        if left <= 0:
            return False
        for moment in moments:
            if tasks[0][0] < moment < period:
                work = takes + sum((moment - 1) // each * more for each, more in before)
                if work > moment:
                    return False
        share += takes / period
    return True


def _on_wire(unit: UnitLoad, timing: WireTiming) -> ReadCost:
    """What a read costs the line: in the silence that its unit wants after it, others may talk."""
    return ReadCost(timing.character_s, timing.gap_s, unit.traits.turnaround_s)


def _limits(unit: UnitLoad) -> ReadLimits:
    """What a read from a unit may be at all, however long it holds the line."""
    return replace(unit.traits.limits, transaction_s_max=math.inf)


def _alone_s(group: Group, unit: UnitLoad, cost: ReadCost) -> float:
    """Seconds that it takes to read all of a group once, at least."""
    return plan_s(plan_reads(group.values, cost, _limits(unit)), cost)
