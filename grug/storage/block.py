"""The payload of one samples frame: columns of numbers, before compression. Bytes in, bytes out.

Values come back as exactly the doubles that went in (-0.0 as 0.0), but are stored as integers: a
column of measurements nearly always is ``mantissa / 10**exponent`` with one small exponent. Tried
in this order: exponents 0 to 6, float32 bits, exponents 7 to 12, float64 bits. A column's last
exponent is tried first, so that it stays what it was while it fits.

Layout, little endian, arrays of more than one byte per element stored plane by plane (all lowest
bytes, then all second bytes, ...), which is what zstd likes::

    u32 samples   u32 T, time columns   u32 S, series columns   i64 base, ms UTC
    T x u32 count    T x u32 first time - base    T x u8 width of its deltas
    S x u32 series   S x u16 time column   S x u8 kind   S x u8 width   S x i64 first integer
    T x deltas of times      S x deltas of integers

Kind is the exponent 0 to 12, or ``FLOAT32`` or ``FLOAT64``: then the integers are the bits. Deltas
are signed, of width 0 (all are zero), 1, 2, 4 or 8 bytes; half a step is added below the highest
plane so that the high planes of small deltas are all zero, whatever their sign. What stands behind
the last of them is the journal (``grug.storage.journal``), if anything.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import accumulate, repeat
from operator import mul, sub, truediv
from typing import NamedTuple

from grug.model import Value

FLOAT32 = 32
FLOAT64 = 64

EXPONENT_MAX = 12
_SHORT_EXPONENTS = 7
"""Those below are tried before float32: longer decimals would make raw float32 data 12 % larger."""
_MANTISSA_MAX = 1 << 53
"""Up to here integers are exact as doubles, so that one division gives the nearest double."""
_POWERS = tuple(float(10**exponent) for exponent in range(EXPONENT_MAX + 1))
_HEAD = struct.Struct("<IIIq")
_FORMATS = {1: "b", 2: "h", 4: "i", 8: "q"}
_HALVES = {1: 0, 2: 0x80, 4: 0x00808080, 8: 0}
_LIMITS = tuple(
    (width, -(1 << (8 * width - 1)), (1 << (8 * width - 1)) - _HALVES[width]) for width in (1, 2, 4)
)
_WRAP = 1 << 64


class Poll:
    """Series that always come together, under one timestamp, and what of them waits."""

    __slots__ = ("ids", "rows", "times")

    def __init__(self, ids: tuple[int, ...]) -> None:
        self.ids = ids
        self.times: list[int] = []
        """ms UTC, strictly increasing."""
        self.rows: list[tuple[Value, ...]] = []
        """One tuple per time, one number per id."""


class Column(NamedTuple):
    """What a block holds of one series."""

    series: int
    times: list[int]
    """ms UTC; series of one poll share the list."""
    exponent: int
    """Value = integer / 10**exponent; -1: the integer holds the bits of a float64."""
    integers: list[int]

    def values(self) -> list[float]:
        """The numbers that were stored."""
        if self.exponent < 0:
            packed = struct.pack(f"<{len(self.integers)}q", *self.integers)
            return list(struct.unpack(f"<{len(self.integers)}d", packed))
        return list(map(truediv, self.integers, repeat(_POWERS[self.exponent])))


def encode_samples(polls: Iterable[Poll], kinds: dict[int, int]) -> bytes:
    """Write the waiting samples of the polls as one payload.

    Args:
        polls: polls without waiting samples are left out; at least one must have some.
        kinds: series id to the kind it had in the last block; updated.
    """
    polls = [poll for poll in polls if poll.times]
    base = min(poll.times[0] for poll in polls)
    ids: list[int] = []
    time_columns: list[int] = []
    column_kinds, widths, time_widths = bytearray(), bytearray(), bytearray()
    firsts: list[int] = []
    time_deltas: list[bytes] = []
    deltas: list[bytes] = []
    for index, poll in enumerate(polls):
        width, packed = _pack_deltas(poll.times)
        time_widths.append(width)
        time_deltas.append(packed)
        ids += poll.ids
        time_columns += [index] * len(poll.ids)
        for series, column in zip(poll.ids, zip(*poll.rows, strict=True), strict=True):
            kind, first, width, packed = _encode_column(column, kinds.get(series, 0))
            kinds[series] = kind
            column_kinds.append(kind)
            firsts.append(first)
            widths.append(width)
            deltas.append(packed)
    counts = [len(poll.times) for poll in polls]
    samples = sum(count * len(poll.ids) for count, poll in zip(counts, polls, strict=True))
    return b"".join(
        (
            _HEAD.pack(samples, len(polls), len(ids), base),
            _pack_planes(counts, "I", 4),
            _pack_planes([poll.times[0] - base for poll in polls], "I", 4),
            time_widths,
            _pack_planes(ids, "I", 4),
            _pack_planes(time_columns, "H", 2),
            column_kinds,
            widths,
            _pack_planes(firsts, "q", 8),
            *time_deltas,
            *deltas,
        )
    )


def decode_samples(payload: bytes) -> list[Column]:
    """Read a payload of ``encode_samples``.

    The bytes must have passed their checksum: this trusts them.
    """
    return decode_block(payload)[0]


def decode_block(payload: bytes) -> tuple[list[Column], bytes]:
    """Read a payload of ``encode_samples``, and give what stands behind it: the journal."""
    _, time_count, column_count, base = _HEAD.unpack_from(payload)
    reader = _Reader(payload, _HEAD.size)
    counts = reader.planes("I", 4, time_count)
    offsets = reader.planes("I", 4, time_count)
    time_widths = reader.take(time_count)
    ids = reader.planes("I", 4, column_count)
    time_columns = reader.planes("H", 2, column_count)
    kinds = reader.take(column_count)
    widths = reader.take(column_count)
    firsts = reader.planes("q", 8, column_count)
    times = [
        reader.running_sum(base + offset, width, count)
        for offset, width, count in zip(offsets, time_widths, counts, strict=True)
    ]
    columns: list[Column] = []
    for series, index, kind, width, first in zip(
        ids, time_columns, kinds, widths, firsts, strict=True
    ):
        integers = reader.running_sum(first, width, counts[index])
        exponent = kind
        if kind > EXPONENT_MAX:
            exponent = -1
            integers = _float64_bits(integers) if kind == FLOAT32 else list(map(_wrap, integers))
        columns.append(Column(series, times[index], exponent, integers))
    return columns, reader.rest()


def _encode_column(column: tuple[Value, ...], last_kind: int) -> tuple[int, int, int, bytes]:
    """Give a column's kind, first integer, width of deltas and packed deltas."""
    if column.count(column[0]) == len(column):
        kind, integers = _to_integers(column[:1], last_kind)
        return kind, integers[0], 0, b""
    kind, integers = _to_integers(column, last_kind)
    width, packed = _pack_deltas(integers)
    return kind, integers[0], width, packed


def _to_integers(column: tuple[Value, ...], last_kind: int) -> tuple[int, Sequence[int]]:
    if last_kind <= EXPONENT_MAX:
        integers = _mantissas(column, last_kind)
        if integers is not None:
            return last_kind, integers
    found = _first_exponent(column, range(_SHORT_EXPONENTS))
    if found is not None:
        return found
    float32s = _float32_integers(column)
    if float32s is not None:
        return FLOAT32, float32s
    found = _first_exponent(column, range(_SHORT_EXPONENTS, EXPONENT_MAX + 1))
    if found is not None:
        return found
    packed = struct.pack(f"<{len(column)}d", *column)
    return FLOAT64, struct.unpack(f"<{len(column)}q", packed)


def _first_exponent(
    column: tuple[Value, ...], exponents: range
) -> tuple[int, tuple[int, ...]] | None:
    """Find the smallest exponent that is exact; a few values rule out most of them."""
    few = column[:3]
    for exponent in exponents:
        if _mantissas(few, exponent) is not None:
            integers = _mantissas(column, exponent)
            if integers is not None:
                return exponent, integers
    return None


def _mantissas(column: tuple[Value, ...], exponent: int) -> tuple[int, ...] | None:
    """Give the integers that, divided by the power of ten, are exactly the column; else None."""
    try:
        if exponent == 0:
            mantissas = tuple(map(int, column))
            is_exact = mantissas == column
        else:
            power = _POWERS[exponent]
            mantissas = tuple(map(round, map(mul, column, repeat(power))))
            is_exact = tuple(map(truediv, mantissas, repeat(power))) == column
    except (ValueError, OverflowError):  # NaN and infinity have no integer.
        return None
    if is_exact and max(mantissas) <= _MANTISSA_MAX and min(mantissas) >= -_MANTISSA_MAX:
        return mantissas
    return None


def _float32_integers(column: tuple[Value, ...]) -> tuple[int, ...] | None:
    try:
        packed = struct.pack(f"<{len(column)}f", *column)
    except OverflowError:
        return None
    if struct.unpack(f"<{len(column)}f", packed) != column:
        return None
    return struct.unpack(f"<{len(column)}i", packed)


def _float64_bits(float32_bits: list[int]) -> list[int]:
    count = len(float32_bits)
    floats = struct.unpack(f"<{count}f", struct.pack(f"<{count}i", *float32_bits))
    return list(struct.unpack(f"<{count}q", struct.pack(f"<{count}d", *floats)))


def _wrap(number: int) -> int:
    """Bring a sum of wrapped differences back to a signed 64-bit number."""
    return ((number + (_WRAP >> 1)) & (_WRAP - 1)) - (_WRAP >> 1)


def _pack_deltas(integers: Sequence[int]) -> tuple[int, bytes]:
    """Give the width and the planes of the differences between neighbours."""
    deltas = list(map(sub, integers[1:], integers))
    if not deltas:
        return 0, b""
    low, high = min(deltas), max(deltas)
    if low == high == 0:
        return 0, b""
    for width, minimum, end in _LIMITS:
        if minimum <= low and high < end:
            half = _HALVES[width]
            if half:
                deltas = [delta + half for delta in deltas]
            return width, _pack_planes(deltas, _FORMATS[width], width)
    return 8, _pack_planes(list(map(_wrap, deltas)), "q", 8)


def _pack_planes(numbers: Sequence[int], code: str, width: int) -> bytes:
    packed = struct.pack(f"<{len(numbers)}{code}", *numbers)
    if width == 1:
        return packed
    return b"".join([packed[plane::width] for plane in range(width)])


class _Reader:
    """Takes one array after another from a payload."""

    def __init__(self, payload: bytes, offset: int) -> None:
        self._payload = payload
        self._offset = offset

    def take(self, size: int) -> bytes:
        start = self._offset
        self._offset = start + size
        return self._payload[start : self._offset]

    def rest(self) -> bytes:
        return self._payload[self._offset :]

    def planes(self, code: str, width: int, count: int) -> tuple[int, ...]:
        packed: bytes | bytearray = self.take(width * count)
        if width > 1:
            interleaved = bytearray(len(packed))
            for plane in range(width):
                interleaved[plane::width] = packed[plane * count : (plane + 1) * count]
            packed = interleaved
        return struct.unpack(f"<{count}{code}", packed)

    def running_sum(self, first: int, width: int, count: int) -> list[int]:
        if width == 0:
            return [first] * count
        deltas: Iterable[int] = self.planes(_FORMATS[width], width, count - 1)
        half = _HALVES[width]
        if half:
            deltas = [delta - half for delta in deltas]
        return list(accumulate(deltas, initial=first))
