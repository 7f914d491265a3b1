"""One request's way through the gate: read, decide, send, read back, judge, record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
import trio

from grug.codec.hints import did_you_mean
from grug.codec.registers import Register
from grug.control.writes import Decision, Verdict, Wish, decide, judge
from grug.errors import EncodeError
from grug.messages import (
    ReadFailed,
    ReadRegisters,
    RegistersRead,
    RegistersSet,
    SetRegisters,
    WriteDone,
    WriteFailed,
    WriteRecorded,
    WriteRegisters,
)
from grug.model import FailureKind, Priority, Span, Value, WriteState
from grug.runtime.bookkeeping import Bookkeeper
from grug.runtime.gate_unit import GateUnit
from grug.runtime.joined import JoinedWrite, join_writes
from grug.runtime.steps import Step, shown, value_of
from grug.runtime.watching import Watching
from grug.runtime.writes import make_mask_write, make_write

READ_S_MAX = 5.0
"""How long reading before or after may wait for a busy line."""
LOOKS_BACK = 4
"""Readings after a write until it counts as ignored: 0.2, 0.4, 0.8 and 1.6 s apart by default."""

_NOT_SENT = (FailureKind.EXPIRED, FailureKind.UNIT_OFFLINE)
_UNKNOWN = (FailureKind.NO_REPLY, FailureKind.GARBLED, FailureKind.LINE_DOWN)


class Transaction:
    """One request; used once."""

    def __init__(
        self, book: Bookkeeper, watching: Watching, unit: GateUnit, request: SetRegisters
    ) -> None:
        self._book = book
        self._watching = watching
        self._unit = unit
        self._request = request
        self._steps: dict[str, Step] = {}
        """By register; the last that was prepared."""
        self._encoded: dict[str, WriteRegisters] = {}
        self._records: dict[str, WriteRecorded] = {}

    async def carry_out(self) -> RegistersSet:
        """Do it, or say why not."""
        try:
            steps = await self._steps_to_take()
            if isinstance(steps, RegistersSet):
                return steps
            decisions = self._decide_all(steps)
            due = [
                step
                for step, decision in zip(steps, decisions, strict=True)
                if decision.verdict is Verdict.SEND
            ]
            writes = self._join(due)
        except EncodeError as error:
            return RegistersSet((), str(error))
        refused = [each.reason for each in decisions if each.verdict is Verdict.REFUSE]
        for step, decision in zip(steps, decisions, strict=True):
            await self._note_decision(step, decision, is_off=bool(refused))
        if refused or self._request.is_dry_run:
            return RegistersSet(tuple(self._records.values()), "; ".join(refused))
        return await self._send_all(writes)

    # Before anything is sent

    async def _steps_to_take(self) -> list[Step] | RegistersSet:
        """Every register encoded, by what the device holds; or why that cannot be.

        Raises:
            EncodeError: a value does not fit.
        """
        request = self._request
        if trio.current_time() > request.deadline_s:
            return RegistersSet((), "too late: the device was busy with another write until now")
        registers, problem = self._registers(request.values)
        problem = problem or self._unencodable(registers)
        if problem:
            return RegistersSet((), problem)
        holds: Mapping[Span, bytes] = {}
        if request.verifies or any(each.scale_by for each in registers):
            found = await self._read(registers)
            if isinstance(found, ReadFailed):
                return self._unread(registers, found)
            holds = found
        return self._prepare(registers, request.values, holds)

    def _registers(self, values: Sequence[tuple[str, Value]]) -> tuple[list[Register], str]:
        known = self._unit.register_map.registers
        unknown = [
            f"{self._unit.device} has no register {name!r}{did_you_mean(name, known)}"
            for name, _ in values
            if name not in known
        ]
        if unknown:
            return [], "; ".join(unknown)
        return [known[name] for name, _ in values], ""

    def _unencodable(self, registers: Sequence[Register]) -> str:
        """What is wrong with values whose scale is known, all at once."""
        problems = []
        for register, (_, value) in zip(registers, self._request.values, strict=True):
            try:
                if register.scale_by is None:
                    self._encoded[register.name] = self._encode(register, value)
            except EncodeError as error:
                problems.append(str(error))
        return "; ".join(problems)

    async def _read(self, registers: Sequence[Register]) -> Mapping[Span, bytes] | ReadFailed:
        """What the registers hold, and those that scale them; without what cannot be read."""
        spans = dict.fromkeys(register.span for register in registers)
        scales = [each.scale_by.span for each in registers if each.scale_by is not None]
        wanted = (*spans, *dict.fromkeys(scales))
        reply = await self._unit.ask_in_time(
            ReadRegisters(
                self._unit.unit_id,
                wanted,
                min(self._request.deadline_s, trio.current_time() + READ_S_MAX),
                Priority.WRITE,
                self._request.who,
                is_partial=True,
            )
        )
        if isinstance(reply, RegistersRead):
            return {span: block for span, block in zip(wanted, reply.blocks, strict=True) if block}
        if isinstance(reply, ReadFailed) and reply.kind is FailureKind.REFUSED:
            return {}  # It may be written all the same: some registers are write-only.
        assert isinstance(reply, ReadFailed), "a read is answered by one of the two"
        return reply

    def _unread(self, registers: Sequence[Register], failed: ReadFailed) -> RegistersSet:
        """The device does not answer: nothing is sent to it."""
        reason = f"{failed.text}; nothing was sent"
        values = dict(self._request.values)
        records = [
            self._record_of(each.name, values[each.name], WriteState.REFUSED, reason, failed.kind)
            for each in registers
        ]
        return RegistersSet(tuple(records), reason)

    def _prepare(
        self,
        registers: Sequence[Register],
        values: Sequence[tuple[str, Value]],
        holds: Mapping[Span, bytes],
    ) -> list[Step]:
        """Encode each value as it has to be just now.

        Raises:
            EncodeError: a value does not fit, or what it depends on could not be read.
        """
        masks = dict(self._request.masks)
        steps = []
        for register, (name, value) in zip(registers, values, strict=True):
            if register.scale_by is not None:
                factor = holds.get(register.scale_by.span)
                exponent = 99 if factor is None else value_of(register.scale_by, factor)
                register = register.at_exponent(int(exponent))
            old = holds.get(register.span)
            request = self._encoded.get(name) or self._encode(register, value)
            if name in masks and old is not None:
                held = int(value_of(register, old))
                value = held & ~masks[name] | int(value) & masks[name]
            steps.append(Step(self._book.new_id(), register, value, request, old))
        self._steps |= {step.register.name: step for step in steps}
        return steps

    def _encode(self, register: Register, value: Value) -> WriteRegisters:
        request, unit_id = self._request, self._unit.unit_id
        make = partial(
            make_mask_write if register.name in dict(request.masks) else make_write,
            unit_id=unit_id,
            who=request.who,
            why=request.why,
            deadline_s=request.deadline_s,
        )
        mask = dict(request.masks).get(register.name)
        if mask is None:
            return make(register, value)
        if isinstance(value, str) or value != value // 1:
            raise EncodeError(f"{register.name}: bits of {value!r} are not to be had")
        return make(register, int(value), mask)

    def _decide_all(self, steps: Sequence[Step]) -> list[Decision]:
        """Each with what those before it will take of the budgets."""
        decisions: list[Decision] = []
        promised: list[str] = []
        for step in steps:
            decisions.append(self._decide(step, promised))
            if step.target.wears and decisions[-1].verdict is Verdict.SEND:
                promised.append(step.register.name)
        return decisions

    def _decide(self, step: Step, promised: Sequence[str]) -> Decision:
        book, request = self._book, self._request
        wish = Wish(
            step.new,
            step.new if step.old is not None and step.holds(step.old) else step.old,
            request.may_guarded,
            request.is_forced,
            request.keeps_alive,
        )
        past = book.past(self._unit, step.register.name, promised)
        return decide(book.rules, step.target, past, wish, trio.current_time())

    async def _note_decision(self, step: Step, decision: Decision, *, is_off: bool) -> None:
        """What is known before anything is sent."""
        name = step.register.name
        if decision.verdict is Verdict.UNCHANGED:
            record = self._record(step, WriteState.APPLIED, decision.reason, step.old_value)
        elif decision.verdict is Verdict.REFUSE:
            record = self._record(step, WriteState.REFUSED, decision.reason)
            if not self._request.is_dry_run:
                self._book.publish(record)
                await self._book.record(self._unit, step, record, sends=0)
        elif is_off:
            record = self._record(step, WriteState.REFUSED, "not sent: others were refused")
        else:
            record = self._record(step, WriteState.PENDING, "would be sent")
        self._records[name] = record

    def _join(self, steps: Sequence[Step]) -> tuple[JoinedWrite, ...]:
        """The fewest writes; one of some bits stands alone."""
        whole = [step for step in steps if not step.request.mask]
        ordered = self._request.is_ordered
        if ordered and len(whole) < len(steps):
            return tuple(JoinedWrite(step.request, (step.register,)) for step in steps)
        facts = self._unit.register_map.facts
        pairs = [(step.register, step.request) for step in whole]
        joined = join_writes(pairs, facts.write_words_max, ordered=ordered)
        bits = [step for step in steps if step.request.mask]
        return (*joined, *(JoinedWrite(step.request, (step.register,)) for step in bits))

    # Sending

    async def _send_all(self, writes: Sequence[JoinedWrite]) -> RegistersSet:
        """Send one after the other; stop at the first that is not taken."""
        request = self._request
        sent: list[JoinedWrite] = []
        reason = ""
        for at, write in enumerate(writes):
            reason = await self._send(write)
            sent.append(write)
            if not reason and request.is_ordered:
                reason = await self._judge(write)
            if reason:
                self._give_up(writes[at + 1 :])
                reason = _stopped(writes, at, reason)
                break
        if not request.is_ordered:
            for write in sent:
                if any(self._is_open(register.name) for register in write.registers):
                    problem = await self._judge(write)
                    reason = "; ".join(filter(None, (reason, problem)))
        records = tuple(self._records.values())
        if reason and request.safe and any(record.is_sent for record in records):
            records += await self._make_safe()
        return RegistersSet(records, reason)

    async def _send(self, write: JoinedWrite) -> str:
        """Send one; returns why it failed, unless its fate is still to be seen."""
        steps = [self._steps[register.name] for register in write.registers]
        for step in steps:
            self._watching.forget(self._unit, step.register.name)
            if step.target.wears:
                intent = self._record(step, WriteState.PENDING, "about to be sent", is_sent=True)
                is_kept = await self._book.record(self._unit, step, intent)
                reason = "" if is_kept else "the ledger cannot be written: nobody would count it"
                reason = reason or self._overdrawn(step)
                if reason and not self._request.is_forced:
                    for each in steps:
                        await self._finish(each, WriteState.REFUSED, reason, sends=0)
                    return reason
        for step in steps:
            self._book.about_to_send(self._unit, step)
            step.is_sent = True
        reads_back = self._request.verifies
        reply = await self._unit.ask_in_time(
            msgspec.structs.replace(write.request, reads_back=reads_back)
        )
        if isinstance(reply, WriteDone):
            # What came back at once may be what was there before: only the same is a proof.
            is_seen = reply.read_back == write.request.block and not write.request.mask
            for step in steps:
                step.is_acknowledged = True
                step.is_seen = is_seen and bool(reply.read_back)
            return ""
        assert isinstance(reply, WriteFailed), "a write is answered by one of the two"
        if reply.kind in _UNKNOWN:
            return await self._judge(write, reply)
        for step in steps:
            step.is_sent = reply.kind not in _NOT_SENT
            sends = int(step.is_sent)
            await self._finish(step, WriteState.REFUSED, reply.text, kind=reply.kind, sends=sends)
        return reply.text

    def _overdrawn(self, step: Step) -> str:
        name = step.register.name
        reason = self._book.overdrawn(self._unit, name)
        return f"{name} {reason}" if reason else ""

    async def _judge(self, write: JoinedWrite, failed: WriteFailed | None = None) -> str:
        """Read back what was sent, until it is there or counts as ignored.

        Returns:
            What is wrong; empty when the device holds what was wanted or nobody looked.
        """
        steps = [self._steps[register.name] for register in write.registers]
        held: Mapping[Span, bytes] = {}
        if all(step.is_seen for step in steps):
            held = {step.register.span: step.new for step in steps}
        elif self._request.verifies or (failed is not None and not self._request.keeps_alive):
            held = await self._read_back(steps)
        problems = []
        for step in steps:
            block = held.get(step.register.span)
            is_new = None if block is None else step.holds(block)
            holds = "" if block is None else shown(step.register, value_of(step.register, block))
            is_old = block is not None and block == step.old
            state, reason = judge(step.is_acknowledged, is_new, is_old, holds)
            kind = None if failed is None or state is WriteState.APPLIED else failed.kind
            if kind is not None and failed is not None:
                reason = f"{failed.text}; {reason}"
            read_back = None if block is None else value_of(step.register, block)
            await self._finish(step, state, reason, read_back=read_back, kind=kind)
            if state is WriteState.REFUSED or kind is not None:
                problems.append(reason)
        return "; ".join(dict.fromkeys(problems))

    async def _read_back(self, steps: Sequence[Step]) -> Mapping[Span, bytes]:
        """What the device holds, once it has had time to settle."""
        pause_s = self._book.rules.settle_s
        held: Mapping[Span, bytes] = {}
        for _ in range(LOOKS_BACK):
            await trio.sleep(pause_s)
            pause_s *= 2
            found = await self._read([step.register for step in steps])
            if isinstance(found, ReadFailed):
                continue
            held = found
            blocks = [held.get(step.register.span) for step in steps]
            if all(
                block is None or step.holds(block)
                for step, block in zip(steps, blocks, strict=True)
            ):
                break
        return held

    async def _make_safe(self) -> tuple[WriteRecorded, ...]:
        """A step failed after others were sent: leave what does no harm."""
        request = msgspec.structs.replace(
            self._request,
            values=self._request.safe,
            deadline_s=max(self._request.deadline_s, trio.current_time() + READ_S_MAX),
            why=f"safe state, since this failed: {self._request.why}",
            masks=(),
            safe=(),
            is_forced=True,
        )
        done = await Transaction(self._book, self._watching, self._unit, request).carry_out()
        return done.records

    def _give_up(self, writes: Sequence[JoinedWrite]) -> None:
        """What comes after a failed step is not sent."""
        for write in writes:
            for register in write.registers:
                step = self._steps[register.name]
                reason = "not sent: a step before it failed"
                self._records[register.name] = self._record(step, WriteState.REFUSED, reason)

    def _is_open(self, name: str) -> bool:
        return self._records[name].reason == "would be sent"

    # Records

    async def _finish(
        self,
        step: Step,
        state: WriteState,
        reason: str,
        *,
        read_back: Value | None = None,
        kind: FailureKind | None = None,
        sends: int = 1,
    ) -> None:
        """A step's fate is known: tell it, keep it, and look at it again later."""
        record = self._record(step, state, reason, read_back, kind, is_sent=step.is_sent)
        self._records[step.register.name] = record
        self._book.publish(record, is_routine=self._request.keeps_alive)
        await self._book.record(self._unit, step, record, sends=sends)
        if step.is_sent and self._request.is_watched and self._request.verifies:
            self._watching.watch(self._unit, step, self._request, state)

    def _record(
        self,
        step: Step,
        state: WriteState,
        reason: str,
        read_back: Value | None = None,
        kind: FailureKind | None = None,
        *,
        is_sent: bool = False,
    ) -> WriteRecorded:
        record = self._record_of(step.register.name, step.value, state, reason, kind)
        return msgspec.structs.replace(
            record, old=step.old_value, read_back=read_back, is_sent=is_sent
        )

    def _record_of(
        self,
        name: str,
        value: Value,
        state: WriteState,
        reason: str,
        kind: FailureKind | None,
    ) -> WriteRecorded:
        request = self._request
        return WriteRecorded(
            self._unit.device,
            name,
            request.who,
            request.why,
            value,
            None,
            None,
            state,
            reason,
            trio.current_time(),
            is_sent=False,
            kind=kind,
        )


def _stopped(writes: Sequence[JoinedWrite], at: int, reason: str) -> str:
    """What a failed step left done and undone."""
    text = f"{writes[at].names}: {reason}"
    if at:
        text += f"; written before: {', '.join(write.names for write in writes[:at])}"
    if at + 1 < len(writes):
        text += f"; not written: {', '.join(write.names for write in writes[at + 1 :])}"
    return text
