"""The gate: every write to a device passes here, and what became of it is in the ledger.

A request goes through in five steps: read what the registers hold; decide about each
(``grug.control.writes``), and send nothing unless all may be written; note in the ledger what is
about to be sent, where writing wears something; send, neighbours together; read back and judge.
A register is never sent a second time because an acknowledgement is missing.

Owns:  the locks of the units: one request at a time each; what is known of written registers
Never: sends what ``decide`` refused; raises for a device or line that fails
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import trio

from grug.codec.hints import did_you_mean
from grug.codec.registers import Register, RegisterMap
from grug.control.writes import Past, WriteRules, judge_later, next_look_s, over_budget
from grug.errors import StorageError
from grug.messages import (
    GetRegisters,
    ReadFailed,
    ReadRegisters,
    RegistersGot,
    RegistersRead,
    RegistersSet,
    SetRegisters,
    WriteFailed,
    WriteRecorded,
)
from grug.model import FailureKind, Priority, Value, WriteState
from grug.runtime.calls import BusReply, BusRequest
from grug.runtime.clock import WallClock
from grug.runtime.steps import Step, shown, value_of
from grug.runtime.transaction import Transaction
from grug.storage.ledger import ROUTINE_MS, Ledger, LedgerBook, LedgerEntry

REFUSALS_MS = 60_000
"""Refusals of one register are kept no more often: whoever asks in a loop fills no disk."""
LOOK_PATIENCE_S = 30.0
"""How long a later look may wait for a busy line."""
OVERDUE_S = 2.0
"""A bus that has not answered so long after the deadline never will."""

_SENT = (WriteState.APPLIED, WriteState.PENDING)


@dataclass(frozen=True, slots=True)
class GateUnit:
    """One device behind the gate."""

    device: str
    """Its name, for people."""
    key: str
    """What the ledger counts by: the same for the same device, however it is called."""
    unit_id: int
    register_map: RegisterMap
    ask: Callable[[BusRequest], Awaitable[BusReply]]

    async def ask_in_time(self, request: BusRequest) -> BusReply:
        """Ask the bus; one that never answers is a line that is down."""
        with trio.move_on_at(request.deadline_s + OVERDUE_S):
            return await self.ask(request)
        now_s, kind, text = trio.current_time(), FailureKind.LINE_DOWN, "no answer from the bus"
        if isinstance(request, ReadRegisters):
            return ReadFailed(kind, text, now_s)
        return WriteFailed(self.device, request, kind, text, now_s)


def unit_key(port: str, unit_id: int) -> str:
    """What the ledger counts a device's writes by, in a house and without one."""
    return f"{port}#{unit_id}"


@dataclass(slots=True)
class Written:
    """A register that was written, and is looked at again."""

    step: Step
    request: SetRegisters
    state: WriteState
    sent_s: float
    look_s: float
    keep_s: float = 0.0
    """When the ledger takes another line of what is seen later."""
    pause_s: float = REFUSALS_MS / 1000.0
    """How long after a line: what comes and goes all day shall not fill the disk."""


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
        self.rules = rules
        self.problem = ledger.problem
        self.is_recorded = not ledger.problem
        """Whether the ledger took the last entry."""
        self._ledger = ledger
        self._book = LedgerBook(ledger.entries())
        self._wall = wall
        self._publish = publish
        self._locks: dict[str, trio.Lock] = {}
        """By key: a device that has two names is one device."""
        self._sent_s: dict[tuple[str, str], float] = {}
        self._written: dict[str, dict[str, Written]] = {}
        """By device and register."""
        self._kept: dict[tuple[str, str], LedgerEntry] = {}
        """By unit and register: the last line in the ledger."""
        self._uncounted: dict[tuple[str, str], int] = {}
        """Writes since then that have none."""
        self._told: dict[tuple[str, str], tuple[bool, Value]] = {}
        self._ids = 0
        self._begun_s: float | None = None
        self._begun_ms = 0
        for unit in units:
            self.add(unit)

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
            return await Transaction(self, unit, request).carry_out()

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

    # What transactions need

    def past(self, unit: GateUnit, register: str, promised: Sequence[str] = ()) -> Past:
        """What the ledger says of a register.

        Args:
            unit: the device.
            register: of it.
            promised: registers that wear and will be sent before it, by the same request.
        """
        now_s = trio.current_time()
        now_ms = self._wall.utc_ms(now_s)
        return Past(
            self._last_sent_s(unit, register, now_s),
            self._book.in_year(unit.key, register, now_ms) + promised.count(register),
            self._book.unit_in_year(unit.key, now_ms) + len(promised),
            self.is_recorded,
        )

    def overdrawn(self, unit: GateUnit, register: str) -> str:
        """Why what was noted must not be sent after all, or an empty text.

        Another process may have noted something between the decision and the note. Each sees the
        notes before its own, so that whoever comes first may send.
        """
        now_ms = self._wall.utc_ms(trio.current_time())
        in_year = self._book.in_year(unit.key, register, now_ms) - 1
        device = self._book.unit_in_year(unit.key, now_ms) - 1
        return over_budget(self.rules, in_year, device)

    def _last_sent_s(self, unit: GateUnit, register: str, now_s: float) -> float | None:
        """When it was sent last, by this process or an earlier one.

        The wall's clock is believed as far as it can be: a time in the future counts as the moment
        at which this process began.
        """
        if (sent_s := self._sent_s.get((unit.key, register))) is not None:
            return sent_s
        if self._begun_s is None:
            self._begun_s, self._begun_ms = now_s, self._wall.utc_ms(now_s)
        last = self._book.last(unit.key, register)
        if last is None:
            return None
        return self._begun_s - max(0.0, (self._begun_ms - last.utc_ms) / 1000.0)

    def new_id(self) -> str:
        """A name for one write, unlike any other in the ledger."""
        self._ids += 1
        return f"{self._wall.utc_ms(trio.current_time())}-{self._ids}-{os.getpid()}"

    def about_to_send(self, unit: GateUnit, step: Step) -> None:
        """Note when a register is sent."""
        self._sent_s[unit.key, step.register.name] = trio.current_time()

    async def record(
        self, unit: GateUnit, step: Step, record: WriteRecorded, *, sends: int = 1
    ) -> bool:
        """Put one line into the ledger; False when it cannot be kept."""
        wears = step.target.wears
        entry = LedgerEntry(
            step.id,
            self._wall.utc_ms(trio.current_time()),
            unit.key,
            unit.device,
            record.register,
            record.who,
            record.why,
            record.new,
            record.state,
            record.reason,
            old=record.old,
            read_back=record.read_back,
            unit_of=step.register.unit,
            wears=wears,
            sends=sends,
            per_year=self.rules.per_year if wears else 0,
        )
        self._book.take(entry)
        key = (unit.key, record.register)
        if not self._is_worth_a_line(key, entry):
            self._uncounted[key] = self._uncounted.get(key, 0) + sends
            return self.is_recorded
        if not wears:
            entry = msgspec.structs.replace(entry, sends=sends + self._uncounted.pop(key, 0))
        self._kept[key] = entry
        try:
            others = await self._ledger.add(entry, is_durable=wears)
        except StorageError:
            self.is_recorded = False
        else:
            self.is_recorded = True
            self._take_others(others)
        return self.is_recorded

    def _take_others(self, entries: Sequence[LedgerEntry]) -> None:
        """Count what other processes have noted meanwhile, as if it were of this moment."""
        for entry in entries:
            if self._book.take(entry) and entry.wears and entry.sends:
                self._sent_s[entry.unit, entry.register] = trio.current_time()

    def _is_worth_a_line(self, key: tuple[str, str], entry: LedgerEntry) -> bool:
        """Whether it is more than the routine of a register in RAM, or of a refused asker."""
        last = self._kept.get(key)
        if last is None or (entry.wears and entry.sends) or entry.id == last.id:
            return True
        is_like_it = (entry.state, entry.who, bool(entry.sends)) == (
            last.state,
            last.who,
            bool(last.sends),
        )
        pause_ms = ROUTINE_MS if entry.sends else REFUSALS_MS
        return not is_like_it or not 0 <= entry.utc_ms - last.utc_ms < pause_ms

    def publish(self, record: WriteRecorded, *, is_routine: bool = False) -> None:
        """Tell everybody; of what is sent again and again only what is new."""
        key, told = (record.device, record.register), (record.state in _SENT, record.new)
        if not is_routine or self._told.get(key) != told:
            self._publish(record)
        self._told[key] = told

    # Later looks

    def watch(self, unit: GateUnit, step: Step, request: SetRegisters, state: WriteState) -> None:
        """Compare later readings of a written register with it."""
        if not step.stays:
            return
        now_s = trio.current_time()
        written = Written(step, request, state, now_s, next_look_s(now_s, now_s))
        self._written.setdefault(unit.device, {})[step.register.name] = written

    def forget(self, unit: GateUnit, register: str) -> None:
        """It is being written anew."""
        self._written.get(unit.device, {}).pop(register, None)

    def last_written(self, unit: GateUnit, register: str) -> Written | None:
        """What is known of a register that was written in this process."""
        return self._written.get(unit.device, {}).get(register)

    def differs(self, device: str, names: Sequence[str], values: Sequence[Value]) -> bool:
        """Whether readings of a device say something new of a register that was written."""
        watched = self._written.get(device)
        if not watched:
            return False
        for name, written in watched.items():
            if name in names:
                is_new = written.step.holds_value(values[names.index(name)])
                is_open = written.state is WriteState.PENDING
                if is_open or is_new is not (written.state is WriteState.APPLIED):
                    return True
        return False

    async def take_values(
        self, device: str, names: Sequence[str], values: Sequence[Value], read_s: float
    ) -> None:
        """Judge registers that were written by what was read later.

        What was read while a write was under way says nothing; that write has its own looks.
        """
        unit = self.units[device]
        if self._locks[unit.key].locked():
            return
        for name, written in list(self._written.get(device, {}).items()):
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
        self.publish(record)
        now_s = trio.current_time()
        if now_s >= written.keep_s:
            written.keep_s = now_s + written.pause_s
            written.pause_s *= 2
            await self.record(unit, step, record)

    def next_look_s(self) -> float:
        """When the next written register is to be looked at."""
        return min(
            (each.look_s for written in self._written.values() for each in written.values()),
            default=trio.current_time() + LOOK_PATIENCE_S,
        )

    async def look(self) -> None:
        """Read the registers that are due, and judge them."""
        now_s = trio.current_time()
        for device, watched in list(self._written.items()):
            due = [each for each in watched.values() if each.look_s <= now_s]
            for each in due:
                each.look_s = next_look_s(each.sent_s, now_s)
            if due:
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
