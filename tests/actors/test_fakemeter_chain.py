"""Offset controller and fake meter together: whatever fails before them ends in silence."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from grug.actors import fakemeter, offset
from grug.control.images import IMAGE_NAMES
from grug.control.offset import OffsetSettings, SteeredInverter
from grug.messages import FakeMeterChanged, Readings, ReadingsMissing
from grug.model import FailureKind
from grug.protocol.rtu import with_crc
from grug.runtime.feed import Feed
from grug.transport.line import Line
from grug.transport.maps import load_map

ASK = with_crc(bytes((1, 3, 0, 13, 0, 1)))
SETTINGS = OffsetSettings(
    "grid", "total_power", (SteeredInverter("solis1", "fake1", image_names=IMAGE_NAMES),)
)


class AskingLine:
    """An inverter that asks ten times a second."""

    def __init__(self) -> None:
        self.answers: list[tuple[float, int]] = []
        self._asks_s = trio.current_time() + 0.1

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.answers.append((trio.current_time(), int.from_bytes(data[3:5], "big", signed=True)))

    async def receive_some(self) -> bytes:
        await trio.sleep_until(self._asks_s)
        self._asks_s += 0.1
        return ASK

    def discard_input(self) -> int:
        return 0

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize("failure", ["controller is gone", "meter is lost"])
async def test_no_answer_is_older_than_its_limit_and_the_meter_comes_back(
    autojump_clock, failure: str
) -> None:
    feed, line = Feed(), AskingLine()
    changes = feed.subscribe("test", FakeMeterChanged)
    is_lost = False
    read_s: dict[int, float] = {}

    async def open_line() -> Line:
        return line

    async def poll() -> None:
        """The power is the number of the reading, so that an answer tells which it is of."""
        number = 0
        while True:
            await trio.sleep(0.2)
            now_s = trio.current_time()
            if is_lost:
                missing = ReadingsMissing("grid", ("total_power",), FailureKind.NO_REPLY, "", now_s)
                feed.publish(missing)
                continue
            number += 1
            read_s[number] = now_s
            feed.publish(Readings("grid", now_s, ("total_power",), (float(number),)))

    async def control(task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            task_status.started(scope)
            await offset.run(
                feed, settings=SETTINGS, stopping=trio.Event(), memory=offset.OffsetMemory(feed)
            )

    async with trio.open_nursery() as nursery:
        scope = await nursery.start(control)
        nursery.start_soon(poll)

        async def serve() -> None:
            settings = fakemeter.MeterSettings(
                "fake1", 1, load_map("acrel_1_phase"), 9600, "meter1"
            )
            await fakemeter.run(feed, settings, open_line=open_line)

        nursery.start_soon(serve)
        await trio.sleep(5)
        failed_s = trio.current_time()
        if failure == "meter is lost":
            is_lost = True
        else:
            scope.cancel()
        await trio.sleep(10)
        assert failed_s < line.answers[-1][0] <= failed_s + 1.5
        is_lost = False
        if failure != "meter is lost":
            await nursery.start(control)
        await trio.sleep(5)
        nursery.cancel_scope.cancel()

    assert all(0 <= sent_s - read_s[number] <= 1.5 for sent_s, number in line.answers)
    assert line.answers[-1][0] > failed_s + 14
    assert [m.is_live for m in changes.drain() if isinstance(m, FakeMeterChanged)] == [
        True,
        False,
        True,
    ]
