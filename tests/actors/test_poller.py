"""The poller: on its grid, never piling up, and honest about what is missing."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
import trio
import trio.testing
from scripted_line import words_at

from grug.actors import poller
from grug.codec.registers import Kind, Register
from grug.config.loads import spans_of
from grug.messages import (
    Message,
    ReadFailed,
    Readings,
    ReadingsMissing,
    ReadRegisters,
    RegistersRead,
)
from grug.model import FailureKind, Quality, Table
from grug.planner.schedule import Ticks
from grug.runtime.calls import BusCaller, BusCalls, open_calls
from grug.runtime.feed import Feed


def register(name: str, address: int, kind: Kind = Kind.U16) -> Register:
    return Register(name, Table.HOLDING_REGISTER, address, kind, scale=Decimal("0.5"))


POWER = register("power", 4, Kind.U32)
VOLTAGE = register("voltage", 20)


def group(every_s: float, *registers: Register) -> poller.PollGroup:
    return poller.PollGroup(every_s, registers, spans_of(registers))


class ScriptedBus:
    """Answers reads after a while, as a bus owner does."""

    def __init__(self) -> None:
        self.busy_s = 0.01
        self.failure: FailureKind | None = None
        self.refuses: set[int] = set()
        """Addresses of spans."""
        self.asked: list[tuple[float, ReadRegisters]] = []

    async def run(self, calls: BusCalls) -> None:
        async for call in calls:
            request = call.request
            assert isinstance(request, ReadRegisters)
            self.asked.append((trio.current_time(), request))
            await trio.sleep(self.busy_s)
            now_s = trio.current_time()
            if self.failure is not None:
                call.reply(ReadFailed(self.failure, "no luck", now_s))
            else:
                blocks = [words_at(span.address, span.count) for span in request.spans]
                refused = []
                for at, span in enumerate(request.spans):
                    if span.address in self.refuses:
                        blocks[at] = b""
                        refused.append((at, 2))
                call.reply(RegistersRead(tuple(blocks), now_s, tuple(refused)))


@pytest.fixture
def bus() -> ScriptedBus:
    return ScriptedBus()


async def poll_for(
    seconds: float, bus: ScriptedBus, *groups: poller.PollGroup, feed: Feed | None = None
) -> list[Message]:
    feed = feed or Feed()
    facts = feed.subscribe("test", Message, bound=100_000)
    caller: BusCaller
    caller, calls = open_calls()
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bus.run, calls)
            await poller.run(caller, feed, device="meter", unit_id=7, groups=groups)
    return facts.drain()


async def test_values_are_decoded_and_named_by_the_same_tuple(
    bus: ScriptedBus, autojump_clock: trio.testing.MockClock
) -> None:
    facts = await poll_for(10, bus, group(1, POWER, VOLTAGE))
    assert len(facts) == 10
    first = facts[0]
    assert isinstance(first, Readings)
    assert first.names == ("power", "voltage")
    assert first.values == ((4 * 65536 + 5) / 2, 10.0)
    assert first.qualities == ()
    assert first.read_s == pytest.approx(bus.asked[0][0] + 0.01, abs=0.001), "whole ms"
    assert all(isinstance(fact, Readings) and fact.names is first.names for fact in facts)


class CountingBus(ScriptedBus):
    """Answers each read with the next of these values, in every word."""

    def __init__(self, *values: int) -> None:
        super().__init__()
        self._values = iter(values)

    async def run(self, calls: BusCalls) -> None:
        async for call in calls:
            assert isinstance(call.request, ReadRegisters)
            word = next(self._values).to_bytes(2, "big")
            blocks = tuple(word * span.count for span in call.request.spans)
            call.reply(RegistersRead(blocks, trio.current_time()))


async def test_a_counter_that_drops_is_bad_until_several_readings_agree(
    autojump_clock: trio.testing.MockClock,
) -> None:
    counter = Register("energy", Table.HOLDING_REGISTER, 1, Kind.U16, confirmations=3)
    bus = CountingBus(90, 91, 0, 92, 3, 3, 4, 5, *range(6, 20))
    facts = await poll_for(9, bus, group(1, counter))
    marks = [fact.qualities == () for fact in facts if isinstance(fact, Readings)]
    assert marks[:8] == [True, True, False, True, False, False, True, True]


async def test_ticks_stay_on_the_grid_and_end_before_the_next(
    bus: ScriptedBus, autojump_clock: trio.testing.MockClock
) -> None:
    await poll_for(10, bus, group(0.2, POWER))
    start_s = bus.asked[0][0]
    for tick, (at_s, request) in enumerate(bus.asked):
        assert at_s == pytest.approx(start_s + 0.2 * tick)
        assert request.deadline_s == pytest.approx(start_s + 0.2 * (tick + 1))
    assert len(bus.asked) >= 49


async def test_a_schedule_is_followed_after_a_first_reading_at_once(
    bus: ScriptedBus, autojump_clock: trio.testing.MockClock
) -> None:
    bus.busy_s = 0.0
    fast = Ticks(0.5, 2.0)
    slow = Ticks(4.5, 5.0, fast)
    groups = [
        replace(group(2, POWER), ticks=fast),
        replace(group(5, VOLTAGE), ticks=slow),
    ]
    await poll_for(21, bus, *groups)
    times = {
        each.span: [at_s for at_s, request in bus.asked if request.spans == (each.span,)]
        for each in (POWER, VOLTAGE)
    }
    start_s = times[POWER.span][0] - 0.5
    assert times[POWER.span] == pytest.approx([start_s + 0.5 + 2 * tick for tick in range(11)])
    ridden = [0.5, 4.5, 10.5, 14.5, 20.5]  # The first at once; then once in each 5 s from 4.5 on.
    assert times[VOLTAGE.span] == pytest.approx([start_s + at_s for at_s in ridden])
    due_s = [request.deadline_s - start_s for _, request in bus.asked if len(request.spans) == 1]
    assert 14.5 in [round(each, 6) for each in due_s]  # Read at 10.5, due when the next begins.


def test_scaling_registers_are_read_too_and_shared_ones_once() -> None:
    factor = register("factor", 9)
    scaled = [replace(register(name, at), scale_by=factor) for name, at in (("a", 3), ("b", 7))]
    assert [span.address for span in spans_of(scaled)] == [3, 7, 9]


async def test_each_request_says_when_the_next_will_come(
    bus: ScriptedBus, autojump_clock: trio.testing.MockClock
) -> None:
    bus.busy_s = 0.0
    fast = Ticks(0.25, 0.5)
    slow = Ticks(0.75, 1.5, fast)
    groups = (replace(group(0.5, POWER), ticks=fast), replace(group(1.5, VOLTAGE), ticks=slow))
    await poll_for(10, bus, *groups)
    for spans in {request.spans for _, request in bus.asked}:
        asked = [each for each in bus.asked if each[1].spans == spans][1:]
        for (_, request), (next_s, following) in pairwise(asked):
            assert request.next_s == pytest.approx(next_s)
            assert request.next_deadline_s == pytest.approx(following.deadline_s)


async def test_a_missed_tick_is_skipped_not_piled_up(
    bus: ScriptedBus, autojump_clock: trio.testing.MockClock
) -> None:
    bus.busy_s = 0.5
    await poll_for(10, bus, group(0.2, POWER))
    start_s = bus.asked[0][0]
    ticks = [(at_s - start_s) / 0.2 for at_s, _ in bus.asked]
    assert ticks == pytest.approx([3 * tick for tick in range(len(ticks))])


async def test_groups_of_a_device_fall_together_so_that_they_can_be_merged(
    bus: ScriptedBus, autojump_clock: trio.testing.MockClock
) -> None:
    bus.busy_s = 0.0
    await poll_for(9.9, bus, group(0.5, POWER), group(2, VOLTAGE))
    fast = {at_s for at_s, request in bus.asked if request.spans[0] == POWER.span}
    slow = {at_s for at_s, request in bus.asked if request.spans[0] == VOLTAGE.span}
    assert len(slow) == 5
    assert slow < fast


async def test_a_dead_device_is_told_at_once_and_then_every_ten_seconds(
    bus: ScriptedBus, autojump_clock: trio.testing.MockClock
) -> None:
    bus.failure = FailureKind.NO_REPLY
    facts = await poll_for(25, bus, group(0.2, POWER))
    assert [type(fact) for fact in facts] == [ReadingsMissing] * 3
    missing = facts[0]
    assert isinstance(missing, ReadingsMissing)
    assert (missing.names, missing.kind, missing.text) == (("power",), bus.failure, "no luck")


async def test_each_new_failure_is_told(
    bus: ScriptedBus, autojump_clock: trio.testing.MockClock
) -> None:
    async def flap() -> None:
        for _ in range(3):
            await trio.sleep(1)
            bus.failure = FailureKind.GARBLED
            await trio.sleep(1)
            bus.failure = None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flap)
        facts = await poll_for(10, bus, group(0.2, POWER))
    assert sum(isinstance(fact, ReadingsMissing) for fact in facts) == 3
    assert sum(isinstance(fact, Readings) for fact in facts) > 30


async def test_a_device_without_groups_is_not_asked(
    bus: ScriptedBus, autojump_clock: trio.testing.MockClock
) -> None:
    assert await poll_for(10, bus) == []
    assert not bus.asked


async def test_a_register_that_the_unit_refuses_is_missing_alone(
    bus: ScriptedBus, autojump_clock: trio.testing.MockClock
) -> None:
    bus.refuses = {20}
    facts = await poll_for(5, bus, group(1, POWER, VOLTAGE))
    assert len(facts) == 5
    for fact in facts:
        assert isinstance(fact, Readings)
        assert fact.values[0] == (4 * 65536 + 5) / 2
        assert fact.qualities == (Quality.GOOD, Quality.MISSING)


async def test_a_snapshot_is_asked_for_as_one(
    bus: ScriptedBus, autojump_clock: trio.testing.MockClock
) -> None:
    whole = replace(group(1, POWER, VOLTAGE), is_snapshot=True)
    await poll_for(3, bus, whole, group(0.5, VOLTAGE))
    assert {request.is_snapshot for _, request in bus.asked if len(request.spans) == 2} == {True}
    assert {request.is_snapshot for _, request in bus.asked if len(request.spans) == 1} == {False}
