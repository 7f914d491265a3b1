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
from grug.planner.plan import Transaction
from grug.planner.units import Unit
from grug.planner.waiting import WaitingRead

GRACE_S = 0.01
"""What was announced may come so much later than announced: who asks has to be woken first."""

HELD_PERIODS_MAX = 4
"""A read is held back for no more than so many periods of what it would make late: if it did not
fit in by then, there is more to be read than there is time for, and it may as well go."""


class _Clash(NamedTuple):
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


class Announced:
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

    def fitting(
        self, read: WaitingRead, transaction: Transaction, now_s: float
    ) -> tuple[Transaction | None, float]:
        """A transaction, or a shorter one, that makes none late that is to come.

        Args:
            read: what it is for; nothing more urgent waits.
            transaction: brings something of it.
            now_s: now.

        Returns:
            None and how long to wait, where the line is better left free.
        """
        unit = read.unit
        if unit.is_offline:
            return transaction, now_s
        clash = self._clash(read, unit.held_s(transaction.span), now_s)
        if clash is None:
            return transaction, now_s
        missing = tuple([read.request.spans[at] for at in read.missing])
        if unit.held_s(transaction.span) > clash.room_s:
            shorter = unit.plan_within(missing, clash.room_s)[0]
            if read.is_whole or unit.held_s(shorter.span) > clash.room_s:
                return transaction, now_s  # It will be in the way, now or later.
            transaction = shorter
            clash = self._clash(read, unit.held_s(transaction.span), now_s)
        left_s = _work_s(unit, {missing})
        if clash is None or not _may_wait(read, clash, left_s, now_s):
            read.held_until_s = None
            return transaction, now_s
        return None, clash.asked_s + GRACE_S

    def _clash(self, read: WaitingRead, length_s: float, now_s: float) -> _Clash | None:
        """What a read would make late, if it began now and held the line for so long."""
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
    ) -> _Clash | None:
        """What of that which goes first, by deadline, is late if the line is free then."""
        wanted: dict[Unit, set[tuple[Span, ...]]] = {}
        for deadline_s, unit, request in before:
            wanted.setdefault(unit, set()).add(request.spans)
            work_s = sum(_work_s(each, spans) for each, spans in wanted.items())
            if free_s + work_s - self._gap_s > deadline_s:
                period_s, fast_s = min(_pace(unit, request) for _, unit, request in before)
                return _Clash(
                    asked_s=min(request.next_s for _, _, request in before),
                    work_s=work_s,
                    room_s=2 * (period_s - fast_s) + self._gap_s,
                    period_s=period_s,
                )
        return None


def _may_wait(read: WaitingRead, clash: _Clash, work_s: float, now_s: float) -> bool:
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
    return not unit.is_offline and (request.priority, request.next_deadline_s) < read.urgency[:2]


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
