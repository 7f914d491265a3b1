"""A line for tests of its owner: units that answer from words, and whatever trouble is asked for.

Time passes as on a wire at 9600 baud. It knows nothing of grug's own client.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from grug.errors import LineError
from grug.protocol.rtu import with_crc

CHARACTER_S = 11 / 9600


def word_at(address: int) -> bytes:
    """What a unit has at an address: the address itself."""
    return address.to_bytes(2, "big")


def words_at(address: int, count: int) -> bytes:
    return b"".join(word_at(at) for at in range(address, address + count))


Script = Callable[[bytes], "bytes | None"]
"""From a request's bytes to the reply's; None is silence."""


class ScriptedLine:
    """Answers requests after a turnaround; see ``grug.transport.line.Line``."""

    def __init__(self, *, turnaround_s: float = 0.01) -> None:
        self.turnaround_s = turnaround_s
        self.sent: list[tuple[float, bytes]] = []
        """All requests, with when they were sent."""
        self.silent: set[int] = set()
        self.illegal: set[int] = set()
        """Addresses that are refused with exception 2."""
        self.late_s: dict[int, float] = {}
        """By unit: how much later than usual it answers."""
        self.script: Script | None = None
        """Takes the place of the ordinary answer."""
        self.trickles = False
        """Whether the adapter passes on each byte of a reply as it arrives."""
        self.takes_nothing = False
        """Whether sending is stuck, as with a full TCP window."""
        self.looks = 0
        """How often something was received."""
        self.is_gone = False
        self.opened = 0
        self.closed = 0
        self.data: dict[tuple[int, int], bytes] = {}
        """What was written, by unit and address."""
        self._arriving: deque[tuple[float, bytes]] = deque()
        self._changed = trio.Event()
        self._is_interrupted = False

    async def open(self) -> ScriptedLine:
        if self.is_gone:
            raise LineError("the adapter is not there")
        self.opened += 1
        self._arriving.clear()
        return self

    def unplug(self) -> None:
        self.is_gone = True
        self._changed.set()

    def arrive(self, at_s: float, data: bytes) -> None:
        self._arriving.append((at_s, data))
        self._changed.set()

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_gone:
            raise LineError("unplugged")
        self._is_interrupted = False
        while self.takes_nothing:
            if self._is_interrupted:
                return
            await self._changed.wait()
            self._changed = trio.Event()
        now_s = trio.current_time()
        self.sent.append((now_s, data))
        unit_id = data[0]
        if unit_id in self.silent:
            return
        reply = self.script(data) if self.script is not None else self._answer(data)
        if reply is not None:
            spent_s = (len(data) + len(reply)) * CHARACTER_S
            late_s = self.late_s.get(unit_id, 0.0)
            ends_s = now_s + spent_s + self.turnaround_s + late_s
            pieces = [reply[at : at + 1] for at in range(len(reply))] if self.trickles else [reply]
            for at, piece in enumerate(pieces, 1):
                self.arrive(ends_s - (len(pieces) - at) * CHARACTER_S, piece)

    def _answer(self, request: bytes) -> bytes:
        unit_id, function = request[0], request[1]
        address, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
        if function == 6:
            self.data[unit_id, address] = request[4:6]
            return request
        if self.illegal.intersection(range(address, address + count)):
            return with_crc(bytes((unit_id, function | 0x80, 2)))
        if function == 16:
            self.data[unit_id, address] = request[7:-2]
            return with_crc(request[:6])
        return with_crc(bytes((unit_id, function, 2 * count)) + words_at(address, count))

    def interrupt(self) -> None:
        self._is_interrupted = True
        self._changed.set()

    async def receive_some(self) -> bytes:
        self._is_interrupted = False
        while not self._is_interrupted:
            if self.is_gone:
                raise LineError("unplugged")
            if self._arriving:
                at_s = self._arriving[0][0]
                if at_s <= trio.current_time():
                    await trio.lowlevel.checkpoint()
                    self.looks += 1
                    return b"".join(self._arrived())
                with trio.move_on_at(at_s):
                    await self._changed.wait()
            else:
                await self._changed.wait()
            self._changed = trio.Event()
        return b""

    @property
    def has_arrived(self) -> bool:
        return bool(self._arriving) and self._arriving[0][0] <= trio.current_time()

    def _arrived(self) -> list[bytes]:
        arrived = []
        while self._arriving and self._arriving[0][0] <= trio.current_time():
            arrived.append(self._arriving.popleft()[1])
        return arrived

    def discard_input(self) -> int:
        return sum(map(len, self._arrived()))

    async def aclose(self) -> None:
        self.closed += 1
