"""Values are exact: checked against decimal and fractions, which are slow and surely right."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from grug.codec.decimals import EXACT, ratio_of, raw_of, scaled_float, shorten_all, shortest_f32

SCALES = st.sampled_from(["0.1", "0.01", "0.001", "1", "-1", "10", "100", "1.13", "-0.1", "2.5E-7"])
OFFSETS = st.sampled_from(["0", "-273.15", "0.5", "40"])
RAWS = st.integers(-(2**63), 2**64 - 1)


def f32_of(bits: int) -> float:
    return struct.unpack(">f", struct.pack(">I", bits))[0]


def round_to_f32(value: float) -> float:
    return struct.unpack(">f", struct.pack(">f", value))[0]


def shortest_by_search(value: float) -> float:
    """The fewest digits that give the float32 back, tried one after the other."""
    for digits in range(1, 10):
        candidate = float(f"{value:.{digits - 1}e}")
        try:
            if round_to_f32(candidate) == value:
                return candidate
        except OverflowError:
            continue
    raise AssertionError("nine digits always suffice")


@given(RAWS, SCALES, OFFSETS)
@example(4305, "0.1", "0")
def test_scaled_integers_are_the_floats_nearest_to_the_decimal(
    raw: int, scale: str, offset: str
) -> None:
    numerator, addend, denominator = ratio_of(Decimal(scale), Decimal(offset))
    exact = EXACT.add(EXACT.multiply(Decimal(raw), Decimal(scale)), Decimal(offset))
    assert (raw * numerator + addend) / denominator == float(exact)


@given(RAWS, SCALES, OFFSETS)
def test_the_nearest_raw_number_is_found(raw: int, scale: str, offset: str) -> None:
    assume(abs(raw) < 2**50)  # Beyond, a float has not the digits to tell raw numbers apart.
    ratio = ratio_of(Decimal(scale), Decimal(offset))
    value = (raw * ratio.numerator + ratio.offset) / ratio.denominator
    assume(math.ulp(value) < abs(float(Decimal(scale))) / 4)
    assert raw_of(value, ratio) == raw


@given(st.floats(-1e9, 1e9), SCALES, OFFSETS)
@example(0.285, "0.01", "0")
@example(0.295, "0.01", "0")
@example(0.05, "0.1", "0")
def test_rounding_is_that_of_the_shortest_decimal(value: float, scale: str, offset: str) -> None:
    ratio = ratio_of(Decimal(scale), Decimal(offset))
    exact = (Fraction(repr(value)) - Fraction(offset)) / Fraction(scale)
    assert raw_of(value, ratio) == round(exact)


@given(st.integers(-(2**63), 2**64 - 1))
def test_unscaled_integers_of_any_size_stay_what_they_are(raw: int) -> None:
    assert raw_of(raw, ratio_of(Decimal(1), Decimal(0))) == raw


@given(st.integers(0, 2**32 - 1))
@example(0x00000000)
@example(0x80000000)
@example(0x00000001)
@example(0x007FFFFF)
@example(0x7F7FFFFF)
@example(0x3F800000)
@example(0x4B000000)
@example(0x4B800000)
@example(0x3B000000)
@example(0x3AFFFFFF)
def test_float32_reads_as_its_shortest_decimal(bits: int) -> None:
    value = f32_of(bits)
    assume(math.isfinite(value))
    shortest = shortest_f32(value)
    assert shortest == shortest_by_search(value)
    assert round_to_f32(shortest) == value


@given(st.integers(-(10**7), 10**7), st.integers(0, 6))
@example(2301, 1)
def test_a_decimal_of_six_digits_survives_float32(units: int, decimals: int) -> None:
    assume(abs(units) < 10**6)
    value = units / 10**decimals
    assert shortest_f32(round_to_f32(value)) == value


@pytest.mark.parametrize("exponent", range(-149, 128))
def test_powers_of_two_and_their_neighbours_read_back(exponent: int) -> None:
    power = 2.0**exponent
    bits = struct.unpack(">I", struct.pack(">f", power))[0]
    for neighbour in (bits - 1, bits, bits + 1):
        value = f32_of(neighbour)
        if value and math.isfinite(value):
            assert round_to_f32(shortest_f32(value)) == value
            assert shortest_f32(value) == shortest_by_search(value)


def test_what_is_not_finite_is_left() -> None:
    first, nan, *infinite, last = shorten_all([1.0, math.nan, math.inf, -math.inf, 0.0])
    assert math.isnan(nan)
    assert [first, *infinite, last] == [1.0, math.inf, -math.inf, 0.0]


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), SCALES, OFFSETS)
def test_scaled_floats_are_scaled_as_their_decimals(value: float, scale: str, offset: str) -> None:
    shortest = shortest_f32(value)
    exact = Fraction(repr(shortest)) * Fraction(scale) + Fraction(offset)
    assert scaled_float(shortest, Decimal(scale), Decimal(offset)) == float(exact)


def test_scaling_leaves_what_is_not_finite() -> None:
    assert math.isnan(scaled_float(math.nan, Decimal(2), Decimal(0)))
