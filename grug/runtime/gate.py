"""The gate: every write to a device passes here, and what became of it is in the ledger.

A request goes through in five steps: read what the registers hold; decide about each
(``grug.control.writes``), and send nothing unless all may be written; note in the ledger what is
about to be sent, where writing wears something; send, neighbours together; read back and judge.
A register is never sent a second time because an acknowledgement is missing.

Owns:  the locks of the units: one request at a time each; what is known of written registers
Never: sends what ``decide`` refused; raises for a device or line that fails
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import trio

from grug.codec.hints import did_you_mean
from grug.codec.registers import Register
from grug.control.writes import WriteRules, judge_later
from grug.messages import (
    GetRegisters,
    ReadFailed,
    ReadRegisters,
    RegistersGot,
    RegistersRead,
    RegistersSet,
    SetRegisters,
    WriteRecorded,
)
from grug.model import Priority, Value
from grug.runtime.bookkeeping import Bookkeeper
from grug.runtime.clock import WallClock
from grug.runtime.gate_unit import GateUnit
from grug.runtime.steps import shown, value_of
from grug.runtime.transaction import Transaction
from grug.runtime.watching import LOOK_PATIENCE_S, Watching, Written
from grug.storage.ledger import Ledger


class Gate:
    """All devices of a house, or one of a library's user."""

    def __init__(
        self,
        units: Iterable[GateUnit],
        *,
        rules: WriteRules,
        ledger: Ledger,
        wall: WallClock,
        publish: Callable[[WriteRecorded], None],
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            units: the devices.
            rules: what the house allows.
            ledger: with what was written before.
            wall: for the ledger's times.
            publish: gets whatever is told of a written register, at once and later.
        """
        self.units: dict[str, GateUnit] = {}
        self.problem = ledger.problem
        self._book = Bookkeeper(rules, ledger, wall, publish)
        self._watching = Watching()
        self._locks: dict[str, trio.Lock] = {}
        """By key: a device that has two names is one device."""
        for unit in units:
            self.add(unit)

    @property
    def is_recorded(self) -> bool:
        """Whether the ledger took the last entry."""
        return self._book.is_recorded

    def add(self, unit: GateUnit) -> None:
        """One more device; again, in place of one of that name."""
        self.units[unit.device] = unit
        self._locks.setdefault(unit.key, trio.Lock())

    async def set(self, request: SetRegisters) -> RegistersSet:
        """Bring registers to the values wanted, or say why not."""
        unit = self.units.get(request.device)
        if unit is None:
            return RegistersSet((), self._no_device(request.device))
        async with self._locks[unit.key]:
            return await Transaction(self._book, self._watching, unit, request).carry_out()

    async def get(self, request: GetRegisters) -> RegistersGot:
        """Say what registers hold, without a write in between."""
        unit = self.units.get(request.device)
        if unit is None:
            return RegistersGot((), self._no_device(request.device))
        known = unit.register_map.registers
        unknown = [
            f"{unit.device} has no register {name!r}{did_you_mean(name, known)}"
            for name in request.names
            if name not in known
        ]
        if unknown or not request.names:
            return RegistersGot((), "; ".join(unknown) or "no register is named")
        registers = [known[name] for name in request.names]
        spans = tuple(register.span for register in registers)
        async with self._locks[unit.key]:
            reply = await unit.ask_in_time(
                ReadRegisters(
                    unit.unit_id,
                    spans,
                    request.deadline_s,
                    Priority.NORMAL,
                    request.who,
                    is_partial=True,
                )
            )
        if isinstance(reply, RegistersRead):
            values = _values_of(registers, reply.blocks)
            return RegistersGot(tuple(values.get(name) for name in request.names), "")
        assert isinstance(reply, ReadFailed), "a read is answered by one of the two"
        return RegistersGot((), f"{unit.device}: {reply.text}")

    def _no_device(self, name: str) -> str:
        known = ", ".join(self.units)
        return f"there is no device {name!r}; there are {known}"

    # Later looks

    async def take_values(
        self, device: str, names: Sequence[str], values: Sequence[Value], read_s: float
    ) -> None:
        """Judge registers that were written by what was read later.

        What was read while a write was under way says nothing; that write has its own looks.
        """
        unit = self.units[device]
        if self._locks[unit.key].locked():
            return
        for name, written in self._watching.of_device(device):
            if name in names and read_s > written.sent_s:
                await self._judge_later(unit, written, values[names.index(name)])

    async def _judge_later(self, unit: GateUnit, written: Written, value: Value) -> None:
        step = written.step
        found = judge_later(written.state, step.holds_value(value), shown(step.register, value))
        if found is None:
            return
        written.state = found.state
        record = WriteRecorded(
            unit.device,
            step.register.name,
            written.request.who,
            written.request.why,
            step.value,
            step.old_value,
            value,
            found.state,
            found.reason,
            trio.current_time(),
        )
        self._book.publish(record)
        now_s = trio.current_time()
        if now_s >= written.keep_s:
            written.keep_s = now_s + written.pause_s
            written.pause_s *= 2
            await self._book.record(unit, step, record)

    def differs(self, device: str, names: Sequence[str], values: Sequence[Value]) -> bool:
        """Whether readings of a device say something new of a register that was written."""
        return self._watching.differs(device, names, values)

    def next_look_s(self) -> float:
        """When the next written register is to be looked at."""
        return self._watching.next_look_s()

    async def look(self) -> None:
        """Read the registers that are due, and judge them."""
        for device, due in self._watching.due():
            await self._look_at(self.units[device], due)

    async def _look_at(self, unit: GateUnit, due: Sequence[Written]) -> None:
        registers = [each.step.register for each in due]
        spans = tuple(register.span for register in registers)
        deadline_s = trio.current_time() + LOOK_PATIENCE_S
        reply = await unit.ask_in_time(
            ReadRegisters(
                unit.unit_id, spans, deadline_s, Priority.BACKGROUND, "gate", is_partial=True
            )
        )
        if isinstance(reply, RegistersRead):
            values = _values_of(registers, reply.blocks)
            await self.take_values(unit.device, list(values), list(values.values()), reply.read_s)


def _values_of(registers: Sequence[Register], blocks: Sequence[bytes]) -> Mapping[str, Value]:
    return {
        register.name: value_of(register, block)
        for register, block in zip(registers, blocks, strict=True)
        if block
    }
