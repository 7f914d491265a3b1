"""Which integers a column of numbers is, so that exactly the same doubles come back. Pure.

A column of measurements nearly always is ``integer / 10**exponent`` with one small exponent; that
is its kind. Tried in this order: exponents 0 to 6, float32 bits, exponents 7 to 12, float64 bits.
A column's last exponent is tried first, so that it stays what it was while it fits.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import repeat
from operator import mul, truediv

from grug.model import Value

FLOAT32 = 32
FLOAT64 = 64

EXPONENT_MAX = 12
POWERS = tuple(float(10**exponent) for exponent in range(EXPONENT_MAX + 1))
_SHORT_EXPONENTS = 7
"""Those below are tried before float32: longer decimals would make raw float32 data 12 % larger."""
_MANTISSA_MAX = 1 << 51
"""Up to here integers are exact as doubles, with room for the encoder's way to round them."""


def integers_of(column: Sequence[Value], last_kind: int) -> tuple[int, Sequence[int]]:
    """Find a column's kind, and its integers.

    Args:
        column: numbers, at least one.
        last_kind: what the series had in the block before; 0 for a new one.
    """
    column = tuple(column)
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
            power = POWERS[exponent]
            mantissas = tuple(map(round, map(mul, column, repeat(power))))
            is_exact = tuple(map(truediv, mantissas, repeat(power))) == column
    except (ValueError, OverflowError):  # NaN and infinity have no integer.
        return None
    if is_exact and max(mantissas) < _MANTISSA_MAX and min(mantissas) >= -_MANTISSA_MAX:
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
