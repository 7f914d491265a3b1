"""The bus owner on real ports (pseudo-terminals): unplugged, replugged, refused, stalled."""

from __future__ import annotations

import fcntl
import math
import os
import termios
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from grug.actors import bus
from grug.messages import (
    LineChanged,
    ReadFailed,
    ReadRegisters,
    RegistersRead,
    WriteFailed,
    WriteRegisters,
)
from grug.model import FailureKind, Span, Table
from grug.protocol.rtu import with_crc
from grug.runtime.calls import BusCaller, open_calls
from grug.runtime.feed import Feed, Subscription
from grug.transport.serial import serial_opener

HOLDING = Table.HOLDING_REGISTER
REPLY = with_crc(bytes((1, 3, 4, 0, 7, 0, 8)))


class Adapter:
    """A pseudo-terminal under a link, as an adapter is under its by-id name."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.names: list[str] = []
        self.held: list[int] = []
        self.plug()

    def plug(self, *, keeps_number: bool = True) -> None:
        """Put it back; another one may have its number by now."""
        if not keeps_number:
            self.held += os.openpty()
        self.far, near = os.openpty()
        tty.setraw(near)
        os.set_blocking(self.far, False)
        self.names.append(os.ttyname(near))
        self.link.symlink_to(self.names[-1])
        os.close(near)

    def unplug(self) -> None:
        self.link.unlink()
        os.close(self.far)

    def close(self) -> None:
        if self.link.is_symlink():
            self.unplug()
        for each in self.held:
            os.close(each)

    async def request(self) -> bytes:
        """The next eight bytes that come."""
        data = b""
        while len(data) < 8:
            await trio.lowlevel.wait_readable(self.far)
            try:
                data += os.read(self.far, 4096)
            except OSError:  # Nobody has the other end open yet.
                await trio.sleep(0.001)
        return data


@pytest.fixture
def adapter(tmp_path: Path) -> Iterator[Adapter]:
    adapter = Adapter(tmp_path / "usb-adapter")
    yield adapter
    adapter.close()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "REOPEN_S_FIRST", 0.01)
    monkeypatch.setattr(bus, "REOPEN_S_MAX", 0.01)


@asynccontextmanager
async def bus_on(
    adapter: Adapter, *, reply_timeout_s: float = 5.0
) -> AsyncIterator[tuple[BusCaller, Subscription]]:
    feed = Feed()
    facts = feed.subscribe("test", LineChanged)
    caller: BusCaller
    caller, calls = open_calls()

    async def run() -> None:
        await bus.run(
            calls,
            feed,
            line_name="line",
            open_line=serial_opener(str(adapter.link), 115200),
            timing=bus.LineTiming(115200, reply_timeout_s, gap_s=0.0),
            units={},
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await facts_until(facts, is_up=True)
        yield caller, facts
        nursery.cancel_scope.cancel()


async def facts_until(facts: Subscription, *, is_up: bool) -> list[LineChanged]:
    seen: list[LineChanged] = []
    with trio.fail_after(20):
        while not seen or seen[-1].is_up is not is_up:
            seen += [each for each in await facts.receive_batch() if isinstance(each, LineChanged)]
    return seen


def read() -> ReadRegisters:
    return ReadRegisters(1, (Span(HOLDING, 7, 2),), math.inf)


async def read_well(caller: BusCaller, adapter: Adapter) -> None:
    replies: list[object] = []

    async def ask() -> None:
        replies.append(await caller.ask(read()))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await adapter.request()
            os.write(adapter.far, REPLY)
    (reply,) = replies
    assert isinstance(reply, RegistersRead)
    assert reply.blocks == (bytes((0, 7, 0, 8)),)


@pytest.mark.parametrize("keeps_number", [True, False])
async def test_an_adapter_that_goes_in_the_middle_of_a_frame_is_found_again_behind_its_link(
    adapter: Adapter, keeps_number: bool
) -> None:
    async with bus_on(adapter) as (caller, facts):
        await read_well(caller, adapter)
        replies: list[object] = []

        async def ask() -> None:
            replies.append(await caller.ask(read()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await adapter.request()
            os.write(adapter.far, REPLY[:4])
            await trio.sleep(0.01)
            adapter.unplug()
        (failed,) = replies
        assert isinstance(failed, ReadFailed)
        assert failed.kind is FailureKind.LINE_DOWN
        await trio.sleep(0.05)  # Several attempts fail meanwhile, and are not told of.
        adapter.plug(keeps_number=keeps_number)
        told = await facts_until(facts, is_up=True)
        assert [each.is_up for each in told] == [False, True]
        assert "unplugged" in told[0].cause
        assert keeps_number or adapter.names[0] != adapter.names[1]
        await read_well(caller, adapter)


async def test_a_port_that_may_not_be_opened_any_more_is_told_once_and_tried_on(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    async with bus_on(adapter) as (caller, facts):
        await read_well(caller, adapter)
        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "flock", deny)  # Root, as in CI, is never denied in earnest.
            adapter.unplug()
            adapter.plug()
            down = await caller.ask(read())
            assert isinstance(down, ReadFailed)
            assert "unplugged" in down.text
            assert len(await facts_until(facts, is_up=False)) == 1
            await trio.sleep(0.05)
            down = await caller.ask(read())
            assert isinstance(down, ReadFailed)
            assert down.kind is FailureKind.LINE_DOWN
            assert "dialout" in down.text, "who asks hears of the cause of today"
        told = await facts_until(facts, is_up=True)
        assert [each.is_up for each in told] == [True]
        await read_well(caller, adapter)


@pytest.mark.slow
async def test_what_a_stalled_adapter_has_not_sent_in_time_is_never_sent(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped: list[int] = []
    really_flush = termios.tcflush

    def flush(fd: int, queue: int) -> None:
        dropped.append(queue)
        really_flush(fd, queue)

    async with bus_on(adapter, reply_timeout_s=1.0) as (caller, _):
        await read_well(caller, adapter)
        monkeypatch.setattr(termios, "tcflush", flush)
        soon_s = trio.current_time() + 5
        request = WriteRegisters(1, HOLDING, 5, b"\0\1", soon_s, "test", "to see")
        failed = await caller.ask(request)
        assert isinstance(failed, WriteFailed)
        assert failed.kind is FailureKind.NO_REPLY
        assert dropped == [termios.TCOFLUSH], "before anybody hears that it was not written"
        await adapter.request()  # A terminal has taken it at once, and does not give it back.
        await read_well(caller, adapter)
        dropped.clear()
        await read_well(caller, adapter)
        assert not dropped, "where all is well nothing is dropped"
