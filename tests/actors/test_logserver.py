"""Serving the log over TCP, and shipping from there: stored bytes, each reader for itself."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.lowlevel
import trio.testing
from log_writing import TestLog, block_messages, write_log

from grug.actors import logserver, puller
from grug.errors import LinkError, StorageError
from grug.messages import Noted, Readings
from grug.runtime.feed import Feed
from grug.storage.segment import Frame, FrameKind, SegmentHeader
from grug.storage.stream import StreamDecoder
from grug.transport.asking import embedded_url
from grug.transport.clickhouse import Database
from grug.transport.http import get
from grug.transport.logfiles import START, LogReader, Position, Synced
from grug.transport.mirror import Mirror

TOKEN = "a secret of the house"


@asynccontextmanager
async def serving(
    directory: Path, synced: Synced, port: int = 0, feed: Feed | None = None
) -> AsyncIterator[str]:
    """A log server for as long as the block lasts; gives its address."""
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(
                logserver.run,
                log_directory=directory,
                synced=synced,
                listeners=listeners,
                token=TOKEN,
                feed=feed,
            )
        )
        yield f"http://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


async def fetch(url: str, after: Position, until_seq: int) -> list[SegmentHeader | Frame]:
    """What a reader gets from a position up to a number."""
    stream, reply = await get(url, f"/log?epoch={after.epoch}&seq={after.seq}", TOKEN)
    decoder = StreamDecoder()
    items = decoder.receive(reply.body)
    async with stream:
        with trio.fail_after(20):
            while not (isinstance(items[-1], Frame) if items else False) or _seq(items) < until_seq:
                data = await stream.receive_some(777)
                if not data:
                    break
                items += decoder.receive(data)
    return items


def _seq(items: list[SegmentHeader | Frame]) -> int:
    return max((item.seq for item in items if isinstance(item, Frame)), default=-1)


def stored(items: list[SegmentHeader | Frame]) -> bytes:
    return b"".join(item.encode() for item in items)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Three starts of a house."""
    for start in range(3):
        write_log(tmp_path / "log", 30, first_s=start * 300)
    return tmp_path / "log"


def bytes_of(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.glob("*.grug")))


def end_of(directory: Path) -> int:
    return LogReader(directory).read()[-1].frame.seq


async def test_whole_log_arrives_as_it_is_stored(directory: Path) -> None:
    synced = Synced()
    synced.mark(end_of(directory))
    async with serving(directory, synced) as url:
        items = await fetch(url, START, synced.seq)
    assert stored(items) == bytes_of(directory)


async def test_a_reader_goes_on_after_any_block_and_knows_the_series(
    directory: Path, tmp_path: Path
) -> None:
    blocks = LogReader(directory).read()
    synced = Synced()
    synced.mark(blocks[-1].frame.seq)
    async with serving(directory, synced) as url:
        for index in range(0, len(blocks) - 1, 7):
            copy = tmp_path / f"copy{index}"
            copy.mkdir()
            after = blocks[index].position
            mirror = Mirror(copy, after)
            mirror.write(await fetch(url, after, synced.seq))
            mirror.close()
            found = LogReader(copy, after).read()
            assert [b.frame for b in found] == [b.frame for b in blocks[index + 1 :]]
            assert all(b.names == ["grid/power", "grid/voltage"] for b in found)


async def test_nothing_unsafe_is_sent_and_the_live_part_follows(directory: Path) -> None:
    synced = Synced()
    middle = end_of(directory) // 2
    synced.mark(middle)
    got: list[SegmentHeader | Frame] = []
    async with serving(directory, synced) as url, trio.open_nursery() as nursery:
        got += await fetch(url, START, middle)
        assert _seq(got) == middle

        async def go_on() -> None:
            got.extend(await fetch(url, START, end_of(directory)))

        nursery.start_soon(go_on)
        await trio.sleep(0.05)
        with TestLog(directory) as log:
            synced.mark(log.write(3))
    assert _seq(got) >= synced.seq - 1


async def test_only_who_has_the_token_is_answered(directory: Path) -> None:
    async with serving(directory, Synced()) as url:
        for token in ("", "wrong", TOKEN + "x"):
            with pytest.raises(LinkError, match="token"):
                await get(url, "/log", token)
            with pytest.raises(LinkError, match="token"):
                await puller.ask_about(url, token)
        for path, status in (("/etc/passwd", "404"), ("/log?seq=x", "400")):
            with pytest.raises(LinkError, match=status):
                await get(url, path, TOKEN)
        about = await puller.ask_about(url, TOKEN)
    assert about.seq == -1
    assert len(about.log) == 32


async def test_nonsense_is_answered_and_hung_up_on(directory: Path) -> None:
    async with serving(directory, Synced()) as url:
        port = int(url.rpartition(":")[2])
        for nonsense in (
            b"\x00\xff\r\n\r\n",
            b"POST / HTTP/1.1\r\n\r\n",
            b"GET //[ HTTP/1.1\r\n\r\n",
            b"x" * 20_000,
        ):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(nonsense)
                with trio.fail_after(5):
                    assert (await stream.receive_some()).startswith(b"HTTP/1.1 400")


async def test_a_reader_that_never_reads_holds_up_nobody(directory: Path) -> None:
    synced = Synced()
    synced.mark(end_of(directory))
    async with serving(directory, synced) as url:
        idle = [(await get(url, "/log", TOKEN))[0] for _ in range(5)]
        items = await fetch(url, START, synced.seq)
        for stream in idle:
            await trio.aclose_forcefully(stream)
    assert _seq(items) == synced.seq


async def test_too_many_readers_are_sent_away(directory: Path) -> None:
    synced = Synced()
    synced.mark(end_of(directory))
    async with serving(directory, synced) as url:
        streams = [(await get(url, "/log", TOKEN))[0] for _ in range(logserver.READERS_MAX)]
        with pytest.raises(LinkError, match="503"):
            await get(url, "/log", TOKEN)
        for stream in streams:
            await trio.aclose_forcefully(stream)


def test_damaged_stream_is_noticed(directory: Path) -> None:
    data = bytes_of(directory)
    for at in range(0, 2000, 3):
        spoilt = bytearray(data)
        spoilt[at] ^= 16
        with pytest.raises(StorageError):
            StreamDecoder().receive(bytes(spoilt))
    pieces = StreamDecoder()
    whole = [item for at in range(0, len(data), 11) for item in pieces.receive(data[at : at + 11])]
    assert stored(whole) == data


async def test_puller_survives_a_server_that_comes_and_goes(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(puller, "RETRY_S_MIN", 0.01)
    synced, copied, copy = Synced(), Synced(), tmp_path / "copy"
    copy.mkdir()
    mirror = Mirror(copy)
    end = end_of(directory)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(
                puller.run,
                url=f"http://127.0.0.1:{port}",
                token=TOKEN,
                mirror=mirror,
                synced=copied,
                feed=Feed(),
                until_seq=end,
            )
        )
        for seq in (10, 40, 41, end):
            synced.mark(seq)
            async with serving(directory, synced, port):
                with trio.fail_after(20):
                    while copied.seq < seq:
                        await copied.wait_changed()
    mirror.close()
    assert copied.has_ended
    blocks = [(block.position, block.frame) for block in LogReader(directory).read()]
    assert [(block.position, block.frame) for block in LogReader(copy).read()] == blocks
    mirror.forget(end)
    assert bytes_of(copy).startswith(b"GRUGLOG1")
    assert bytes_of(copy).count(b"GRUGLOG1") == 1


@pytest.mark.slow
async def test_ship_command_brings_a_log_from_another_machine_once(
    directory: Path, tmp_path: Path
) -> None:
    synced = Synced()
    synced.mark(end_of(directory))
    to = embedded_url(tmp_path)
    async with serving(directory, synced) as url:
        command = [sys.executable, "-m", "grug", "ship", "--once", "--from", url, "--to", to]
        for _ in range(2):
            with trio.fail_after(60):
                done = await trio.run_process(
                    [*command, "--token", TOKEN], capture_stderr=True, check=False
                )
            assert done.returncode == 0, done.stderr
            assert b"caught up" in done.stderr
            with TestLog(directory) as log:
                synced.mark(log.write(5, first_s=900))
        refused = await trio.run_process(
            [*command, "--token", "wrong"], capture_stderr=True, check=False
        )
        assert refused.returncode == 1
    values = [
        float(value)
        for block in range(95)
        for message in block_messages(block * 10)
        if isinstance(message, Readings)
        for value in message.values
    ]
    database = Database(to)
    try:
        sums = "count(), round(sum(value), 3) FROM readings"
        assert database.query(f"SELECT {sums}").rows == [(len(values), round(sum(values), 3))]
        assert database.query("SELECT sum(n) FROM agg_1h").rows == [(len(values),)]
        assert database.query("SELECT count() FROM events").rows == [(10,)]
    finally:
        database.close()


@pytest.mark.slow
async def test_ship_follows_a_running_house_until_it_is_interrupted(
    directory: Path, tmp_path: Path
) -> None:
    synced = Synced()
    synced.mark(end_of(directory))
    async with serving(directory, synced) as url:
        command = [sys.executable, "-m", "grug", "ship", "--from", url, "--token", TOKEN, "--to"]
        async with trio.open_nursery() as nursery:
            process = await nursery.start(
                partial(
                    trio.run_process,
                    [*command, embedded_url(tmp_path)],
                    stderr=subprocess.PIPE,
                    check=False,
                )
            )
            said = b""
            with trio.fail_after(30):
                while b"caught up" not in said:
                    said += await process.stderr.receive_some()
            process.send_signal(signal.SIGINT)
            with trio.fail_after(10):
                assert await process.wait() == 130
    assert b"Traceback" not in said


async def live_lines(url: str, count: int) -> list[dict[str, object]]:
    """The first lines of the live feed."""
    stream, reply = await get(url, "/live", TOKEN)
    data = reply.body
    async with stream:
        with trio.fail_after(10):
            while data.count(b"\n") < count:
                data += await stream.receive_some()
    return [json.loads(line) for line in data.splitlines()[:count]]


async def publish_often(feed: Feed) -> None:
    index = 0
    while True:
        index += 1
        feed.publish(Readings("grid", float(index), ("power", "name"), (index / 10, "x")))
        feed.publish(Noted("test", f"note {index}", float(index)))
        await trio.sleep(0.01)


async def test_displays_are_told_at_once(directory: Path) -> None:
    feed = Feed()
    async with serving(directory, Synced(), feed=feed) as url, trio.open_nursery() as nursery:
        nursery.start_soon(publish_often, feed)
        lines = await live_lines(url, 6)
        nursery.cancel_scope.cancel()
    first, second = lines[:2]
    assert first["series"] == "grid/power"
    assert second["source"] == "test"
    assert str(second["text"]).startswith("note ")
    powers = [line["value"] for line in lines if "series" in line]
    assert powers == sorted(set(powers))  # type: ignore[type-var]


async def test_slow_display_gets_the_latest_and_holds_up_nobody(directory: Path) -> None:
    feed = Feed()
    async with serving(directory, Synced(), feed=feed) as url:
        streams = [(await get(url, "/live", TOKEN))[0] for _ in range(4)]
        await trio.testing.wait_all_tasks_blocked()
        for index in range(20_000):
            feed.publish(Readings("grid", 0.0, tuple("abcdefgh"), (index,) * 8))
            if index % 100 == 0:
                await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked(0.05)
        data = b""
        while b'"value": 19999' not in data:
            with trio.fail_after(10):
                data += await streams[0].receive_some(1 << 20)
        for stream in streams:
            await trio.aclose_forcefully(stream)
        await trio.testing.wait_all_tasks_blocked(0.05)
    assert data.count(b"\n") < 8 * 20_000


async def test_live_feed_is_no_log_and_wants_the_token(directory: Path) -> None:
    feed = Feed()
    async with serving(directory, Synced(), feed=feed) as url, trio.open_nursery() as nursery:
        with pytest.raises(LinkError, match="token"):
            await get(url, "/live", "wrong")
        nursery.start_soon(publish_often, feed)
        stream, reply = await get(url, "/live", TOKEN)
        async with stream:
            data = reply.body or await stream.receive_some()
        with pytest.raises(StorageError, match="no log"):
            StreamDecoder().receive(data)
        nursery.cancel_scope.cancel()
    async with serving(directory, Synced()) as url:
        with pytest.raises(LinkError, match="404"):
            await get(url, "/live", TOKEN)


@pytest.mark.slow
async def test_tail_live_shows_what_is_published(directory: Path) -> None:
    feed = Feed()
    async with serving(directory, Synced(), feed=feed) as url, trio.open_nursery() as nursery:
        nursery.start_soon(publish_often, feed)
        command = [sys.executable, "-m", "grug", "log", "tail", "--live", url, "--token", TOKEN]
        process = await nursery.start(
            partial(trio.run_process, [*command, "grid/*"], stdout=subprocess.PIPE, check=False)
        )
        shown = b""
        with trio.fail_after(30):
            while shown.count(b"\n") < 3:
                shown += await process.stdout.receive_some()
        process.send_signal(signal.SIGINT)
        with trio.fail_after(10):
            assert await process.wait() == 130
        nursery.cancel_scope.cancel()
    assert all(b"  grid/power = " in line for line in shown.splitlines()[:3])


async def test_reader_that_asks_for_the_future_waits_and_costs_nothing(directory: Path) -> None:
    synced = Synced()
    synced.mark(end_of(directory))
    async with serving(directory, synced) as url:
        epoch = LogReader(directory).read()[-1].epoch
        stream, reply = await get(url, f"/log?epoch={epoch}&seq={synced.seq + 2}", TOKEN)
        decoder = StreamDecoder()
        items = decoder.receive(reply.body)
        async with stream:
            await trio.testing.wait_all_tasks_blocked(0.05)
            with trio.move_on_after(0.1):
                while True:
                    items += decoder.receive(await stream.receive_some())
            await trio.testing.wait_all_tasks_blocked(0.05)
    # The series tables come at once: without them nobody could read what follows.
    kinds = {item.kind for item in items if isinstance(item, Frame)}
    assert kinds <= {FrameKind.SERIES}
