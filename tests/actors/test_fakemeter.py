"""The fake meter: says what is fresh, at the right moment, and nothing else."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing

from grug.actors import fakemeter
from grug.control.meterport import LOOK_EVERY_S, MeterTally
from grug.errors import LineError
from grug.messages import (
    FakeMeterAsked,
    FakeMeterChanged,
    FakeMeterCounted,
    LineChanged,
    Message,
    MeterImage,
    Noted,
    Readings,
)
from grug.protocol.rtu import crc_is_good, interframe_delay_s, with_crc
from grug.runtime.feed import Feed
from grug.transport.line import Line
from grug.transport.maps import load_map

UNIT = 1
ASK = with_crc(bytes((UNIT, 3, 0, 0, 0, 65)))


class MemoryLine:
    """A meter port whose other end, the inverter, is the test."""

    def __init__(self) -> None:
        self.put, self._bytes = trio.open_memory_channel[bytes](100)
        self.sent: list[tuple[float, bytes]] = []
        self.is_closed = False
        self.lets_go: trio.Event | None = None
        """Closing waits for it, as for an adapter that is gone."""

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append((trio.current_time(), data))

    async def receive_some(self) -> bytes:
        try:
            return await self._bytes.receive()
        except trio.EndOfChannel:
            raise LineError("unplugged") from None

    def discard_input(self) -> int:
        count = 0
        with contextlib.suppress(trio.WouldBlock, trio.EndOfChannel):
            while True:
                count += len(self._bytes.receive_nowait())
        return count

    async def aclose(self) -> None:
        self.is_closed = True
        if self.lets_go is not None:
            await self.lets_go.wait()

    async def ask(self, adu: bytes) -> bytes | None:
        """Ask like an inverter: the reply, or None after 0.3 s."""
        before = len(self.sent)
        self.put.send_nowait(adu)
        await trio.sleep(0.3)
        assert len(self.sent) <= before + 1
        return self.sent[-1][1] if len(self.sent) > before else None


class Port:
    """Opens one line after another, or fails."""

    def __init__(self) -> None:
        self.lines: list[MemoryLine] = []
        self.waiting: list[bytes] = []
        """What has come before a line is opened."""
        self.opened_s: list[float] = []
        self.problem = ""

    async def __call__(self) -> Line:
        self.opened_s.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if self.problem:
            raise LineError(self.problem)
        self.lines.append(MemoryLine())
        for data in self.waiting:
            self.line.put.send_nowait(data)
        return self.line

    @property
    def line(self) -> MemoryLine:
        return self.lines[-1]


class House:
    """The actor with its feed and its port."""

    def __init__(self, profile: str, **options: object) -> None:
        self.options = options
        self.tally = MeterTally()
        self.feed = Feed()
        self.port = Port()
        self.profile = load_map(profile)
        self.heard = self.feed.subscribe("test", Message)

    async def run(self) -> None:
        settings = fakemeter.MeterSettings("fake1", UNIT, self.profile, 9600, "meter1")
        settings = replace(settings, **self.options)  # type: ignore[arg-type]
        await fakemeter.run(self.feed, settings, open_line=self.port, tally=self.tally)

    def show(self, power_w: float, max_age_s: float = 1.5, **others: float) -> None:
        """Publish an image of this moment."""
        now_s = trio.current_time()
        names, values = ("active_power", *others), (power_w, *others.values())
        self.feed.publish(MeterImage("fake1", names, values, now_s, now_s + max_age_s))

    def heard_of(self, kind: type[Message]) -> list[Message]:
        return [message for message in self.heard.drain() if isinstance(message, kind)]


@asynccontextmanager
async def running(profile: str = "acrel_1_phase", **options: object) -> AsyncIterator[House]:
    house = House(profile, **options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.run)
        await trio.testing.wait_all_tasks_blocked()
        yield house
        nursery.cancel_scope.cancel()


def words_of(reply: bytes | None) -> list[int]:
    assert reply is not None
    assert crc_is_good(reply)
    data = reply[3:-2]
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


async def test_inverters_question_is_answered_with_zeros_in_the_gaps(autojump_clock) -> None:
    async with running() as house:
        house.show(-1234.0, voltage=230.1)
        await trio.testing.wait_all_tasks_blocked()
        words = words_of(await house.port.line.ask(ASK))
        assert len(words) == 65
        assert words[13] == 0x10000 - 1234
        assert words[11] == 2301
        assert not any(words[:11] + words[18:60])
        house.show(50.0, voltage=230.1)
        await trio.testing.wait_all_tasks_blocked()
        assert words_of(await house.port.line.ask(ASK))[13] == 50
        by_four = with_crc(bytes((UNIT, 4, 0, 13, 0, 1)))
        assert words_of(await house.port.line.ask(by_four)) == [50]


async def test_reply_waits_for_the_silence_that_ends_the_question(autojump_clock) -> None:
    async with running() as house:
        house.show(0.0)
        asked_s = trio.current_time()
        await house.port.line.ask(ASK)
        (sent_s, _) = house.port.line.sent[0]
        assert sent_s - asked_s == pytest.approx(interframe_delay_s(9600))


async def test_silent_before_the_first_image_and_after_the_last_expired(autojump_clock) -> None:
    async with running() as house:
        assert await house.port.line.ask(ASK) is None
        house.show(100.0)
        assert await house.port.line.ask(ASK) is not None
        # The offset actor hangs or has crashed: nothing comes any more.
        await trio.sleep(1.5 - 0.3 - 0.004)
        assert await house.port.line.ask(ASK) is None
        assert await house.port.line.ask(with_crc(bytes((UNIT, 3, 9, 9, 0, 1)))) is None
        await trio.sleep(1)
        counted = house.heard_of(FakeMeterCounted)[-1]
        assert (counted.answered, counted.silent_stale, counted.refused) == (1, 3, 0)


async def test_freshness_is_checked_when_the_reply_leaves(autojump_clock) -> None:
    async with running() as house:
        house.show(100.0, max_age_s=interframe_delay_s(9600) / 2)
        assert await house.port.line.ask(ASK) is None


async def test_image_that_arrives_during_the_turnaround_is_the_one_that_is_told(
    autojump_clock,
) -> None:
    async with running() as house:
        house.show(1.0)
        await house.port.line.ask(ASK)
        house.port.line.put.send_nowait(ASK)
        await trio.sleep(interframe_delay_s(9600) / 2)
        house.show(2.0)
        await trio.sleep(0.1)
        assert [words_of(reply)[13] for _, reply in house.port.line.sent] == [1, 2]


async def test_old_image_is_not_revived_by_the_next_one_that_is_refused(autojump_clock) -> None:
    async with running() as house:
        house.show(100.0)
        await trio.sleep(0.1)
        house.show(1e9)
        assert await house.port.line.ask(ASK) is None
        house.show(math.nan)
        await trio.sleep(0.1)
        heard = house.heard.drain()
        notes = [message.text for message in heard if isinstance(message, Noted)]
        assert len(notes) == 1
        assert "active_power" in notes[0]
        changes = [m for m in heard if isinstance(m, FakeMeterChanged)]
        assert [change.is_live for change in changes] == [True, False]
        assert changes[1].changed_s == pytest.approx(0.1), "at once, not when somebody asks"
        house.show(100.0)
        assert await house.port.line.ask(ASK) is not None
        house.show(1e9)
        await trio.sleep(0.1)
        assert len(house.heard_of(Noted)) == 2, "the question, and the next row of refused images"


async def test_silence_is_noticed_and_told_once_although_nobody_asks(autojump_clock) -> None:
    async with running() as house:
        house.show(100.0)
        await trio.sleep(10)
        house.show(100.0)
        await trio.sleep(10)
        changes = house.heard_of(FakeMeterChanged)
        assert [change.is_live for change in changes] == [True, False, True, False]
        assert changes[1].changed_s - changes[0].changed_s <= 1.5 + 1.0
        assert "no fresh image" in changes[1].cause


async def test_images_of_other_fake_meters_are_not_ours(autojump_clock) -> None:
    async with running() as house:
        now_s = trio.current_time()
        house.feed.publish(MeterImage("fake2", ("active_power",), (7.0,), now_s, now_s + 9))
        assert await house.port.line.ask(ASK) is None


async def test_other_units_questions_and_replies_are_left_alone(autojump_clock) -> None:
    async with running() as house:
        house.show(100.0, max_age_s=100.0)
        assert await house.port.line.ask(with_crc(bytes((9, 3, 0, 0, 0, 2)))) is None
        assert await house.port.line.ask(with_crc(bytes((9, 3, 4, 1, 2, 3, 4)))) is None
        assert await house.port.line.ask(b"\x00\x13\x37") is None
        assert await house.port.line.ask(ASK) is not None
        await trio.sleep(1)
        counted = house.heard_of(FakeMeterCounted)[-1]
        assert (counted.foreign, counted.answered) == (1, 1)


async def test_writes_and_unknown_registers_are_refused(autojump_clock) -> None:
    async with running(unknown="exception") as house:
        house.show(100.0, max_age_s=100.0)
        ask = house.port.line.ask
        assert await ask(with_crc(bytes((UNIT, 3, 9, 9, 0, 1)))) == with_crc(b"\x01\x83\x02")
        assert await ask(with_crc(bytes((UNIT, 6, 0, 13, 0, 1)))) == with_crc(b"\x01\x86\x01")
        assert await ask(with_crc(bytes((UNIT, 17)))) == with_crc(b"\x01\x91\x01")
        assert await ask(with_crc(bytes((UNIT, 3, 0, 0, 0, 126)))) == with_crc(b"\x01\x83\x03")
        assert words_of(await ask(ASK))[13] == 100
        await trio.sleep(1)
        counted = house.heard_of(FakeMeterCounted)[-1]
        assert (counted.refused, counted.answered) == (4, 1)


async def test_only_the_last_of_piled_up_questions_is_answered(autojump_clock) -> None:
    """After a hang the inverter has given up on all but its last question."""
    async with running() as house:
        house.show(100.0)
        assert await house.port.line.ask(ASK * 5) is not None
        assert await house.port.line.ask(ASK + with_crc(bytes((9, 3, 0, 0, 0, 2)))) is None


async def test_fourteen_questions_a_second_are_all_answered_and_counted(autojump_clock) -> None:
    async with running() as house:
        house.show(100.0, max_age_s=100.0)
        ask = with_crc(bytes((UNIT, 3, 0, 13, 0, 2)))
        for _ in range(140):
            house.port.line.put.send_nowait(ask[:3])
            await trio.sleep(0.005)
            house.port.line.put.send_nowait(ask[3:])
            await trio.sleep(1 / 14 - 0.005)
        counted = house.heard_of(FakeMeterCounted)[-1]
        assert len(house.port.line.sent) == 140
        assert counted.queries_per_s == pytest.approx(14, abs=1)
        assert 0 <= counted.age_s <= 11


async def test_lost_line_is_told_once_and_opened_again_ever_more_slowly(autojump_clock) -> None:
    async with running() as house:
        house.show(100.0, max_age_s=1e6)
        first = house.port.line
        await first.ask(ASK)
        house.port.problem = "no such port"
        await first.put.aclose()
        await trio.sleep(200)
        assert first.is_closed
        waits = [b - a for a, b in zip(house.port.opened_s, house.port.opened_s[1:], strict=False)]
        assert waits[1:8] == pytest.approx([1, 2, 4, 8, 16, 30, 30])
        house.port.problem = ""
        await trio.sleep(31)
        assert await house.port.line.ask(ASK) is not None
        changes = house.heard_of(LineChanged)
        assert [(change.is_up, change.cause) for change in changes] == [
            (True, "opened"),
            (False, "unplugged"),
            (True, "opened"),
        ]


async def test_line_that_breaks_as_soon_as_it_is_open_is_not_hammered(autojump_clock) -> None:
    async with running() as house:
        with trio.move_on_after(120):
            while True:
                await house.port.line.put.aclose()
                await trio.sleep(0.1)
        assert len(house.port.opened_s) < 12
        await house.port.line.put.aclose()
        await trio.sleep(31)
        house.port.opened_s.clear()
        await trio.sleep(100)
        # It lasted although nobody asked, as at night.
        await house.port.line.put.aclose()
        await trio.sleep(0.6)
        assert len(house.port.opened_s) == 1


async def test_adapter_that_does_not_let_go_holds_neither_the_next_try_nor_the_stop(
    autojump_clock,
) -> None:
    async with running() as house:
        house.show(100.0, max_age_s=100.0)
        first = house.port.line
        first.lets_go = trio.Event()
        await first.put.aclose()
        await trio.sleep(5.0)
        assert await house.port.line.ask(ASK) is not None
        house.port.line.lets_go = trio.Event()
        stopped_s = trio.current_time()
    assert trio.current_time() - stopped_s < 2.0


async def test_when_it_last_answered_is_told_while_it_answers(autojump_clock) -> None:
    async with running() as house:
        house.show(100.0, max_age_s=100.0)
        await trio.sleep(3.3)
        assert house.heard_of(Readings) == []
        await house.port.line.ask(ASK)
        answered_s = house.port.line.sent[0][0]
        await trio.sleep(5.0)
        (told,) = house.heard_of(Readings)
        assert isinstance(told, Readings)
        assert told.read_s == pytest.approx(answered_s, abs=0.001)
        assert told.values == (1,)


async def test_missing_port_is_told_once(autojump_clock) -> None:
    house = House("acrel_1_phase")
    house.port.problem = "no such port"
    with trio.move_on_after(60):
        await house.run()
    (change,) = house.heard_of(LineChanged)
    assert (change.is_up, change.cause) == (False, "no such port")


async def test_sdm120_is_answered_as_floats(autojump_clock) -> None:
    async with running("eastron_sdm120") as house:
        house.show(-1.5)
        words = words_of(await house.port.line.ask(with_crc(bytes((UNIT, 4, 0, 12, 0, 2)))))
        assert words == [0xBFC0, 0]


async def test_line_is_closed_when_cancelled(autojump_clock) -> None:
    async with running() as house:
        pass
    assert house.port.line.is_closed


async def test_question_that_waited_while_the_loop_was_held_up_is_not_answered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """After SIGSTOP, or a bug that blocks the loop, the inverter has long given up."""
    async with running() as house:
        house.show(100.0, max_age_s=100.0)
        assert await house.port.line.ask(ASK) is not None
        await trio.sleep(0.05)
        house.port.line.put.send_nowait(ASK)
        autojump_clock.jump(3.0)  # Nobody of this process ran meanwhile.
        await trio.sleep(0.3)
        assert len(house.port.line.sent) == 1
        assert await house.port.line.ask(ASK) is not None, "the next one is answered"
        await trio.sleep(1)
        counted = house.heard_of(FakeMeterCounted)[-1]
        assert (counted.answered, counted.silent_late) == (2, 1)


async def test_everything_that_came_while_the_loop_was_held_up_is_thrown_away(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Also what does not fit into one read of the port."""
    async with running() as house:
        house.show(100.0, max_age_s=100.0)
        await trio.sleep(0.05)
        for _ in range(3):
            house.port.line.put.send_nowait(ASK)
        autojump_clock.jump(3.0)
        await trio.sleep(0.3)
        assert house.port.line.sent == []
        assert await house.port.line.ask(ASK) is not None


async def test_question_that_came_before_the_port_was_opened_is_not_answered(
    autojump_clock,
) -> None:
    async with running() as house:
        house.show(100.0, max_age_s=100.0)
        house.port.waiting = [ASK]
        await house.port.line.put.aclose()
        await trio.sleep(1.0)
        assert len(house.port.lines) == 2
        assert house.port.line.sent == []
        assert await house.port.line.ask(ASK) is not None


async def test_look_at_the_port_vouches_for_no_later_moment_than_its_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Stopped between finding the port empty and going on: the question that came then is old."""
    for _ in range(10):  # Which of the tasks that wake then is first is for trio to choose.
        began_s = trio.current_time()
        async with running() as house:
            house.show(100.0, max_age_s=100.0)
            await trio.sleep_until(began_s + LOOK_EVERY_S)
            autojump_clock.jump(3.0)
            house.port.line.put.send_nowait(ASK)
            await trio.sleep(0.3)
            assert house.port.line.sent == []


async def test_old_image_is_not_told_after_a_hold_up_although_the_question_is_new(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running() as house:
        house.show(100.0)
        await trio.sleep(0.05)
        autojump_clock.jump(3.0)
        assert await house.port.line.ask(ASK) is None
        house.show(-700.0)
        assert words_of(await house.port.line.ask(ASK))[13] == 0x10000 - 700


async def test_inverter_that_asks_faster_than_the_line_carries_gets_no_late_answers(
    autojump_clock,
) -> None:
    """135 bytes take 140 ms at 9600 baud; replies must not pile up in the port's buffer."""
    async with running() as house:
        house.show(100.0, max_age_s=100.0)
        asked_s = trio.current_time()
        for _ in range(100):
            house.port.line.put.send_nowait(ASK)
            await trio.sleep(0.04)
        lasted_s = trio.current_time() - asked_s
        characters = sum(len(reply) for _, reply in house.port.line.sent)
        assert characters * 10 / 9600 < lasted_s + 0.4, "no more than the wire takes"
        assert len(house.port.line.sent) > 20
        await trio.sleep(1)
        counted = house.heard_of(FakeMeterCounted)[-1]
        assert counted.silent_late == 100 - counted.answered


async def test_port_that_takes_no_bytes_is_opened_anew_so_that_nothing_old_comes_out_of_it(
    autojump_clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def takes_none(line: MemoryLine, data: bytes) -> None:
        await trio.sleep_forever()

    async with running() as house:
        first = house.port.line
        house.show(100.0, max_age_s=100.0)
        with monkeypatch.context() as stuck:
            stuck.setattr(MemoryLine, "send_all", takes_none)
            first.put.send_nowait(ASK)
            await trio.sleep(0.3)
        assert first.is_closed
        await trio.sleep(1.0)
        assert await house.port.line.ask(ASK) is not None
        causes = [each.cause for each in house.heard_of(LineChanged)]
        assert causes == ["opened", "meter1 takes no bytes", "opened"]


async def test_unknown_reads_are_answered_by_policy_counted_and_listed(autojump_clock) -> None:
    unknown = with_crc(bytes((UNIT, 3, 0x7D, 1, 0, 2)))
    for policy, reply in (
        ("zeros", with_crc(bytes((UNIT, 3, 4, 0, 0, 0, 0)))),
        ("exception", with_crc(bytes((UNIT, 0x83, 2)))),
        ("silent", None),
    ):
        async with running("eastron_sdm630", unknown=policy) as house:
            house.show(100.0, max_age_s=100.0)
            assert await house.port.line.ask(unknown) == reply
            assert await house.port.line.ask(unknown) == reply
            await trio.sleep(5)
            heard = house.heard.drain()
            counted = [each for each in heard if isinstance(each, FakeMeterCounted)][-1]
            (listed,) = [each for each in heard if isinstance(each, FakeMeterAsked)][-1].questions
            told = [each.text for each in heard if isinstance(each, Noted)]
        assert counted.unknown == 2
        assert (listed.function, listed.address, listed.count, listed.asked) == (3, 0x7D01, 2, 2)
        assert listed.answer.startswith("unknown")
        assert len(told) == 1, "a new question is told once"
        assert "address 32001" in told[0]


async def test_identity_is_served_beside_the_measured_values(autojump_clock) -> None:
    identity = {"meter_code": 0x70, "serial_number": 0x12345678}
    async with running("eastron_sdm630", identity=identity) as house:
        house.show(-1500.0, max_age_s=100.0, voltage=230.0)
        ask = with_crc(bytes((UNIT, 3, 0xFC, 0, 0, 3)))
        assert words_of(await house.port.line.ask(ask)) == [0x1234, 0x5678, 0x70]
        total = with_crc(bytes((UNIT, 4, 0, 52, 0, 2)))
        assert words_of(await house.port.line.ask(total)) == [0xC4BB, 0x8000]


async def test_counters_go_on_after_a_crash_of_the_actor(autojump_clock) -> None:
    house = House("acrel_1_phase")
    for expected in (1, 2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.run)
            await trio.testing.wait_all_tasks_blocked()
            house.show(100.0)
            assert await house.port.line.ask(ASK) is not None
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        assert house.heard_of(FakeMeterCounted)[-1].answered == expected


@pytest.mark.parametrize("power_w", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("profile", ["eastron_sdm630", "acrel_1_phase"])
async def test_what_is_no_number_is_never_told_by_any_profile(
    autojump_clock, profile: str, power_w: float
) -> None:
    async with running(profile) as house:
        house.show(100.0)
        await trio.testing.wait_all_tasks_blocked()
        house.show(power_w)
        ask = with_crc(bytes((UNIT, 4, 0, 12, 0, 2)))
        assert await house.port.line.ask(ask) is None


async def test_a_power_that_jumps_in_sign_is_told_at_once(autojump_clock) -> None:
    async with running() as house:
        for power_w in (3000.0, -3000.0, 3000.0):
            house.show(power_w)
            await trio.testing.wait_all_tasks_blocked()
            assert words_of(await house.port.line.ask(ASK))[13] == int(power_w) & 0xFFFF
