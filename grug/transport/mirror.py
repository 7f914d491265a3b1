"""A copy of another machine's log, as it arrives: the same bytes in the same files."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from grug.errors import StorageError
from grug.storage.segment import Frame, SegmentHeader
from grug.transport.logfiles import START, Position, segment_path


class Mirror:
    """Writes what arrives; ``LogReader`` reads it meanwhile. Its methods block shortly."""

    def __init__(self, directory: Path, after: Position = START, *, log: str = "") -> None:
        """Begin in an empty directory.

        Args:
            directory: of the copy.
            after: what the copy need not have.
            log: id of the log that it is a copy of, hexadecimal; empty takes the first that comes.
        """
        self.size_bytes = 0
        """Of all that has arrived."""
        self._log = log
        self.directory = directory
        self.end = after
        """Of what has arrived."""
        self._file: BinaryIO | None = None
        self._header: SegmentHeader | None = None
        self._last_seq = -1
        """In the open file."""
        self._segments: list[int] = []

    def write(self, items: list[SegmentHeader | Frame]) -> None:
        """Keep what arrived; what is there already is passed over.

        Raises:
            StorageError: the disk is full, or what arrived is out of order.
        """
        try:
            for item in items:
                if isinstance(item, SegmentHeader):
                    self._begin(item)
                else:
                    self._write_frame(item)
            if self._file is not None:
                self._file.flush()
        except OSError as error:
            raise StorageError(f"{self.directory} cannot be written: {error}") from error

    def forget(self, seq: int) -> None:
        """Delete segments with nothing after a number; the newest stays."""
        while len(self._segments) > 1 and self._segments[1] <= seq:
            segment_path(self.directory, self._segments.pop(0)).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the open file."""
        if self._file is not None:
            self._file.close()

    def _begin(self, header: SegmentHeader) -> None:
        if header == self._header:
            return
        self._log = self._log or header.log_id.hex()
        if header.log_id.hex() != self._log:
            raise StorageError("what arrives is of another log: the other machine began a new one")
        self.close()
        self._file = segment_path(self.directory, header.first_seq).open("xb")
        self._file.write(header.encode())
        self._header = header
        self._last_seq = -1
        self._segments.append(header.first_seq)

    def _write_frame(self, frame: Frame) -> None:
        if self._header is None or self._file is None:
            raise StorageError("a block arrived before its segment")
        if frame.seq > self._last_seq:
            self.size_bytes += self._file.write(frame.encode())
            self._last_seq = frame.seq
            self.end = max(self.end, Position(self._header.epoch, frame.seq))
