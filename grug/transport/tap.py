"""A tap on lines: what goes over them is gathered for the ring of frames, beside its way.

Owns:  a bounded buffer that all taps of a process share
Never: waits, copies bytes, or keeps anything from its way because the buffer is full: the oldest
       records go, and are counted

A record costs a microsecond or two; whoever carries records away takes them about once a second.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

from grug.messages import Lagged, Message, WireTraced
from grug.model import Role, Wire, WireKind, WireRecord
from grug.transport.line import Line, LineOpener

WAITING_BYTES_MAX = 8 << 20
"""Some ten minutes of a large house; longer than most restarts of the data process."""
RECORD_BYTES: Final = 150
"""What a record takes of memory beside its bytes."""
TAKE_EVERY_S = 1.0
CHUNK_RECORDS_MAX = 1000
"""In one message: some 64 kB."""


class WireTap:
    """Where the taps of all lines put what they see."""

    def __init__(self, *, bytes_max: int = WAITING_BYTES_MAX) -> None:
        """Begin empty.

        Args:
            bytes_max: of memory for records that wait.
        """
        self._bytes_max = bytes_max
        self._wires: list[str] = []
        self._records: deque[tuple[int, WireKind, float, bytes]] = deque()
        self._bytes = 0
        self._dropped = 0
        self._due_s = 0.0

    def tapped(self, wire: Wire, open_line: LineOpener) -> LineOpener:
        """Make an opener whose lines are tapped."""
        number = len(self._wires)
        self._wires.append(wire.name)

        async def open_tapped() -> Line:
            line = await open_line()
            self.put(number, WireKind.OPENED)
            return _TappedLine(line, self, number, awaits_replies=wire.role is Role.CLIENT)

        return open_tapped

    def put(self, wire: int, kind: WireKind, data: bytes = b"") -> None:
        """Keep one record, of this moment."""
        self._records.append((wire, kind, trio.current_time(), data))
        self._bytes += RECORD_BYTES + len(data)
        while self._bytes > self._bytes_max:
            self._bytes -= RECORD_BYTES + len(self._records.popleft()[3])
            self._dropped += 1

    def take(self, now_s: float, is_last: bool = False) -> list[Message]:
        """Give what has been gathered, once a second or when it is much.

        Args:
            now_s: monotonic.
            is_last: give all, however little it is.

        Returns:
            WireTraced, and before them a Lagged when records had to go; often nothing.
        """
        if not (is_last or now_s >= self._due_s or len(self._records) >= CHUNK_RECORDS_MAX):
            return []
        self._due_s = now_s + TAKE_EVERY_S
        messages: list[Message] = []
        if self._dropped:
            messages.append(Lagged("frames", self._dropped))
            self._dropped = 0
        records = self._records
        self._records, self._bytes = deque(), 0
        while records:
            size = min(len(records), CHUNK_RECORDS_MAX)
            chunk = [records.popleft() for _ in range(size)]
            messages.append(
                WireTraced(
                    tuple(self._wires),
                    tuple(
                        [WireRecord(w, k, round(at_s * 1e6), data) for w, k, at_s, data in chunk]
                    ),
                )
            )
        return messages


class _TappedLine:
    """A line whose bytes are recorded in passing; see ``Line``."""

    __slots__ = ("_awaits_replies", "_line", "_tap", "_wire")

    def __init__(self, line: Line, tap: WireTap, wire: int, *, awaits_replies: bool) -> None:
        self._line = line
        self._tap = tap
        self._wire = wire
        self._awaits_replies = awaits_replies

    async def send_all(self, data: bytes) -> None:
        """See ``Line.send_all``."""
        self._tap.put(self._wire, WireKind.SENT, data)
        await self._line.send_all(data)

    async def receive_some(self) -> bytes:
        """See ``Line.receive_some``; a wait for a reply that ends without bytes is a silence."""
        data = b""
        try:
            data = await self._line.receive_some()
        finally:
            if data:
                self._tap.put(self._wire, WireKind.RECEIVED, data)
            elif self._awaits_replies:
                self._tap.put(self._wire, WireKind.SILENCE)
        return data

    def interrupt(self) -> None:
        """See ``Line.interrupt``."""
        self._line.interrupt()

    def discard_input(self) -> int:
        """See ``Line.discard_input``."""
        count = self._line.discard_input()
        if count:
            self._tap.put(self._wire, WireKind.DISCARDED, count.to_bytes(4, "little"))
        return count

    async def aclose(self) -> None:
        """See ``Line.aclose``."""
        self._tap.put(self._wire, WireKind.CLOSED)
        await self._line.aclose()
