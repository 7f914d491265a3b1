"""Exact decimals: 4305 at 0.1 is 430.5, and the float32 nearest to 230.1 reads 230.1.

A scaled integer is divided as a ratio of two whole numbers, which Python rounds correctly, so the
result is the float nearest to the exact decimal. A float32 stands for the decimal with the fewest
digits behind the point that rounds to it; the value is the float nearest to that decimal.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

EXACT = Context(prec=1000)
"""Wide enough that no product or sum of a register's numbers is ever rounded."""


class Ratio(NamedTuple):
    """``value = (raw * numerator + offset) / denominator``, all whole, denominator positive."""

    numerator: int
    offset: int
    denominator: int


@lru_cache(maxsize=512)  # A map has a dozen of them, and every write asks for one.
def ratio_of(scale: Decimal, offset: Decimal) -> Ratio:
    """Write scale and offset as whole numbers over one denominator."""
    factor, addend = Fraction(scale), Fraction(offset)
    denominator = math.lcm(factor.denominator, addend.denominator)
    return Ratio(int(factor * denominator), int(addend * denominator), denominator)


def scaled_float(value: float, scale: Decimal, offset: Decimal) -> float:
    """Scale a float by what its shortest decimal says; not finite stays as it is."""
    if not math.isfinite(value):
        return value
    product = EXACT.multiply(Decimal(repr(value)), scale)
    return float(EXACT.add(product, offset))


def raw_of(value: float, ratio: Ratio) -> int:
    """Find the whole raw number nearest to a value; halves go to the even one.

    Args:
        value: finite; stands for its shortest decimal.
        ratio: of the register.
    """
    numerator, offset, denominator = ratio
    if isinstance(value, int) and denominator == 1 and numerator == 1:
        return value - offset
    guess = (value * denominator - offset) / numerator
    if -_SURE_BELOW < guess < _SURE_BELOW:
        raw = round(guess)
        if -0.49 < guess - raw < 0.49:  # Rounding errors are far smaller than the rest to a half.
            return raw
    decimal = Fraction(repr(value)) if isinstance(value, float) else Fraction(value)
    return round((decimal * denominator - offset) / numerator)


_SURE_BELOW = float(1 << 40)

# Shortest decimals of float32. For values with the binary exponent e (as math.frexp counts) the
# neighbours are ulp = 2**(e-24) apart. With the most decimals d for which 10**-d > ulp, at most one
# decimal lies in the half ulp to either side, so if it and all shorter ones are found in one try.
# If none is there, one more decimal always fits, as 10**-(d+1) <= ulp. Multiplying 24 bits by up to
# 10**12 is exact in a float, so nothing is lost on the way. At a power of two the lower neighbour
# is nearer than ulp; a test compares all of them within _FAST_EXPONENTS with a search.
_FAST_EXPONENTS = range(-15, 24)
_WHOLE = 1.5 * 2.0**52
"""Adding and subtracting it rounds a float below 2**51 to a whole number."""
_LARGEST = 2.0**24


def _steps_of(exponent: int) -> tuple[float, float, float]:
    """First power of ten to try, how near a whole number must be to count, second power."""
    if exponent not in _FAST_EXPONENTS:
        return 1.0, -1.0, math.nan
    ulp = Fraction(2) ** (exponent - 24)
    decimals = 0
    while Fraction(1, 10 ** (decimals + 1)) > ulp:
        decimals += 1
    power = 10**decimals
    return float(power), float(ulp / 2 * power), float(power * 10)


_STEPS = {exponent: _steps_of(exponent) for exponent in range(-160, 130)}


def shorten_all(values: Iterable[float]) -> list[float]:
    """Give the floats nearest to the shortest decimals of float32 values.

    What is not finite stays as it is.
    """
    shortened: list[float] = []
    append, steps, frexp, whole, largest = shortened.append, _STEPS, math.frexp, _WHOLE, _LARGEST
    for value in values:
        power, near, finer = steps[frexp(value)[1]]
        product = value * power
        units = product + whole - whole
        if -near < product - units < near:
            append(units / power)
            continue
        nearest = (value * finer + whole - whole) / finer
        if not -largest < nearest < largest:  # Outside the table, infinite, or not a number.
            nearest = _shortened_slowly(value)
        append(nearest)
    return shortened


def shortest_f32(value: float) -> float:
    """Give the float nearest to the shortest decimal of one float32 value."""
    return shorten_all((value,))[0]


_F32 = struct.Struct(">f")


def _shortened_slowly(value: float) -> float:
    """Find the fewest significant digits, from one up, that give the same float32."""
    if not math.isfinite(value):
        return value
    for decimals in range(8):
        candidate = float(f"{value:.{decimals}e}")
        try:
            if _F32.unpack(_F32.pack(candidate))[0] == value:
                return candidate
        except OverflowError:  # Rounded up beyond the largest float32.
            continue
    return float(f"{value:.8e}")  # Nine digits tell all float32 values apart.
