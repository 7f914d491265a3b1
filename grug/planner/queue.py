"""Everything a bus owner decides: who is next on the line, who is answered what, who is alive.

Pure: time is an argument, and the only effects are the replies and facts handed to what the queue
was given. One request is on the wire at a time: ``pick`` a job, carry it out, then report how it
ended with ``succeeded``, ``failed`` or ``line_lost``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from grug.errors import BusError, ExceptionReply, LocalProtocolError
from grug.messages import (
    LineCounted,
    Message,
    ReadRegisters,
    RegistersRead,
    WriteRegisters,
)
from grug.model import FailureKind, Span
from grug.planner.announced import GRACE_S, Announced
from grug.planner.plan import (
    REPLY_OVERHEAD_CHARACTERS,
    REQUEST_CHARACTERS,
    Transaction,
    data_bytes,
    whole_of,
)
from grug.planner.traits import UnitTraits, WireTiming
from grug.planner.units import (
    Unit,
    look_of_read,
    look_of_write,
)
from grug.planner.verdicts import VerdictStore
from grug.planner.waiting import (
    Asker,
    Job,
    ReadJob,
    WaitingRead,
    WaitingWrite,
    WriteJob,
    clearing,
    code_of,
    expiry_s,
    fail_read,
    goes_before,
    is_in_time,
    is_live_read,
    serving,
)
from grug.planner.write_queue import WriteQueue
from grug.planner.writes import ILLEGAL_FUNCTION, OPTIONAL_FUNCTIONS

__all__ = ["BusQueue", "Job", "ReadJob", "WriteJob"]

ILLEGAL_CODES = (2, 3)
"""Illegal data address, illegal data value (some units say this of a count or a hole).
Source: MODBUS Application Protocol V1.1b3, 7."""

WRITE_CHARACTERS = 8
"""Of the shortest write, and of every acknowledgement."""

GATEWAY_CODES = (10, 11)
"""Gateway path unavailable, gateway target device failed to respond: it is the gateway that speaks,
and the unit is silent. Source: as above."""

_READ_CHARACTERS = REQUEST_CHARACTERS + REPLY_OVERHEAD_CHARACTERS
"""Of a read and its reply, without the contents."""

NO_SNAPSHOTS: frozenset[tuple[Span, ...]] = frozenset()

USUAL_TRAITS = UnitTraits()
"""Of units that nobody has told of."""


class BusQueue:
    """The requests that wait for one line, and the health of its units."""

    def __init__(
        self,
        line: str,
        timing: WireTiming,
        traits: Mapping[int, UnitTraits],
        publish: Callable[[Message], None],
        store: VerdictStore | None = None,
    ) -> None:
        self.wake_s = math.inf
        """After a ``pick`` that gave nothing: when to pick again, if nothing is added before."""
        self._line = line
        self._timing = timing
        self._publish = publish
        self._traits = traits
        self._store = store
        self._units: dict[int, Unit] = {}
        self._reads: list[WaitingRead] = []
        self._writes = WriteQueue(line, publish)
        self._announced = Announced(timing.gap_s)
        self._order = 0
        self._down_cause: str | None = "not open yet"
        self._transactions = 0
        self._failures = 0
        self._busy_s = 0.0
        self._counted_s = -math.inf

    def __len__(self) -> int:
        """Requests waiting."""
        return len(self._reads) + len(self._writes.waiting)

    # Requests come in

    def add(self, asker: Asker, now_s: float) -> None:
        """Take a request; it is answered at once if it cannot be carried out."""
        request = asker.request
        unit = self._unit(request.unit_id)
        if isinstance(request, WriteRegisters):
            write = WaitingWrite(asker, request, unit)
            if self._down_cause is not None:
                self._writes.fail(write, FailureKind.LINE_DOWN, self._down_cause, now_s)
            else:
                self._writes.add(write, now_s)
            return
        self._order += 1
        read = WaitingRead(asker, request, unit, self._order)
        if self._down_cause is not None:
            fail_read(read, FailureKind.LINE_DOWN, self._down_cause, now_s)
            return
        try:
            unit.check(request.spans)
        except LocalProtocolError as error:
            fail_read(read, FailureKind.REFUSED, str(error), now_s)
            return
        if not request.spans:
            asker.reply(RegistersRead((), now_s))
            return
        self._announced.expect(unit, request, now_s)
        if request.max_age_s > 0:
            read.take_fresh(now_s)
        if request.is_partial and unit.refuses_some:
            for span in request.spans:
                if code := unit.quarantined(span, now_s):
                    read.do_without(span, code)
        if read.missing:
            self._reads.append(read)
        else:
            read.answer(now_s)

    def is_joined(self, request: ReadRegisters | WriteRegisters, now_s: float) -> bool:
        """Whether others may ask at the same moment as this request, and share its transaction."""
        is_announced = isinstance(request, ReadRegisters) and request.next_s < math.inf
        return not is_announced or self._announced.has_due(now_s)

    def _unit(self, unit_id: int) -> Unit:
        """What is known of a unit; its traits may become known, or change, at any time."""
        traits = self._traits.get(unit_id, USUAL_TRAITS)
        unit = self._units.get(unit_id)
        if unit is None:
            unit = Unit(self._line, unit_id, traits, self._timing, self._publish, self._store)
            self._units[unit_id] = unit
        elif unit.traits is not traits and unit.traits != traits:
            unit.take_traits(traits)
            self._announced.forget(unit)  # What it can be asked at once may be less now.
        return unit

    # The line becomes free

    def pick(self, now_s: float) -> Job | None:
        """Choose what goes on the wire now: writes first, then the most urgent read's unit.

        Requests that have expired, were abandoned, or are for a unit that is offline are answered
        or dropped on the way.
        """
        self.wake_s = math.inf
        if self._writes.waiting:
            job, self.wake_s = self._writes.pick(now_s)
            if job is not None:
                return job
        if not self._reads:
            return None
        self._reads = [read for read in self._reads if is_live_read(read, now_s)]
        urgent: WaitingRead | None = None
        for read in self._reads:
            if read.unit.ready_s > now_s:
                self.wake_s = min(self.wake_s, read.unit.ready_s, expiry_s(read.request))
            elif read.unit.is_offline and not self._probe_timeout_s(read, now_s):
                overruns_s = read.unit.overruns_s
                self.wake_s = min(self.wake_s, overruns_s, expiry_s(read.request))
            elif urgent is None or goes_before(read, urgent, now_s):
                urgent = read
        return None if urgent is None else self._job_for(urgent, now_s)

    def _job_for(self, urgent: WaitingRead, now_s: float) -> Job | None:
        """What to read now for the most urgent read; None when it had better wait."""
        try:
            transaction = self._transaction_for(urgent, now_s)
        except LocalProtocolError:
            self._fail_snapshots(urgent.unit, now_s)
            return self.pick(now_s)
        unit = urgent.unit
        fitting, until_s = self._announced.fitting(urgent, transaction, now_s)
        if fitting is None:
            self.wake_s = min(self.wake_s, until_s)
            return None
        first = unit.identity_read
        if unit.has_late and unit.may_mistake(look_of_read((first or fitting).span), now_s):
            job = clearing(urgent, now_s, fitting.span)
        elif first is not None:
            job = ReadJob(unit, first, fitting.span, is_for_identity=True)
        else:
            job = ReadJob(unit, fitting)
        if unit.is_offline:
            job.timeout_s = self._probe_timeout_s(urgent, now_s)
        return job

    def _probe_timeout_s(self, read: WaitingRead, now_s: float) -> float:
        """How long a probe may wait for its reply before others come; 0 when it has to wait."""
        next_s = self._announced.next_s(read.request.priority, now_s)
        span = read.request.spans[read.missing[0]]
        characters = _READ_CHARACTERS + data_bytes(span)
        wire_s = characters * self._timing.character_s + 2 * self._timing.gap_s
        timeout_s = read.unit.probe_timeout_s(next_s - now_s - wire_s, now_s)
        if not timeout_s:
            self.wake_s = min(self.wake_s, next_s + GRACE_S)
        return timeout_s

    def _transaction_for(self, urgent: WaitingRead, now_s: float) -> Transaction:
        """The first transaction of the unit's plan that serves the most urgent read."""
        unit = urgent.unit
        spans = urgent.request.spans
        if unit.is_offline:  # A probe: as short as what was asked allows.
            span = spans[urgent.missing[0]]
            return Transaction(span, (span,))
        reads = self._reads
        if len(reads) > 1:
            reads = [read for read in reads if read.unit is unit]
        if len(reads) == 1:
            wanted = urgent.still_wanted
            return unit.plan(wanted, frozenset([wanted]) if urgent.is_whole else NO_SNAPSHOTS)[0]
        snapshots = frozenset([read.snapshot for read in reads if read.is_whole])
        is_begun = [len(read.missing) < len(read.request.spans) for read in reads]
        if True not in is_begun:  # Polls come again and again, as the same tuples.
            plan = unit.plan_together(frozenset([read.request.spans for read in reads]), snapshots)
        else:
            missing = frozenset([read.request.spans[at] for read in reads for at in read.missing])
            plan = unit.plan(missing, snapshots)
        together = serving(urgent, plan)
        free_s = now_s - self._timing.gap_s
        is_late = not is_in_time(urgent, together, free_s)
        if is_late or self._announced.is_late_after(urgent, together, self._reads, free_s):
            # Something would be late by what the others have read along with it.
            wanted = urgent.still_wanted
            alone = serving(urgent, unit.plan(wanted, snapshots & {wanted}))
            if is_in_time(urgent, alone, free_s) and (
                is_late or not self._announced.is_late_after(urgent, alone, self._reads, free_s)
            ):
                return alone[0]
        return together[0]

    def _fail_snapshots(self, unit: Unit, now_s: float) -> None:
        """Answer those for whom no single transaction can do any more, by what has been learned."""
        for read in [read for read in self._reads if read.unit is unit and read.is_whole]:
            try:
                whole_of(read.snapshot, unit.limits)
            except LocalProtocolError as error:
                self._fail_reads([read], FailureKind.REFUSED, str(error), now_s)

    # A job has ended

    def succeeded(self, job: Job, block: bytes, started_s: float, ended_s: float) -> None:
        """The unit answered: hand out what it said.

        Args:
            job: what ``pick`` gave.
            block: what was read; of a write only where it was read back.
            started_s: when the request began.
            ended_s: when the reply had arrived.
        """
        self._count(job.unit, started_s, ended_s)
        job.unit.answered(ended_s)
        elapsed_s = ended_s - started_s
        if isinstance(job, WriteJob):
            job.unit.measured(elapsed_s - 2 * WRITE_CHARACTERS * self._timing.character_s)
            job.unit.forget()
            self._writes.done(job, block, ended_s)
            return
        unit = job.unit
        span = job.transaction.span
        data = data_bytes(span)
        unit.measured(elapsed_s - (_READ_CHARACTERS + data) * self._timing.character_s)
        if job.is_for_identity:
            unit.identity_took(block)
        if job.blocked is not None:
            return  # It has served its purpose: those who wait still do.
        if job.base_of is not None:
            job.base_of.take_base(block, ended_s)
        unit.took(span, block, data, ended_s, elapsed_s)
        waiting = []
        for read in self._reads:
            if read.unit is unit and read.take(span, block, ended_s):
                read.answer(ended_s)
            else:
                waiting.append(read)
        self._reads = waiting

    def failed(self, job: Job, error: BusError, started_s: float, ended_s: float) -> None:
        """The unit stayed silent, refused or was not understood."""
        unit = job.unit
        self._count(unit, started_s, ended_s)
        self._failures += 1
        is_refusal = isinstance(error, ExceptionReply) and error.code not in GATEWAY_CODES
        if is_refusal:
            unit.answered(ended_s)
        else:
            look = (
                look_of_write(job.request, job.function)
                if isinstance(job, WriteJob)
                else look_of_read(job.transaction.span)
            )
            unit.missed(look, str(error), ended_s, self._offline_others(unit))
        if isinstance(job, WriteJob):
            unit.forget()
            if code_of(error) == ILLEGAL_FUNCTION and job.function in OPTIONAL_FUNCTIONS:
                unit.lacks(job.function)
                self._writes.put_back(job)  # Another way is tried.
                return
            self._writes.fail(job, error.kind, str(error), ended_s, code_of(error))
        elif job.base_of is not None:
            self._fail_blocked(unit, job.base_of, error, ended_s)
        elif job.blocked is not None:
            if not is_refusal:
                self._fail_blocked(unit, job.blocked, error, ended_s)
            elif job.is_for_identity:
                unit.identity_took(b"")
        elif isinstance(error, ExceptionReply) and error.code in ILLEGAL_CODES:
            self._refused_address(job, error, ended_s)
        else:
            self._fail_blocked(unit, job.transaction.span, error, ended_s)

    def _fail_blocked(
        self, unit: Unit, what: Span | WaitingWrite, error: BusError, now_s: float
    ) -> None:
        """Fail the write, or all reads that want something of the span."""
        if isinstance(what, WaitingWrite):
            self._writes.waiting.remove(what)
            self._writes.fail(what, error.kind, f"{error}; it was not sent", now_s)
            return
        reads = [read for read in self._reads if read.unit is unit and read.wants_of(what)]
        self._fail_reads(reads, error.kind, str(error), now_s, code_of(error))

    def refused(self, job: Job, text: str, now_s: float) -> None:
        """It cannot be said in Modbus, and so never went on the wire."""
        assert isinstance(job, WriteJob), "reads are checked when they come in"
        self._writes.fail(job, FailureKind.REFUSED, text, now_s)

    def _refused_address(self, job: ReadJob, error: ExceptionReply, now_s: float) -> None:
        """Split what was merged and try again; what was refused alone is what the asker gets.

        Who can do without it gets the rest, once that is read.
        """
        span = job.transaction.span
        if job.unit.refused(job.transaction, error.code, now_s):
            # Those who wait still do, and the next plan has it in pieces.
            self._refused_snapshots(job, error, now_s)
            return
        text = f"{error} for {span.table} {span.address}+{span.count}"
        failed, done = [], []
        for read in self._reads:
            if read.unit is not job.unit or not read.wants(span):
                continue
            if not read.request.is_partial:
                failed.append(read)
                continue
            read.do_without(span, error.code)
            if read.is_done():
                read.answer(now_s)
                done.append(read)
        self._fail_reads(failed, error.kind, text, now_s, error.code)
        if done:
            self._reads = [read for read in self._reads if read not in done]

    def _refused_snapshots(self, job: ReadJob, error: ExceptionReply, now_s: float) -> None:
        """What had to be read at once was not: its pieces may tell why, once."""
        covers = job.transaction.covers
        failed = [
            read
            for read in self._reads
            if read.unit is job.unit
            and read.is_whole
            and set(read.snapshot).issubset(covers)
            and not read.scout()
        ]
        text = f"{error} for a snapshot of which the unit has each part"
        self._fail_reads(failed, error.kind, text, now_s, error.code)

    def _offline_others(self, unit: Unit) -> int:
        return sum(each.is_offline for each in self._units.values() if each is not unit)

    # The line comes and goes

    def line_opened(self, now_s: float) -> None:
        """From now on requests wait for the line."""
        self._down_cause = None
        for unit in self._units.values():
            unit.line_opened(now_s)

    def line_lost(self, cause: str, now_s: float, job: Job | None = None) -> None:
        """Answer everything that waits, and from now on at once.

        Args:
            cause: why.
            now_s: now.
            job: what was on the wire, if anything.
        """
        self._down_cause = cause
        if isinstance(job, WriteJob):
            self._writes.fail(job, FailureKind.LINE_DOWN, cause, now_s)
        self._writes.fail_all(FailureKind.LINE_DOWN, cause, now_s)
        self._fail_reads(self._reads, FailureKind.LINE_DOWN, cause, now_s)

    # Answers and counters

    def _fail_reads(
        self, reads: list[WaitingRead], kind: FailureKind, text: str, now_s: float, code: int = 0
    ) -> None:
        for read in reads:
            fail_read(read, kind, text, now_s, code)
        failed = {id(read) for read in reads}
        self._reads = [read for read in self._reads if id(read) not in failed]

    def _count(self, unit: Unit, started_s: float, ended_s: float) -> None:
        self._transactions += 1
        self._busy_s += ended_s - started_s + self._timing.gap_s
        unit.ready_s = ended_s + unit.traits.gap_s

    def counted(self, now_s: float) -> LineCounted:
        """The line's counters; utilisation is that since the last call of this."""
        for unit in self._units.values():
            unit.grow_older(now_s)
        elapsed_s = now_s - self._counted_s
        busy_pct = 100 * self._busy_s / elapsed_s if elapsed_s > 0 else 0.0
        self._busy_s = 0.0
        self._counted_s = now_s
        return LineCounted(
            line=self._line,
            counted_s=now_s,
            utilisation_pct=min(100.0, busy_pct),
            transactions=self._transactions,
            failures=self._failures,
            waiting=len(self),
        )
