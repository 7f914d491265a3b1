"""The log's one writer: segments, recovery at the start, retention.

The writer never opens an old segment again: at every start, and after any failure, it begins a new
one. A block may be given to readers only after ``append`` has returned.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from grug.errors import StorageError
from grug.storage.collect import Recorded
from grug.storage.retention import Segment, segments_to_delete
from grug.storage.segment import (
    SEGMENT_HEADER_BYTES,
    Event,
    Frame,
    FrameKind,
    SegmentHeader,
    scan_frames,
)
from grug.transport.logfiles import LogBlock, blocks_of, list_segments, segment_path

SEGMENT_BYTES_MAX = 4 << 20
SEGMENT_AGE_MS_MAX = 3_600_000
LOCK_WAIT_S = 10.0
"""As long as a predecessor that was told to stop may take to let go of the log."""
RECORDED_MS = 600_000
"""How far back the log is read to see what a repeated run has recorded: no poll takes as long."""
_LOCK_RETRY_S = 0.05
_DAY_MS = 86_400_000


class Limits(NamedTuple):
    """Retention."""

    max_bytes: int
    max_age_ms: int
    reserve_bytes: int

    @classmethod
    def of(cls, max_bytes: int, max_age_days: float, reserve_bytes: int) -> Limits:
        """As the configuration has them."""
        return cls(max_bytes, round(max_age_days * _DAY_MS), reserve_bytes)


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
        self._has_blocks = False
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
            known_ms = [frame.t_max_ms for frame in frames if not frame.awaits_clock]
            if known_ms and header is not None:
                self.last_ms = max(known_ms)
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
        """Whether the next block begins a new segment; also where somebody deleted the open one."""
        return (
            self._file is None
            or self._file_bytes >= SEGMENT_BYTES_MAX
            or now_ms - self._created_ms >= SEGMENT_AGE_MS_MAX
            or os.fstat(self._file.fileno()).st_nlink == 0
        )

    def append(
        self,
        make_frames: Callable[[int], list[bytes]],
        make_table: Callable[[int], bytes],
        *,
        now_ms: int,
    ) -> int:
        """Write frames and wait until they are safe; blocks.

        After a failure whatever was written is left behind in its segment, or removed with it when
        that has nothing else, and the numbers are used up.

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
        if is_new:
            try:
                self._keep_lock()
            except (OSError, StorageError) as error:
                make_frames(self.next_seq)  # They are lost, as they are when writing fails.
                raise StorageError(f"the log cannot be written: {error}") from error
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
        self._has_blocks = True
        self._file_bytes += len(data)
        self.bytes_written += len(data)
        return self.next_seq - 1

    def close(self) -> None:
        """Let go of the log."""
        self._end_segment()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)

    def _begin_segment(self, first_seq: int, now_ms: int) -> None:
        self._end_segment()
        self._delete_old(now_ms)
        header = SegmentHeader(self.log_id, self.epoch, first_seq, now_ms)
        path = segment_path(self.directory, first_seq)
        self._file = path.open("xb", buffering=0)
        self._file_bytes = 0
        self._has_blocks = False
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
            about = os.fstat(self._file.fileno())
            path = segment_path(self.directory, self._header.first_seq)
            if about.st_nlink and self._has_blocks:
                segment = Segment(self._header.first_seq, about.st_size, self._created_ms)
                self._segments.append((segment, self._header))
            elif about.st_nlink:  # A disk that is full for days shall not fill with beginnings.
                path.unlink()
        with contextlib.suppress(OSError):
            self._file.close()
        self._file = None
        self._file_bytes = 0

    def _keep_lock(self) -> None:
        """See that the lock is in the directory, which may have been wiped: nobody else may write.

        What another writer may have left there is gone on from.

        Raises:
            StorageError: somebody else writes there now.
        """
        path = self.directory / "lock"
        try:
            if self._lock_fd >= 0 and os.path.samestat(path.stat(), os.fstat(self._lock_fd)):
                return
        except FileNotFoundError:
            self.directory.mkdir(parents=True, exist_ok=True)
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1
        self._lock_fd = _lock(path)
        self._end_segment()
        self._segments = list(list_segments(self.directory))
        if self._segments:
            next_seq = self.next_seq
            self._recover()
            self.next_seq = max(self.next_seq, next_seq)

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


def _frames_of(path: Path) -> list[Frame]:
    try:
        data = path.read_bytes()
    except OSError:  # Deleted meanwhile, or a bad sector.
        return []
    return scan_frames(data, seq_after=-1, offset=SEGMENT_HEADER_BYTES).frames


def _remember(
    block: LogBlock, horizon_ms: int, newest_ms: dict[str, int], events: set[Event]
) -> None:
    if block.frame.t_max_ms < horizon_ms:
        return
    if block.frame.kind == FrameKind.SAMPLES:
        for column in block.columns():
            name = block.names[column.series]
            newest_ms[name] = max(newest_ms.get(name, horizon_ms), column.times[-1])
    elif block.frame.kind == FrameKind.EVENTS:
        events.update(block.events())


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
