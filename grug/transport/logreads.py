"""Looking into a log's files: surveys, ranges, the end of it. Reads only, so a writer may run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from grug.errors import StorageError
from grug.storage.block import decode_block
from grug.storage.journal import decode_journal, tells_memory
from grug.storage.segment import (
    SEGMENT_HEADER_BYTES,
    Event,
    Frame,
    FrameKind,
    decode_segment_header,
    decode_series,
    scan_frames,
)
from grug.storage.show import Sample, TimeRange, samples_of
from grug.storage.survey import Survey, survey_segment
from grug.transport.logfiles import (
    START,
    LogBlock,
    LogReader,
    Position,
    blocks_of,
    list_segments,
)

MEMORY_MS_MAX = 400_000
"""The offset controller tells every five minutes what it knows."""
Wanted = Callable[[str], bool]
"""Says whether a series, or the source of an event, is wanted."""


class SurveyedSegment(NamedTuple):
    """A segment file and what is in it."""

    name: str
    survey: Survey


class Rows(NamedTuple):
    """What one block has of what is wanted; one of the two is empty."""

    samples: list[Sample]
    events: list[Event]


def find_log(states: Sequence[Path]) -> Path | None:
    """The log that was written last, of these state directories; None without any."""
    found = [
        (max(path.stat().st_mtime for path in [state / "log", *segments]), state / "log")
        for state in states
        if (segments := sorted((state / "log").glob("*.grug"))[-1:])
    ]
    return max(found)[1] if found else None


def survey_log(directory: Path, *, is_deep: bool) -> Iterator[SurveyedSegment]:
    """Look through all segments, oldest first.

    Raises:
        StorageError: one cannot be read.
    """
    paths = sorted(directory.glob("*.grug"))
    for path in paths:
        may_grow = path == paths[-1] and is_being_written(directory)
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # Retention was faster than we.
            continue
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error}") from error
        yield SurveyedSegment(path.name, survey_segment(data, is_deep=is_deep, may_grow=may_grow))


def is_being_written(directory: Path) -> bool:
    """Whether a writer holds the log. One that starts right now waits for us, for microseconds."""
    try:
        fd = os.open(directory / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def newest_ms(directory: Path) -> int:
    """The newest time of the newest segment that has any; 0 in an empty log."""
    for segment, header in reversed(list(list_segments(directory))):
        if header is not None:
            blocks = blocks_of(directory, segment, header)
            if blocks:
                return max(block.t_max_ms for block in blocks)
    return 0


def read_rows(directory: Path, kind: FrameKind, times: TimeRange, wanted: Wanted) -> Iterator[Rows]:
    """What the log has of a kind in a time range, block by block, in the order it was written.

    Raises:
        StorageError: a segment cannot be read.
    """
    reader = LogReader(directory)
    while blocks := reader.read(frames_max=60):
        for block in blocks:
            if block.frame.kind == kind:
                yield rows_of_block(block, times, wanted)


def read_blocks(directory: Path, times: TimeRange) -> Iterator[LogBlock]:
    """Sample blocks that meet a time range; series before them are known from ``names``."""
    reader = LogReader(directory)
    while blocks := reader.read(frames_max=60):
        for block in blocks:
            is_there = times.meets(block.t_min_ms, block.t_max_ms)
            if block.frame.kind == FrameKind.SAMPLES and is_there:
                yield block


def blocks_in(path: Path) -> Iterator[LogBlock]:
    """All blocks of a log: of a state directory, a log's directory, or one file of blocks.

    Raises:
        StorageError: there is none, or it cannot be read.
    """
    if path.is_dir():
        directory = path / "log" if (path / "log").is_dir() else path
        if not any(directory.glob("*.grug")):
            inside = sorted(path.glob("*/log/*.grug"))
            hint = f"; did you mean {inside[-1].parent.parent}?" if inside else ""
            raise StorageError(f"there is no log in {path}{hint}")
        reader = LogReader(directory)
        while blocks := reader.read(frames_max=60):
            yield from blocks
        return
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    header = decode_segment_header(data)
    if header is None:
        raise StorageError(f"{path} is no log of grug")
    names: list[str] = []
    for frame in scan_frames(data, seq_after=-1, offset=SEGMENT_HEADER_BYTES).frames:
        if frame.kind == FrameKind.SERIES:
            table = decode_series(frame.unpack())
            names[table.first :] = table.series
        yield LogBlock(header.log_id, header.epoch, frame, names, header)


def copy_blocks(directory: Path, times: TimeRange, output: Path) -> int:
    """Write the blocks that meet a time range into one file, which ``blocks_in`` reads.

    They are copied as they are. Of each segment its series tables come along, and its first block,
    which says of which run it is. The file begins some minutes earlier, where it is told what a
    replay has to know of what was before.

    Returns:
        How many blocks were copied.

    Raises:
        StorageError: the log cannot be read.
        OSError: the file cannot be written.
    """
    times = times._replace(since_ms=_begin_of(directory, times.since_ms))
    count, segment, seen = 0, -1, 0
    begin: list[Frame] = []
    with output.open("wb") as file:
        for block in blocks_in(directory):
            frame = block.frame
            if block.header.first_seq != segment:
                segment, begin, seen = block.header.first_seq, [], 0
            is_table = frame.kind == FrameKind.SERIES
            seen += not is_table and frame.kind != FrameKind.EVENTS
            if not is_table and times.meets(frame.t_min_ms, frame.t_max_ms):
                if not file.tell():
                    file.write(block.header.encode())
                file.writelines([each.encode() for each in (*begin, frame)])
                begin = []
                count += 1
            elif is_table or seen <= 1:
                begin.append(frame)
    return count


def _begin_of(directory: Path, since_ms: int) -> int:
    """When a file has to begin for a replay from a time on; that time, where nothing is told."""
    begin_ms = since_ms
    for block in blocks_in(directory):
        frame = block.frame
        if since_ms - MEMORY_MS_MAX <= frame.t_min_ms < since_ms and _tells_memory(frame):
            begin_ms = frame.t_min_ms
    return begin_ms


def _tells_memory(frame: Frame) -> bool:
    if frame.kind == FrameKind.JOURNAL:
        return tells_memory(decode_journal(frame.unpack()))
    notes = decode_block(frame.unpack())[1] if frame.kind == FrameKind.SAMPLES else b""
    return bool(notes) and tells_memory(decode_journal(notes))


def rows_of_block(block: LogBlock, times: TimeRange, wanted: Wanted) -> Rows:
    """What a block has of a time range."""
    frame = block.frame
    if not times.meets(block.t_min_ms, block.t_max_ms):
        return Rows([], [])
    if frame.kind == FrameKind.SAMPLES:
        columns = [column for column in block.columns() if wanted(block.names[column.series])]
        return Rows(samples_of(columns, block.names, times), [])
    if frame.kind == FrameKind.EVENTS:
        return Rows(
            [],
            [
                event
                for event in block.events()
                if wanted(event.source) and times.since_ms <= event.time_ms < times.until_ms
            ],
        )
    return Rows([], [])


def last_rows(
    directory: Path, kind: FrameKind, count: int, wanted: Wanted
) -> tuple[Rows, Position]:
    """The last samples or events, at most ``count``, and where the log goes on.

    Raises:
        StorageError: a segment cannot be read.
    """
    samples: list[Sample] = []
    events: list[Event] = []
    end = START
    for segment, header in reversed(list(list_segments(directory))):
        if header is None:
            continue
        for block in reversed(blocks_of(directory, segment, header)):
            end = max(end, block.position)
            if len(samples) + len(events) >= count:
                return _last(samples, events, count), end
            if block.frame.kind == kind:
                rows = rows_of_block(block, TimeRange(), wanted)
                samples = rows.samples + samples
                events = rows.events + events
    return _last(samples, events, count), end


def _last(samples: list[Sample], events: list[Event], count: int) -> Rows:
    return Rows(samples[-count:], events[-count:]) if count else Rows([], [])
