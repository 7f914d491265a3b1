"""Looking into a ring of frames. Reads only, so a writer may run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from grug.errors import StorageError
from grug.model import Wire, WireKind
from grug.storage.frames import decode_wire, parse_wire
from grug.storage.segment import FrameKind
from grug.storage.show import TimeRange
from grug.transport.logfiles import LogBlock, LogReader

RING = "frames"
"""Its directory, within a house's state directory."""
_BLOCKS_AT_ONCE = 20


class Traced(NamedTuple):
    """One thing that happened on one line."""

    wire: Wire
    kind: WireKind
    time_us: int
    """UTC, corrected like the log's times."""
    at_us: int
    """Monotonic, since boot."""
    data: bytes


def ring_beside(directory: Path) -> Path:
    """The ring of frames beside a log.

    Raises:
        StorageError: there is none.
    """
    ring = directory.parent / RING
    if not any(ring.glob("*.grug")):
        raise StorageError(f"no frames in {ring}: they are kept unless [log] frames = false")
    return ring


def read_traced(directory: Path, times: TimeRange | None = None) -> Iterator[Traced]:
    """What a ring has of a time range, in the order it happened.

    Raises:
        StorageError: a segment cannot be read, or is none of such a ring.
    """
    yield from follow_traced(LogReader(directory), times or TimeRange())


def follow_traced(reader: LogReader, times: TimeRange) -> Iterator[Traced]:
    """The same, of what a reader has not read yet; ask again for what comes later."""
    for block in _blocks_of(reader):
        if times.meets(block.t_min_ms, block.t_max_ms):
            yield from traced_of(block, times)


def read_boot(directory: Path, boot_id: str, since_s: float) -> Iterator[Traced]:
    """What a ring has of one boot of the machine from a monotonic time on, whatever UTC was then.

    Raises:
        StorageError: a segment cannot be read, or is none of such a ring.
    """
    for block in _blocks_of(LogReader(directory)):
        if block.boot_id == boot_id and block.frame.monotonic_ms >= since_s * 1000:
            for traced in traced_of(block, TimeRange()):
                if traced.at_us >= since_s * 1e6:
                    yield traced


def _blocks_of(reader: LogReader) -> Iterator[LogBlock]:
    while blocks := reader.read(frames_max=_BLOCKS_AT_ONCE):
        yield from (block for block in blocks if block.frame.kind == FrameKind.WIRE)


def traced_of(block: LogBlock, times: TimeRange) -> Iterator[Traced]:
    """What one block has of a time range; wires whose table is damaged are left out.

    Raises:
        StorageError: it is no block of frames.
    """
    records = decode_wire(block.frame.unpack())
    wires = [parse_wire(name) for name in block.names]
    offset_us = block.t_min_ms * 1000 - records[0].at_us
    since_us, until_us = times.since_ms * 1000, times.until_ms * 1000
    for number, kind, at_us, data in records:
        if since_us <= at_us + offset_us < until_us and number < len(wires):
            yield Traced(wires[number], kind, at_us + offset_us, at_us, data)
