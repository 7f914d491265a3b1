"""The log's files, for any number of readers; ``logwriter`` has the one writer.

A directory holds segments named by their first sequence number in hexadecimal. A block is published
to readers (``Synced``) only after the device has acknowledged it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import trio

from grug.errors import StorageError
from grug.storage.block import Column, decode_samples
from grug.storage.retention import Segment
from grug.storage.segment import (
    SEGMENT_HEADER_BYTES,
    Event,
    Frame,
    FrameKind,
    SegmentHeader,
    decode_events,
    decode_segment_header,
    decode_series,
    scan_frames,
)

_SUFFIX = ".grug"


class Position(NamedTuple):
    """A place in the log; greater is later."""

    epoch: int
    seq: int


class Synced:
    """How far the log is on the device, and whether more will come. Between two actors."""

    def __init__(self) -> None:
        self.seq = -1
        """Last block that readers may take; -1 before the first."""
        self.has_ended = False
        self._changed = trio.Event()

    def mark(self, seq: int) -> None:
        """Say that everything up to ``seq`` is safe; never waits."""
        self.seq = seq
        self._wake()

    def end(self) -> None:
        """Say that the writer has written its last block."""
        self.has_ended = True
        self._wake()

    async def wait_changed(self) -> None:
        """Wait until something is marked after this call."""
        await self._changed.wait()

    async def wait_ended(self) -> None:
        """Wait until the writer has ended."""
        while not self.has_ended:
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


_BLOCKS_AT_ONCE = 60
START = Position(0, 0)
"""Before the first block of any log."""


class LogBlock(NamedTuple):
    """A frame and where it comes from."""

    log_id: bytes
    epoch: int
    frame: Frame
    names: list[str]
    """Series by id; grows, but what is there stays."""
    header: SegmentHeader
    """Of the segment it is in."""
    site: str = ""
    """Name of the house; empty in logs that do not say."""
    boot_id: str = ""
    """Of the boot in which it was written."""
    shift_ms: int = 0
    """To add to all its times: by how much the clock was wrong."""

    def columns(self) -> list[Column]:
        """The samples of a sample block, at their corrected times.

        Those whose series table is damaged have no name, and are left out.

        Raises:
            StorageError: packed in a way that this version does not know.
        """
        named = len(self.names)
        columns = [each for each in decode_samples(self.frame.unpack()) if each.series < named]
        if not self.shift_ms:
            return columns
        return [
            column._replace(times=[time_ms + self.shift_ms for time_ms in column.times])
            for column in columns
        ]

    def events(self) -> list[Event]:
        """The events of an event block, at their corrected times; see ``columns``."""
        events = decode_events(self.frame.unpack())
        if not self.shift_ms:
            return events
        return [event._replace(time_ms=event.time_ms + self.shift_ms) for event in events]

    @property
    def t_min_ms(self) -> int:
        """The oldest time in it, corrected."""
        return self.frame.t_min_ms + self.shift_ms

    @property
    def t_max_ms(self) -> int:
        """The newest time in it, corrected."""
        return self.frame.t_max_ms + self.shift_ms

    @property
    def position(self) -> Position:
        """Its place in the log."""
        return Position(self.epoch, self.frame.seq)


class LogReader:
    """Reads the log from a position on, also while it is written."""

    def __init__(
        self,
        directory: Path,
        after: Position = START,
        *,
        with_series: bool = False,
        awaits_clock: bool = False,
    ) -> None:
        """Nothing is opened yet.

        Args:
            directory: of the log; may still be empty.
            after: the first block read is the one after this.
            with_series: also read the series tables before it, of its segment.
            awaits_clock: stop before blocks whose times are still to be corrected. Otherwise they
                come with the times that they have.
        """
        self.directory = directory
        self._awaits_clock = awaits_clock
        self._boot_id = ""
        self._origins_ms: dict[str, int] = {}
        """By boot whose clock was not synchronised at first: when it began, UTC."""
        self._with_series = with_series
        self._after = after
        self._segment: Segment | None = None
        self._header: SegmentHeader | None = None
        self._offset = 0
        self._seq = 0
        self._names: list[str] = []
        self._site = ""
        self.bad_bytes = 0
        """Bytes passed over that belong to no good block."""

    def read(self, *, frames_max: int | None = None, seq_max: int | None = None) -> list[LogBlock]:
        """Read what is there and not read yet; an empty list at the end.

        Args:
            frames_max: stop after so many blocks.
            seq_max: stop before blocks with a greater number: they may not be safe yet.

        Raises:
            StorageError: a segment cannot be read.
        """
        blocks: list[LogBlock] = []
        while True:
            is_at_end = True
            if self._segment is not None:
                wanted = None if frames_max is None else frames_max - len(blocks)
                is_at_end = self._read_segment(self._segment, blocks, wanted, seq_max)
            if not is_at_end or not self._next_segment():
                return blocks

    def open_segment(self, segment: Segment, header: SegmentHeader) -> None:
        """Go on at the beginning of a segment."""
        before = self._header
        if before is None or (before.log_id, before.epoch) != (header.log_id, header.epoch):
            self._names = []  # Otherwise they hold on, should this segment's table be damaged.
            self._site = ""
        self._segment, self._header = segment, header
        self._offset = SEGMENT_HEADER_BYTES
        self._seq = segment.first_seq - 1

    def _read_segment(
        self,
        segment: Segment,
        blocks: list[LogBlock],
        frames_max: int | None,
        seq_max: int | None,
    ) -> bool:
        """Read on in the open segment, into ``blocks``; says whether its end was reached."""
        assert self._header is not None, "a segment is open"
        data = self._read_bytes(segment)
        offset = 0
        found = 0
        is_at_end = False
        while frames_max is None or found < frames_max:
            scan = scan_frames(data, seq_after=self._seq, offset=offset, frames_max=1)
            if scan.frames and seq_max is not None and scan.frames[0].seq > seq_max:
                break
            shift_ms = self._shift_ms(scan.frames[0], seq_max) if scan.frames else 0
            if shift_ms is None and self._awaits_clock:
                break
            offset = scan.end
            self.bad_bytes += scan.bad_bytes
            if not scan.frames:
                is_at_end = True
                break
            frame = scan.frames[0]
            self._seq = frame.seq
            if frame.kind == FrameKind.SERIES:
                table = decode_series(frame.unpack())
                self._names[table.first :] = table.series
                self._site = table.site
                self._boot_id = table.boot_id
            header = self._header
            block = LogBlock(
                header.log_id,
                header.epoch,
                frame,
                self._names,
                header,
                self._site,
                self._boot_id,
                shift_ms or 0,
            )
            is_table = self._with_series and frame.kind == FrameKind.SERIES
            if block.position > self._after or is_table:
                blocks.append(block)
                found += 1
        self._offset += offset
        return is_at_end

    def _shift_ms(self, frame: Frame, seq_max: int | None) -> int | None:
        """By how much the times of a frame are wrong; None while that may still turn out."""
        if not frame.awaits_clock or frame.kind == FrameKind.SERIES:
            return 0
        boot_id = self._boot_id
        if boot_id not in self._origins_ms:
            assert self._header is not None, "a segment is open"
            after = Position(self._header.epoch, frame.seq)
            for block in _blocks_after(self.directory, after, seq_max):
                if block.boot_id != boot_id:
                    return 0  # It was never synchronised, and nobody will ever know.
                if not block.frame.awaits_clock and block.frame.kind != FrameKind.SERIES:
                    self._origins_ms[boot_id] = block.frame.origin_ms
                    break
            else:
                return None
        return self._origins_ms[boot_id] - frame.origin_ms

    def _read_bytes(self, segment: Segment) -> bytes:
        path = segment_path(self.directory, segment.first_seq)
        try:
            with path.open("rb") as file:
                file.seek(self._offset)
                return file.read()
        except FileNotFoundError:  # Retention was faster than we.
            return b""
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error}") from error

    def _next_segment(self) -> bool:
        """Open the next segment with blocks that are wanted; stay where we are if there is none."""
        seq = -1 if self._segment is None else self._segment.first_seq
        later = [
            (segment, header)
            for segment, header in list_segments(self.directory, after_seq=seq)
            if header is not None
        ]
        wanted = (self._after.epoch, self._after.seq + 1)
        for (segment, header), (_, following) in pairwise(later):
            if (following.epoch, following.first_seq) > wanted:
                self.open_segment(segment, header)
                return True
        if later:
            self.open_segment(*later[-1])
        return bool(later)


def _blocks_after(directory: Path, after: Position, seq_max: int | None) -> Iterator[LogBlock]:
    """All blocks after a position, with the times that they have."""
    reader = _HeaderReader(directory, after)
    while blocks := reader.read(frames_max=_BLOCKS_AT_ONCE, seq_max=seq_max):
        yield from blocks


class _HeaderReader(LogReader):
    """Corrects no times: it is what finds out by how much."""

    def _shift_ms(self, frame: Frame, seq_max: int | None) -> int | None:
        return 0


def segment_path(directory: Path, first_seq: int) -> Path:
    """The file of a segment."""
    return directory / f"{first_seq:016x}{_SUFFIX}"


def log_id_of(directory: Path) -> bytes | None:
    """The id of the log in a directory; None while there is none."""
    headers = [header for _, header in list_segments(directory) if header is not None]
    return headers[-1].log_id if headers else None


def list_segments(
    directory: Path, after_seq: int = -1
) -> Iterator[tuple[Segment, SegmentHeader | None]]:
    """All segments that begin after a number, oldest first; the header is None where it is bad."""
    for path in sorted(directory.glob(f"*{_SUFFIX}")):
        try:
            first_seq = int(path.stem, 16)
            if first_seq <= after_seq:
                continue
            size_bytes = path.stat().st_size
            with path.open("rb") as file:
                header = decode_segment_header(file.read(SEGMENT_HEADER_BYTES))
        except (ValueError, FileNotFoundError):
            continue
        except OSError:  # A bad sector: its number counts all the same.
            yield Segment(first_seq, 0, 0), None
            continue
        created_ms = header.created_ms if header is not None else 0
        yield Segment(first_seq, size_bytes, created_ms), header


def blocks_of(directory: Path, segment: Segment, header: SegmentHeader) -> list[LogBlock]:
    """All blocks of one segment."""
    reader = LogReader(directory)
    reader.open_segment(segment, header)
    blocks: list[LogBlock] = []
    reader._read_segment(segment, blocks, None, None)
    return blocks
