"""The asking side of Modbus TCP, without any input or output.

Every frame says its length and repeats the number of the request that it answers, so that late,
doubled and disordered replies are told from the one that is awaited. A stream that once loses step
has no place to find it again: then only a new connection helps, and ``ended`` says so.

Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 3.1.
"""

from __future__ import annotations

import struct

from grug.errors import ExceptionReply, RemoteProtocolError
from grug.model import Span, Table
from grug.protocol.client import (
    mask_write_pdu,
    read_pdu,
    read_write_pdu,
    unpack_bits,
    write_pdu,
)
from grug.protocol.strays import NO_ANSWER

HEADER = struct.Struct(">HHH")
"""Transaction number, protocol (0 for Modbus), length of what follows: unit id and PDU."""

LENGTH_MIN = 3
"""Unit id, function, and at least one byte."""
LENGTH_MAX = 254
"""Unit id and 253 bytes of PDU. Source: as above."""

SKEWS_MAX = 2
"""Requests in a row answered only with other requests' numbers, until the connection is renewed:
one may be a late reply, and a gateway that lags by one answers every request like that."""


class _Stream:
    """Cuts what arrives on one connection into frames."""

    __slots__ = ("buffer", "is_lost")

    def __init__(self) -> None:
        self.buffer = b""
        self.is_lost = False

    def frames(self, data: bytes) -> list[tuple[int, bytes]]:
        """Numbers and contents (from the unit id on) of the frames that are complete now.

        A frame that broke off swallows the beginning of the next one. What follows then begins
        nowhere, so that nothing that came together with it is believed.

        Raises:
            RemoteProtocolError: this is not Modbus TCP.
        """
        if self.is_lost:
            raise RemoteProtocolError("what comes is not Modbus TCP")
        buffer = self.buffer + data if self.buffer else data
        found = []
        at = 0
        while len(buffer) - at >= HEADER.size:
            number, protocol, length = HEADER.unpack_from(buffer, at)
            if protocol or not LENGTH_MIN <= length <= LENGTH_MAX:
                self.is_lost = True
                break
            end = at + HEADER.size + length
            if end > len(buffer):
                break
            found.append((number, buffer[at + HEADER.size : end]))
            at = end
        self.buffer = buffer[at:]
        if self.is_lost:
            raise RemoteProtocolError("what comes is not Modbus TCP")
        return found


class MbapExchange:
    """One request with its number; see ``grug.protocol.framing.Exchange``."""

    missing_bytes = 0
    """A gateway passes a reply on when it has all of it."""

    __slots__ = (
        "_bits",
        "_header",
        "_number",
        "_stream",
        "adu",
        "has_received",
        "reply_bytes",
        "strays",
    )

    def __init__(
        self,
        stream: _Stream,
        number: int,
        pdu: bytes,
        header: bytes,
        reply_pdu_bytes: int,
        bits: int = 0,
    ) -> None:
        """Prepare.

        Args:
            stream: what arrives on the connection.
            number: of this request, 0..65535.
            pdu: with the unit id before it.
            header: how the contents of the answer begin, from the unit id on.
            reply_pdu_bytes: length of the answer's contents, the unit id included.
            bits: how many bits are read, 0 for anything else.
        """
        self.adu = HEADER.pack(number, 0, len(pdu)) + pdu
        self.reply_bytes = HEADER.size + reply_pdu_bytes
        self.has_received = False
        self.strays = 0
        """Whole frames received that answer something else."""
        self._stream = stream
        self._number = number
        self._header = header
        self._bits = bits

    @property
    def what_came(self) -> str:
        """See ``Exchange.what_came``."""
        if self.strays:
            return f"{NO_ANSWER}: frames that answer other requests"
        return f"{NO_ANSWER}: a reply that broke off"

    def receive(self, data: bytes) -> bytes | None:
        """See ``Exchange.receive``."""
        self.has_received = True
        header = self._header
        for number, contents in self._stream.frames(data):
            if number != self._number or contents[0] != header[0]:
                self.strays += 1
            elif contents.startswith(header):
                if len(contents) == self.reply_bytes - HEADER.size:
                    return self._block_of(contents)
                self.strays += 1
            elif contents[1] == header[1] | 0x80 and len(contents) == 3 and contents[2]:
                raise ExceptionReply(contents[2])
            else:
                self.strays += 1
        return None

    def _block_of(self, contents: bytes) -> bytes:
        if len(self._header) > 3:
            return b""  # The acknowledgement of a write.
        return unpack_bits(contents[3:], self._bits) if self._bits else contents[3:]


class MbapFraming:
    """The requests of one line; see ``grug.protocol.framing.Framing``."""

    is_numbered = True
    is_stored = True

    def __init__(self) -> None:
        self._stream = _Stream()
        self._number = 0
        self._skews = 0
        self._exchange: MbapExchange | None = None

    def begin(self) -> None:
        """See ``Framing.begin``."""
        self._stream = _Stream()
        self._skews = 0

    def read(self, unit_id: int, span: Span) -> MbapExchange:
        """See ``Framing.read``."""
        pdu, header = read_pdu(unit_id, span)
        bits = span.count if span.table.is_bits else 0
        return self._next(pdu, header, 3 + header[2], bits)

    def write(
        self, unit_id: int, table: Table, address: int, block: bytes, *, always_multiple: bool
    ) -> MbapExchange:
        """See ``Framing.write``."""
        pdu, header = write_pdu(unit_id, table, address, block, always_multiple)
        return self._next(pdu, header, 6)

    def mask_write(self, unit_id: int, address: int, block: bytes, mask: bytes) -> MbapExchange:
        """See ``Framing.mask_write``."""
        pdu = mask_write_pdu(unit_id, address, block, mask)
        return self._next(pdu, pdu, len(pdu))

    def read_write(self, unit_id: int, address: int, block: bytes, read: Span) -> MbapExchange:
        """See ``Framing.read_write``."""
        pdu, header = read_write_pdu(unit_id, address, block, read)
        return self._next(pdu, header, 3 + header[2])

    def _next(self, pdu: bytes, header: bytes, reply_pdu_bytes: int, bits: int = 0) -> MbapExchange:
        self._number = self._number % 0xFFFF + 1  # Some gateways put 0 where they know no number.
        self._exchange = exchange = MbapExchange(
            self._stream, self._number, pdu, header, reply_pdu_bytes, bits
        )
        return exchange

    def ended(self, *, is_answered: bool) -> str:
        """See ``Framing.ended``."""
        if self._stream.is_lost:
            return "what came was not Modbus TCP"
        if is_answered or self._exchange is None:
            self._skews = 0
            return ""
        if self._stream.buffer:
            return "a reply broke off in the middle"
        if not self._exchange.strays:
            return ""
        self._skews += 1
        return "replies answer other requests" if self._skews >= SKEWS_MAX else ""
