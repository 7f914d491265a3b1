"""The fake meter against a real client, libmodbus's mbpoll, over a real pseudo-terminal."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tty
from collections.abc import Iterator

import pytest
import trio

from grug.actors import fakemeter
from grug.errors import LineError
from grug.messages import FakeMeterChanged, MeterImage
from grug.runtime.feed import Feed
from grug.transport.line import Line
from grug.transport.maps import load_map

pytestmark = pytest.mark.slow


class MasterSide:
    """The end of a pseudo-terminal that no serial port library opens: here the meter's."""

    def __init__(self, descriptor: int) -> None:
        self._stream = trio.lowlevel.FdStream(os.dup(descriptor))

    async def send_all(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def receive_some(self) -> bytes:
        data = await self._stream.receive_some(4096)
        if not data:
            raise LineError("closed")
        return bytes(data)

    def discard_input(self) -> int:
        return 0

    async def aclose(self) -> None:
        await self._stream.aclose()


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    """Descriptor of the meter's end, path of the inverter's."""
    master, slave = os.openpty()
    tty.setraw(slave)
    yield master, os.ttyname(slave)
    os.close(slave)
    os.close(master)


async def poll(path: str, *arguments: str) -> tuple[int, str]:
    """Run mbpoll once; its exit code and what it said."""
    program = shutil.which("mbpoll")
    if program is None:
        pytest.skip("mbpoll is not installed (Debian package mbpoll)")
    common = [program, "-m", "rtu", "-b", "9600", "-P", "none", "-1", "-0", "-o", "0.5"]
    done = await trio.run_process(
        [*common, *arguments, path],
        capture_stdout=True,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout.decode()


def words_in(text: str) -> dict[int, int]:
    """Registers as mbpoll prints them: ``[13]: -> 1234``, large ones with the signed number."""
    return {int(at): int(word) for at, word in re.findall(r"\[(\d+)\]:\s+(\d+)", text)}


async def test_libmodbus_reads_the_power_until_the_image_expires(
    terminal: tuple[int, str],
) -> None:
    master, path = terminal
    feed = Feed()
    changes = feed.subscribe("test", FakeMeterChanged)

    async def open_line() -> Line:
        return MasterSide(master)

    async def run() -> None:
        profile = load_map("acrel_1_phase")
        settings = fakemeter.MeterSettings("fake1", 1, profile, 9600, "meter1", unknown="exception")
        await fakemeter.run(feed, settings, open_line=open_line)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.sleep(0.05)
        now_s = trio.current_time()
        valid_until_s = now_s + 2.0
        names = ("voltage", "active_power")
        feed.publish(MeterImage("fake1", names, (230.1, -1234.0), now_s, valid_until_s))
        await trio.sleep(0.05)

        code, text = await poll(path, "-a", "1", "-t", "4", "-r", "0", "-c", "65")
        assert code == 0, text
        words = words_in(text)
        assert len(words) == 65
        assert (words[11], words[13]) == (2301, 0x10000 - 1234)
        assert set(words.values()) == {0, 2301, 0x10000 - 1234}

        code, text = await poll(path, "-a", "1", "-t", "3", "-r", "13", "-c", "1")
        assert words_in(text) == {13: 0x10000 - 1234}, text
        _, text = await poll(path, "-a", "1", "-t", "4", "-r", "2000", "-c", "2")
        assert "Illegal data address" in text

        await trio.sleep_until(valid_until_s)
        code, text = await poll(path, "-a", "1", "-t", "4", "-r", "0", "-c", "65")
        assert code != 0
        assert "timed out" in text
        nursery.cancel_scope.cancel()

    assert [m.is_live for m in changes.drain() if isinstance(m, FakeMeterChanged)] == [True, False]
