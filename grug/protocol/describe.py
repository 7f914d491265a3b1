"""Frames in words, for people without Wireshark. Pure."""

from __future__ import annotations

from grug.errors import exception_text
from grug.model import WireFraming
from grug.protocol.rtu import crc_is_good
from grug.protocol.seen import Seen, SeenKind

FUNCTIONS = {
    1: "read coils",
    2: "read discrete inputs",
    3: "read holding registers",
    4: "read input registers",
    5: "write one coil",
    6: "write one register",
    7: "read exception status",
    8: "diagnostics",
    15: "write coils",
    16: "write registers",
    17: "report server id",
    22: "mask write register",
    23: "read and write registers",
    43: "read device identification",
}
"""Source: MODBUS Application Protocol V1.1b3, 6."""
_MBAP_BYTES = 6
_READS = (1, 2, 3, 4)
_SINGLES = (5, 6)
_MULTIPLES = (15, 16)


def describe(seen: Seen) -> str:
    """One line of what was seen, without time and wire."""
    if not seen.adu:
        return seen.text or "no bytes"
    body = body_of(seen)
    if body is None:
        return f"{seen.text or 'checksum wrong'}: {seen.adu.hex(' ')}"
    unit_id, function, data = body[0], body[1], body[2:]
    if function & 0x80:
        code = data[0] if data else 0
        words = f"{exception_text(code)} to {_function(function & 0x7F)}"
    elif seen.kind is SeenKind.REQUEST:
        words = _request(function, data)
    else:
        words = _reply(function, data)
    return f"unit {unit_id} {words}" + (f" ({seen.text})" if seen.text else "")


def body_of(seen: Seen) -> bytes | None:
    """Unit id and PDU of a frame; None when it is damaged."""
    if seen.wire.framing is WireFraming.MBAP:
        body = seen.adu[_MBAP_BYTES:]
        return body if len(body) >= 2 else None
    return seen.adu[:-2] if crc_is_good(seen.adu) else None


def _function(function: int) -> str:
    return FUNCTIONS.get(function, f"function {function}")


def _request(function: int, data: bytes) -> str:
    name = _function(function)
    address, second = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
    if function in _READS and len(data) == 4:
        return f"{name} {address}, {second} of them"
    if function in _SINGLES and len(data) == 4:
        return f"{name} {address} = {data[2:].hex()}"
    if function in _MULTIPLES and len(data) > 5:
        return f"{name} {address}, {second} of them = {data[5:].hex(' ', 2)}"
    return f"{name} {data.hex(' ')}".rstrip()


def _reply(function: int, data: bytes) -> str:
    if function in _READS and data and data[0] == len(data) - 1:
        separated = data[1:].hex(" ", 2 if function in (3, 4) else 1)
        return f"= {separated}"
    return (
        f"did {_request(function, data)}" if function in _SINGLES else f"did {_function(function)}"
    )
