"""RTU framing: the checksum, and how long things last on the wire."""

from __future__ import annotations

import fastcrc

CHARACTER_BITS = 11
"""Start, 8 data, parity or second stop, stop. Source: MODBUS over Serial Line V1.02, 2.5.1."""


def character_bits(framing: str) -> int:
    """Bits of one character on the wire, start bit included: 10 for 8N1, 11 for 8E1 or 8N2."""
    return 1 + int(framing[0]) + (framing[1].upper() != "N") + int(framing[2])


def character_s(baudrate: int, bits: int = CHARACTER_BITS) -> float:
    """Time of one character, in seconds; 8N1 has 10 bits."""
    return bits / baudrate


def interframe_delay_s(baudrate: int) -> float:
    """The silence that ends a frame: 3.5 characters, fixed at 1.75 ms above 19200 baud.

    Source: MODBUS over Serial Line V1.02, 2.5.1.1.
    """
    return 0.00175 if baudrate > 19200 else 3.5 * CHARACTER_BITS / baudrate


def with_crc(frame: bytes) -> bytes:
    """Unit id and PDU, with the CRC behind them as it goes over the wire (low byte first)."""
    return frame + fastcrc.crc16.modbus(frame).to_bytes(2, "little")


def crc_is_good(adu: bytes) -> bool:
    """Whether the last two bytes are the CRC of what precedes them."""
    return len(adu) >= 4 and fastcrc.crc16.modbus(adu[:-2]) == int.from_bytes(adu[-2:], "little")
