"""Which reads will be asked for soon, and what had better wait for them.

Polls are known beforehand: who asks again and again says when it will ask next. Who does not say it
is not expected. What has begun is not broken off, so that four things wait for what was announced,
or are made shorter, although the line is free:

- a read that would make a more urgent one late; if that has the higher priority, even where it is
  too late itself then;
- a read of background priority that would delay a more urgent one at all; and where it never fits,
  all of these together delay a poll once in twenty of its ticks;
- what would ride with a read, and make another poll late by that;
- a probe of an offline unit, whose silence would delay one that is as urgent.

None of them waits for ever. Only who knows what will be asked can be idle at the right time, and to
be so at best is NP-hard in the strong sense (R. R. Howell and M. K. Venkatrao, On non-preemptive
scheduling of recurring tasks using inserted idle times, Information and Computation 117, 1995).
This looks at what comes while the read is on the line, and at what comes while that is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from grug.messages import ReadRegisters
from grug.model import Span
from grug.planner.plan import Transaction
from grug.planner.units import Unit
from grug.planner.waiting import WaitingRead, serving

GRACE_S = 0.02
"""So much later than announced a read may come: a busy machine wakes its asker late."""

SAME_S = 0.001
"""What is asked for so soon is asked for at the same moment."""

ANNOUNCED_MAX = 1000
"""More than all polls of a full line; more means a runaway asker."""

HELD_PERIODS_MAX = 4
"""A read is held back for no more than so many periods of what it would make late: if it did not
fit in by then, there is more to be read than there is time for, and it may as well go."""

BACKGROUND_HELD_S_MAX = 0.5
"""So long, in seconds, a read of background priority delays nobody; it has to get on as well."""

DELAYED_SHARE_MAX = 0.05
"""Of the ticks of a poll, the part that all reads of background priority together may delay or, if
they cannot be short enough for that, cost."""

ROUND_S = 1e-9
"""Differences of times below this are rounding."""


class _Clash(NamedTuple):
    """A read that begins now would be in the way of one that is to come."""

    asked_s: float
    """When that is asked for."""
    work_s: float
    """Time on the line of all that then goes first."""
    room_s: float
    """A read that holds the line for longer never fits between two of the most frequent of that:
    it begins after one is done, as early as that can be, and the next is done in time; or, in the
    background, it is over when the next is asked for."""
    period_s: float
    """How often the most frequent of that is asked for."""
    has_priority: bool
    """Whether some of that would be late which has a higher priority."""


class Announced:
    """What has been announced for one line."""

    def __init__(self, gap_s: float) -> None:
        """Begin with nothing.

        Args:
            gap_s: silence between any two frames of the line.
        """
        self._gap_s = gap_s
        self._may_delay_s = -math.inf
        self._coming: dict[tuple[int, tuple[Span, ...]], tuple[Unit, ReadRegisters]] = {}
        self._first_s = math.inf
        """Nothing is to come sooner than this."""

    def expect(self, unit: Unit, request: ReadRegisters, now_s: float) -> None:
        """Remember when this will be asked for again, if that was said."""
        if now_s < request.next_s < math.inf:
            if len(self._coming) >= ANNOUNCED_MAX:
                self._coming.clear()
            self._coming[request.unit_id, request.spans] = unit, request
            if request.next_s < self._first_s:
                self._first_s = request.next_s

    def has_due(self, now_s: float) -> bool:
        """Whether something is to be asked for at this very moment."""
        soon_s = now_s + SAME_S
        if self._first_s <= soon_s:
            self._drop_over(now_s)
        return self._first_s <= soon_s

    def forget(self, unit: Unit) -> None:
        """Expect nothing of a unit until it is asked for something again."""
        self._coming = {key: each for key, each in self._coming.items() if each[0] is not unit}

    def next_s(self, priority: int, now_s: float) -> float:
        """When a read will be asked for that goes before, or is as urgent as, this priority.

        Returns:
            A time that is not over; infinite where none was announced.
        """
        self._drop_over(now_s)
        times_s = (
            request.next_s
            for unit, request in self._coming.values()
            if request.priority <= priority and not unit.is_offline
        )
        return max(now_s, min(times_s, default=math.inf))

    def _drop_over(self, now_s: float) -> None:
        """Do not expect those any longer who are too late."""
        first_s, over = math.inf, []
        for key, (_, request) in self._coming.items():
            if request.next_s + GRACE_S <= now_s:
                over.append(key)
            elif request.next_s < first_s:
                first_s = request.next_s
        for key in over:
            del self._coming[key]
        self._first_s = first_s

    def is_late_after(
        self,
        read: WaitingRead,
        transactions: Sequence[Transaction],
        waiting: Iterable[WaitingRead],
        free_s: float,
    ) -> bool:
        """Whether a poll is late if a read's transactions follow each other from a time on.

        Args:
            read: what they are for; less urgent ones do not count.
            transactions: bring all that is missing of it.
            waiting: this one and all others.
            free_s: since when the line has been free.
        """
        self._drop_over(free_s)
        done_s = free_s + sum(read.unit.held_s(each.span) for each in transactions)
        brought = {span for each in transactions for span in each.covers}
        for other in waiting:
            is_poll = other.request.next_s < math.inf
            if other is not read and is_poll and other.request.priority <= read.request.priority:
                rest = tuple([each for each in other.still_wanted if each not in brought])
                if rest and done_s + _work_s(other.unit, {rest}) > other.request.deadline_s:
                    return True
        return any(
            request.next_s < done_s
            and request.priority <= read.request.priority
            and not unit.is_offline
            and done_s + _work_s(unit, {request.spans}) > request.next_deadline_s
            for unit, request in self._coming.values()
        )

    def fitting(
        self, read: WaitingRead, transaction: Transaction, now_s: float
    ) -> tuple[Transaction | None, float]:
        """A transaction, or a shorter one, that is in the way of nothing that is to come.

        Args:
            read: what it is for; nothing more urgent waits.
            transaction: brings something of it.
            now_s: now.

        Returns:
            None and until when to wait, where the line is better left free.
        """
        if now_s + read.unit.read_s(transaction.span) <= self._first_s:
            read.held_since_s = None
            return transaction, now_s
        fitting, clash = self._fit(read, transaction, now_s, is_polite=True)
        if clash is None:
            read.held_since_s = None
            return fitting, now_s
        if read.held_since_s is None:
            read.held_since_s = now_s
        may_s = read.held_since_s
        if read.is_background:
            may_s = max(may_s + BACKGROUND_HELD_S_MAX, self._may_delay_s)
            if now_s < may_s and _can_wait(read, clash, now_s):
                return None, min(clash.asked_s + GRACE_S, may_s)
            delayed_s = clash.period_s
            fitting, clash = self._fit(read, transaction, now_s, is_polite=False)
        if clash is not None:
            may_s += HELD_PERIODS_MAX * clash.period_s
            must_wait = clash.has_priority or (read.is_background and now_s < self._may_delay_s)
            if now_s < may_s - ROUND_S and (must_wait or _can_wait(read, clash, now_s)):
                return None, min(clash.asked_s + GRACE_S, may_s)
        if read.is_background:
            ticks_s = delayed_s + read.unit.held_s(fitting.span)
            self._may_delay_s = now_s + ticks_s / DELAYED_SHARE_MAX
        read.held_since_s = None
        return fitting, now_s

    def _fit(
        self, read: WaitingRead, transaction: Transaction, now_s: float, *, is_polite: bool
    ) -> tuple[Transaction, _Clash | None]:
        """A transaction cut to what can fit between the polls, and what it is in the way of now.

        Args:
            read: what it is for.
            transaction: brings something of it.
            now_s: now.
            is_polite: in the background nobody more urgent is to be delayed; else nobody is to be
                late.
        """
        unit = read.unit
        clash = self._clash(read, transaction, now_s, is_polite=is_polite)
        if clash is None or unit.held_s(transaction.span) <= clash.room_s:
            return transaction, clash
        if not read.is_whole:
            pieces = unit.plan_within(transaction.covers, clash.room_s)
            longest = max(serving(read, pieces), key=lambda each: each.span.count)
            if unit.held_s(longest.span) <= clash.room_s:
                return longest, self._clash(read, longest, now_s, is_polite=is_polite)
        # It will be in the way, now or later.
        return transaction, clash if is_polite and read.is_background else None

    def _clash(
        self, read: WaitingRead, transaction: Transaction, now_s: float, *, is_polite: bool
    ) -> _Clash | None:
        """What a transaction would be in the way of, if it began now."""
        if read.unit.is_offline:
            return None  # It is a probe, whose time has been looked at.
        self._drop_over(now_s)
        is_polite = is_polite and read.is_background
        free_s = now_s + read.unit.held_s(transaction.span)
        rested_s = free_s + read.unit.rest_s
        before = [
            (_due_s(request, read, is_polite=is_polite), unit, request)
            for unit, request in self._coming.values()
            if request.next_s < (rested_s if unit is read.unit else free_s)
            and _goes_before(unit, request, read)
        ]
        if not before:
            return None
        before.sort(key=lambda each: each[0])
        wanted: dict[Unit, set[tuple[Span, ...]]] = {}
        late: ReadRegisters | None = None
        for due_s, unit, request in before:
            wanted.setdefault(unit, set()).add(request.spans)
            begins_s = rested_s if read.unit in wanted else free_s
            work_s = sum(_work_s(each, spans) for each, spans in wanted.items())
            if begins_s + work_s - self._gap_s > due_s:
                late = request
                break
        if late is None and not is_polite:
            late = self._late_afterwards(read, [each[1:] for each in before], begins_s + work_s)
        if late is None:
            return None
        period_s, fast_s = min(_pace(unit, request) for _, unit, request in before)
        pause_s = period_s - fast_s
        most_s = pause_s if is_polite else 2 * pause_s + self._gap_s
        return _Clash(
            asked_s=min(request.next_s for _, _, request in before),
            work_s=work_s,
            room_s=most_s - 2 * (begins_s - free_s),  # Silence before and after.
            period_s=period_s,
            has_priority=late.priority < read.request.priority,
        )

    def _late_afterwards(
        self,
        read: WaitingRead,
        before: Sequence[tuple[Unit, ReadRegisters]],
        free_s: float,
    ) -> ReadRegisters | None:
        """What will be late of that which comes while the first ones are being read, if anything.

        Those come again, and others come that were announced for later.
        """
        coming: list[tuple[float, float, Unit, ReadRegisters]] = []
        for unit, request in self._coming.values():
            if _goes_before(unit, request, read):
                asked_s, due_s = request.next_s, request.next_deadline_s
                if (unit, request) in before:
                    asked_s, due_s = due_s, 2 * due_s - asked_s
                coming.append((due_s, asked_s, unit, request))
        coming.sort(key=lambda each: each[:2])
        for due_s, asked_s, unit, request in coming:
            if asked_s < free_s:
                free_s += _work_s(unit, {request.spans})
                if free_s - self._gap_s > due_s:
                    return request
        return None


def _can_wait(read: WaitingRead, clash: _Clash, now_s: float) -> bool:
    """Whether a read is still in time if it lets what it is in the way of go first."""
    left_s = clash.work_s + _work_s(read.unit, {read.still_wanted})
    return max(now_s, clash.asked_s) + left_s <= read.request.deadline_s


def _due_s(request: ReadRegisters, read: WaitingRead, *, is_polite: bool) -> float:
    """By when an announced read has to be answered, as far as another one is concerned."""
    if is_polite and request.priority < read.request.priority:
        return request.next_s  # It is not to be delayed at all.
    return request.next_deadline_s


def _goes_before(unit: Unit, request: ReadRegisters, read: WaitingRead) -> bool:
    return not unit.is_offline and (request.priority, request.next_deadline_s) < read.urgency[:2]


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
