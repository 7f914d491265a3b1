"""The log as it travels: stored bytes, segment headers and frames one after another. Pure.

A stream that begins in the middle of a segment has that segment's header, then the series frames
before the place where it begins, then all frames after it.
"""

from __future__ import annotations

from grug.errors import StorageError
from grug.storage.segment import (
    FRAME_MAGIC,
    SEGMENT_HEADER_BYTES,
    SEGMENT_MAGIC,
    Frame,
    SegmentHeader,
    decode_segment_header,
    scan_frames,
)


class StreamDecoder:
    """Turns received bytes, however they are cut, back into headers and frames."""

    def __init__(self) -> None:
        self._waiting = b""

    def receive(self, data: bytes) -> list[SegmentHeader | Frame]:
        """Take bytes; gives what is complete.

        Raises:
            StorageError: they are not a log; ask for them again.
        """
        waiting = self._waiting + data
        offset = 0
        found: list[SegmentHeader | Frame] = []
        while True:
            item, size = _first(waiting, offset)
            if item is None:
                break
            found.append(item)
            offset += size
        self._waiting = waiting[offset:]
        return found


def _first(data: bytes, offset: int) -> tuple[SegmentHeader | Frame | None, int]:
    """What begins at an offset, and its size; None when more bytes are needed."""
    magic = data[offset : offset + len(SEGMENT_MAGIC)]
    if len(magic) < len(SEGMENT_MAGIC):
        return None, 0
    if magic == SEGMENT_MAGIC:
        head = data[offset : offset + SEGMENT_HEADER_BYTES]
        if len(head) < SEGMENT_HEADER_BYTES:
            return None, 0
        header = decode_segment_header(head)
        if header is None:
            raise StorageError("a segment's header arrived damaged")
        return header, SEGMENT_HEADER_BYTES
    if not magic.startswith(FRAME_MAGIC):
        raise StorageError("what arrived is no log")
    scan = scan_frames(data, seq_after=-1, offset=offset, frames_max=1)
    if scan.bad_bytes:
        raise StorageError("a block arrived damaged")
    return (scan.frames[0], scan.end - offset) if scan.frames else (None, 0)
