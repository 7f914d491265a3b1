"""The log on a real file system: recovery, retention, readers that follow."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from grug.errors import StorageError
from grug.messages import Readings
from grug.storage.collect import Collector
from grug.storage.segment import SEGMENT_HEADER_BYTES, FrameKind, scan_frames
from grug.transport import logwriter
from grug.transport.logfiles import LogReader, Position, segment_path
from grug.transport.logwriter import Limits, LogWriter

NO_LIMITS = Limits(1 << 40, 1 << 50, 0)
T0 = 1_700_000_000_000


class Log:
    """Writes one sample per block, the number of the block."""

    opened: ClassVar[list[Log]] = []

    def __init__(self, directory: Path, limits: Limits = NO_LIMITS) -> None:
        self.writer = LogWriter(directory, limits, is_durable=False)
        self.collector = Collector()
        self.opened.append(self)

    def close(self) -> None:
        self.writer.close()
        self.opened.remove(self)

    def write(self, number: int) -> int:
        time_ms = T0 + number * 1000
        self.collector.add(Readings("meter", 0.0, ("number",), (number,)), time_ms)
        return self.writer.append(
            lambda seq: self.collector.cut(seq, boot_id="b"),
            lambda seq: self.collector.table_frame(seq, boot_id="b", time_ms=time_ms),
            now_ms=time_ms,
        )


@pytest.fixture(autouse=True)
def _close_logs() -> Iterator[None]:
    yield
    for log in [*Log.opened]:
        log.close()


def numbers(directory: Path, reader: LogReader | None = None) -> list[int]:
    reader = reader or LogReader(directory)
    blocks = [b for b in reader.read() if b.frame.kind == FrameKind.SAMPLES]
    assert all(block.names[0] == "meter/number" for block in blocks)
    return [(block.frame.t_min_ms - T0) // 1000 for block in blocks]


def test_reader_follows_the_writer(tmp_path: Path) -> None:
    log, reader = Log(tmp_path), LogReader(tmp_path)
    assert numbers(tmp_path, reader) == []
    for number in range(5):
        log.write(number)
        assert numbers(tmp_path, reader) == [number]
    assert numbers(tmp_path, reader) == []


def test_every_restart_begins_a_segment_and_numbers_go_on(tmp_path: Path) -> None:
    seqs: list[int] = []
    for number in range(4):
        log = Log(tmp_path)
        seqs.append(log.write(number))
        assert log.writer.epoch == number + 1
        log.close()
    assert seqs == sorted(set(seqs))
    assert len(list(tmp_path.glob("*.grug"))) == 4
    assert numbers(tmp_path) == [0, 1, 2, 3]


def test_log_id_stays_until_the_directory_is_wiped(tmp_path: Path) -> None:
    ids: list[bytes] = []
    for _ in range(2):
        log = Log(tmp_path)
        log.write(1)
        log.close()
        ids.append(log.writer.log_id)
    for path in tmp_path.iterdir():
        path.unlink()
    ids.append(Log(tmp_path).writer.log_id)
    assert ids[0] == ids[1] != ids[2]


def test_reader_starts_after_any_position(tmp_path: Path) -> None:
    for start in range(0, 30, 10):
        log = Log(tmp_path)
        for number in range(start, start + 10):
            log.write(number)
        log.close()
    blocks = LogReader(tmp_path).read()
    for index, block in enumerate(blocks):
        rest = LogReader(tmp_path, block.position).read()
        assert [b.position for b in rest] == [b.position for b in blocks[index + 1 :]]
        assert all(b.names == ["meter/number"] for b in rest)
    assert LogReader(tmp_path, Position(99, 0)).read() == []


def test_reader_takes_as_many_as_it_asks_for_and_nothing_unsafe(tmp_path: Path) -> None:
    log = Log(tmp_path)
    last_seq = [log.write(number) for number in range(10)][-1]
    whole = [b.position for b in LogReader(tmp_path).read()]
    reader = LogReader(tmp_path)
    pieces: list[Position] = []
    while found := reader.read(frames_max=3):
        assert len(found) <= 3
        pieces += [b.position for b in found]
    assert pieces == whole
    careful = LogReader(tmp_path)
    for seq in range(last_seq + 1):
        assert all(b.frame.seq <= seq for b in careful.read(seq_max=seq))
    assert careful.read() == []


@pytest.mark.slow
def test_torn_tail_costs_only_itself_at_any_length(tmp_path: Path) -> None:
    log = Log(tmp_path / "whole")
    ends: list[int] = []
    for number in range(6):
        log.write(number)
        (segment,) = (tmp_path / "whole").glob("*.grug")
        ends.append(segment.stat().st_size)
    data = segment.read_bytes()
    torn = tmp_path / "torn"
    for length in range(0, len(data), 3):
        torn.mkdir()
        (torn / segment.name).write_bytes(data[:length])
        complete = sum(end <= length for end in ends)
        again = Log(torn)
        seq = again.write(100)
        again.close()
        assert numbers(torn) == [*range(complete), 100]
        if length >= 64:
            assert again.writer.epoch == log.writer.epoch + 1
            assert again.writer.log_id == log.writer.log_id
        assert seq > complete
        for path in torn.iterdir():
            path.unlink()
        torn.rmdir()


def test_bad_header_hides_its_numbers_from_nobody(tmp_path: Path) -> None:
    log = Log(tmp_path)
    last_seq = [log.write(number) for number in range(5)][-1]
    log.close()
    (segment,) = tmp_path.glob("*.grug")
    data = bytearray(segment.read_bytes())
    data[20] ^= 1
    segment.write_bytes(data)
    again = Log(tmp_path)
    assert again.writer.next_seq == last_seq + 1
    again.write(7)
    assert numbers(tmp_path) == [7]


def test_segments_end_by_age_and_oldest_are_deleted(tmp_path: Path) -> None:
    log = Log(tmp_path, Limits(1 << 40, 4 * 3_600_000, 0))
    for number in range(0, 36_000, 600):
        log.write(number)
    kept = numbers(tmp_path)
    assert kept[-1] == 35_400
    assert 4 * 3600 <= kept[-1] - kept[0] <= 7 * 3600
    assert log.writer.total_bytes == sum(p.stat().st_size for p in tmp_path.glob("*.grug"))


def test_reader_goes_on_when_retention_was_faster(tmp_path: Path) -> None:
    log, reader = Log(tmp_path), LogReader(tmp_path)
    for number in range(0, 20_000, 1000):
        log.write(number)
        if number == 1000:
            assert numbers(tmp_path, reader) == [0, 1000]
    first, second, *_ = sorted(tmp_path.glob("*.grug"))
    first.unlink()
    second.unlink()
    rest = numbers(tmp_path, reader)
    assert rest == numbers(tmp_path)


def test_write_that_failed_halfway_hides_nothing_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path)
    log.writer._is_durable = True
    log.write(0)
    with monkeypatch.context() as patch:

        def fail(fd: int) -> None:
            os.ftruncate(fd, os.fstat(fd).st_size - 5)
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(logwriter.os, "fdatasync", fail)
        with pytest.raises(StorageError, match="No space left"):
            log.write(1)
    log.write(2)
    assert numbers(tmp_path) == [0, 2]


def test_random_damage_never_gives_a_wrong_block(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for number in range(20):
        log.write(number)
    path = segment_path(tmp_path, 1)
    data = path.read_bytes()
    table = scan_frames(data, seq_after=-1, offset=SEGMENT_HEADER_BYTES, frames_max=1)
    chance = random.Random(1)
    for _ in range(200):
        damaged = bytearray(data)
        start = chance.randrange(table.end, len(data))
        damaged[start : start + chance.randrange(1, 300)] = chance.randbytes(20)
        path.write_bytes(damaged)
        found = numbers(tmp_path)
        assert found == sorted(set(found))
        assert len(found) >= 14
