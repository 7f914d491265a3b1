"""Which reads will be asked for soon, and whether one that begins now would make them late.

A read that has begun is not broken off, so a line that is never idle while something waits begins a
long read right before a short one that is more urgent. Polls are known beforehand: who asks again
and again says when it will ask next. A read that would make such a one late waits, although the
line is free; and one that is too long for any pause between two of them is read in shorter pieces.

Only who knows what will be asked can be idle at the right time, and to be so at best is NP-hard
in the strong sense (R. R. Howell and M. K. Venkatrao, On non-preemptive scheduling of recurring
tasks using inserted idle times, Information and Computation 117, 1995). This looks no further ahead
than the read lasts that is to begin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from grug.messages import ReadRegisters
from grug.model import Span
from grug.planner.units import Unit
from grug.planner.waiting import WaitingRead

GRACE_S = 0.01
"""What was announced may come so much later than announced: who asks has to be woken first."""

HELD_PERIODS_MAX = 4
"""A read is held back for no more than so many periods of what it would make late: if it did not
fit in by then, there is more to be read than there is time for, and it may as well go."""


class Clash(NamedTuple):
    """A read that begins now would make one late that is to come."""

    asked_s: float
    """When that is asked for."""
    work_s: float
    """Time on the line of all that then goes first."""
    room_s: float
    """A read that holds the line for longer never fits between two of the most frequent of that:
    it begins after one is done, as early as that can be, and the next is done in time."""
    period_s: float
    """How often the most frequent of that is asked for."""

    @property
    def until_s(self) -> float:
        """How long to wait for it."""
        return self.asked_s + GRACE_S


class Foresight:
    """What has been announced for one line."""

    def __init__(self, gap_s: float) -> None:
        """Begin with nothing.

        Args:
            gap_s: silence between any two frames of the line.
        """
        self._gap_s = gap_s
        self._coming: dict[tuple[int, tuple[Span, ...]], tuple[Unit, ReadRegisters]] = {}

    def expect(self, unit: Unit, request: ReadRegisters) -> None:
        """Remember when this will be asked for again, if that was said."""
        if request.next_s < math.inf:
            self._coming[request.unit_id, request.spans] = unit, request

    def clash(self, read: WaitingRead, length_s: float, now_s: float) -> Clash | None:
        """What a read would make late, if it began now.

        Args:
            read: for whom.
            length_s: how long it holds the line, the gap after it included.
            now_s: now.
        """
        before: list[tuple[float, Unit, ReadRegisters]] = []
        over: list[tuple[int, tuple[Span, ...]]] = []
        for key, (unit, request) in self._coming.items():
            if request.next_s + GRACE_S <= now_s:
                over.append(key)
            elif request.next_s < now_s + length_s and _goes_before(unit, request, read):
                before.append((request.next_deadline_s, unit, request))
        for key in over:
            del self._coming[key]
        return self._first_late(sorted(before, key=_deadline_of), now_s + length_s)

    def _first_late(
        self, before: Sequence[tuple[float, Unit, ReadRegisters]], free_s: float
    ) -> Clash | None:
        """What of that which goes first, by deadline, is late if the line is free then."""
        wanted: dict[Unit, set[tuple[Span, ...]]] = {}
        for deadline_s, unit, request in before:
            wanted.setdefault(unit, set()).add(request.spans)
            work_s = sum(_work_s(each, spans) for each, spans in wanted.items())
            if free_s + work_s - self._gap_s > deadline_s:
                period_s, fast_s = min(_pace(unit, request) for _, unit, request in before)
                return Clash(
                    asked_s=min(request.next_s for _, _, request in before),
                    work_s=work_s,
                    room_s=2 * (period_s - fast_s) + self._gap_s,
                    period_s=period_s,
                )
        return None


def may_wait(read: WaitingRead, clash: Clash, work_s: float, now_s: float) -> bool:
    """Whether a read can be held back and still be in time.

    Args:
        read: what would be held back.
        clash: why.
        work_s: all that is missing of it, as time on the line.
        now_s: now.
    """
    if max(now_s, clash.asked_s) + clash.work_s + work_s > read.request.deadline_s:
        return False
    if read.held_until_s is None:
        read.held_until_s = now_s + HELD_PERIODS_MAX * clash.period_s
    return now_s < read.held_until_s


def _goes_before(unit: Unit, request: ReadRegisters, read: WaitingRead) -> bool:
    if unit.is_offline:
        return False
    if read.unit.is_offline:
        return True
    return (request.priority, request.next_deadline_s) < read.urgency[:2]


def _deadline_of(each: tuple[float, Unit, ReadRegisters]) -> float:
    return each[0]


def _pace(unit: Unit, request: ReadRegisters) -> tuple[float, float]:
    """How often something is asked for, and for how long it then holds the line."""
    return request.next_deadline_s - request.next_s, _work_s(unit, {request.spans})


def _work_s(unit: Unit, wanted: set[tuple[Span, ...]]) -> float:
    """For how long what is wanted of a unit holds the line."""
    if len(wanted) == 1:
        plan = unit.plan(next(iter(wanted)))
    else:
        plan = unit.plan_together(frozenset(wanted), frozenset())
    return sum(unit.held_s(each.span) for each in plan)
