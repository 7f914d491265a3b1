"""A device as a library user sees it: registers by name, read and written in few transactions."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import trio

from grug.codec.block import BlockDecoder
from grug.codec.hints import did_you_mean
from grug.codec.image import RegisterImage
from grug.codec.registers import Access, Register, RegisterMap
from grug.device.readings import Reading, missing
from grug.errors import (
    BadValueError,
    EncodeError,
    GrugError,
    NotAllowedError,
    NotTakenError,
    UnknownRegisterError,
    bus_error,
)
from grug.messages import (
    ReadFailed,
    ReadRegisters,
    RegistersRead,
    RegistersSet,
    SetRegisters,
    WriteRecorded,
)
from grug.model import FailureKind, Priority, Quality, Span, Value, WriteState
from grug.runtime.calls import BusReply, BusRequest
from grug.runtime.gate import Gate
from grug.runtime.joined import JoinedWrite, join_writes
from grug.runtime.steps import show_value, value_of
from grug.runtime.writes import make_bits_write, make_write

WRITE_PATIENCE_S = 10.0
"""How long a write may wait for a busy line; after that it is an old command."""

TRIES = 2
"""How often ``readings`` asks for what got lost; ``read`` asks once and says what happened."""

DECODERS_MAX = 64
"""Compiled decoders kept per device; more different selections than this mean a runaway asker."""


class Device:
    """One unit on an open line; made by ``DeviceLine.device``."""

    def __init__(
        self,
        line_name: str,
        ask: Callable[[BusRequest], Awaitable[BusReply]],
        register_map: RegisterMap,
        unit_id: int,
        gate: Gate,
    ) -> None:
        """Make one; nothing is sent."""
        self.map = register_map
        self.unit_id = unit_id
        self._line_name = line_name
        self._ask = ask
        self._gate = gate
        self._decoders: dict[tuple[str, ...], BlockDecoder] = {}

    def __str__(self) -> str:
        """Name it for messages."""
        return f"{self.map.model}, unit {self.unit_id} on {self._line_name}"

    @property
    def readable(self) -> tuple[str, ...]:
        """Names to read when everything is wanted: all but the registers that do harm."""
        registers = self.map.registers.values()
        return tuple(each.name for each in registers if each.access is not Access.NEVER)

    def check(self, names: Iterable[str]) -> None:
        """See that the map has these names.

        Raises:
            UnknownRegisterError: a KeyError; it does not have some, all at once.
        """
        self._select(names)

    def image(self) -> RegisterImage:
        """The same registers from the other side: all zero, to be filled and served."""
        return RegisterImage(self.map)

    async def read(
        self, *names: str, max_age_s: float = 0.0, at_once: bool = False
    ) -> dict[str, Value]:
        """Read registers, of whatever kinds and tables, in the fewest transactions.

        Args:
            names: of the map.
            max_age_s: what any task on this line has read no longer ago may be the answer, counted
                from the end of the transaction that read it; 0 asks the device.
            at_once: all of it has to be of one moment, and so of one transaction.

        Returns:
            Values in the registers' units, by name, in the order asked; all of them good.

        Raises:
            UnknownRegisterError: a KeyError; names that the map does not have, all at once.
            BadValueError: the device has no value for a register, or an implausible one.
            BusError: the device did not answer, or refused; the class says which. A RefusedError,
                too, where ``at_once`` is more than one transaction can bring.
        """
        registers = self._select(names)
        if not registers:
            return {}
        decoder = self._decoder(registers)
        reply = await self._ask(
            ReadRegisters(
                self.unit_id,
                decoder.runs,
                math.inf,
                max_age_s=max_age_s,
                is_snapshot=at_once,
            )
        )
        if isinstance(reply, ReadFailed):
            raise bus_error(reply.kind, f"{self}: {reply.text}")
        assert isinstance(reply, RegistersRead), "a read is answered by one of the two"
        values, qualities = decoder.decode(reply.blocks)
        bad = [
            f"{register.name} has {_why_bad(register, value)}"
            for register, value, quality in zip(registers, values, qualities, strict=False)
            if quality is not Quality.GOOD
        ]
        if bad:
            raise BadValueError(f"{self}: {'; '.join(bad)}")
        return dict(zip(decoder.names, values, strict=True))

    async def readings(self, *names: str, max_age_s: float = 0.0) -> dict[str, Reading]:
        """Read registers and tell of each one how that went.

        A register that is refused, lost or without a value does not spoil the others, and what got
        lost is asked for once more.

        Args:
            names: of the map.
            max_age_s: as of ``read``; each reading says when it was read.

        Returns:
            A reading for every name, in the order asked.

        Raises:
            UnknownRegisterError: a KeyError; names that the map does not have, all at once.
            BusError: not one of them could be read; this is what the first met with.
        """
        registers = self._select(names)
        spans = _spans_of(registers)
        replies: dict[Span, BusReply] = {}
        wanted = spans
        for _ in range(TRIES):
            async with trio.open_nursery() as nursery:  # Together, so that the bus can merge them.
                for span in wanted:
                    nursery.start_soon(self._read_span, span, max_age_s, replies)
            wanted = tuple(span for span in spans if _is_lost(replies[span]))
            if not wanted or not any(isinstance(each, RegistersRead) for each in replies.values()):
                break
        failed = [reply for reply in replies.values() if isinstance(reply, ReadFailed)]
        if failed and len(failed) == len(replies):
            raise bus_error(failed[0].kind, f"{self}: {failed[0].text}")
        return self._readings_of(registers, replies)

    async def write(
        self,
        values: Mapping[str, Value] | None = None,
        /,
        *,
        why: str,
        who: str = "library",
        ordered: bool = False,
        verify: bool = False,
        force: bool = False,
        **named: Value,
    ) -> tuple[WriteRecorded, ...]:
        """Write registers; neighbours go together in one write, and nothing between is touched.

        Nothing is sent unless every value fits its register and may be written now: the gate of all
        writes (docs/writes.md) counts what wears the device. Nothing is ever sent twice.

        Args:
            values: by name, in the registers' units; for names that are no keywords.
            why: the reason, for the ledger of writes.
            who: whoever wants it, for the same.
            ordered: keep the order given; else the order is that of tables and addresses.
            verify: leave out what the device holds already, and read back what was written.
            force: the least interval between two writes and the yearly budget do not count.
            named: more values by name.

        Returns:
            What became of each register.

        Raises:
            UnknownRegisterError: a KeyError; names that the map does not have, all at once.
            EncodeError: a value does not fit, or the register is not to be written.
            NotAllowedError: it was written too soon before, or too often this year.
            NotTakenError: with ``verify``: the device acknowledged but holds something else.
            BusError: the device refused, or did not acknowledge: then it may have taken it or not.
        """
        wanted = {**(values or {}), **named}
        scales = [each.scale_by.name for each in self._select(wanted) if each.scale_by is not None]
        self.plan_writes(
            wanted, why=why, who=who, ordered=ordered, exponents=await self.read(*scales)
        )
        reply = await self._gate.set(
            SetRegisters(
                str(self),
                tuple(wanted.items()),
                trio.current_time() + WRITE_PATIENCE_S,
                who,
                why,
                is_ordered=ordered,
                may_guarded=True,
                is_forced=force,
                verifies=verify,
            )
        )
        if reply.reason:
            raise self._failure(reply)
        return reply.records

    def _failure(self, reply: RegistersSet) -> GrugError:
        """What a request that was not carried out is to its caller."""
        for record in reply.records:
            if record.kind is not None:
                return bus_error(record.kind, f"{self}: {reply.reason}")
        wrong = [
            f"{record.register} is {show_value(self.map[record.register], record.read_back)}, "
            f"not {show_value(self.map[record.register], record.new)}"
            for record in reply.records
            if record.state is WriteState.REFUSED and record.read_back is not None
        ]
        if wrong:
            return NotTakenError(f"{self}: {'; '.join(wrong)}")
        return NotAllowedError(f"{self}: {reply.reason}")

    async def write_bits(
        self,
        name: str,
        bits: Mapping[str, bool],
        /,
        *,
        why: str,
        who: str = "library",
        verify: bool = False,
        force: bool = False,
    ) -> tuple[WriteRecorded, ...]:
        """Write some bits of a bit field; the others stay as they are.

        Where the device has function 22 it does that itself. Elsewhere the register is read and
        written back, with nothing on the line in between; a bit that the device itself changes in
        these few milliseconds is lost. If it cannot be read nothing is written.

        Args:
            name: of a register with labelled bits in the map.
            bits: by label, whether it shall hold.
            why: as of ``write``, like the three after it.
            who: likewise.
            verify: likewise.
            force: likewise.

        Returns:
            What became of the register.

        Raises:
            UnknownRegisterError: a KeyError; the map has no such register.
            EncodeError: the register has no such label, or is not to be written.
            NotAllowedError: as of ``write``.
            NotTakenError: with ``verify``: the device acknowledged but holds something else.
            BusError: as of ``write``.
        """
        request = self.plan_bits(name, bits, why=why, who=who).request
        number, mask = (value_of(self.map[name], block) for block in (request.block, request.mask))
        reply = await self._gate.set(
            SetRegisters(
                str(self),
                ((name, number),),
                request.deadline_s,
                who,
                why,
                masks=((name, int(mask)),),
                may_guarded=True,
                is_forced=force,
                verifies=verify,
            )
        )
        if not reply.reason:
            return reply.records
        failure = self._failure(reply)
        if isinstance(failure, NotTakenError):
            held = self.map[name].labels_of(reply.records[0].read_back or 0)
            wrong = [label for label, holds in bits.items() if holds != (label in held)]
            raise NotTakenError(f"{self}: {name}: not taken: {', '.join(wrong)}")
        raise failure

    async def change(
        self,
        values: Mapping[str, Value],
        masks: Mapping[str, int] | None = None,
        *,
        why: str,
        who: str = "library",
        ordered: bool = False,
        force: bool = False,
        dry_run: bool = False,
    ) -> tuple[WriteRecorded, ...]:
        """Bring registers to values: what they hold already is not written, the rest read back.

        Args:
            values: by name, in the registers' units.
            masks: of some of them, the bits that are meant; the others stay as they are.
            why: as of ``write``, like those that follow.
            who: likewise.
            ordered: likewise; each step is seen to be taken before the next is sent.
            force: likewise.
            dry_run: send nothing; the records say what would be.

        Returns:
            What became of each register.

        Raises:
            UnknownRegisterError: a KeyError; names that the map does not have, all at once.
            NotAllowedError: a value does not fit, or it must not be written now.
            NotTakenError: the device acknowledged but holds something else.
            BusError: as of ``write``.
        """
        self.check(values)
        reply = await self._gate.set(
            SetRegisters(
                str(self),
                tuple(values.items()),
                trio.current_time() + WRITE_PATIENCE_S,
                who,
                why,
                masks=tuple((masks or {}).items()),
                is_ordered=ordered,
                may_guarded=True,
                is_forced=force,
                is_dry_run=dry_run,
            )
        )
        if reply.reason:
            raise self._failure(reply)
        return reply.records

    def plan_writes(
        self,
        values: Mapping[str, Value],
        *,
        why: str,
        who: str = "library",
        ordered: bool = False,
        exponents: Mapping[str, Value] | None = None,
    ) -> tuple[JoinedWrite, ...]:
        """The writes that ``write`` would send, in order.

        Args:
            values: by name, in the registers' units.
            why: as of ``write``, like the two after it.
            who: likewise.
            ordered: likewise.
            exponents: values of the registers that scale others, as read just now.

        Raises:
            UnknownRegisterError: a KeyError; names that the map does not have, all at once.
            EncodeError: a value does not fit, or the register is not to be written.
        """
        deadline_s = trio.current_time() + WRITE_PATIENCE_S
        writes = []
        for register in self._select(values):
            if register.name not in values:
                raise EncodeError(f"{register.name} is part of an array: write its registers")
            factor = register.scale_by
            if factor is not None and exponents and factor.name in exponents:
                register = register.at_exponent(int(exponents[factor.name]))
            request = make_write(
                register,
                values[register.name],
                unit_id=self.unit_id,
                who=who,
                why=why,
                deadline_s=deadline_s,
            )
            writes.append((register, request))
        return join_writes(writes, self.map.facts.write_words_max, ordered=ordered)

    def plan_bits(
        self, name: str, bits: Mapping[str, bool], *, why: str, who: str = "library"
    ) -> JoinedWrite:
        """The write that ``write_bits`` would send.

        Raises:
            UnknownRegisterError: a KeyError; the map has no such register.
            EncodeError: the register has no such label, or is not to be written.
        """
        (register,) = self._select((name,))
        deadline_s = trio.current_time() + WRITE_PATIENCE_S
        unit_id = self.unit_id
        request = make_bits_write(
            register, bits, unit_id=unit_id, who=who, why=why, deadline_s=deadline_s
        )
        return JoinedWrite(request, (register,))

    async def _read_span(self, span: Span, max_age_s: float, replies: dict[Span, BusReply]) -> None:
        replies[span] = await self._ask(
            ReadRegisters(self.unit_id, (span,), math.inf, Priority.BACKGROUND, max_age_s=max_age_s)
        )

    def _readings_of(
        self, registers: Sequence[Register], replies: Mapping[Span, BusReply]
    ) -> dict[str, Reading]:
        """Sort out what was read and what was not."""
        lost = {
            register.name: reply.text
            for register in registers
            for span in _spans_of((register,))
            if isinstance(reply := replies[span], ReadFailed)
        }
        decoder = self._decoder(tuple(each for each in registers if each.name not in lost))
        read = [reply for span in decoder.runs if isinstance(reply := replies[span], RegistersRead)]
        values, qualities = decoder.decode([reply.blocks[0] for reply in read])
        times_s = {span: reply.read_s for span, reply in zip(decoder.runs, read, strict=True)}
        known = {}
        for at, register in enumerate(decoder.registers):
            read_s = times_s[register.span]
            if qualities and qualities[at] is not Quality.GOOD:
                problem = _why_bad(register, values[at])
                known[register.name] = Reading(register, None, qualities[at], read_s, problem)
            else:
                known[register.name] = Reading(register, values[at], Quality.GOOD, read_s)
        return {
            each.name: known[each.name] if each.name in known else missing(each, lost[each.name])
            for each in registers
        }

    def _select(self, names: Iterable[str]) -> tuple[Register, ...]:
        """Registers of these names, each once; an array's name stands for all of it."""
        known = (*self.map.registers, *self.map.arrays)
        wanted = tuple(names)
        unknown = [name for name in wanted if name not in known]
        if unknown:
            model = self.map.model
            raise UnknownRegisterError(
                "\n".join(
                    f"{model} has no register {name!r}{did_you_mean(name, known)}"
                    for name in unknown
                )
            )
        return tuple(dict.fromkeys(self.map.select(wanted)))

    def _decoder(self, registers: tuple[Register, ...]) -> BlockDecoder:
        names = tuple(register.name for register in registers)
        decoder = self._decoders.get(names)
        if decoder is None:
            if len(self._decoders) >= DECODERS_MAX:
                self._decoders.clear()
            decoder = self._decoders[names] = BlockDecoder(registers, _spans_of(registers))
        return decoder


def _spans_of(registers: Iterable[Register]) -> tuple[Span, ...]:
    """What has to be read: each register by itself, so that the bus may merge and split at will."""
    spans: dict[Span, None] = {}
    for register in registers:
        spans[register.span] = None
        if register.scale_by is not None:
            spans[register.scale_by.span] = None
    return tuple(spans)


def _why_bad(register: Register, raw: Value) -> str:
    is_nothing = isinstance(raw, float) and not math.isfinite(raw)
    if is_nothing or (isinstance(raw, int) and raw in register.invalid):
        return f"no value (the device says {raw})"
    return f"no plausible value (the device says {raw!r})"


def _is_lost(reply: BusReply) -> bool:
    """Whether asking again may help."""
    lost = (FailureKind.NO_REPLY, FailureKind.GARBLED)
    return isinstance(reply, ReadFailed) and reply.kind in lost
