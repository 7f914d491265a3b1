"""Tracer actor: keeps what was on the wires in a ring of its own, smaller than the log.

In:    WireTraced, StopRecording
Out:   Noted when the ring cannot be kept, and when it can again
Owns:  the ring's directory
Stops: at StopRecording, after the last block

It is for finding out later what a device really said, and for replay. So it may lose its end at a
power cut: blocks are left to the kernel, which brings them to the card together with others, within
half a minute. Waiting for the card at every block would wear it as much as the log does. Times are
kept in steps of 100 us.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio

from grug.errors import StorageError
from grug.messages import Message, Noted, StopRecording, WireTraced
from grug.model import WireRecord
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed, Subscription
from grug.runtime.recording import ClockWatch, keep
from grug.storage.frames import RECORDS_MAX, coarse, decode_wire, encode_wire
from grug.storage.segment import FrameKind, SeriesTable, encode_frame, encode_series
from grug.transport.logfiles import blocks_of, list_segments
from grug.transport.logwriter import Limits, LogWriter

KINDS: tuple[type[Message], ...] = (WireTraced, StopRecording)
"""What to subscribe to for ``run``."""
BLOCK_S = 60.0
"""A simulated day of the example house is 8 MB with 60 s, 10 with 30 s. On real adapters, whose
times are less regular, it is up to 12."""
_ZSTD_LEVEL = 15
"""Takes 2 us more of a record's 7.5 than 9 does, for 6 % less; 19 would take twice as long as this
for 2 % less."""
BLOCK_BYTES_MAX = 1 << 20
_RECORD_BYTES = 100


async def run(
    source: Subscription,
    *,
    directory: Path,
    limits: Limits,
    wall: WallClock,
    feed: Feed,
    resume: bool = False,
) -> None:
    """Keep what comes until StopRecording.

    Args:
        source: a queued subscription to ``KINDS``.
        directory: of the ring.
        limits: of its segments.
        wall: gives UTC.
        feed: where Noted goes.
        resume: the run repeats exactly what an earlier one did: what the ring has already is not
            written again.
    """
    ring = _Ring(partial(LogWriter, directory, limits, is_durable=False), wall, feed, resume)
    try:
        await keep(source, block_s=BLOCK_S, take=ring.take, write=ring.write_block)
    finally:
        ring.close()


class _Ring:
    """The state between two messages."""

    def __init__(
        self, open_ring: Callable[[], LogWriter], wall: WallClock, feed: Feed, resume: bool
    ) -> None:
        self._open_ring = open_ring
        self._wall = wall
        self._clock = ClockWatch(wall)
        self._feed = feed
        self._resume = resume
        self._writer: LogWriter | None = None
        self._wires: tuple[str, ...] = ()
        self._listed = 0
        self._records: list[WireRecord] = []
        self._bytes = 0
        self._lost = 0
        self._had_us = -1
        """Up to here the ring has what an earlier run did."""

    def take(self, message: Message) -> bool:
        """Gather; says whether a block is complete."""
        if not isinstance(message, WireTraced):
            return False
        self._wires = message.wires
        self._records += message.records
        self._bytes += sum([len(record.data) + _RECORD_BYTES for record in message.records])
        return (
            self._bytes >= BLOCK_BYTES_MAX
            or self._records[-1].at_us - self._records[0].at_us >= BLOCK_S * 1e6
        )

    async def write_block(self) -> None:
        """Write what waits, in a thread; what cannot be written is counted and reported."""
        if not self._records:
            return
        count = len(self._records)
        try:
            await trio.to_thread.run_sync(self._append)
        except StorageError as error:
            if not self._lost:
                self._note(f"{error}; frames are being lost until it can")
            self._lost += count
        else:
            if self._lost:
                self._note(f"the ring of frames is written again; {self._lost} were lost")
            self._lost = 0
        self._records = []
        self._bytes = 0

    def close(self) -> None:
        """Let go of the ring."""
        if self._writer is not None:
            self._writer.close()

    def _append(self) -> None:
        writer = self._writer
        if writer is None:
            writer = self._writer = self._open_ring()
            self._had_us = _last_us(writer) if self._resume else -1
        records = [record for record in coarse(self._records) if record.at_us > self._had_us]
        while records:
            self._append_block(writer, records[:RECORDS_MAX])
            del records[:RECORDS_MAX]

    def _append_block(self, writer: LogWriter, records: list[WireRecord]) -> None:
        # The flags first: a clock that is set in between makes true times doubtful, not false true.
        flags = self._clock.flags(records[-1].at_us / 1e6)
        last_ms, first_ms = (
            self._wall.utc_ms(record.at_us / 1e6) for record in (records[-1], records[0])
        )
        last_ms = max(first_ms, last_ms)

        def table(seq: int, first: int = 0) -> bytes:
            names = self._wires[first:]
            self._listed = len(self._wires)
            return encode_frame(
                FrameKind.SERIES,
                encode_series(SeriesTable(first, writer.boot_id, names)),
                seq=seq,
                count=len(names),
                t_min_ms=first_ms,
                t_max_ms=first_ms,
                monotonic_ms=records[0].at_us // 1000,
                flags=flags,
            )

        def frames(seq: int) -> list[bytes]:
            tables = [table(seq, self._listed)] if self._listed < len(self._wires) else []
            block = encode_frame(
                FrameKind.WIRE,
                encode_wire(records),
                seq=seq + len(tables),
                count=len(records),
                t_min_ms=first_ms,
                t_max_ms=last_ms,
                monotonic_ms=records[-1].at_us // 1000,
                flags=flags,
                level=_ZSTD_LEVEL,
            )
            return [*tables, block]

        writer.append(frames, table, now_ms=last_ms)

    def _note(self, text: str) -> None:
        self._feed.publish(Noted("tracer", text, trio.current_time()))


def _last_us(writer: LogWriter) -> int:
    """The time of the last record in the ring; -1 while there is none."""
    for segment, header in reversed(list(list_segments(writer.directory))):
        blocks = [] if header is None else blocks_of(writer.directory, segment, header)
        for block in reversed(blocks):
            if block.frame.kind == FrameKind.WIRE:
                return decode_wire(block.frame.unpack())[-1].at_us
    return -1
