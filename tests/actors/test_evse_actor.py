"""The EVSE actor: the limit is sent for ever, late ones never, and harm is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest
import trio
import trio.testing

from grug.actors import evse, writer
from grug.actors.evse import EvseSettings
from grug.control.writes import WriteRules
from grug.messages import Decided, Noted, WriteDone, WriteFailed, WriteRegisters
from grug.model import FailureKind, Table
from grug.runtime.calls import BusCaller, BusCalls, WriteCaller, open_calls
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed
from grug.runtime.gate import Gate
from grug.runtime.gate_unit import GateUnit
from grug.storage.ledger import MemoryLedger
from grug.transport.maps import load_map

TERRA = load_map("abb_terra")
SETTINGS = EvseSettings("evse", "current_limit", 16.0)


class Charger:
    """The gate, and the bus with the charger behind it."""

    def __init__(self) -> None:
        self.feed = Feed()
        self.stopping = trio.Event()
        self.heard = self.feed.subscribe("test", Decided, Noted)
        self.writes: list[tuple[float, WriteRegisters]] = []
        self.answers = "done"
        self.stopped_s: float | None = None

    async def serve(self, calls: BusCalls) -> None:
        async for call in calls:
            now_s = trio.current_time()
            self.writes.append((now_s, call.request))
            if self.answers == "done":
                call.reply(WriteDone("evse", call.request, now_s))
            elif self.answers == "failed":
                kind = FailureKind.UNIT_OFFLINE
                call.reply(WriteFailed("evse", call.request, kind, "silence", now_s))

    def gate(self, bus: BusCaller) -> Gate:
        unit = GateUnit("evse", "evse#1", 1, TERRA, bus.ask)
        return Gate(
            [unit],
            rules=WriteRules(),
            ledger=MemoryLedger(),
            wall=WallClock(0.0),
            publish=self.feed.publish,
        )

    async def run(self, writes: WriteCaller, settings: EvseSettings) -> None:
        await evse.run(writes, self.feed, settings=settings, stopping=self.stopping)
        self.stopped_s = trio.current_time()

    def milliamps(self) -> list[int]:
        return [int.from_bytes(write.block, "big") for _, write in self.writes]

    def notes(self) -> list[str]:
        return [message.text for message in self.heard.drain() if isinstance(message, Noted)]


@asynccontextmanager
async def running(settings: EvseSettings = SETTINGS) -> AsyncIterator[Charger]:
    charger = Charger()
    bus, calls = open_calls()
    writes, write_calls = open_calls()
    _, questions = open_calls()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(charger.serve, calls)
        gate = partial(writer.run, make_gate=lambda feed: charger.gate(bus))
        nursery.start_soon(gate, write_calls, questions, charger.feed)
        nursery.start_soon(charger.run, writes, settings)
        await trio.testing.wait_all_tasks_blocked()
        yield charger
        nursery.cancel_scope.cancel()


async def test_limit_is_sent_at_once_and_every_ten_seconds(autojump_clock) -> None:
    async with running() as charger:
        start_s = charger.writes[0][0]
        await trio.sleep(35)
        assert [at_s - start_s for at_s, _ in charger.writes] == pytest.approx([0, 10, 20, 30])
        assert charger.milliamps() == [16000] * 4
        for at_s, write in charger.writes:
            assert (write.unit_id, write.table) == (1, Table.HOLDING_REGISTER)
            assert write.address == 0x4100
            assert write.deadline_s == pytest.approx(at_s + 10)
            assert write.why == "fixed limit from the config"
        decided = [m for m in charger.heard.drain() if isinstance(m, Decided)]
        assert [(m.values[0], m.reason) for m in decided] == [
            (16.0, "fixed limit from the config")
        ] * 4


async def test_under_six_amperes_pauses_with_five(autojump_clock) -> None:
    async with running(replace(SETTINGS, limit_a=3.0)) as charger:
        assert charger.milliamps() == [5000]


async def test_failed_writes_are_tried_again_and_told_once(autojump_clock) -> None:
    async with running() as charger:
        charger.answers = "failed"
        await trio.sleep(35)
        charger.answers = "done"
        await trio.sleep(20)
        assert len(charger.writes) == 6
        assert charger.notes() == [
            "limit was not taken: current_limit: silence",
            "limit is taken again, after 3 failed writes",
        ]


async def test_bus_that_never_answers_does_not_stop_the_sending(autojump_clock) -> None:
    async with running() as charger:
        charger.answers = "never"
        await trio.sleep(35)
        assert len(charger.writes) == 4
        assert len(charger.notes()) == 1


@pytest.mark.parametrize("answers", ["done", "failed", "never"])
async def test_stop_leaves_its_limit_within_two_seconds(autojump_clock, answers: str) -> None:
    async with running(replace(SETTINGS, on_stop_a=6.0)) as charger:
        await trio.sleep(5)
        charger.answers = answers
        asked_s = trio.current_time()
        charger.stopping.set()
        await trio.sleep(5)
        assert charger.milliamps() == [16000, 6000]
        assert charger.stopped_s is not None
        assert charger.stopped_s - asked_s <= 2.0
        assert charger.writes[-1][1].why == "limit to leave behind"


async def test_stop_without_a_limit_to_leave_writes_nothing(autojump_clock) -> None:
    async with running() as charger:
        charger.stopping.set()
        await trio.sleep(30)
        assert charger.milliamps() == [16000]


@pytest.mark.parametrize("name", ["stop_charging", "force_lock_socket", "current_limit_readback"])
async def test_registers_that_do_harm_or_cannot_be_written_are_refused(
    autojump_clock, name: str
) -> None:
    async with running(replace(SETTINGS, register=name)) as charger:
        await trio.sleep(35)
        assert not charger.writes
        (note,) = charger.notes()
        assert f"{name} is not to be written" in note
