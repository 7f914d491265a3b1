"""A device as a library user sees it: registers by name, read and written in few transactions."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec
import trio

from grug.codec.block import BlockDecoder
from grug.codec.hints import did_you_mean
from grug.codec.image import RegisterImage
from grug.codec.registers import Access, Register, RegisterMap
from grug.device.readings import Reading, missing, show_value
from grug.device.writes import JoinedWrite, join_writes
from grug.errors import (
    BadValueError,
    EncodeError,
    NotTakenError,
    UnknownRegisterError,
    bus_error,
)
from grug.messages import ReadFailed, ReadRegisters, RegistersRead, WriteDone, WriteFailed
from grug.model import FailureKind, Priority, Quality, Span, Value
from grug.runtime.calls import BusReply, BusRequest
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
    ) -> None:
        """Make one; nothing is sent."""
        self.map = register_map
        self.unit_id = unit_id
        self._line_name = line_name
        self._ask = ask
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

    async def read(self, *names: str) -> dict[str, Value]:
        """Read registers, of whatever kinds and tables, in the fewest transactions.

        Args:
            names: of the map.

        Returns:
            Values in the registers' units, by name, in the order asked; all of them good.

        Raises:
            UnknownRegisterError: a KeyError; names that the map does not have, all at once.
            BadValueError: the device has no value for a register, or an implausible one.
            BusError: the device did not answer, or refused; the class says which.
        """
        registers = self._select(names)
        if not registers:
            return {}
        decoder = self._decoder(registers)
        reply = await self._ask(ReadRegisters(self.unit_id, decoder.runs, math.inf))
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

    async def readings(self, *names: str) -> dict[str, Reading]:
        """Read registers and tell of each one how that went.

        A register that is refused, lost or without a value does not spoil the others, and what got
        lost is asked for once more.

        Args:
            names: of the map.

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
                    nursery.start_soon(self._read_span, span, replies)
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
        **named: Value,
    ) -> None:
        """Write registers; neighbours go together in one write, and nothing between is touched.

        Nothing is sent unless every value fits its register. Nothing is ever sent twice.

        Args:
            values: by name, in the registers' units; for names that are no keywords.
            why: the reason, for the ledger of writes.
            who: whoever wants it, for the same.
            ordered: keep the order given; else the order is that of tables and addresses.
            verify: read back what was written.
            named: more values by name.

        Raises:
            UnknownRegisterError: a KeyError; names that the map does not have, all at once.
            EncodeError: a value does not fit, or the register is not to be written.
            NotTakenError: with ``verify``: the device acknowledged but holds something else.
            BusError: the device refused, or did not acknowledge: then it may have taken it or not.
        """
        wanted = {**(values or {}), **named}
        scales = [each.scale_by.name for each in self._select(wanted) if each.scale_by is not None]
        writes = self.plan_writes(
            wanted, why=why, who=who, ordered=ordered, exponents=await self.read(*scales)
        )
        unverified = []
        for at, write in enumerate(writes):
            reply = await self._ask(msgspec.structs.replace(write.request, reads_back=verify))
            if isinstance(reply, WriteFailed):
                raise bus_error(reply.kind, f"{self}: {_stopped(writes, at, reply)}")
            # What came back at once may be what was there before: only the same is a proof.
            if not isinstance(reply, WriteDone) or reply.read_back != write.request.block:
                unverified.append(write)
        if verify and unverified:
            await self._verify(unverified)

    async def write_bits(
        self,
        name: str,
        bits: Mapping[str, bool],
        /,
        *,
        why: str,
        who: str = "library",
        verify: bool = False,
    ) -> None:
        """Write some bits of a bit field; the others stay as they are.

        Where the device has function 22 it does that itself. Elsewhere the register is read and
        written back, with nothing on the line in between; a bit that the device itself changes in
        these few milliseconds is lost. If it cannot be read nothing is written.

        Args:
            name: of a register with labelled bits in the map.
            bits: by label, whether it shall hold.
            why: as of ``write``, like the two after it.
            who: likewise.
            verify: likewise.

        Raises:
            UnknownRegisterError: a KeyError; the map has no such register.
            EncodeError: the register has no such label, or is not to be written.
            NotTakenError: with ``verify``: the device acknowledged but holds something else.
            BusError: as of ``write``.
        """
        write = self.plan_bits(name, bits, why=why, who=who)
        reply = await self._ask(write.request)
        if isinstance(reply, WriteFailed):
            raise bus_error(reply.kind, f"{self}: {_stopped((write,), 0, reply)}")
        if verify:
            (register,) = write.registers
            held = register.labels_of((await self.read(name))[name])
            wrong = [label for label, holds in bits.items() if holds != (label in held)]
            if wrong:
                raise NotTakenError(f"{self}: {name}: not taken: {', '.join(wrong)}")

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

    async def _verify(self, writes: Sequence[JoinedWrite]) -> None:
        spans = tuple(write.span for write in writes)
        reply = await self._ask(ReadRegisters(self.unit_id, spans, math.inf))
        if isinstance(reply, ReadFailed):
            raise bus_error(reply.kind, f"{self}: written, but not read back: {reply.text}")
        assert isinstance(reply, RegistersRead), "a read is answered by one of the two"
        wrong = []
        for write, block in zip(writes, reply.blocks, strict=True):
            if block == write.request.block:
                continue
            span = (write.span,)
            was = BlockDecoder(write.registers, span).decode((write.request.block,))[0]
            now = BlockDecoder(write.registers, span).decode((block,))[0]
            wrong += [
                f"{register.name} is {show_value(register, holds)}, "
                f"not {show_value(register, written)}"
                for register, written, holds in zip(write.registers, was, now, strict=True)
                if written != holds
            ]
        if wrong:
            raise NotTakenError(f"{self}: {'; '.join(wrong)}")

    async def _read_span(self, span: Span, replies: dict[Span, BusReply]) -> None:
        replies[span] = await self._ask(
            ReadRegisters(self.unit_id, (span,), math.inf, Priority.BACKGROUND)
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


def _stopped(writes: Sequence[JoinedWrite], at: int, failed: WriteFailed) -> str:
    """What a failed write left done and undone."""
    text = f"{writes[at].names}: {failed.text}"
    if failed.kind in (FailureKind.NO_REPLY, FailureKind.GARBLED):
        text += "; whether it was taken is unknown"
    if at:
        text += f"; written before: {', '.join(write.names for write in writes[:at])}"
    if at + 1 < len(writes):
        text += f"; not written: {', '.join(write.names for write in writes[at + 1 :])}"
    return text
