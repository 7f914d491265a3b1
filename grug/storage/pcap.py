"""Captures that Wireshark understands as Modbus without being told anything. Pure: bytes out.

A capture is pcapng: one interface per wire, named like it, and packets of the link type "Wireshark
upper PDU": a few tags that name a dissector and two addresses, then the PDU. Modbus has no link
type of its own, and the two for serial lines (DLT_USER, RTAC serial) need a user's preferences.

A good RTU frame goes in as Modbus TCP, with a header made for it and the number of its exchange
as transaction: only with port 502 on one side does the dissector know for each function who asks
(the one for RTU cannot tell a single write from its echo; Wireshark 4.0). Its checksum adds
nothing then. Frames that are damaged go to the RTU dissector as they are.

Source: pcapng, draft-ietf-opsawg-pcapng; tags: Wireshark, epan/exported_pdu.h.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

LINKTYPE_UPPER_PDU = 252
MODBUS_PORT = 502
_CLIENT_PORT = 49152
_TAG_DISSECTOR = 12
_TAG_IPV4_SOURCE = 20
_TAG_IPV4_DESTINATION = 21
_TAG_PORT_TYPE = 24
_TAG_PORT_SOURCE = 25
_TAG_PORT_DESTINATION = 26
_PORT_TYPE_TCP = 2

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_OPTION_COMMENT = 1
_OPTION_APPLICATION = 4
_OPTION_NAME, _OPTION_DESCRIPTION, _OPTION_RESOLUTION = 2, 3, 9
_OPTION_FLAGS = 2
_INBOUND, _OUTBOUND = 1, 2
_MICROSECONDS = 6


class Packet(NamedTuple):
    """One row of a capture."""

    interface: int
    time_us: int
    """UTC."""
    from_client: bool
    is_outbound: bool
    """Whether grug sent it."""
    dissector: str
    """``mbtcp``, ``mbrtu``, or ``syslog`` for words: that one shows them in the list of packets."""
    pdu: bytes
    comment: str = ""


def file_head() -> bytes:
    """What a capture begins with."""
    body = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
    return _block(_SECTION, body, [(_OPTION_APPLICATION, b"grug")])


def interface(name: str, description: str) -> bytes:
    """Announce an interface; they are numbered from 0 in the order in which they come."""
    options = [
        (_OPTION_NAME, name.encode()),
        (_OPTION_DESCRIPTION, description.encode()),
        (_OPTION_RESOLUTION, bytes((_MICROSECONDS,))),
    ]
    return _block(_INTERFACE, struct.pack("<HHI", LINKTYPE_UPPER_PDU, 0, 0), options)


def packet_block(packet: Packet) -> bytes:
    """One packet."""
    data = _upper_pdu(packet)
    body = struct.pack(
        "<IIIII",
        packet.interface,
        packet.time_us >> 32,
        packet.time_us & 0xFFFFFFFF,
        len(data),
        len(data),
    )
    options = [(_OPTION_COMMENT, packet.comment.encode())] if packet.comment else []
    direction = _OUTBOUND if packet.is_outbound else _INBOUND
    options.append((_OPTION_FLAGS, struct.pack("<I", direction)))
    return _block(_PACKET, body + _padded(data), options)


def as_modbus_tcp(body: bytes, transaction: int) -> bytes:
    """Unit id and PDU behind a header of Modbus TCP; the low 16 bits of the number are its own."""
    return struct.pack(">HHH", transaction & 0xFFFF, 0, len(body)) + body


def _upper_pdu(packet: Packet) -> bytes:
    """Each line is a network of its own, 10.0.<line>: its client is .1, all its units are .2."""
    client = (bytes((10, 0, packet.interface & 0xFF, 1)), _CLIENT_PORT)
    units = (bytes((10, 0, packet.interface & 0xFF, 2)), MODBUS_PORT)
    source, destination = (client, units) if packet.from_client else (units, client)
    tags = (
        (_TAG_DISSECTOR, packet.dissector.encode()),
        (_TAG_IPV4_SOURCE, source[0]),
        (_TAG_IPV4_DESTINATION, destination[0]),
        (_TAG_PORT_TYPE, struct.pack(">I", _PORT_TYPE_TCP)),
        (_TAG_PORT_SOURCE, struct.pack(">I", source[1])),
        (_TAG_PORT_DESTINATION, struct.pack(">I", destination[1])),
        (0, b""),
    )
    parts = [struct.pack(">HH", tag, len(_padded(value))) + _padded(value) for tag, value in tags]
    return b"".join((*parts, packet.pdu))


def _block(kind: int, body: bytes, options: list[tuple[int, bytes]]) -> bytes:
    parts = [struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options]
    body = b"".join((_padded(body), *parts, struct.pack("<HH", 0, 0)))
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def _padded(data: bytes) -> bytes:
    """Everything in a capture begins at a multiple of four bytes."""
    return data + bytes(-len(data) % 4)
