"""Server side of Modbus TCP, without input or output: bytes into requests, and replies into bytes.

Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 3.1.
"""

from __future__ import annotations

from typing import NamedTuple

from grug.errors import RemoteProtocolError
from grug.protocol.mbap import HEADER, LENGTH_MAX, LENGTH_MIN
from grug.protocol.server import ServerRequest, request_of

LENGTH_LEAST = LENGTH_MIN - 1
"""Unit id and function: there are requests without data."""


class NumberedRequest(NamedTuple):
    """One request, and the number that its reply has to repeat."""

    number: int
    request: ServerRequest

    def framed(self, adu: bytes) -> bytes:
        """The bytes to send for a reply that was made for a serial line."""
        return HEADER.pack(self.number, 0, len(adu) - 2) + adu[:-2]


class MbapRequests:
    """Cuts what one client sends into requests."""

    def __init__(self) -> None:
        self._buffer = b""

    def receive(self, data: bytes) -> list[NumberedRequest]:
        """Take what came; returns the requests that are complete now, in order.

        Raises:
            RemoteProtocolError: this is not Modbus TCP, and no later byte can be understood.
        """
        buffer = self._buffer + data if self._buffer else data
        found = []
        at = 0
        while len(buffer) - at >= HEADER.size:
            number, protocol, length = HEADER.unpack_from(buffer, at)
            if protocol or not LENGTH_LEAST <= length <= LENGTH_MAX:
                raise RemoteProtocolError("what comes is not Modbus TCP")
            end = at + HEADER.size + length
            if end > len(buffer):
                break
            found.append(NumberedRequest(number, request_of(buffer[at + HEADER.size : end])))
            at = end
        self._buffer = buffer[at:]
        return found
