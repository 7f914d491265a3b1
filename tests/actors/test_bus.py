"""The bus owner: everyone is answered once, the line is shared, trouble stays where it is."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import trio
import trio.testing
from bus_bench import HOLDING, TIMING, Bench, bus_on, good, poll, read, span, write
from scripted_line import ScriptedLine, words_at

from grug.actors import bus
from grug.messages import (
    LineChanged,
    LineCounted,
    ReadFailed,
    RegistersRead,
    UnitChanged,
    WriteDone,
    WriteFailed,
    WriteRegisters,
)
from grug.model import FailureKind, Priority, UnitHealth
from grug.planner.gap import GOOD_MIN
from grug.protocol.rtu import with_crc
from grug.runtime.calls import open_calls
from grug.runtime.feed import Feed

# Sharing the line


async def test_blocks_come_in_the_order_asked(autojump_clock: trio.testing.MockClock) -> None:
    async with bus_on(ScriptedLine()) as bench:
        reply = await bench.bus.ask(read(1, span(500, 2), span(10), span(500, 2), span(12, 3)))
    assert isinstance(reply, RegistersRead)
    assert reply.blocks == (words_at(500, 2), words_at(10, 1), words_at(500, 2), words_at(12, 3))
    assert len(bench.line.sent) == 2  # 500 is far, 10 and 12 are near.


async def test_waiting_reads_of_one_unit_share_a_transaction(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bus_on(ScriptedLine()) as bench:
        first = bench.ask_soon(read(1, span(0, 2)))
        await trio.sleep(0.001)  # Now the line is busy with that.
        for address in (10, 12, 14):
            bench.ask_soon(read(1, span(address, 2)), first)
        bench.ask_soon(read(2, span(12, 2), within_s=11), first)
        await trio.sleep(1)
    blocks = [reply.blocks[0] for reply in first if isinstance(reply, RegistersRead)]
    assert sorted(blocks) == [words_at(at, 2) for at in (0, 10, 12, 12, 14)]
    assert [adu[0] for _, adu in bench.line.sent] == [1, 1, 2]


async def test_polls_of_one_tick_share_a_transaction_whatever_else_the_bus_does_then(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = ScriptedLine()
    async with bus_on(line) as bench:

        async def ask(at: int, start_s: float) -> None:
            for second in range(1, 21):  # The bus counts once a second too.
                await trio.sleep_until(start_s + second)
                await bench.bus.ask(read(1, span(at)))

        start_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 0, start_s)
            nursery.start_soon(ask, 1, start_s)
        assert len(line.sent) == 20


async def test_the_age_is_that_of_the_oldest_part(autojump_clock: trio.testing.MockClock) -> None:
    async with bus_on(ScriptedLine()) as bench:
        begin_s = trio.current_time()
        reply = await bench.bus.ask(read(1, span(0, 10), span(1000, 10)))
        end_s = trio.current_time()
    assert isinstance(reply, RegistersRead)
    assert reply.read_s == pytest.approx(begin_s + (8 + 25) * 11 / 9600 + 0.01)
    assert reply.read_s < end_s - 0.03


async def test_writes_go_first_then_reads_by_priority_and_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bus_on(ScriptedLine()) as bench:
        bench.ask_soon(read(1, span(0)))
        await trio.sleep(0.001)
        bench.ask_soon(read(2, span(0), priority=Priority.BACKGROUND, within_s=1))
        bench.ask_soon(read(3, span(0), within_s=3))
        bench.ask_soon(read(4, span(0), within_s=2))
        bench.ask_soon(read(5, span(0), priority=Priority.CONTROL, within_s=5))
        bench.ask_soon(write(6, 0, 7))
        await trio.sleep(2)
    assert [adu[0] for _, adu in bench.line.sent] == [1, 6, 5, 4, 3, 2]


async def test_a_write_goes_between_the_parts_of_a_long_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bus_on(ScriptedLine()) as bench:
        bench.ask_soon(read(1, *(span(1000 * at, 100) for at in range(5))))
        await trio.sleep(0.001)
        done = await bench.bus.ask(write(2, 0, 7))
    assert isinstance(done, WriteDone)
    assert [adu[0] for _, adu in bench.line.sent] == [1, 2]


async def test_writes_are_in_the_ledger(autojump_clock: trio.testing.MockClock) -> None:
    async with bus_on(ScriptedLine(), {2: bus.UnitTraits(writes_multiple=True)}) as bench:
        done = await bench.bus.ask(write(1, 5, 7))
        multiple = await bench.bus.ask(write(2, 5, 7))
        bench.line.silent.add(1)
        failed = await bench.bus.ask(write(1, 6, 7))
    assert [adu[1] for _, adu in bench.line.sent] == [6, 16, 6]
    assert bench.line.data[1, 5] == bench.line.data[2, 5] == b"\x00\x07"
    assert isinstance(failed, WriteFailed)
    assert failed.kind is FailureKind.NO_REPLY
    ledger = [fact for fact in bench.facts.drain() if isinstance(fact, WriteDone | WriteFailed)]
    assert ledger == [done, multiple, failed]


async def test_only_the_last_of_equal_writes_is_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bus_on(ScriptedLine()) as bench:
        bench.ask_soon(read(1, span(0)))
        await trio.sleep(0.001)
        replies: list[object] = []
        for value in (1, 2, 3):
            bench.ask_soon(write(1, 5, value), replies)
            await trio.sleep(0.001)
        await trio.sleep(1)
    kinds = [reply.kind for reply in replies if isinstance(reply, WriteFailed)]
    assert kinds == [FailureKind.EXPIRED, FailureKind.EXPIRED]
    assert len(bench.line.sent) == 2
    assert bench.line.data[1, 5] == b"\x00\x03"


async def test_what_expires_in_the_queue_is_never_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bus_on(ScriptedLine()) as bench:
        bench.ask_soon(read(1, span(0, 100)))
        await trio.sleep(0.001)
        replies = bench.ask_soon(read(2, span(0), within_s=0.05))
        bench.ask_soon(write(3, 0, 1, within_s=0.05), replies)
        await trio.sleep(1)
    assert [reply.kind for reply in replies] == [FailureKind.EXPIRED] * 2  # type: ignore[attr-defined]
    assert [adu[0] for _, adu in bench.line.sent] == [1]


async def test_a_cancelled_caller_leaves_no_trace(autojump_clock: trio.testing.MockClock) -> None:
    async with bus_on(ScriptedLine()) as bench:
        bench.ask_soon(read(1, span(0, 100)))
        await trio.sleep(0.001)
        with trio.move_on_after(0.05):
            await bench.bus.ask(read(2, span(0)))
        await trio.sleep(1)
        assert isinstance(await bench.bus.ask(read(3, span(0))), RegistersRead)
    assert [adu[0] for _, adu in bench.line.sent] == [1, 3]


async def test_frames_keep_their_gap(autojump_clock: trio.testing.MockClock) -> None:
    async with bus_on(ScriptedLine(), {2: bus.UnitTraits(gap_s=0.3)}) as bench:
        for unit_id in (1, 2, 2, 1):
            await bench.bus.ask(read(unit_id, span(0)))
    starts = [at_s for at_s, _ in bench.line.sent]
    busy_s = (8 + 7) * 11 / 9600 + 0.01
    gaps = [after - before - busy_s for before, after in pairwise(starts)]
    assert gaps == pytest.approx([0.005, 0.3, 0.005])


async def test_another_unit_is_asked_after_a_longer_gap(
    autojump_clock: trio.testing.MockClock,
) -> None:
    timing = replace(TIMING, switch_gap_s=0.04)
    async with bus_on(ScriptedLine(), timing=timing) as bench:
        for unit_id in (1, 1, 2, 2, 1):
            await bench.bus.ask(read(unit_id, span(0)))
    starts = [at_s for at_s, _ in bench.line.sent]
    busy_s = (8 + 7) * 11 / 9600 + 0.01
    gaps = [after - before - busy_s for before, after in pairwise(starts)]
    assert gaps == pytest.approx([0.005, 0.04, 0.005, 0.04])


async def test_utilisation_is_counted_also_when_idle(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bus_on(ScriptedLine()) as bench:
        await trio.sleep(2.5)
        for _ in range(100):
            await bench.bus.ask(read(1, span(0, 10)))
        await trio.sleep(1)
    counts = [fact for fact in bench.facts.drain() if isinstance(fact, LineCounted)]
    spacing = [after.counted_s - before.counted_s for before, after in pairwise(counts)]
    assert all(0.999 < each < 1.1 for each in spacing)
    assert counts[0].utilisation_pct == 0
    assert 99 < max(count.utilisation_pct for count in counts) <= 100
    assert counts[-1].transactions == 100


async def test_a_read_that_modbus_does_not_have_is_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bus_on(ScriptedLine(), {1: bus.UnitTraits(words_max=40)}) as bench:
        wide = await bench.bus.ask(read(1, span(0, 41)))
        nothing = await bench.bus.ask(read(1))
        bad_write = await bench.bus.ask(
            WriteRegisters(1, HOLDING, 0, b"", 100.0, who="test", why="to see")
        )
    assert isinstance(wide, ReadFailed)
    assert (wide.kind, "1 to 40" in wide.text) == (FailureKind.REFUSED, True)
    assert isinstance(nothing, RegistersRead)
    assert isinstance(bad_write, WriteFailed)
    assert not bench.line.sent


# Units in trouble


@pytest.mark.slow
async def test_a_silent_unit_costs_the_others_less_than_five_percent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def rate(silent: set[int]) -> tuple[int, int]:
        line = ScriptedLine()
        line.silent = silent
        async with bus_on(line) as bench:
            until_s = trio.current_time() + 120
            replies: dict[int, list[object]] = {1: [], 2: [], 3: []}
            async with trio.open_nursery() as nursery:
                for unit_id, theirs in replies.items():
                    nursery.start_soon(poll, bench, unit_id, 0.2, until_s, theirs)
        return good(replies[1]), len(bench.line.sent)

    alone, _ = await rate(set())
    beside, sent = await rate({2, 3})
    assert alone == 600
    assert beside > 0.95 * alone
    assert sent - beside < 30  # Three each, then a probe now and then.


@pytest.mark.slow
async def test_probes_of_an_offline_unit_cost_a_fast_group_a_tick_in_a_thousand(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = ScriptedLine()
    line.silent = {2}
    async with bus_on(line) as bench:
        first: list[object] = []
        await poll(bench, 2, 1.0, trio.current_time() + 5, first)  # By now it is offline.
        until_s = trio.current_time() + 300
        fast: list[object] = []
        slow: list[object] = []
        before = len(line.sent)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poll, bench, 1, 0.2, until_s, fast)
            nursery.start_soon(poll, bench, 2, 1.0, until_s, slow)
        starts = [at_s for at_s, adu in line.sent[before:] if adu[0] == 1]
        assert good(fast) >= 1494  # Each fourth probe waits for the whole timeout.
        periods = sorted(after - before for before, after in pairwise(starts))
        assert periods[int(0.99 * len(periods))] < 0.21
        assert periods[-1] < 0.7
        assert sum(adu[0] == 2 for _, adu in line.sent[before:]) >= 5
        line.silent.clear()
        await poll(bench, 2, 1.0, trio.current_time() + 70, slow)
    assert isinstance(slow[-1], RegistersRead)


async def test_a_silent_unit_goes_offline_once_and_comes_back_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = ScriptedLine()
    async with bus_on(line) as bench:
        replies: list[object] = []
        bench.nursery.start_soon(poll, bench, 1, 0.5, trio.current_time() + 100, replies)
        await trio.sleep(5)
        line.silent.add(1)
        await trio.sleep(30)
        asked_at = trio.current_time()
        refused = await bench.bus.ask(read(1, span(0)))
        assert trio.current_time() == asked_at, "an offline unit is answered for at once"
        line.silent.clear()
        await trio.sleep(62)
    assert isinstance(refused, ReadFailed)
    assert refused.kind is FailureKind.UNIT_OFFLINE
    healths = [fact.health for fact in bench.facts_of(UnitChanged) if isinstance(fact, UnitChanged)]
    healthy = UnitHealth.HEALTHY
    assert healths == [healthy, UnitHealth.SUSPECT, UnitHealth.OFFLINE, healthy]
    assert good(replies[-5:]) == 5


@pytest.mark.parametrize("late_s", [0.3, 0.31, 0.35, 0.45, 0.55])
async def test_a_late_reply_is_never_the_next_answer(
    late_s: float, autojump_clock: trio.testing.MockClock
) -> None:
    line = ScriptedLine()
    async with bus_on(line) as bench:
        line.late_s[1] = late_s
        late = await bench.bus.ask(read(1, span(100)))
        line.late_s.clear()
        reply = await bench.bus.ask(read(1, span(200)))
    assert isinstance(late, ReadFailed)
    assert late.kind is FailureKind.NO_REPLY
    assert isinstance(reply, RegistersRead)
    assert reply.blocks == (words_at(200, 1),)


async def test_a_lost_reply_of_a_quick_unit_costs_less_than_the_configured_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = ScriptedLine()
    async with bus_on(line) as bench:
        for _ in range(60):
            await bench.bus.ask(read(1, span(0)))
        line.silent.add(1)
        costs = []
        for _ in range(2):
            began_s = trio.current_time()
            await bench.bus.ask(read(1, span(0)))
            costs.append(trio.current_time() - began_s)
    assert costs[0] == pytest.approx(0.17, abs=0.02)
    assert costs[1] > 0.3, "nothing is taken for granted after a silence"


async def test_a_long_reply_of_a_quick_unit_may_come_all_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bus_on(ScriptedLine()) as bench:  # Its replies come whole, after their wire time.
        for _ in range(60):
            await bench.bus.ask(read(1, span(0)))
        for _ in range(60):
            assert isinstance(await bench.bus.ask(read(1, span(0, 100))), RegistersRead)


async def test_one_lost_reply_costs_a_fast_group_its_timeout_and_no_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = ScriptedLine()
    async with bus_on(line) as bench:
        replies: list[object] = []
        bench.nursery.start_soon(poll, bench, 1, 0.2, trio.current_time() + 10, replies)
        await trio.sleep(5.1)
        line.silent.add(1)
        await trio.sleep(0.2)
        line.silent.clear()
        await trio.sleep(5)
    assert len(replies) - good(replies) == 1
    assert good(replies) >= 47


async def test_a_refusal_is_a_sign_of_life(autojump_clock: trio.testing.MockClock) -> None:
    line = ScriptedLine()
    line.illegal = {7}
    async with bus_on(line) as bench:
        for _ in range(5):
            reply = await bench.bus.ask(read(1, span(7)))
            assert isinstance(reply, ReadFailed)
            assert reply.kind is FailureKind.REFUSED
            assert "exception 2" in reply.text
        assert isinstance(await bench.bus.ask(read(1, span(8))), RegistersRead)
    (first,) = bench.facts_of(UnitChanged)
    assert isinstance(first, UnitChanged)
    assert first.health is UnitHealth.HEALTHY


async def test_an_illegal_hole_is_read_over_once_and_never_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = ScriptedLine()
    line.illegal = {5}
    async with bus_on(line) as bench:
        first = await bench.bus.ask(read(1, span(0, 4), span(8, 4)))
        assert isinstance(first, RegistersRead)
        assert first.blocks == (words_at(0, 4), words_at(8, 4))
        assert len(line.sent) == 3  # Together and refused, then one by one.
        await bench.bus.ask(read(1, span(0, 4), span(8, 4)))
        assert len(line.sent) == 5


async def test_a_register_that_is_refused_does_not_spoil_its_neighbours(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = ScriptedLine()
    line.illegal = {4}
    async with bus_on(line) as bench:
        for _ in range(3):
            line.sent.clear()
            replies = bench.ask_soon(read(1, span(0, 4), span(6, 4)))
            bench.ask_soon(read(1, span(4)), replies)
            await trio.sleep(1)
            assert good(replies) == 1
        assert len(line.sent) == 2 + 1
        line.illegal.clear()
        await bench.bus.ask(read(1, span(4)))
        line.sent.clear()
        await bench.bus.ask(read(1, span(0, 4), span(4), span(6, 4)))
        assert len(line.sent) == 1


GARBAGE: dict[str, Callable[[bytes], bytes]] = {
    "noise": lambda request: bytes(range(50, 90)),
    "another unit": lambda request: with_crc(bytes((99, 3, 2, 1, 1))),
    "another length": lambda request: with_crc(bytes((request[0], 3, 4, 1, 1, 1, 1))),
    "half a reply": lambda request: with_crc(bytes((request[0], 3, 2, 1, 1)))[:4],
    "wrong checksum": lambda request: bytes((request[0], 3, 2, 1, 1, 0, 0)),
}


@pytest.mark.parametrize("kind", GARBAGE)
async def test_what_is_no_answer_is_garbled_within_bounded_time(
    kind: str, autojump_clock: trio.testing.MockClock
) -> None:
    line = ScriptedLine()
    async with bus_on(line) as bench:
        line.script = GARBAGE[kind]
        began_s = trio.current_time()
        reply = await bench.bus.ask(read(1, span(0)))
        assert isinstance(reply, ReadFailed)
        assert reply.kind is FailureKind.GARBLED
        assert trio.current_time() - began_s < 0.5
        line.script = None
        assert isinstance(await bench.bus.ask(read(1, span(0))), RegistersRead)


async def test_noise_and_echo_around_a_reply_do_no_harm(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = ScriptedLine()
    async with bus_on(line) as bench:
        line.script = lambda request: b"\xff\x00" + request + line._answer(request) + b"\x00"
        for address in (5, 6):
            reply = await bench.bus.ask(read(1, span(address)))
            assert isinstance(reply, RegistersRead)
            assert reply.blocks == (words_at(address, 1),)
        line.script = lambda request: request  # It echoes, and the unit has died.
        failed = await bench.bus.ask(write(1, 5, 7))
    assert isinstance(failed, WriteFailed)
    assert failed.kind is FailureKind.NO_REPLY


# The line in trouble


async def test_unplugging_is_told_once_and_the_line_comes_back_by_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = ScriptedLine(turnaround_s=0.1)
    async with bus_on(line) as bench:
        reading = bench.ask_soon(read(1, span(0)))
        waiting = bench.ask_soon(read(2, span(0)))
        writing = bench.ask_soon(write(1, 0, 1))
        await trio.sleep(0.05)
        line.unplug()
        await trio.sleep(0.01)
        replies = [*reading, *waiting, *writing]
        assert [reply.kind for reply in replies] == [FailureKind.LINE_DOWN] * 3  # type: ignore[attr-defined]
        for _ in range(50):
            began_s = trio.current_time()
            down = await bench.bus.ask(read(1, span(0)))
            assert isinstance(down, ReadFailed)
            assert down.kind is FailureKind.LINE_DOWN
            assert trio.current_time() == began_s
            await trio.sleep(1)
        line.is_gone = False
        await trio.sleep(31)
        assert isinstance(await bench.bus.ask(read(1, span(0))), RegistersRead)
        facts = bench.facts.drain()
    ups = [fact.is_up for fact in facts if isinstance(fact, LineChanged)]
    assert ups == [True, False, True]
    healths = [fact.health for fact in facts if isinstance(fact, UnitChanged)]
    assert set(healths) <= {UnitHealth.HEALTHY}, "a lost adapter says nothing of the units"
    assert sum(isinstance(fact, LineCounted) for fact in facts) > 75
    assert line.opened == line.closed == 2


async def test_a_line_that_is_missing_at_start_is_told_once_with_its_cause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = ScriptedLine()
    line.is_gone = True
    async with bus_on(line) as bench:
        await trio.sleep(100)
        changes = bench.facts_of(LineChanged)
    assert [(change.is_up, change.cause) for change in changes] == [  # type: ignore[attr-defined]
        (False, "the adapter is not there")
    ]


async def test_it_ends_when_its_callers_are_gone_and_all_are_answered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = ScriptedLine()
    caller, calls = open_calls()
    replies: list[object] = []

    async def ask() -> None:
        replies.append(await caller.ask(read(1, span(0))))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        caller.close()
        await bus.run(calls, Feed(), line_name="line", open_line=line.open, timing=TIMING, units={})
    assert good(replies) == 1
    assert line.closed == 1


async def test_cancelling_closes_the_line_and_leaves_nobody_waiting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = ScriptedLine()
    line.silent.add(1)
    caller, calls = open_calls()
    replies: list[object] = []

    async def ask() -> None:
        replies.append(await caller.ask(read(1, span(0))))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        with trio.move_on_after(0.1):
            await bus.run(
                calls, Feed(), line_name="line", open_line=line.open, timing=TIMING, units={}
            )
    assert good(replies) == 0
    assert len(replies) == 1
    assert line.closed == 1


async def test_a_reply_from_before_a_pause_of_ours_is_not_a_reading(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class HangingLine(ScriptedLine):
        """Its reader is stopped just when the reply is there, as by SIGSTOP or a slow card."""

        hang_s = 0.0

        async def receive_some(self) -> bytes:
            data = await super().receive_some()
            autojump_clock.jump(self.hang_s)
            return data

    line = HangingLine()
    async with bus_on(line) as bench:
        assert isinstance(await bench.bus.ask(read(1, span(0))), RegistersRead)
        line.hang_s = 5.0
        late = await bench.bus.ask(read(1, span(0)))
        assert isinstance(late, ReadFailed)
        assert late.kind is FailureKind.NO_REPLY
        line.hang_s = 0.0
        assert isinstance(await bench.bus.ask(read(1, span(0))), RegistersRead)


async def test_the_gap_becomes_short_where_that_goes_well_and_long_again_after_a_loss(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = ScriptedLine()
    timing = bus.LineTiming(baudrate=19200, reply_timeout_s=0.3)
    busy_s = (8 + 7) * 11 / 9600 + 0.01

    async def gap_s(bench: Bench) -> float:
        for _ in range(2):
            await bench.bus.ask(read(1, span(0)))
        return line.sent[-1][0] - line.sent[-2][0] - busy_s

    async with bus_on(line, timing=timing) as bench:
        assert await gap_s(bench) == pytest.approx(0.005)
        for _ in range(GOOD_MIN):
            await bench.bus.ask(read(1, span(0)))
        assert await gap_s(bench) == pytest.approx(3.5 * 11 / 19200)
        line.silent.add(1)
        await bench.bus.ask(read(1, span(0)))
        line.silent.clear()
        await bench.bus.ask(read(1, span(1)))
        assert await gap_s(bench) == pytest.approx(0.005)
    async with bus_on(ScriptedLine(), timing=replace(timing, gap_s=0.01)) as bench:
        for _ in range(GOOD_MIN + 2):
            await bench.bus.ask(read(1, span(0)))
        starts = [at_s for at_s, _ in bench.line.sent]
        assert starts[-1] - starts[-2] - busy_s == pytest.approx(0.01)


@pytest.mark.parametrize("noise", [b"\x55\xaa\x13", b"\x01\x03\x02", b"\x01", bytes(300)])
async def test_noise_for_ever_is_named_costs_bounded_time_and_heals(
    noise: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    line = ScriptedLine()
    async with bus_on(line) as bench, trio.open_nursery() as nursery:

        async def babble() -> None:  # The wrong baud rate or parity, or a second master.
            while True:
                line.arrive(trio.current_time(), noise)
                await trio.sleep(0.02)

        nursery.start_soon(babble)
        line.silent.add(1)
        kinds = []
        for _ in range(20):
            began_s = trio.current_time()
            reply = await bench.bus.ask(read(1, span(0)))
            assert isinstance(reply, ReadFailed)
            kinds.append(reply.kind)
            assert trio.current_time() - began_s < 1.0
            await trio.sleep(0.5)
        assert set(kinds) <= {FailureKind.GARBLED, FailureKind.UNIT_OFFLINE}
        assert kinds[0] is FailureKind.GARBLED
        assert len(line.sent) < 12, "a unit that is never understood is probed, not polled"
        nursery.cancel_scope.cancel()
        line.silent.clear()
    async with bus_on(line) as bench:
        assert isinstance(await bench.bus.ask(read(1, span(0))), RegistersRead)


@pytest.mark.slow
async def test_two_masters_on_one_line_spoil_no_data(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = ScriptedLine()
    chance = random.Random(4)
    async with bus_on(line) as bench, trio.open_nursery() as nursery:

        async def other_master() -> None:
            while True:
                await trio.sleep(chance.uniform(0.02, 0.3))
                address = chance.choice((300, 400))
                request = with_crc(bytes((1, 3, *address.to_bytes(2, "big"), 0, 3)))
                reply = line._answer(request)
                cut = chance.randrange(len(reply) + 1)  # Collisions cut frames anywhere.
                line.arrive(trio.current_time(), request + reply[:cut])

        nursery.start_soon(other_master)
        replies = []
        for _ in range(500):
            reply = await bench.bus.ask(read(1, span(100, 2)))
            replies.append(reply)
            if isinstance(reply, RegistersRead):
                assert reply.blocks == (words_at(100, 2),)
            else:
                assert isinstance(reply, ReadFailed)
            await trio.sleep(0.2)
        assert good(replies) > 400
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("code", [0, 5, 7, 9, 12, 0x7F, 0xFF])
async def test_exception_codes_that_modbus_does_not_know_are_named_and_cost_no_timeout(
    code: int, autojump_clock: trio.testing.MockClock
) -> None:
    line = ScriptedLine()
    async with bus_on(line) as bench:
        line.script = lambda request: with_crc(bytes((request[0], request[1] | 0x80, code)))
        began_s = trio.current_time()
        reply = await bench.bus.ask(read(1, span(0)))
        assert isinstance(reply, ReadFailed)
        assert (reply.kind, f"exception {code}" in reply.text) == (FailureKind.REFUSED, True)
        assert trio.current_time() - began_s < 0.1
        line.script = None
        assert isinstance(await bench.bus.ask(read(1, span(0))), RegistersRead)
