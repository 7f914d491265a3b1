"""What a segment holds and what of it is damaged, from its bytes. Pure."""

from __future__ import annotations

import struct
from typing import NamedTuple

import msgspec

from grug.errors import StorageError
from grug.storage.block import decode_samples
from grug.storage.segment import (
    SEGMENT_HEADER_BYTES,
    Frame,
    FrameKind,
    SegmentHeader,
    decode_events,
    decode_segment_header,
    decode_series,
    scan_frames,
)


class Damage(NamedTuple):
    """Bytes that are no good block, or blocks that are not there."""

    offset: int
    """In the segment."""
    size_bytes: int
    blocks: int
    """Numbers that are missing; 0 when that cannot be known."""
    text: str
    """What it is, and what it cost."""


class Survey(NamedTuple):
    """One segment, looked through."""

    size_bytes: int
    header: SegmentHeader | None
    blocks: int
    samples: int
    events: int
    last_seq: int
    """-1 without blocks."""
    t_min_ms: int
    """UTC, of samples and events; 0 without any."""
    t_max_ms: int
    damages: tuple[Damage, ...]

    @property
    def sample_bytes(self) -> float:
        """Bytes a sample, with everything around it; 0.0 without samples."""
        return self.size_bytes / self.samples if self.samples else 0.0


def survey_segment(data: bytes, *, is_deep: bool, may_grow: bool) -> Survey:
    """Look through a segment.

    Args:
        data: the whole file.
        is_deep: also unpack and decode every block, which is some twenty times slower.
        may_grow: a writer has it open, so that half a block at its end is no damage.
    """
    header = decode_segment_header(data)
    damages: list[Damage] = []
    if header is None:
        text = "the segment's header is bad: readers pass over all of it"
        damages.append(Damage(0, len(data), 0, text))
    frames: list[tuple[int, Frame]] = []
    offset, seq = SEGMENT_HEADER_BYTES, header.first_seq - 1 if header else -1
    while True:
        scan = scan_frames(data, seq_after=seq, offset=offset, frames_max=1)
        found = scan.frames[0] if scan.frames else None
        if found is None:
            _add_end(damages, data, offset, may_grow=may_grow)
            break
        if scan.bad_bytes or (seq >= 0 and found.seq > seq + 1):
            before = frames[-1][1] if frames else None
            damages.append(_gap(offset, scan.bad_bytes, seq, before, found))
        frames.append((offset + scan.bad_bytes, found))
        offset, seq = scan.end, found.seq
    if is_deep:
        damages += [damage for at, frame in frames if (damage := _check(at, frame)) is not None]
    return _summary(data, header, [frame for _, frame in frames], damages)


def _summary(
    data: bytes, header: SegmentHeader | None, frames: list[Frame], damages: list[Damage]
) -> Survey:
    timed = [frame for frame in frames if frame.kind in (FrameKind.SAMPLES, FrameKind.EVENTS)]
    return Survey(
        size_bytes=len(data),
        header=header,
        blocks=len(frames),
        samples=sum(frame.entries for frame in frames if frame.kind == FrameKind.SAMPLES),
        events=sum(frame.entries for frame in frames if frame.kind == FrameKind.EVENTS),
        last_seq=frames[-1].seq if frames else -1,
        t_min_ms=min((frame.t_min_ms for frame in timed), default=0),
        t_max_ms=max((frame.t_max_ms for frame in timed), default=0),
        damages=tuple(damages),
    )


def _gap(offset: int, size_bytes: int, seq: int, before: Frame | None, after: Frame) -> Damage:
    """Bad bytes, or missing numbers, or both, before a good block."""
    blocks = after.seq - seq - 1 if seq >= 0 else 0
    what = f"{size_bytes} bad bytes" if size_bytes else "numbers that were never written"
    cost = "no block lost"
    if blocks:
        which = f"block {seq + 1}" if blocks == 1 else f"blocks {seq + 1} to {after.seq - 1}"
        gap_s = max(0, after.t_min_ms - before.t_max_ms) / 1000 if before else 0.0
        cost = f"{which} lost" + (f", {gap_s:.1f} s of the log" if before else "")
    return Damage(offset, size_bytes, blocks, f"{what}: {cost}")


def _add_end(damages: list[Damage], data: bytes, offset: int, *, may_grow: bool) -> None:
    rest = len(data) - offset
    if rest > 0 and not may_grow:
        text = f"{rest} bytes of a block that was not finished: as after a power cut"
        damages.append(Damage(offset, rest, 0, text))


def _check(offset: int, frame: Frame) -> Damage | None:
    """Decode a block whose checksums are good; a fault here is the writer's, not the card's."""
    try:
        payload = frame.unpack()
        match frame.kind:
            case FrameKind.SAMPLES:
                entries = sum(len(column.times) for column in decode_samples(payload))
            case FrameKind.EVENTS:
                entries = len(decode_events(payload))
            case FrameKind.SERIES:
                entries = len(decode_series(payload).series)
            case _:
                entries = frame.entries
    except (StorageError, struct.error, IndexError, ValueError, msgspec.DecodeError) as error:
        return Damage(offset, len(frame.payload), 1, f"block {frame.seq} is not readable: {error}")
    if entries != frame.entries:
        text = f"block {frame.seq} holds {entries} entries and says {frame.entries}"
        return Damage(offset, len(frame.payload), 1, text)
    return None
