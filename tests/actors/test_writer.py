"""The gate as an actor: everybody's writes, what polls show later, and a ledger that is full."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import trio
import trio.testing
from pump import PUMP, Clock, Watched, open_cellar, pump

from grug.actors import writer
from grug.control.writes import WriteRules
from grug.errors import StorageError
from grug.messages import (
    GetRegisters,
    Noted,
    Readings,
    RegistersGot,
    RegistersSet,
    SetRegisters,
    WriteRecorded,
)
from grug.model import Value
from grug.runtime.calls import ValueCaller, WriteCaller, open_calls
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed
from grug.runtime.gate import Gate
from grug.runtime.gate_unit import GateUnit
from grug.runtime.supervisor import Part, supervise
from grug.storage.ledger import LedgerEntry, MemoryLedger


class House:
    """The writer with a pump behind it."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self.feed = Feed()
        self.told = self.feed.subscribe("test", WriteRecorded, Noted)
        self.ledger = ledger
        self.unit: Watched
        self.writes: WriteCaller
        self.questions: ValueCaller

    def wish(self, *values: tuple[str, Value]) -> SetRegisters:
        deadline_s = trio.current_time() + 10.0
        return SetRegisters("pump", values, deadline_s, "me", "test", may_guarded=True)

    def states(self) -> list[str]:
        told = self.told.drain()
        return [each.state.value for each in told if isinstance(each, WriteRecorded)]


@asynccontextmanager
async def running(
    ledger: MemoryLedger | None = None, kind: type[Gate] = Gate
) -> AsyncIterator[House]:
    house = House(ledger or MemoryLedger())
    house.unit, line = pump()
    house.writes, calls = open_calls()
    house.questions, questions = open_calls()
    async with open_cellar(line) as bus:

        def make_gate(feed: Feed) -> Gate:
            unit = GateUnit("pump", "cellar#7", 7, PUMP, bus.ask)
            wall = WallClock(1e9)
            return kind(
                [unit],
                rules=WriteRules(),
                ledger=house.ledger,
                wall=wall,
                publish=feed.publish,
            )

        async with trio.open_nursery() as nursery:
            run = partial(writer.run, calls, questions, house.feed, make_gate=make_gate)
            nursery.start_soon(supervise, Part("writer", run), house.feed)
            await trio.testing.wait_all_tasks_blocked()
            yield house
            nursery.cancel_scope.cancel()


async def test_a_write_is_answered_told_and_readable(autojump_clock: Clock) -> None:
    async with running() as house:
        assert (await house.writes.ask(house.wish(("mode", 3)))).is_applied
        assert house.states() == ["applied"]
        asked = GetRegisters("pump", ("mode", "level"), trio.current_time() + 5, "me")
        assert (await house.questions.ask(asked)).values == (3, 0.0)
        wrong = GetRegisters("pump", ("moed",), trio.current_time() + 5, "me")
        assert "did you mean 'mode'" in (await house.questions.ask(wrong)).reason


async def test_a_poll_that_shows_something_else_is_a_revert(autojump_clock: Clock) -> None:
    async with running() as house:
        await house.writes.ask(house.wish(("mode", 3)))
        await trio.sleep(1)
        for value in (3, 2, 2):
            house.feed.publish(Readings("pump", trio.current_time(), ("mode",), (value,)))
            await trio.testing.wait_all_tasks_blocked()
        assert house.states() == ["applied", "reverted"]


async def test_a_revert_that_nobody_polls_is_found_within_a_minute(autojump_clock: Clock) -> None:
    async with running() as house:
        await house.writes.ask(house.wish(("mode", 3)))
        house.unit.image.set("mode", 1)
        await trio.sleep(70)
        assert house.states() == ["applied", "reverted"]


async def test_a_ledger_that_fails_and_works_again_is_told_once_each(autojump_clock: Clock) -> None:
    class Card(MemoryLedger):
        is_full = True

        async def add(self, entry: LedgerEntry, *, is_durable: bool) -> Sequence[LedgerEntry]:
            if self.is_full:
                raise StorageError("disk full")
            return ()

    card = Card()
    async with running(card) as house:
        for mode in (1, 2):
            assert (await house.writes.ask(house.wish(("mode", mode)))).is_applied
            await trio.sleep(700)
        card.is_full = False
        await house.writes.ask(house.wish(("mode", 3)))
        notes = [each.text for each in house.told.drain() if isinstance(each, Noted)]
        assert [note.partition(":")[0] for note in notes] == [
            "the ledger cannot be written",
            "the ledger of writes works again",
        ]


async def test_a_question_while_a_write_is_under_way_waits_for_it(autojump_clock: Clock) -> None:
    async with running() as house, trio.open_nursery() as nursery:
        nursery.start_soon(house.writes.ask, house.wish(("mode", 3)))
        await trio.sleep(0.001)
        asked = GetRegisters("pump", ("mode",), trio.current_time() + 5, "me")
        assert (await house.questions.ask(asked)).values == (3,)


class BrokenGate(Gate):
    """It has a bug; and one question that the line never answers."""

    async def set(self, request: SetRegisters) -> RegistersSet:
        await trio.sleep(1)
        raise IndexError("a bug")

    async def get(self, request: GetRegisters) -> RegistersGot:
        if request.names == ("mode",):
            await trio.sleep_forever()
        return RegistersGot((3,), "")


async def test_a_crash_leaves_nobody_waiting(autojump_clock: Clock) -> None:
    async with running(kind=BrokenGate) as house, trio.open_nursery() as nursery:
        asked = GetRegisters("pump", ("mode",), trio.current_time() + 5, "me")
        got: list[RegistersGot] = []

        async def ask() -> None:
            got.append(await house.questions.ask(asked))

        nursery.start_soon(ask)
        with trio.fail_after(5):
            done = await house.writes.ask(house.wish(("mode", 3)))
        assert not done.is_applied
        assert "unknown" in done.reason
        assert done.may_be_sent
        await trio.testing.wait_all_tasks_blocked()
        assert "failed" in got[0].reason


async def test_a_device_that_does_not_answer_holds_no_question_to_another(
    autojump_clock: Clock,
) -> None:
    async with running(kind=BrokenGate) as house, trio.open_nursery() as nursery:
        asked = GetRegisters("pump", ("mode",), trio.current_time() + 5, "me")
        nursery.start_soon(house.questions.ask, asked)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(1):
            other = GetRegisters("pump", ("far",), trio.current_time() + 5, "me")
            assert (await house.questions.ask(other)).values == (3,)
        nursery.cancel_scope.cancel()
