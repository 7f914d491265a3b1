"""The payload of one samples frame: columns of numbers, before compression. Read here.

Values come back as exactly the doubles that went in (-0.0 as 0.0), but are stored as integers;
``grug.storage.kinds`` says which, and ``grug.storage.encode`` writes.

Layout, little endian, arrays of more than one byte per element stored plane by plane (all lowest
bytes, then all second bytes, ...), which is what zstd likes::

    u32 samples   u32 T, time columns, + 1 << 31   u32 S, series columns   i64 base, ms UTC
    T x u32 count    T x u32 first time - base    T x u8 width of its deltas
    T x u16 its series columns, which follow each other
    S x u32 series - 1 - that of the column before, which is -1 before the first; modulo 2**32
    S x u8 kind   S x u8 width   S x i64 first integer
    T x deltas of times      S x deltas of integers

Without the top bit of T it is the first layout, in segments of version 1: series as they are, and
for each column the number of its time column (S x u16 behind the series) instead of T x u16.

Kind is the exponent 0 to 12, or 32 or 64: then the integers are the bits. Deltas
are signed, of width 0 (all are zero), 1, 2, 4 or 8 bytes; half a step is added below the highest
plane so that the high planes of small deltas are all zero, whatever their sign. What stands behind
the last of them is the journal (``grug.storage.journal``), if anything.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, islice, repeat
from operator import truediv
from typing import NamedTuple

from grug.model import Value
from grug.storage.kinds import EXPONENT_MAX, FLOAT32, POWERS

HEAD = struct.Struct("<IIIq")
SECOND_LAYOUT = 1 << 31
"""Added to the number of time columns."""
_FORMATS = {1: "b", 2: "h", 4: "i", 8: "q"}
HALVES = {1: 0, 2: 0x80, 4: 0x00808080, 8: 0}
_WRAP = 1 << 64


class Poll:
    """Series that always come together, under one timestamp, and what of them waits."""

    __slots__ = ("ids", "rows", "times")

    def __init__(self, ids: tuple[int, ...]) -> None:
        self.ids = ids
        self.times: list[int] = []
        """ms UTC, no two alike while the clock goes on; where it was set back by more than an hour
        (``timeline.STEP_BACK_MS_MAX``), they go back."""
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
        return list(map(truediv, self.integers, repeat(POWERS[self.exponent])))


def decode_samples(payload: bytes) -> list[Column]:
    """Read a payload of ``SampleEncoder``.

    The bytes must have passed their checksum: this trusts them.
    """
    return decode_block(payload)[0]


def decode_block(payload: bytes) -> tuple[list[Column], bytes]:
    """Read a payload of ``SampleEncoder``, and give what stands behind it: the journal."""
    _, time_count, column_count, base = HEAD.unpack_from(payload)
    is_first_layout = time_count < SECOND_LAYOUT
    time_count %= SECOND_LAYOUT
    reader = _Reader(payload, HEAD.size)
    counts = reader.planes("I", 4, time_count)
    offsets = reader.planes("I", 4, time_count)
    time_widths = reader.take(time_count)
    time_columns: Iterable[int]
    if is_first_layout:
        ids = reader.planes("I", 4, column_count)
        time_columns = reader.planes("H", 2, column_count)
    else:
        sizes = reader.planes("H", 2, time_count)
        time_columns = chain.from_iterable(map(repeat, range(time_count), sizes))
        ids = _series_of(reader.planes("I", 4, column_count))
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


def series_steps(ids: Sequence[int]) -> list[int]:
    """How series are written: mostly they are numbered on, and all steps are 0."""
    return [
        (series - 1 - before) % (1 << 32)
        for series, before in zip(ids, (-1, *ids[:-1]), strict=True)
    ]


def _series_of(steps: Sequence[int]) -> tuple[int, ...]:
    numbers = accumulate([step + 1 for step in steps], initial=-1)
    return tuple([number % (1 << 32) for number in islice(numbers, 1, None)])


def _float64_bits(float32_bits: list[int]) -> list[int]:
    count = len(float32_bits)
    floats = struct.unpack(f"<{count}f", struct.pack(f"<{count}i", *float32_bits))
    return list(struct.unpack(f"<{count}q", struct.pack(f"<{count}d", *floats)))


def _wrap(number: int) -> int:
    """Bring a sum of wrapped differences back to a signed 64-bit number."""
    return ((number + (_WRAP >> 1)) & (_WRAP - 1)) - (_WRAP >> 1)


def pack_planes(numbers: Sequence[int], code: str, width: int) -> bytes:
    """Pack numbers as ``struct`` does with ``code``, the lowest bytes of all of them first."""
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
        half = HALVES[width]
        if half:
            deltas = [delta - half for delta in deltas]
        return list(accumulate(deltas, initial=first))
