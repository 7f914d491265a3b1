"""The gate before every write: units that obey, ignore, lag, revert, refuse, and say nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pump import PUMP, Clock, Watched, open_cellar

from grug.codec.image import RegisterImage
from grug.codec.registers import RegisterMap, Storage
from grug.control.writes import WriteRules
from grug.errors import StorageError
from grug.messages import (
    RegistersSet,
    SetRegisters,
    WriteRecorded,
    decode_message,
    encode_message,
)
from grug.model import Value, WriteState
from grug.protocol.server import ServerRequest
from grug.runtime.clock import WallClock
from grug.runtime.gate import Gate
from grug.runtime.gate_unit import GateUnit
from grug.sim.faults import SimFaults, parse_fault
from grug.sim.line import SimLine
from grug.storage.ledger import LedgerEntry, MemoryLedger


def known_as(name: str, **more: object) -> RegisterMap:
    """The pump's map with one register changed."""
    registers = dict(PUMP.registers)
    registers[name] = replace(registers[name], **more)  # type: ignore[arg-type]
    return replace(PUMP, registers=registers)


WORN = known_as("limit", storage=Storage.UNKNOWN)
RULES = WriteRules(interval_s=10.0, per_year=5, device_per_year=100)


class Pump(Watched):
    """A pump with a fault of its own: what becomes of a write."""

    def __init__(self, obeys: Callable[[Pump, ServerRequest, bytes], None] | None = None) -> None:
        super().__init__(7, RegisterImage(PUMP))
        self._obeys = obeys

    def answer(self, request: ServerRequest, now_s: float) -> bytes | None:
        before = self.image.read(request.table, 0, 40) if request.block else None
        reply = super().answer(request, now_s)
        if before is not None and self._obeys is not None:
            self._obeys(self, request, before)
        return reply


@dataclass
class Cellar:
    """A gate with a pump behind it."""

    unit: Watched
    gate: Gate
    ledger: MemoryLedger
    told: list[WriteRecorded] = field(default_factory=list)

    async def set(self, *values: tuple[str, Value], **more: object) -> RegistersSet:
        more.setdefault("deadline_s", trio.current_time() + 10.0)
        return await self.gate.set(
            SetRegisters("pump", values, who="me", why="test", may_guarded=True, **more)
        )

    @property
    def states(self) -> list[str]:
        return [record.state.value for record in self.told]


@asynccontextmanager
async def cellar(
    unit: Watched | None = None,
    known: RegisterMap = PUMP,
    ledger: MemoryLedger | None = None,
    fault: str = "",
    rules: WriteRules = RULES,
) -> AsyncIterator[Cellar]:
    unit = unit or Pump()
    faults = SimFaults(1, origin_s=trio.current_time())
    line = SimLine("cellar", {"pump": unit}, faults=faults)
    if fault:
        faults.add(parse_fault(fault))
    ledger = ledger or MemoryLedger()
    told: list[WriteRecorded] = []
    async with open_cellar(line) as bus:
        gate = Gate(
            [GateUnit("pump", "cellar#7", 7, known, bus.ask)],
            rules=rules,
            ledger=ledger,
            wall=WallClock(1e9),
            publish=told.append,
        )
        yield Cellar(unit, gate, ledger, told)


async def test_a_write_is_read_before_and_after_and_kept(autojump_clock: Clock) -> None:
    async with cellar(known=WORN) as it:
        it.unit.image.set("limit", 40)
        done = await it.set(("limit", 50))
        assert done.is_applied
        assert it.unit.image.get("limit") == 50
        (record,) = it.told
        assert (record.old, record.new, record.read_back, record.state) == (40, 50, 50, "applied")
        (entry,) = it.ledger.entries()
        assert (entry.who, entry.why, entry.old, entry.new) == ("me", "test", 40, 50)
        assert (entry.state, entry.sends, entry.per_year) == ("applied", 1, 5)


async def test_what_is_held_already_is_not_sent_and_costs_nothing(autojump_clock: Clock) -> None:
    async with cellar(known=WORN) as it:
        it.unit.image.set("limit", 50)
        done = await it.set(("limit", 50))
        assert done.is_applied
        assert done.records[0].reason == "held already; nothing was sent"
        assert not it.unit.writes
        assert not it.ledger.entries()


async def test_acknowledged_and_ignored_is_refused_and_not_sent_again(
    autojump_clock: Clock,
) -> None:
    def ignore(unit: Pump, request: ServerRequest, before: bytes) -> None:
        unit.image.write(request.table, 0, before)

    async with cellar(Pump(ignore)) as it:
        done = await it.set(("mode", 3))
        assert done.reason == "acknowledged and ignored: it is still 0"
        assert it.states == ["refused"]
        assert len(it.unit.writes) == 1


async def test_a_reading_that_is_one_write_behind_does_not_make_a_second_write(
    autojump_clock: Clock,
) -> None:
    class Behind(Watched):
        """Shows what was written before the last write for two seconds."""

        def __init__(self) -> None:
            super().__init__(7, RegisterImage(PUMP))
            self._late: tuple[float, ServerRequest] | None = None

        def answer(self, request: ServerRequest, now_s: float) -> bytes | None:
            if self._late is not None and now_s > self._late[0] + 2.0:
                _, late = self._late
                self._late = None
                self.image.write(late.table, late.address, late.block)
            if request.is_read:
                return super().answer(request, now_s)
            before = self.image.read(request.table, 0, 40)
            reply = super().answer(request, now_s)
            assert before is not None
            self.image.write(request.table, 0, before)
            self._late = (now_s, request)
            return reply

    async with cellar(Behind()) as it:
        done = await it.set(("mode", 3))
        assert done.is_applied
        assert len(it.unit.writes) == 1


async def test_a_device_that_takes_it_later_is_seen_to(autojump_clock: Clock) -> None:
    def ignore(unit: Pump, request: ServerRequest, before: bytes) -> None:
        unit.image.write(request.table, 0, before)

    async with cellar(Pump(ignore)) as it:
        await it.set(("mode", 3))
        it.unit.image.set("mode", 3)
        await trio.sleep_until(it.gate.next_look_s())
        await it.gate.look()
        assert it.states == ["refused", "applied"]
        assert it.told[-1].reason == "seen later: it was refused before"


async def test_what_reverts_later_is_told_once(autojump_clock: Clock) -> None:
    async with cellar(known=WORN) as it:
        await it.set(("limit", 50))
        it.unit.image.set("limit", 7)
        for _ in range(3):
            await trio.sleep_until(it.gate.next_look_s())
            await it.gate.look()
        assert it.states == ["applied", "reverted"]
        assert it.told[-1].reason == "it is 7 now, and grug did not write that"
        assert [entry.state for entry in it.ledger.entries()] == ["reverted"]


async def test_polled_readings_show_reverts_without_a_question(autojump_clock: Clock) -> None:
    async with cellar() as it:
        await it.set(("mode", 3))
        asked = len(it.unit.requests)
        now_s = trio.current_time() + 1.0
        assert not it.gate.differs("pump", ("mode",), (3,))
        assert it.gate.differs("pump", ("mode",), (2,))
        await it.gate.take_values("pump", ("mode",), (2,), now_s)
        assert it.states == ["applied", "reverted"]
        assert not it.gate.differs("pump", ("mode",), (2,))
        assert len(it.unit.requests) == asked


async def test_a_refusing_device_is_asked_once(autojump_clock: Clock) -> None:
    unit = Pump()
    async with cellar(unit, known=WORN) as it:
        it.unit.refuses = {1}
        done = await it.set(("limit", 5), ("far", 1))
        assert "limit: exception 2 (illegal data address); not written: far" in done.reason
        assert len(unit.writes) == 1
        assert unit.image.get("far") == 0


async def test_a_device_that_never_replies_is_sent_nothing(autojump_clock: Clock) -> None:
    async with cellar(fault="pump:silent@0+100") as it:
        done = await it.set(("mode", 3))
        assert "nothing was sent" in done.reason
        assert not it.unit.writes


async def test_no_reply_to_a_write_is_looked_at_and_never_repeated(autojump_clock: Clock) -> None:
    async with cellar(known=WORN) as it:
        it.unit.image.set("limit", 40)

        answer = it.unit.answer

        def mute(request: ServerRequest, now_s: float) -> bytes | None:
            reply = answer(request, now_s)
            return reply if request.is_read else None

        it.unit.answer = mute  # type: ignore[method-assign]
        done = await it.set(("limit", 50))
        assert done.is_applied
        assert done.records[0].reason == "taken, though not said so"
        assert len(it.unit.writes) == 1
        assert [entry.sends for entry in it.ledger.entries()] == [1]


async def test_a_lost_write_that_was_not_taken_may_be_asked_for_again(
    autojump_clock: Clock,
) -> None:
    async with cellar() as it:
        answer = it.unit.answer

        def deaf(request: ServerRequest, now_s: float) -> bytes | None:
            return answer(request, now_s) if request.is_read else None

        it.unit.answer = deaf  # type: ignore[method-assign]
        done = await it.set(("mode", 3))
        assert "no acknowledgement, not taken: it is still 0" in done.reason
        it.unit.answer = answer  # type: ignore[method-assign]
        assert (await it.set(("mode", 3))).is_applied


async def test_one_bad_step_and_nothing_is_sent(autojump_clock: Clock) -> None:
    async with cellar() as it:
        for values, text in (
            ((("mode", 1), ("erase", 1)), "erase is not to be written"),
            ((("mode", 1), ("level", 1e9)), "level: 1000000000.0 cm is outside"),
            ((("mode", 1), ("moed", 1)), "no register 'moed'; did you mean 'mode'"),
            ((("mode", 1), ("hours", 1.0)), "hours is not to be written"),
        ):
            done = await it.set(*values)
            assert text in done.reason
            assert not done.may_be_sent
        assert not it.unit.writes
        done = await it.gate.set(SetRegisters("pomp", (), 1e9, "me", "test"))
        assert not done.may_be_sent
        assert "there is no device 'pomp'; there are pump" in done.reason


async def test_guarded_registers_are_for_those_who_were_told_to(autojump_clock: Clock) -> None:
    async with cellar() as it:
        request = SetRegisters("pump", (("mode", 1),), trio.current_time() + 9, "router", "test")
        done = await it.gate.set(request)
        assert "mode is guarded" in done.reason
        assert not it.unit.writes


async def test_a_late_command_is_not_obeyed(autojump_clock: Clock) -> None:
    async with cellar() as it:
        done = await it.set(("mode", 1), deadline_s=trio.current_time() - 0.1)
        assert done.reason.startswith("too late")
        assert not done.may_be_sent
        assert not it.unit.requests


async def test_a_dry_run_says_what_would_happen_and_sends_nothing(autojump_clock: Clock) -> None:
    async with cellar(known=WORN) as it:
        it.unit.image.set("mode", 1)
        done = await it.set(("limit", 50), ("mode", 1), is_dry_run=True)
        assert [record.reason for record in done.records] == [
            "would be sent",
            "held already; nothing was sent",
        ]
        assert not it.unit.writes
        assert not it.told
        assert not it.ledger.entries()


async def test_only_the_bits_that_are_meant_change(autojump_clock: Clock) -> None:
    async with cellar() as it:
        it.unit.image.set("far", 0b1010)
        done = await it.set(("far", 0b0001), masks=(("far", 0b0011),))
        assert done.is_applied
        assert it.unit.image.get("far") == 0b1001
        assert (await it.set(("far", 1), masks=(("far", 1),))).records[0].is_sent is False


@pytest.mark.parametrize(
    ("name", "value", "mask"),
    [
        ("far", "five", 3),
        ("far", 1.5, 3),
        ("far", float("inf"), 3),
        ("name", "1", 3),
        ("valve", True, 1),
        ("level", 1, 3),
        ("mode", 200, 0xFF),
        ("mode", 1, 1),
        ("erase", 1, 1),
    ],
)
async def test_a_mask_lifts_no_range_and_is_for_whole_numbers_alone(
    autojump_clock: Clock, name: str, value: Value, mask: int
) -> None:
    async with cellar() as it:
        done = await it.set((name, value), masks=((name, mask),), is_forced=True)
        assert done.reason.startswith(f"{name}")
        assert not it.unit.requests


async def test_a_step_that_fails_leaves_the_safe_state(autojump_clock: Clock) -> None:
    async with cellar() as it:
        it.unit.refuses = {20}
        done = await it.set(
            ("mode", 3), ("far", 5), ("level", 9.0), is_ordered=True, safe=(("mode", 0),)
        )
        assert (
            "far: exception 2 (illegal data address); written before: mode; not written: level"
            in done.reason
        )
        assert it.unit.image.get("mode") == 0
        assert it.unit.image.get("level") == 0.0
        assert [each.register for each in done.records] == ["mode", "far", "level", "mode"]
        assert it.told[-1].why == "safe state, since this failed: test"


async def test_ordered_steps_are_seen_before_the_next_is_sent(autojump_clock: Clock) -> None:
    async with cellar() as it:
        await it.set(("far", 5), ("mode", 3), ("level", 9.0), is_ordered=True)
        kinds = [(each.is_read, each.address) for each in it.unit.requests]
        assert kinds[-6:] == [
            (False, 20),
            (True, 20),
            (False, 3),
            (True, 3),
            (False, 0),
            (True, 0),
        ]


async def test_what_is_kept_alive_is_sent_again_and_told_once(autojump_clock: Clock) -> None:
    async with cellar() as it:
        for _ in range(5):
            done = await it.set(("mode", 3), keeps_alive=True, verifies=False)
            assert not done.reason
        assert len(it.unit.writes) == 5
        assert it.states == ["pending"]
        assert len(it.ledger.entries()) == 1


async def test_what_wears_is_not_kept_alive(autojump_clock: Clock) -> None:
    async with cellar(known=WORN) as it:
        done = await it.set(("limit", 3), keeps_alive=True)
        assert "is not to be sent again and again" in done.reason
        assert not it.unit.writes


async def test_interval_and_budget_hold_and_a_reason_lifts_them(autojump_clock: Clock) -> None:
    async with cellar(known=WORN) as it:
        assert (await it.set(("limit", 1))).is_applied
        assert "the least interval is 10 s" in (await it.set(("limit", 2))).reason
        for value in range(2, 6):
            await trio.sleep(11)
            assert (await it.set(("limit", value))).is_applied
        await trio.sleep(11)
        assert "5 times in 365 days; its budget is 5" in (await it.set(("limit", 9))).reason
        assert (await it.set(("limit", 9), is_forced=True)).is_applied
        assert it.unit.image.get("limit") == 9


async def test_the_budget_outlives_the_process(autojump_clock: Clock) -> None:
    ledger = MemoryLedger()
    for value in range(1, 6):
        async with cellar(known=WORN, ledger=ledger) as it:
            await trio.sleep(11)
            assert (await it.set(("limit", value))).is_applied
    async with cellar(known=WORN, ledger=ledger) as it:
        assert "least interval" in (await it.set(("limit", 6))).reason
        await trio.sleep(11)
        assert "its budget is 5" in (await it.set(("limit", 6))).reason


async def test_a_write_under_way_in_a_crash_is_counted(autojump_clock: Clock) -> None:
    ledger = MemoryLedger()
    async with cellar(known=WORN, ledger=ledger) as it:
        with trio.move_on_after(0.05):
            await it.set(("limit", 1))
    (entry,) = ledger.entries()
    assert (entry.state, entry.reason, entry.sends) == ("pending", "about to be sent", 1)


async def test_without_a_ledger_only_ram_is_written(autojump_clock: Clock) -> None:
    class Full(MemoryLedger):
        async def add(self, entry: LedgerEntry, *, is_durable: bool) -> Sequence[LedgerEntry]:
            raise StorageError("disk full")

    async with cellar(known=WORN, ledger=Full()) as it:
        assert "ledger cannot be written" in (await it.set(("limit", 1))).reason
        assert not it.unit.writes
        assert (await it.set(("mode", 1))).is_applied
        assert "while the ledger cannot be" in (await it.set(("limit", 1))).reason


async def test_refusals_in_a_loop_fill_no_disk(autojump_clock: Clock) -> None:
    async with cellar(known=WORN, rules=WriteRules(10.0, 0, 0)) as it:
        for _ in range(300):
            await it.set(("limit", 1))
            await trio.sleep(1)
        assert len(it.ledger.entries()) <= 6


async def test_a_register_that_comes_and_goes_fills_no_disk(autojump_clock: Clock) -> None:
    """Such as one that shows something else while the device is busy; it is polled anyway."""

    class Counted(MemoryLedger):
        lines = 0

        async def add(self, entry: LedgerEntry, *, is_durable: bool) -> Sequence[LedgerEntry]:
            self.lines += 1
            return ()

    ledger = Counted()
    async with cellar(known=WORN, ledger=ledger) as it:
        await it.set(("limit", 5))
        for turn in range(200):
            await trio.sleep(5)
            now_s = trio.current_time()
            await it.gate.take_values("pump", ("limit",), (turn % 2,), now_s)
            await it.gate.take_values("pump", ("limit",), (5,), now_s)
        assert ledger.lines <= 10


async def test_neighbours_of_which_one_cannot_be_noted_are_all_said_not_to_be_sent(
    autojump_clock: Clock,
) -> None:
    class Full(MemoryLedger):
        async def add(self, entry: LedgerEntry, *, is_durable: bool) -> Sequence[LedgerEntry]:
            if entry.register == "mode":
                raise StorageError("disk full")
            return await super().add(entry, is_durable=is_durable)

    known = known_as("mode", storage=Storage.UNKNOWN)
    known = replace(known, registers=known.registers | {"limit": WORN["limit"]})
    async with cellar(known=known, ledger=Full()) as it:
        done = await it.set(("limit", 5), ("mode", 3))
        assert not it.unit.writes
        assert [each.state for each in done.records] == ["refused", "refused"]
        assert not any(each.is_sent for each in done.records)
        assert sum(each.sends for each in it.ledger.entries()) == 0


async def test_two_askers_of_one_device_take_turns(autojump_clock: Clock) -> None:
    async with cellar() as it, trio.open_nursery() as nursery:
        nursery.start_soon(it.set, ("mode", 1), ("far", 1))
        nursery.start_soon(it.set, ("mode", 2), ("far", 2))
        await trio.sleep(5)
        assert it.unit.image.get("mode") == it.unit.image.get("far")


@pytest.mark.slow
@given(
    asks=st.lists(
        st.tuples(st.floats(0, 15), st.integers(0, 9), st.sampled_from(["limit", "far"])),
        max_size=12,
    )
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_way_of_asking_beats_the_budget(asks: list[tuple[float, int, str]]) -> None:
    known = known_as("far", storage=Storage.EEPROM)
    known = replace(known, registers=known.registers | {"limit": WORN["limit"]})

    async def ask() -> None:
        async with cellar(known=known, rules=WriteRules(5.0, 3, 4)) as it:
            for pause_s, value, name in asks:
                await trio.sleep(pause_s)
                await it.set((name, value))
            assert len(it.unit.writes) <= 4
            assert sum(each.sends for each in it.ledger.entries()) == len(it.unit.writes)

    trio.run(ask, clock=trio.testing.MockClock(autojump_threshold=0))


ALL_WEAR = replace(
    PUMP,
    registers={
        name: replace(register, storage=Storage.EEPROM) for name, register in PUMP.registers.items()
    },
)


async def test_one_request_for_many_registers_does_not_beat_the_devices_budget(
    autojump_clock: Clock,
) -> None:
    async with cellar(known=ALL_WEAR, rules=WriteRules(0.0, 5, 3)) as it:
        done = await it.set(("limit", 1), ("mode", 1), ("far", 1), ("name", "ab"))
        assert "the device's registers were, 3 times" in done.reason
        assert not it.unit.writes
        assert (await it.set(("limit", 1), ("mode", 1), ("far", 1))).is_applied
        assert "their budget is 3" in (await it.set(("name", "ab"))).reason


async def test_a_register_that_is_named_twice_counts_twice(autojump_clock: Clock) -> None:
    async with cellar(known=ALL_WEAR, rules=WriteRules(0.0, 1, 9)) as it:
        await it.set(("limit", 1), ("limit", 2), is_ordered=True)
        assert len(it.unit.writes) <= 1


async def test_a_device_with_two_names_is_counted_and_asked_as_one(autojump_clock: Clock) -> None:
    async with cellar(known=ALL_WEAR, rules=WriteRules(0.0, 2, 2)) as it:
        it.gate.add(replace(it.gate.units["pump"], device="twin"))
        async with trio.open_nursery() as nursery:
            for value in range(1, 5):
                for device in ("pump", "twin"):
                    wish = SetRegisters(
                        device, (("limit", value),), 99.0, "me", "why", may_guarded=True
                    )
                    nursery.start_soon(it.gate.set, wish)
        assert len(it.unit.writes) == 2


NAMES = ("limit", "mode", "far", "level")


@pytest.mark.slow
@given(
    askers=st.lists(
        st.tuples(
            st.floats(0, 2),
            st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 9)), max_size=5),
            st.booleans(),
        ),
        max_size=10,
    ),
    crash_s=st.floats(0.01, 3.0),
    per_year=st.integers(0, 4),
    device_per_year=st.integers(0, 7),
)
@settings(max_examples=60, deadline=None)
def test_askers_side_by_side_and_a_crash_never_beat_the_budget(
    askers: list[tuple[float, list[tuple[str, int]], bool]],
    crash_s: float,
    per_year: int,
    device_per_year: int,
) -> None:
    """The crash may fall between the note and the sending: what was noted counts all the same."""
    ledger, unit, rules = MemoryLedger(), Pump(), WriteRules(0.0, per_year, device_per_year)

    async def ask_all() -> None:
        async with cellar(unit, ALL_WEAR, ledger, rules=rules) as it, trio.open_nursery() as all_of:

            async def ask(pause_s: float, values: list[tuple[str, int]], is_ordered: bool) -> None:
                await trio.sleep(pause_s)
                await it.set(*values, is_ordered=is_ordered)

            for asker in askers:
                all_of.start_soon(ask, *asker)

    async def run() -> None:
        with trio.move_on_after(crash_s):
            await ask_all()
        await ask_all()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    written = [
        name
        for address, count in unit.writes
        for name in NAMES
        if address <= ALL_WEAR[name].address < address + count
    ]
    assert len(written) <= device_per_year
    assert all(written.count(name) <= per_year for name in NAMES)
    assert sum(each.sends for each in ledger.entries()) >= len(written)


def test_records_cross_the_link() -> None:
    state = WriteState.REVERTED
    record = WriteRecorded("pump", "mode", "me", "test", 3, None, 2.5, state, "why", 1.0)
    copy = decode_message(encode_message(record))
    assert msgspec.structs.astuple(copy) == msgspec.structs.astuple(record)
