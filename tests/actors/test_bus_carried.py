"""An asker carries its own request while the line is idle; nobody notices, whatever happens."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing
from bus_bench import TIMING, bus_on, good, poll, read, span, write
from msgspec.structs import replace
from scripted_line import ScriptedLine, words_at

from grug.actors import bus
from grug.messages import LineChanged, ReadFailed, RegistersRead, WriteDone, WriteFailed
from grug.model import FailureKind
from grug.protocol.rtu import with_crc
from grug.runtime.calls import BusCaller, open_calls
from grug.runtime.feed import Feed

Clock = trio.testing.MockClock


async def test_the_reply_to_an_asker_who_left_is_not_the_next_ones(autojump_clock: Clock) -> None:
    line = ScriptedLine(turnaround_s=0.1)
    async with bus_on(line) as bench:
        with trio.move_on_after(0.05):
            await bench.bus.ask(read(1, span(7)))
        reply = await bench.bus.ask(read(1, span(9)))
    assert isinstance(reply, RegistersRead)
    assert reply.blocks == (words_at(9, 1),)
    starts = [at_s for at_s, _ in line.sent]
    assert len(starts) == 2
    assert starts[1] - starts[0] > 0.1, "the first exchange was waited for"


async def test_others_get_what_an_asker_who_left_had_begun(autojump_clock: Clock) -> None:
    line = ScriptedLine(turnaround_s=0.1)
    async with bus_on(line) as bench:
        replies: list[object] = []
        with trio.move_on_after(0.05):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bench.bus.ask, read(1, span(0, 4)))
                await trio.sleep(0.01)
                bench.ask_soon(read(1, span(2)), replies)
                await trio.sleep_forever()
        await trio.sleep(1)
    assert good(replies) == 1
    assert len(line.sent) == 1


@pytest.mark.parametrize("leaves_s", [0.05, 0.299, 0.3, 0.31])
async def test_silence_counts_although_the_asker_left(
    leaves_s: float, autojump_clock: Clock
) -> None:
    line = ScriptedLine()
    async with bus_on(line) as bench:
        assert isinstance(await bench.bus.ask(read(1, span(0))), RegistersRead)
        line.silent.add(1)
        with trio.move_on_after(leaves_s):
            await bench.bus.ask(read(1, span(0)))
        line.silent.clear()
        began_s = trio.current_time()
        assert isinstance(await bench.bus.ask(read(2, span(0))), RegistersRead)
        assert trio.current_time() - began_s < 0.4


async def test_whoever_asks_at_the_same_moment_shares_the_transaction(
    autojump_clock: Clock,
) -> None:
    line = ScriptedLine()
    async with bus_on(line) as bench, trio.open_nursery() as nursery:
        for address in (0, 3, 6):
            nursery.start_soon(bench.bus.ask, read(1, span(address)))
    assert len(line.sent) == 1


async def test_polls_that_were_announced_for_one_moment_share_a_transaction(
    autojump_clock: Clock,
) -> None:
    line = ScriptedLine()
    async with bus_on(line) as bench:
        replies: list[object] = []
        until_s = trio.current_time() + 10

        async def poll_at(address: int, every_s: float) -> None:
            at_s = trio.current_time()
            while at_s < until_s:
                await trio.sleep_until(at_s)
                at_s += every_s
                request = read(1, span(address), within_s=every_s)
                request = replace(request, next_s=at_s, next_deadline_s=at_s + every_s)
                replies.append(await bench.bus.ask(request))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(poll_at, 0, 1.0)
            nursery.start_soon(poll_at, 5, 1.0)
            nursery.start_soon(poll_at, 9, 0.25)
    assert good(replies) == 10 + 10 + 40
    assert len(line.sent) == 41  # At first nobody has announced anything.


async def test_a_write_of_an_asker_who_leaves_at_any_moment_is_sent_once_at_most(
    autojump_clock: Clock,
) -> None:
    for leaves_s in (0.0, 1e-9, 0.005, 0.02, 0.04, 1.0):
        line = ScriptedLine()
        async with bus_on(line) as bench:
            with trio.move_on_after(leaves_s):
                await bench.bus.ask(write(1, 5, 7))
            await trio.sleep(1)
            assert isinstance(await bench.bus.ask(write(2, 5, 8)), WriteDone)
        assert [adu[0] for _, adu in line.sent].count(1) <= 1


async def test_a_line_lost_under_an_asker_is_told_once_and_opened_again(
    autojump_clock: Clock,
) -> None:
    line = ScriptedLine(turnaround_s=0.2)
    async with bus_on(line) as bench:
        bench.facts.drain()
        replies = bench.ask_soon(read(1, span(0)))
        await trio.sleep(0.1)
        line.unplug()
        await trio.sleep(0.01)
        line.is_gone = False
        await trio.sleep(2)
        replies = bench.ask_soon(read(1, span(0)), replies)
        await trio.sleep(2)
        changes = [fact.is_up for fact in bench.facts.drain() if isinstance(fact, LineChanged)]
    assert isinstance(replies[0], ReadFailed)
    assert replies[0].kind is FailureKind.LINE_DOWN
    assert isinstance(replies[1], RegistersRead)
    assert changes == [False, True]
    assert line.opened == 2


@pytest.mark.parametrize("ask", ["read", "write"])
async def test_a_line_that_takes_nothing_is_opened_anew_and_the_asker_told(
    ask: str, autojump_clock: Clock
) -> None:
    line = ScriptedLine()
    async with bus_on(line) as bench:
        assert isinstance(await bench.bus.ask(read(1, span(0))), RegistersRead)
        line.takes_nothing = True
        with trio.fail_after(5):
            reply = await bench.bus.ask(read(1, span(0)) if ask == "read" else write(1, 5, 7))
        assert isinstance(reply, ReadFailed | WriteFailed)
        assert reply.kind is FailureKind.NO_REPLY
        line.takes_nothing = False
        assert isinstance(await bench.bus.ask(read(1, span(0))), RegistersRead)
    assert line.opened == 2


class LateInterrupts(ScriptedLine):
    """As a descriptor: who has been woken by bytes is not interrupted any more."""

    def interrupt(self) -> None:
        if not self.has_arrived:
            super().interrupt()


def test_the_beginning_of_a_reply_that_is_read_too_late_begins_no_new_wait() -> None:
    clock = trio.testing.MockClock()
    replies: list[object] = []

    async def main() -> None:
        line = LateInterrupts()
        line.silent.add(1)
        async with bus_on(line) as bench:
            clock.jump(1)
            await trio.testing.wait_all_tasks_blocked()
            bench.ask_soon(read(1, span(0)), replies)
            await trio.testing.wait_all_tasks_blocked()
            line.arrive(trio.current_time(), b"\x01")
            clock.jump(5)  # The process was stopped.
            for _ in range(3):
                await trio.testing.wait_all_tasks_blocked()
                clock.jump(0.1)
            await trio.testing.wait_all_tasks_blocked()
            assert replies, "it was given up"

    trio.run(main, clock=clock)
    assert good(replies) == 0


async def test_an_owner_that_stops_answers_the_asker_who_carries(autojump_clock: Clock) -> None:
    line = ScriptedLine(turnaround_s=0.2)
    caller, calls = open_calls()
    replies: list[object] = []

    async def ask() -> None:
        replies.append(await caller.ask(read(1, span(0))))

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.1):
            async with trio.open_nursery() as owner:

                async def run() -> None:
                    await bus.run(
                        calls,
                        Feed(),
                        line_name="line",
                        open_line=line.open,
                        timing=TIMING,
                        units={},
                    )

                owner.start_soon(run)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(ask)
    (reply,) = replies
    assert isinstance(reply, ReadFailed)
    assert reply.kind is FailureKind.LINE_DOWN
    assert line.closed == 1


class BuggyWhenInterrupted(ScriptedLine):
    async def receive_some(self) -> bytes:
        data = await super().receive_some()
        if not data:
            raise AssertionError("a bug")
        return data


async def test_a_bug_seen_when_the_owner_has_stopped_crashes_the_asker(
    autojump_clock: Clock,
) -> None:
    line = BuggyWhenInterrupted(turnaround_s=0.2)
    async with trio.open_nursery() as nursery:
        crashed: list[str] = []

        async def ask(caller: BusCaller) -> None:
            try:
                await caller.ask(read(1, span(0)))
            except AssertionError as error:
                crashed.append(str(error))

        async with bus_on(line) as bench:
            nursery.start_soon(ask, bench.bus)
            await trio.sleep(0.1)
    assert crashed == ["a bug"]


async def test_a_reply_that_trickles_is_looked_at_a_few_times_only(autojump_clock: Clock) -> None:
    line = ScriptedLine()
    line.trickles = True
    async with bus_on(line) as bench:
        began_s = trio.current_time()
        reply = await bench.bus.ask(read(1, span(0, 60)))
        took_s = trio.current_time() - began_s
    assert isinstance(reply, RegistersRead)
    assert reply.blocks == (words_at(0, 60),)
    assert line.looks <= 6, "not once for each of 125 bytes"
    assert took_s == pytest.approx((8 + 125) * 11 / 9600 + 0.01, abs=0.002)


async def test_a_refusal_that_trickles_is_not_waited_for_as_long_as_an_answer(
    autojump_clock: Clock,
) -> None:
    line = ScriptedLine()
    line.trickles = True
    line.script = lambda adu: with_crc(bytes((adu[0], adu[1] | 0x80, 4)))
    async with bus_on(line) as bench:
        began_s = trio.current_time()
        reply = await bench.bus.ask(read(1, span(0, 60)))
        took_s = trio.current_time() - began_s
    assert isinstance(reply, ReadFailed)
    assert took_s == pytest.approx((8 + 5) * 11 / 9600 + 0.01, abs=0.003)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
async def test_askers_who_come_and_go_at_random_get_their_own_answers_or_none(
    seed: int, autojump_clock: Clock
) -> None:
    chance = random.Random(seed)
    line = ScriptedLine(turnaround_s=0.03)
    answered = 0
    async with bus_on(line) as bench:

        async def come_and_go(unit_id: int) -> None:
            nonlocal answered
            for _ in range(60):
                await trio.sleep(chance.expovariate(20))
                address, count = chance.randrange(200), chance.randint(1, 20)
                with trio.move_on_after(chance.choice((0.001, 0.03, 0.08, 1.0))):
                    reply = await bench.bus.ask(read(unit_id, span(address, count), within_s=2))
                    if isinstance(reply, RegistersRead):
                        assert reply.blocks == (words_at(address, count),)
                        answered += 1

        async with trio.open_nursery() as nursery:
            for unit_id in (1, 1, 2):
                nursery.start_soon(come_and_go, unit_id)
            line.late_s[2] = 0.3 if seed % 2 else 0.0
            nursery.start_soon(poll, bench, 3, 0.5, trio.current_time() + 5, [])
        last = await bench.bus.ask(read(1, span(1)))
    assert isinstance(last, RegistersRead)
    assert answered > 20
