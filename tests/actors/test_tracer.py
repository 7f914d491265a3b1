"""The tracer: what taps saw is in the ring, in order, and the ring stays within its size."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest
import trio

from grug.actors import tracer
from grug.errors import StorageError
from grug.messages import Message, Noted, StopRecording, WireTraced
from grug.model import Role, Wire, WireFraming, WireKind, WireRecord
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed
from grug.storage.segment import FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES
from grug.storage.show import TimeRange
from grug.transport import logwriter
from grug.transport.framereads import Traced, read_boot, read_traced
from grug.transport.logfiles import list_segments, segment_path
from grug.transport.logwriter import Limits, LogWriter

ORIGIN_S = 1_700_000_000
WALL = WallClock(origin_s=ORIGIN_S)
LIMITS = Limits.of(200_000_000, 60.0, 0)
GRID = Wire("grid", Role.CLIENT, WireFraming.RTU)
FAKE = Wire("fake", Role.SERVER, WireFraming.RTU)


def traced(first: int, count: int, wires: tuple[Wire, ...] = (GRID,)) -> WireTraced:
    """Records numbered from ``first``, ten a second."""
    records = tuple(
        WireRecord(index % len(wires), WireKind.SENT, index * 100_000, index.to_bytes(4, "big"))
        for index in range(first, first + count)
    )
    return WireTraced(tuple(wire.name for wire in wires), records)


async def trace(
    directory: Path,
    messages: list[Message],
    limits: Limits = LIMITS,
    *,
    resume: bool = False,
) -> list[str]:
    """Let a tracer keep messages; gives what it noted."""
    feed = Feed()
    source = feed.subscribe("tracer", *tracer.KINDS, bound=100_000)
    notes = feed.subscribe("test", Noted)
    for message in [*messages, StopRecording(ship=False)]:
        feed.publish(message)
    with trio.fail_after(60):
        await tracer.run(
            source, directory=directory, limits=limits, wall=WALL, feed=feed, resume=resume
        )
    return [note.text for note in notes.drain() if isinstance(note, Noted)]


def indexes(found: list[Traced]) -> list[int]:
    return [int.from_bytes(each.data, "big") for each in found]


async def test_what_was_seen_is_in_the_ring(tmp_path: Path) -> None:
    await trace(tmp_path, [traced(0, 700), traced(700, 300, (GRID, FAKE))])
    found = list(read_traced(tmp_path))
    assert indexes(found) == list(range(1000))
    assert {each.wire for each in found[:700]} == {GRID}
    assert [each.wire for each in found[700:704]] == [GRID, FAKE, GRID, FAKE]
    assert all(each.time_us == ORIGIN_S * 1_000_000 + each.at_us for each in found)
    minute = TimeRange((ORIGIN_S + 20) * 1000, (ORIGIN_S + 80) * 1000)
    assert indexes(list(read_traced(tmp_path, minute))) == list(range(200, 800))


async def test_restart_goes_on_and_knows_its_wires(tmp_path: Path) -> None:
    await trace(tmp_path, [traced(0, 100, (GRID, FAKE))])
    await trace(tmp_path, [traced(100, 100, (FAKE, GRID))])
    found = list(read_traced(tmp_path))
    assert indexes(found) == list(range(200))
    assert found[0].wire == GRID
    assert found[100].wire == FAKE


async def test_repeated_run_adds_only_what_was_lost(tmp_path: Path) -> None:
    await trace(tmp_path, [traced(0, 500)])
    await trace(tmp_path, [traced(0, 400), traced(400, 400)], resume=True)
    assert indexes(list(read_traced(tmp_path))) == list(range(800))


async def test_ring_stays_within_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logwriter, "SEGMENT_BYTES_MAX", 50_000)
    chance = random.Random(1)
    chunks = []
    for first in range(0, 60_000, 1000):
        chunk = traced(first, 1000)
        noisy = tuple(record._replace(data=chance.randbytes(10)) for record in chunk.records)
        chunks.append(WireTraced(chunk.wires, noisy))
    await trace(tmp_path, [*chunks], LIMITS._replace(max_bytes=200_000))
    size = sum(segment.size_bytes for segment, _ in list_segments(tmp_path))
    assert 150_000 < size < 270_000
    assert list(read_traced(tmp_path))[-1].at_us == 59_999 * 100_000


async def test_full_disk_is_reported_and_tracing_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_append, calls = LogWriter.append, 0

    def append(self: LogWriter, *args: object, **options: object) -> int:
        nonlocal calls
        calls += 1
        if calls in (2, 3):
            raise StorageError("no space left on device")
        return partial(real_append, self)(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(LogWriter, "append", append)
    notes = await trace(tmp_path, [traced(index * 800, 800) for index in range(5)])
    lost = range(800, 2400)
    assert indexes(list(read_traced(tmp_path))) == [i for i in range(4000) if i not in lost]
    assert len(notes) == 2
    assert "no space left" in notes[0]
    assert "1600" in notes[1]


async def test_ring_that_cannot_be_opened_stops_nothing(tmp_path: Path) -> None:
    place = tmp_path / "frames"
    place.write_text("a file where the ring should be")
    notes = await trace(place, [traced(index * 400, 400) for index in range(3)])
    assert len(notes) == 1
    assert "cannot be opened" in notes[0]


async def test_boots_are_told_apart_whatever_the_clock_said(
    tmp_path: Path, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for boot_id, first in (("old", 500), ("new", 0)):
        monkeypatch.setattr(logwriter, "_boot_id", lambda boot_id=boot_id: boot_id)
        await trace(tmp_path, [traced(first, 400)])
    assert indexes(list(read_boot(tmp_path, "new", 0.0))) == list(range(400))
    assert indexes(list(read_boot(tmp_path, "old", 60.05))) == list(range(601, 900))


async def test_damaged_table_leaves_out_its_wires_alone(
    tmp_path: Path, autojump_clock: object
) -> None:
    await trace(tmp_path, [traced(0, 100)])
    await trace(tmp_path, [traced(100, 100)])
    first, _ = list_segments(tmp_path)
    path = segment_path(tmp_path, first[0].first_seq)
    data = bytearray(path.read_bytes())
    data[SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES + 3] ^= 0xFF
    path.write_bytes(data)
    assert indexes(list(read_traced(tmp_path))) == list(range(100, 200))
