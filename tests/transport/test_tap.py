"""Taps: what went over a line is known afterwards, and the line does not notice."""

from __future__ import annotations

from collections import deque

import pytest
import trio

from grug.errors import LineError
from grug.messages import Lagged, Message, WireTraced
from grug.model import Role, Wire, WireFraming, WireKind
from grug.transport.line import Line, LineOpener
from grug.transport.tap import CHUNK_RECORDS_MAX, WireTap

METER = Wire("meter", Role.CLIENT, WireFraming.RTU)
FAKE = Wire("fake", Role.SERVER, WireFraming.RTU)


class EchoLine:
    """Gives back what was sent; nothing more ever comes."""

    def __init__(self) -> None:
        self.arrived: deque[bytes] = deque()
        self.unasked = 0
        self.is_broken = False

    async def send_all(self, data: bytes) -> None:
        if self.is_broken:
            raise LineError("gone")
        self.arrived.append(data[::-1])

    async def receive_some(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self.arrived:
            await trio.sleep_forever()
        return self.arrived.popleft()

    def discard_input(self) -> int:
        count, self.unasked = self.unasked, 0
        return count

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def opener(line: EchoLine) -> LineOpener:
    async def open_line() -> Line:
        await trio.lowlevel.checkpoint()
        return line

    return open_line


def seen(messages: list[Message]) -> list[tuple[str, WireKind, int, bytes]]:
    return [
        (message.wires[record.wire], record.kind, record.at_us, record.data)
        for message in messages
        if isinstance(message, WireTraced)
        for record in message.records
    ]


async def test_request_reply_silence_and_noise_are_seen_with_their_times(
    autojump_clock: object,
) -> None:
    tap, echo = WireTap(), EchoLine()
    start_us = round(trio.current_time() * 1e6)
    line = await tap.tapped(METER, opener(echo))()
    await line.send_all(b"ask")
    await trio.sleep(0.25)
    assert await line.receive_some() == b"ksa"
    await line.send_all(b"again")
    echo.arrived.clear()
    with trio.move_on_after(0.5):
        await line.receive_some()
    echo.unasked = 300
    assert line.discard_input() == 300
    assert line.discard_input() == 0
    await line.aclose()
    times = [(kind, at_us - start_us, data) for _, kind, at_us, data in seen(tap.take(0.0, True))]
    assert times == [
        (WireKind.OPENED, 0, b""),
        (WireKind.SENT, 0, b"ask"),
        (WireKind.RECEIVED, 250_000, b"ksa"),
        (WireKind.SENT, 250_000, b"again"),
        (WireKind.SILENCE, 750_000, b""),
        (WireKind.DISCARDED, 750_000, (300).to_bytes(4, "little")),
        (WireKind.CLOSED, 750_000, b""),
    ]


async def test_fake_meter_that_waits_for_a_query_is_not_silent(autojump_clock: object) -> None:
    tap = WireTap()
    line = await tap.tapped(FAKE, opener(EchoLine()))()
    with trio.move_on_after(5):
        await line.receive_some()
    assert [kind for _, kind, _, _ in seen(tap.take(0.0, True))] == [WireKind.OPENED]


async def test_errors_of_the_line_pass_through(autojump_clock: object) -> None:
    tap, echo = WireTap(), EchoLine()
    line = await tap.tapped(METER, opener(echo))()
    echo.is_broken = True
    with pytest.raises(LineError, match="gone"):
        await line.send_all(b"ask")
    assert seen(tap.take(0.0, True))[-1][1] is WireKind.SENT


async def test_full_buffer_loses_the_oldest_and_says_so(autojump_clock: object) -> None:
    tap = WireTap(bytes_max=10_000)
    line = await tap.tapped(METER, opener(EchoLine()))()
    for index in range(1000):
        await line.send_all(b"%04d" % index)
    lagged, *messages = tap.take(0.0, True)
    records = seen(messages)
    assert lagged == Lagged("frames", 1001 - len(records))
    assert [int(data) for _, _, _, data in records] == list(range(1000 - len(records), 1000))
    assert 50 < len(records) < 100
    assert tap.take(0.0, True) == []


async def test_records_leave_once_a_second_or_when_they_are_many(autojump_clock: object) -> None:
    tap = WireTap()
    line = await tap.tapped(METER, opener(EchoLine()))()
    assert len(seen(tap.take(10.0))) == 1
    await line.send_all(b"ask")
    assert tap.take(10.9) == []
    assert len(seen(tap.take(11.1))) == 1
    for _ in range(CHUNK_RECORDS_MAX + 5):
        await line.send_all(b"ask")
    messages = tap.take(11.2)
    assert [len(message.records) for message in messages if isinstance(message, WireTraced)] == [
        CHUNK_RECORDS_MAX,
        5,
    ]


async def test_wires_keep_their_numbers(autojump_clock: object) -> None:
    tap = WireTap()
    openers = [tap.tapped(wire, opener(EchoLine())) for wire in (METER, FAKE)]
    for open_line in reversed(openers):
        await open_line()
    assert [name for name, _, _, _ in seen(tap.take(0.0, True))] == [FAKE.name, METER.name]


async def test_buffer_stays_bounded_when_long_records_follow_short_ones(
    autojump_clock: object,
) -> None:
    tap = WireTap(bytes_max=20_000)
    line = await tap.tapped(METER, opener(EchoLine()))()
    for size in (2, 4000):
        for _ in range(100):
            await line.send_all(bytes(size))
    _, *messages = tap.take(0.0, True)
    assert sum(len(data) for _, _, _, data in seen(messages)) <= 20_000
