"""The log's files: one writer, any number of readers.

A directory holds segments named by their first sequence number in hexadecimal. The writer never
opens an old segment again: at every start, and after any failure, it begins a new one. A block is
published to readers (``Synced``) only after the device has acknowledged it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

import trio

from grug.errors import StorageError
from grug.storage.block import decode_samples
from grug.storage.collect import Recorded
from grug.storage.retention import Segment, segments_to_delete
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

SEGMENT_BYTES_MAX = 4 << 20
SEGMENT_AGE_MS_MAX = 3_600_000
LOCK_WAIT_S = 10.0
"""As long as a predecessor that was told to stop may take to let go of the log."""
RECORDED_MS = 600_000
"""How far back the log is read to see what a repeated run has recorded: no poll takes as long."""
_LOCK_RETRY_S = 0.05
_SUFFIX = ".grug"


class Limits(NamedTuple):
    """Retention."""

    max_bytes: int
    max_age_ms: int
    reserve_bytes: int


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


class LogWriter:
    """The one writer of a log directory."""

    def __init__(self, directory: Path, limits: Limits, *, is_durable: bool = True) -> None:
        """Take the lock and find out where the log ended. Blocks up to ``LOCK_WAIT_S``.

        Args:
            directory: made when it is not there.
            limits: retention.
            is_durable: wait for the device at every block. Simulated runs need not.

        Raises:
            StorageError: another process holds the log, or the directory cannot be used.
        """
        self.directory = directory
        self.limits = limits
        self._is_durable = is_durable
        self._file: BinaryIO | None = None
        self._file_bytes = 0
        self.bytes_written = 0
        self.boot_id = _boot_id()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock_fd = _lock(directory / "lock")
        except OSError as error:
            raise StorageError(f"the log {directory} cannot be opened: {error}") from error
        try:
            self._segments = list(list_segments(directory))
            self._recover()
        except OSError as error:
            os.close(self._lock_fd)
            raise StorageError(f"the log {directory} cannot be read: {error}") from error

    def _recover(self) -> None:
        """Find the log's id, the next epoch and sequence number, and the newest time."""
        self.log_id = uuid.uuid4().bytes
        self.epoch = 1
        self.next_seq = 1
        self.last_ms: int | None = None
        for segment, header in reversed(self._segments):
            self.next_seq = max(self.next_seq, segment.first_seq + 1)
            if header is not None and self.epoch == 1:
                self.log_id = header.log_id
                self.epoch = header.epoch + 1
            frames = _frames_of(segment_path(self.directory, segment.first_seq))
            if frames:
                self.next_seq = max(self.next_seq, frames[-1].seq + 1)
            if frames and header is not None:
                self.last_ms = max(frame.t_max_ms for frame in frames)
                return

    @property
    def total_bytes(self) -> int:
        """Size of all segments."""
        return sum(segment.size_bytes for segment, _ in self._segments) + self._file_bytes

    def recorded(self) -> Recorded | None:
        """What the log holds, for a run that repeats it; None when it is empty."""
        newest_ms: dict[str, int] = {}
        events: set[Event] = set()
        last_ms: int | None = None
        for segment, header in reversed(self._segments):
            if header is None:
                continue
            blocks = blocks_of(self.directory, segment, header)
            end_ms = max((block.frame.t_max_ms for block in blocks), default=None)
            if end_ms is None:
                continue
            last_ms = end_ms if last_ms is None else max(last_ms, end_ms)
            if end_ms < last_ms - RECORDED_MS:
                break
            for block in blocks:
                _remember(block, last_ms - RECORDED_MS, newest_ms, events)
        return None if last_ms is None else Recorded(last_ms - RECORDED_MS, newest_ms, events)

    def needs_segment(self, now_ms: int) -> bool:
        """Whether the next block begins a new segment."""
        return (
            self._file is None
            or self._file_bytes >= SEGMENT_BYTES_MAX
            or now_ms - self._created_ms >= SEGMENT_AGE_MS_MAX
        )

    def append(
        self,
        make_frames: Callable[[int], list[bytes]],
        make_table: Callable[[int], bytes],
        *,
        now_ms: int,
    ) -> int:
        """Write frames and wait until they are safe; blocks.

        After a failure whatever was written is left behind in its segment, and the numbers are
        used up.

        Args:
            make_frames: makes the frames, numbered from its argument.
            make_table: makes the series table that a new segment begins with.
            now_ms: UTC.

        Returns:
            The sequence number of the last frame.

        Raises:
            StorageError: nothing of it may be counted on.
        """
        is_new = self.needs_segment(now_ms)
        table = [make_table(self.next_seq)] if is_new else []
        first_seq = self.next_seq
        frames = table + make_frames(first_seq + len(table))
        self.next_seq += len(frames)
        data = b"".join(frames)
        try:
            if is_new:
                self._begin_segment(first_seq, now_ms)
            file = self._file
            assert file is not None, "a segment is open"
            if file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self._is_durable:
                os.fdatasync(file.fileno())
        except OSError as error:
            self._end_segment()
            raise StorageError(f"the log cannot be written: {error}") from error
        self._file_bytes += len(data)
        self.bytes_written += len(data)
        return self.next_seq - 1

    def close(self) -> None:
        """Let go of the log."""
        self._end_segment()
        os.close(self._lock_fd)

    def _begin_segment(self, first_seq: int, now_ms: int) -> None:
        self._end_segment()
        self._delete_old(now_ms)
        header = SegmentHeader(self.log_id, self.epoch, first_seq, now_ms)
        path = segment_path(self.directory, first_seq)
        self._file = path.open("xb", buffering=0)
        self._file_bytes = 0
        self._created_ms = now_ms
        self._header = header
        self._file_bytes += self._file.write(header.encode())
        self.bytes_written += self._file_bytes
        if self._is_durable:
            os.fsync(self._file.fileno())
            directory_fd = os.open(self.directory, os.O_RDONLY)
            try:
                os.fsync(directory_fd)
            finally:
                os.close(directory_fd)

    def _end_segment(self) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            self._file.close()
        segment = Segment(self._header.first_seq, self._file_bytes, self._created_ms)
        self._segments.append((segment, self._header))
        self._file = None
        self._file_bytes = 0

    def _delete_old(self, now_ms: int) -> None:
        disk = os.statvfs(self.directory)
        doomed = segments_to_delete(
            [segment for segment, _ in self._segments],
            now_ms=now_ms,
            max_bytes=self.limits.max_bytes,
            max_age_ms=self.limits.max_age_ms,
            free_bytes=disk.f_bavail * disk.f_frsize,
            reserve_bytes=self.limits.reserve_bytes,
        )
        for segment in doomed:
            segment_path(self.directory, segment.first_seq).unlink(missing_ok=True)
        del self._segments[: len(doomed)]


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

    @property
    def position(self) -> Position:
        """Its place in the log."""
        return Position(self.epoch, self.frame.seq)


class LogReader:
    """Reads the log from a position on, also while it is written."""

    def __init__(
        self, directory: Path, after: Position = START, *, with_series: bool = False
    ) -> None:
        """Nothing is opened yet.

        Args:
            directory: of the log; may still be empty.
            after: the first block read is the one after this.
            with_series: also read the series tables before it, of its segment.
        """
        self.directory = directory
        self._with_series = with_series
        self._after = after
        self._segment: Segment | None = None
        self._header: SegmentHeader | None = None
        self._offset = 0
        self._seq = 0
        self._names: list[str] = []
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
        self._segment, self._header = segment, header
        self._offset = SEGMENT_HEADER_BYTES
        self._seq = segment.first_seq - 1
        self._names = []

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
            header = self._header
            block = LogBlock(header.log_id, header.epoch, frame, self._names, header)
            is_table = self._with_series and frame.kind == FrameKind.SERIES
            if block.position > self._after or is_table:
                blocks.append(block)
                found += 1
        self._offset += offset
        return is_at_end

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


def _frames_of(path: Path) -> list[Frame]:
    try:
        data = path.read_bytes()
    except OSError:  # Deleted meanwhile, or a bad sector.
        return []
    return scan_frames(data, seq_after=-1, offset=SEGMENT_HEADER_BYTES).frames


def blocks_of(directory: Path, segment: Segment, header: SegmentHeader) -> list[LogBlock]:
    """All blocks of one segment."""
    reader = LogReader(directory)
    reader.open_segment(segment, header)
    blocks: list[LogBlock] = []
    reader._read_segment(segment, blocks, None, None)
    return blocks


def _remember(
    block: LogBlock, horizon_ms: int, newest_ms: dict[str, int], events: set[Event]
) -> None:
    if block.frame.t_max_ms < horizon_ms:
        return
    if block.frame.kind == FrameKind.SAMPLES:
        for column in decode_samples(block.frame.unpack()):
            name = block.names[column.series]
            newest_ms[name] = max(newest_ms.get(name, horizon_ms), column.times[-1])
    elif block.frame.kind == FrameKind.EVENTS:
        events.update(decode_events(block.frame.unpack()))


def _lock(path: Path) -> int:
    """Take the writer's lock; the descriptor holds it until it is closed."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    deadline_s = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                owner = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
                os.close(fd)
                raise StorageError(
                    f"the log {path.parent} is being written by process {owner}"
                ) from None
            time.sleep(_LOCK_RETRY_S)
        else:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            return fd


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
