"""From what a tap recorded to requests, replies and silences. Pure.

A tap sees bytes as an adapter hands them over; here they become frames again, each exchange with
its number, so that they can be shown to a person, or to Wireshark, which pairs them by it.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from grug.model import Role, Wire, WireFraming, WireKind
from grug.protocol.rtu import crc_is_good
from grug.protocol.server import RequestFramer

_BAUDRATE = 9600
"""Decides only for how long half a request is kept; the ring does not know the line's own."""
_MBAP_HEAD_BYTES = 6
"""Transaction, protocol, length. Source: MODBUS Messaging on TCP/IP V1.0b, 3.1.3."""
_EXCEPTION = 0x80


class SeenKind(enum.StrEnum):
    """What was seen on a line."""

    REQUEST = "request"
    REPLY = "reply"
    SILENCE = "silence"
    """Nobody answered; ``text`` says for how long it was waited."""
    NOISE = "noise"
    """Bytes that are no frame, or not one that was asked for."""
    LINE = "line"
    """It was opened or closed."""


class Seen(NamedTuple):
    """A frame, or that there was none."""

    wire: Wire
    time_us: int
    """Of the request: when it was sent or complete; of the reply: when it was complete."""
    kind: SeenKind
    adu: bytes
    """As it was on the wire: with its checksum, or behind its MBAP header."""
    exchange: int
    """Number of the request on its wire that this belongs to, from 1."""
    text: str = ""


class FrameFinder:
    """Makes frames of what the taps of any number of wires recorded."""

    def __init__(self) -> None:
        self._wires: dict[Wire, _ClientWire | _ServerWire] = {}

    def take(self, wire: Wire, kind: WireKind, time_us: int, data: bytes) -> list[Seen]:
        """Take the next record; gives what it completes, in order."""
        state = self._wires.get(wire)
        if state is None:
            make = _ClientWire if wire.role is Role.CLIENT else _ServerWire
            state = self._wires[wire] = make(wire)
        return state.take(kind, time_us, data)


class _ClientWire:
    """A wire on which grug asks."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._exchange = 0
        self._request = b""
        self._asked_us = 0
        self._reply = b""
        self._reply_us = 0

    def take(self, kind: WireKind, time_us: int, data: bytes) -> list[Seen]:
        """See ``FrameFinder.take``."""
        match kind:
            case WireKind.RECEIVED:
                return self._received(time_us, data)
            case WireKind.SENT:
                seen = self._flush()
                self._exchange += 1
                self._request, self._asked_us = data, time_us
                return [*seen, self._seen(time_us, SeenKind.REQUEST, data)]
            case WireKind.SILENCE:
                seen = self._flush()
                waited_s = (time_us - self._asked_us) / 1e6
                text = f"no reply within {waited_s:.3f} s"
                return [*seen, self._seen(time_us, SeenKind.SILENCE, b"", text)]
            case WireKind.DISCARDED:
                text = f"{int.from_bytes(data, 'little')} bytes came unasked"
                return [*self._flush(), self._seen(time_us, SeenKind.NOISE, b"", text)]
            case _:
                seen = self._flush()
                self._request = b""
                return [*seen, self._seen(time_us, SeenKind.LINE, b"", kind.name.lower())]

    def _received(self, time_us: int, data: bytes) -> list[Seen]:
        self._reply += data
        self._reply_us = time_us
        if self._wire.framing is WireFraming.MBAP:
            return self._cut_mbap()
        is_whole = self._is_reply_to_request() and crc_is_good(self._reply)
        return self._flush(SeenKind.REPLY) if is_whole else []

    def _is_reply_to_request(self) -> bool:
        reply, request = self._reply, self._request
        if len(reply) <= 3 or len(request) < 2 or reply[0] != request[0]:
            return False
        return reply[1] & ~_EXCEPTION == request[1]

    def _cut_mbap(self) -> list[Seen]:
        seen = []
        while len(self._reply) >= _MBAP_HEAD_BYTES:
            end = _MBAP_HEAD_BYTES + int.from_bytes(self._reply[4:6], "big")
            if len(self._reply) < end:
                break
            frame, self._reply = self._reply[:end], self._reply[end:]
            is_answer = frame[:2] == self._request[:2]
            kind = SeenKind.REPLY if is_answer else SeenKind.NOISE
            text = "" if is_answer else "answers no request that waits"
            seen.append(self._seen(self._reply_us, kind, frame, text))
        return seen

    def _flush(self, kind: SeenKind = SeenKind.NOISE) -> list[Seen]:
        """What has been received so far ends here."""
        data, self._reply = self._reply, b""
        if not data:
            return []
        text = "" if kind is SeenKind.REPLY else "no whole reply to the request"
        return [self._seen(self._reply_us, kind, data, text)]

    def _seen(self, time_us: int, kind: SeenKind, adu: bytes, text: str = "") -> Seen:
        return Seen(self._wire, time_us, kind, adu, self._exchange, text)


class _ServerWire:
    """A wire on which grug is asked."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._exchange = 0
        self._framer = RequestFramer(_BAUDRATE)
        self._is_open = False
        """Whether the last request waits for its answer."""
        self._asked_us = 0

    def take(self, kind: WireKind, time_us: int, data: bytes) -> list[Seen]:
        """See ``FrameFinder.take``."""
        match kind:
            case WireKind.RECEIVED:
                return self._received(time_us, data)
            case WireKind.SENT:
                self._is_open = False
                return [self._seen(time_us, SeenKind.REPLY, data)]
            case WireKind.OPENED | WireKind.CLOSED:
                self._is_open = False
                return [self._seen(time_us, SeenKind.LINE, b"", kind.name.lower())]
            case _:
                return []

    def _received(self, time_us: int, data: bytes) -> list[Seen]:
        seen = []
        noise_bytes = self._framer.noise_bytes
        requests = self._framer.receive(data, time_us / 1e6)
        noise_bytes = self._framer.noise_bytes - noise_bytes
        if noise_bytes:
            text = f"{noise_bytes} bytes that are no request"
            seen.append(self._seen(time_us, SeenKind.NOISE, b"", text))
        for request in requests:
            if self._is_open:
                text = f"not answered; asked again after {(time_us - self._asked_us) / 1e6:.3f} s"
                seen.append(self._seen(time_us, SeenKind.SILENCE, b"", text))
            self._exchange += 1
            self._is_open, self._asked_us = True, time_us
            seen.append(self._seen(time_us, SeenKind.REQUEST, request.adu))
        return seen

    def _seen(self, time_us: int, kind: SeenKind, adu: bytes, text: str = "") -> Seen:
        return Seen(self._wire, time_us, kind, adu, self._exchange, text)
