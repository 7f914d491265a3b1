"""What waits for a line: reads and writes, who asked for them, and what is put on the wire."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias

from grug.errors import BusError, ExceptionReply, exception_text
from grug.messages import (
    ReadFailed,
    ReadRegisters,
    RegistersRead,
    WriteDone,
    WriteFailed,
    WriteRegisters,
)
from grug.model import FailureKind, Priority, Span
from grug.planner.cuts import cut_of, lies_within
from grug.planner.plan import Transaction, hull_of
from grug.planner.units import (
    Look,
    Unit,
    look_of_read,
    look_of_write,
)
from grug.planner.writes import BASE_AGE_S_MAX, masked


class Asker(Protocol):
    """Who waits for an answer: a ``grug.runtime.calls.Call``."""

    @property
    def request(self) -> ReadRegisters | WriteRegisters:
        """What is asked."""

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits any more."""

    def reply(self, reply: RegistersRead | ReadFailed | WriteDone | WriteFailed) -> None:
        """Answer; exactly once."""


class WaitingRead:
    """A read that waits, and what of it has been read already."""

    __slots__ = (
        "_has_scouted",
        "asker",
        "blocks",
        "held_since_s",
        "is_whole",
        "missing",
        "read_s",
        "refused",
        "request",
        "unit",
        "urgency",
    )

    def __init__(self, asker: Asker, request: ReadRegisters, unit: Unit, order: int) -> None:
        self.asker = asker
        self.request = request
        self.unit = unit
        self.urgency = (request.priority, request.deadline_s, order)
        self.missing = list(range(len(request.spans)))
        self.blocks = [b""] * len(request.spans)
        self.read_s = math.inf
        self.refused: list[tuple[int, int]] = []
        self.is_whole = request.is_snapshot
        """Whether all that is missing has to come in one transaction."""
        self._has_scouted = False
        self.held_since_s: float | None = None
        """Since when it is held back, as it would be in the way of others that are to come."""

    @property
    def is_background(self) -> bool:
        """Whether nobody is in a hurry for it."""
        return self.request.priority >= Priority.BACKGROUND

    @property
    def still_wanted(self) -> tuple[Span, ...]:
        """What is missing of it."""
        if len(self.missing) == len(self.request.spans):
            return self.request.spans
        return tuple([self.request.spans[at] for at in self.missing])

    @property
    def snapshot(self) -> tuple[Span, ...]:
        """What has to come in one transaction; empty where nothing has."""
        return self.still_wanted if self.is_whole else ()

    def scout(self) -> bool:
        """The snapshot was refused: see by reading its pieces what of it the unit does not have.

        Returns:
            False when that is known already, and yet it was refused once more.
        """
        if self._has_scouted:
            return False
        self._has_scouted = True
        self.is_whole = False
        return True

    def _begin_anew(self) -> None:
        """The pieces have been read one after the other; what there is of them is read at once."""
        lost = {at for at, _ in self.refused}
        self.missing = [at for at in range(len(self.blocks)) if at not in lost]
        self.read_s = math.inf
        self.is_whole = True

    def take(self, span: Span, block: bytes, read_s: float) -> bool:
        """Keep what serves this read of a block just read; tells whether that completes it."""
        spans = self.request.spans
        served, pieces = cut_of(spans, span)
        if len(served) == len(spans):
            self.blocks = list(pieces(block))
            self.missing.clear()
            self.refused.clear()
            self.read_s = read_s
            return True
        if self.is_whole and not set(served).issuperset(self.missing):
            return False
        for at, piece in zip(served, pieces(block), strict=True):
            if at in self.missing:
                self.missing.remove(at)
                self.blocks[at] = piece
                self.read_s = min(self.read_s, read_s)
        return self.is_done()

    def is_done(self) -> bool:
        """Whether nothing is missing; a snapshot is not done with having been read in pieces."""
        if self.missing:
            return False
        if self.request.is_snapshot and not self.is_whole and len(self.refused) < len(self.blocks):
            self._begin_anew()
            return False
        return True

    def take_fresh(self, now_s: float) -> None:
        """Use what was read recently enough."""
        since_s = now_s - self.request.max_age_s
        if self.is_whole:
            whole = hull_of(self.snapshot)
            if (at_once := self.unit.fresh(whole, since_s)) is not None:
                self.take(whole, *at_once)
            return
        still: list[int] = []
        for at in self.missing:
            known = self.unit.fresh(self.request.spans[at], since_s)
            if known is None:
                still.append(at)
            else:
                self.blocks[at], read_s = known
                self.read_s = min(self.read_s, read_s)
        self.missing = still

    def do_without(self, span: Span, code: int) -> None:
        """Go on without a span that the unit refused."""
        lost = [at for at in self.missing if self.request.spans[at] == span]
        self.refused += [(at, code) for at in lost]
        self.missing = [at for at in self.missing if at not in lost]

    def answer(self, now_s: float) -> None:
        """Reply with what there is, once nothing is missing."""
        if self.refused and len(self.refused) == len(self.blocks):
            code = self.refused[0][1]
            text = f"{exception_text(code)} for all of it"
            self.asker.reply(ReadFailed(FailureKind.REFUSED, text, now_s, code))
        else:
            refused = tuple(self.refused)
            self.asker.reply(RegistersRead(tuple(self.blocks), self.read_s, refused))

    def wants_of(self, span: Span) -> bool:
        """Whether something still missing lies within the span."""
        return any(lies_within(self.request.spans[at], span) for at in self.missing)

    def wants(self, span: Span) -> bool:
        """Whether exactly this span is still missing."""
        return any(self.request.spans[at] == span for at in self.missing)


class WaitingWrite:
    """A write that waits."""

    __slots__ = ("_base_s", "asker", "block", "request", "unit")

    def __init__(self, asker: Asker, request: WriteRegisters, unit: Unit) -> None:
        self.asker = asker
        self.request = request
        self.unit = unit
        self.block = request.block
        """What goes on the wire: with the register's other bits, once they are known."""
        self._base_s = -math.inf

    @property
    def span(self) -> Span:
        """The addresses that it writes."""
        request = self.request
        width = 1 if request.table.is_bits else 2
        return Span(request.table, request.address, len(request.block) // width)

    def take_base(self, base: bytes, read_s: float) -> None:
        """Keep the other bits of what it writes, as read just now."""
        self.block = masked(base, self.request.block, self.request.mask)
        self._base_s = read_s

    def function(self, now_s: float) -> int:
        """By which function it goes on the wire; 0 while its other bits are not known."""
        knows_bits = now_s - self._base_s <= BASE_AGE_S_MAX + self.unit.traits.gap_s
        return self.unit.write_function(self.request, knows_bits=knows_bits)


class ReadJob:
    """One read for the wire."""

    __slots__ = ("base_of", "blocked", "is_for_identity", "timeout_s", "transaction", "unit")

    def __init__(
        self,
        unit: Unit,
        transaction: Transaction,
        blocked: Span | WaitingWrite | None = None,
        base_of: WaitingWrite | None = None,
        *,
        is_for_identity: bool = False,
    ) -> None:
        self.unit = unit
        self.transaction = transaction
        self.is_for_identity = is_for_identity
        """Whether it is to tell which unit this is, which comes before what was asked."""
        self.base_of = base_of
        """The write of some bits that has to know the others first."""
        self.blocked = blocked
        """What had to stand back: the unit must first answer a read whose reply cannot be mistaken
        for one that is overdue. Nobody wants the contents."""
        self.timeout_s = unit.reply_timeout_s(is_write=False)
        """How long to wait for the beginning of the reply."""


class WriteJob:
    """One write for the wire."""

    __slots__ = ("asker", "block", "function", "request", "timeout_s", "unit", "write")

    def __init__(self, write: WaitingWrite, function: int) -> None:
        self.unit = write.unit
        self.asker = write.asker
        self.request = write.request
        self.block = write.block
        self.function = function
        """5, 6, 15, 16, 22 or 23."""
        self.write = write
        self.timeout_s = write.unit.reply_timeout_s(is_write=True)
        """How long to wait for the beginning of the acknowledgement."""


Job: TypeAlias = ReadJob | WriteJob


def look_of(write: WaitingWrite, function: int) -> Look:
    """How the reply to a write's next transaction looks, which may be the read of other bits."""
    return look_of_write(write.request, function) if function else look_of_read(write.span)


def serving(read: WaitingRead, plan: Sequence[Transaction]) -> Sequence[Transaction]:
    """Those of a plan that bring what is missing of a read; one that is alone brings all of it."""
    if len(plan) == 1:
        return plan
    missing = {read.request.spans[at] for at in read.missing}
    if read.is_whole:
        return [each for each in plan if missing.issubset(each.covers)][:1]
    return [each for each in plan if not missing.isdisjoint(each.covers)]


def is_in_time(read: WaitingRead, transactions: Iterable[Transaction], from_s: float) -> bool:
    """Whether a read is answered before its deadline if these begin at that time."""
    work_s = sum(read.unit.held_s(each.span) for each in transactions)
    return from_s + work_s <= read.request.deadline_s


def clearing(
    waiting: WaitingRead | WaitingWrite, now_s: float, span: Span | None = None
) -> ReadJob:
    """The read that the unit must answer before what waits: see ``ReadJob.blocked``."""
    unit = waiting.unit
    if isinstance(waiting, WaitingWrite):
        request = waiting.request
        distinct = unit.distinct_read(request.table, request.address, now_s)
        return ReadJob(unit, Transaction(distinct, ()), waiting)
    assert span is not None, "a read is blocked with a span"
    distinct = unit.distinct_read(span.table, span.address, now_s)
    return ReadJob(unit, Transaction(distinct, ()), span)


def goes_before(read: WaitingRead, other: WaitingRead, now_s: float) -> bool:
    """Whether a read goes on the wire before another one."""
    if read.unit.is_offline or other.unit.is_offline:
        patience = read.unit.lets_others_first(now_s), other.unit.lets_others_first(now_s)
        if patience[0] is not patience[1]:
            return patience[1]
    return read.urgency < other.urgency


def is_live_read(read: WaitingRead, now_s: float) -> bool:
    """Whether somebody still waits for a read; who waits in vain is answered."""
    if read.asker.is_abandoned:
        return False
    is_late = read.request.deadline_s < now_s
    if is_late and not read.unit.is_offline:
        fail_read(read, FailureKind.EXPIRED, "the line was not free in time", now_s)
        return False
    if is_late or (read.unit.is_offline and read.unit.is_resting(now_s)):
        fail_read(read, FailureKind.UNIT_OFFLINE, read.unit.cause, now_s)
        return False
    return True


def expiry_s(request: ReadRegisters | WriteRegisters) -> float:
    """The first moment at which a request is too late: at its very deadline it is not yet."""
    return math.nextafter(request.deadline_s, math.inf)


def fail_read(read: WaitingRead, kind: FailureKind, text: str, now_s: float, code: int = 0) -> None:
    """Answer a read that failed."""
    read.asker.reply(ReadFailed(kind, text, now_s, code))


def code_of(error: BusError) -> int:
    """The exception code that an error carries; 0 when it carries none."""
    return error.code if isinstance(error, ExceptionReply) else 0
