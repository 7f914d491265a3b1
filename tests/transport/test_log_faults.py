"""What cards, people and power supplies do to a log, and what is left of it."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from log_writing import TestLog, write_log

from grug.errors import StorageError
from grug.storage.segment import FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES, FrameKind
from grug.storage.show import TimeRange
from grug.transport import logwriter
from grug.transport.logfiles import LogBlock, LogReader, Position
from grug.transport.logreads import last_rows, read_rows
from grug.transport.logwriter import LogWriter


@pytest.fixture
def log(tmp_path: Path) -> Iterator[TestLog]:
    with TestLog(tmp_path / "log") as log:
        yield log


def samples(blocks: list[LogBlock]) -> list[int]:
    """Times of the power's samples."""
    return [
        time_ms
        for block in blocks
        if block.frame.kind == FrameKind.SAMPLES
        for column in block.columns()
        if block.names[column.series] == "grid/power"
        for time_ms in column.times
    ]


def segments(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.grug"))


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_disk_that_takes_nothing_is_not_filled_with_beginnings(
    log: TestLog, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    directory = log.writer.directory
    log.write(3)
    log.writer._is_durable = True

    def fail(fd: int) -> None:
        raise OSError(error, "no")

    with monkeypatch.context() as patch:
        patch.setattr(logwriter.os, "fdatasync", fail)
        patch.setattr(logwriter.os, "fsync", fail)
        for _ in range(20):
            with pytest.raises(StorageError, match="cannot be written"):
                log.write()
    assert len(segments(directory)) == 1
    assert log.writer.total_bytes == sum(path.stat().st_size for path in directory.glob("*.grug"))
    log.write(3)
    assert len(segments(directory)) == 2
    assert len(samples(LogReader(directory).read())) >= 60


def test_log_that_is_wiped_while_it_is_written_goes_on(log: TestLog) -> None:
    directory = log.writer.directory
    reader = LogReader(directory)
    log.write(3)
    before = samples(reader.read())
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    log.write(2)
    after = samples(reader.read())
    assert len(before) == 30
    assert len(after) == 20
    assert before[-1] < after[0]
    assert samples(LogReader(directory).read()) == after


def test_one_segment_that_somebody_deletes_costs_only_itself(log: TestLog) -> None:
    directory = log.writer.directory
    log.write(3)
    (name,) = segments(directory)
    (directory / name).unlink()
    log.write(2)
    assert len(samples(LogReader(directory).read())) == 20


def test_wiped_log_that_another_has_taken_is_left_to_him(
    log: TestLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logwriter, "LOCK_WAIT_S", 0.0)
    directory = log.writer.directory
    log.write(3)
    for path in directory.iterdir():
        path.unlink()
    with TestLog(directory) as other:
        other.write(2)
        for _ in range(3):
            with pytest.raises(StorageError, match="is being written by process"):
                log.write()
        other.write(2)
    log.write(1)
    blocks = LogReader(directory).read()
    assert len(samples(blocks)) == 50
    assert {block.log_id for block in blocks} == {other.writer.log_id}
    assert [block.epoch for block in blocks] == sorted(block.epoch for block in blocks)


def test_reader_that_asks_for_the_future_gets_it_when_it_comes(log: TestLog) -> None:
    directory = log.writer.directory
    last_seq = log.write(3)
    epoch = log.writer.epoch
    ahead = LogReader(directory, Position(epoch, last_seq + 2))
    never = LogReader(directory, Position(epoch + 99, 0))
    assert ahead.read() == never.read() == []
    log.write(3)
    assert ahead.read()[0].frame.seq == last_seq + 3
    assert never.read() == []


@pytest.mark.parametrize("lost", range(1, 9))
def test_card_that_loses_blocks_it_had_acknowledged(tmp_path: Path, lost: int) -> None:
    directory = tmp_path / "log"
    write_log(directory, 10)
    reader = LogReader(directory)
    before = reader.read()
    (name,) = segments(directory)
    data = (directory / name).read_bytes()
    kept = before[:-lost]
    size = 64 + sum(len(block.frame.encode()) for block in kept)
    (directory / name).write_bytes(data[:size])
    last_seq = write_log(directory, 5, first_s=200)
    # Who had read the lost blocks goes on with all that is new, although numbers come again.
    after = reader.read()
    assert len(samples(after)) == 50
    assert all(block.epoch == 2 for block in after)
    positions = [block.position for block in [*before, *after]]
    assert len(set(positions)) == len(positions)
    assert after[-1].frame.seq == last_seq
    whole = LogReader(directory).read()
    assert [b.position for b in whole] == [b.position for b in [*kept, *after]]


def test_card_that_loses_the_last_segment(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    for first_s in (0, 100, 200):
        write_log(directory, 5, first_s=first_s)
    (directory / segments(directory)[-1]).unlink()
    write_log(directory, 5, first_s=300)
    assert len(samples(LogReader(directory).read())) == 150


@pytest.mark.slow
def test_power_cut_at_each_byte_keeps_each_block_before_it(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    write_log(directory, 8)
    (name,) = segments(directory)
    data = (directory / name).read_bytes()
    whole = LogReader(directory).read()
    ends = [64]
    for block in whole:
        ends.append(ends[-1] + len(block.frame.encode()))
    assert ends[-1] == len(data)
    for length in range(64, len(data)):
        (directory / name).write_bytes(data[:length])
        found = LogReader(directory).read()
        complete = sum(end <= length for end in ends[1:])
        assert [b.frame for b in found] == [b.frame for b in whole[:complete]]


@pytest.mark.slow
def test_power_cut_while_restarting_again_and_again(tmp_path: Path) -> None:
    """Each start finds a torn tail of the one before; nothing that was whole is ever lost."""
    directory = tmp_path / "log"
    chance = random.Random(3)
    positions: list[Position] = []
    for start in range(60):
        with TestLog(directory) as log:
            log.write(chance.randrange(1, 4), first_s=start * 100)
        path = directory / segments(directory)[-1]
        data = path.read_bytes()
        path.write_bytes(data[: chance.randrange(len(data) + 1)] + bytes(chance.randrange(40)))
        found = [block.position for block in LogReader(directory).read()]
        assert found[: len(positions)] == positions
        assert found == sorted(set(found))
        positions = found
    assert len(positions) > 60


@pytest.mark.slow
def test_flipped_bit_costs_one_block_at_most(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    write_log(directory, 12)
    (name,) = segments(directory)
    data = (directory / name).read_bytes()
    whole = {block.position: block.frame for block in LogReader(directory).read()}
    chance = random.Random(4)
    for _ in range(2000):
        at = chance.randrange(64, len(data))
        damaged = bytearray(data)
        damaged[at] ^= 1 << chance.randrange(8)
        (directory / name).write_bytes(damaged)
        found = LogReader(directory).read()
        assert len(found) >= len(whole) - 1
        assert all(whole[block.position] == block.frame for block in found)


def test_two_writers_never_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logwriter, "LOCK_WAIT_S", 0.0)
    with TestLog(tmp_path) as log:
        log.write(1)
        with pytest.raises(StorageError, match="is being written by process"):
            LogWriter(tmp_path, log.writer.limits)
        log.write(1)
    write_log(tmp_path, 1)
    assert len(samples(LogReader(tmp_path).read())) == 30


def test_samples_whose_table_is_damaged_are_left_out_alone(tmp_path: Path) -> None:
    write_log(tmp_path, 3)
    write_log(tmp_path, 2)
    first = tmp_path / segments(tmp_path)[0]
    damaged = bytearray(first.read_bytes())
    damaged[SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES + 3] ^= 0xFF
    first.write_bytes(damaged)
    rows = list(read_rows(tmp_path, FrameKind.SAMPLES, TimeRange(), lambda name: True))
    assert [len(each.samples) for each in rows] == [0, 0, 0, 20, 20]
    last, _ = last_rows(tmp_path, FrameKind.SAMPLES, 1000, lambda name: True)
    assert len(last.samples) == 40
