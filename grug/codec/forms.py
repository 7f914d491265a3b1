"""Forms of values that are no plain numbers: text, decimal digits, dates; both directions.

Dates are ISO 8601 text, because text is what MQTT and SQL readers can use without knowing the
device: ``2026-11-22T16:44:53`` as the device's clock shows it, with ``Z`` where it is UTC.
"""

from __future__ import annotations

import struct
from datetime import datetime, timedelta

_SIX_WORDS = struct.Struct(">6H")
_EPOCH = datetime(1970, 1, 1)
_CENTURY = 2000
"""Of years in a byte, and of what follows; no device here is older."""


def text_of(raw: bytes) -> str | None:
    """Text without its padding; None when it is not printable ASCII."""
    text = readable(raw)
    return text if text.isascii() and (not text or text.isprintable()) else None


def readable(raw: bytes) -> str:
    """Any bytes as text, for people to look at."""
    return raw.replace(b"\0", b"").decode("latin-1").rstrip(" ")


def text_bytes(text: str, length: int) -> bytes:
    """Fill text up with NUL.

    Raises:
        ValueError: it is too long, or not printable ASCII.
    """
    if not text.isascii() or not (text + " ").isprintable():
        raise ValueError("not printable ASCII text")
    if len(text) > length:
        raise ValueError(f"longer than {length} characters")
    return text.encode("ascii").ljust(length, b"\0")


def bcd_of(raw: int) -> int | None:
    """The number that decimal digits show; None when one of them is none."""
    digits = f"{raw:x}"
    return int(digits) if digits.isdecimal() else None


def bcd_pattern(number: int) -> int:
    """The bit pattern of decimal digits."""
    return int(str(number), 16)


def clock6_of(raw: bytes, century: int) -> str | None:
    """A date in six words; None when it is none.

    Args:
        raw: 12 bytes.
        century: what the year counts from.
    """
    year, *rest = _SIX_WORDS.unpack(raw)
    return _date_of(century + year, rest)


def clock3_of(raw: bytes) -> str | None:
    """A date in six bytes; None when it is none."""
    year, *rest = raw
    return _date_of(_CENTURY + year, rest)


def _date_of(year: int, rest: list[int]) -> str | None:
    month, day, hour, minute, second = rest
    try:
        return datetime(year, month, day, hour, minute, second).isoformat()
    except (ValueError, OverflowError):
        return None


def clock6_bytes(text: str, century: int) -> bytes:
    """A date as six words.

    Raises:
        ValueError: it is no date, or before the century.
    """
    date = _local(text)
    if not 0 <= date.year - century <= 0xFFFF:
        raise ValueError(f"before {century}")
    parts = (date.year - century, date.month, date.day, date.hour, date.minute, date.second)
    return _SIX_WORDS.pack(*parts)


def clock3_bytes(text: str) -> bytes:
    """A date as six bytes.

    Raises:
        ValueError: it is no date, or not from 2000 to 2255.
    """
    date = _local(text)
    if not 0 <= date.year - _CENTURY <= 0xFF:
        raise ValueError(f"not from {_CENTURY} to {_CENTURY + 0xFF}")
    parts = (date.year - _CENTURY, date.month, date.day, date.hour, date.minute, date.second)
    return bytes(parts)


def unix_of(raw: int) -> str:
    """Seconds since 1970 as a date in UTC."""
    return (_EPOCH + timedelta(seconds=raw)).isoformat() + "Z"


def unix_seconds(text: str) -> int:
    """A date as seconds since 1970.

    Raises:
        ValueError: it is no date in UTC, or outside 32 bits.
    """
    if not text.endswith("Z"):
        raise ValueError("not a date in UTC such as 2026-11-22T16:44:53Z")
    seconds = (_local(text.removesuffix("Z")) - _EPOCH) // timedelta(seconds=1)
    if not 0 <= seconds < 1 << 32:
        raise ValueError("not from 1970 to 2106")
    return seconds


def _local(text: str) -> datetime:
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("not a date such as 2026-11-22T16:44:53") from None
    if date.tzinfo is not None:
        raise ValueError("a date with a time zone, which the device does not know")
    return date
