"""Columns of numbers to bytes and back."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.storage.block import FLOAT32, FLOAT64, Poll, decode_samples, encode_samples

T0 = 1_700_000_000_000

decimals = st.builds(
    lambda mantissa, exponent: mantissa / 10**exponent,
    st.integers(-(10**9), 10**9),
    st.integers(0, 12),
)
float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)
anything = st.one_of(
    decimals,
    float32s,
    st.floats(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from([-0.0, 2.0**53, -(2.0**53), 2.0**53 + 2, 5e-324, 1.7e308]),
)


@st.composite
def polls(draw: st.DrawFn) -> list[Poll]:
    made: list[Poll] = []
    next_id = draw(st.integers(0, 5))
    for _ in range(draw(st.integers(1, 4))):
        size = draw(st.integers(1, 4))
        poll = Poll(tuple(range(next_id, next_id + size)))
        next_id += size + draw(st.integers(0, 300))
        times = draw(st.lists(st.integers(0, 86_400_000), min_size=1, max_size=12, unique=True))
        poll.times = [T0 + time for time in sorted(times)]
        kinds = [draw(st.sampled_from([decimals, float32s, anything])) for _ in range(size)]
        poll.rows = [tuple(draw(kind) for kind in kinds) for _ in times]
        made.append(poll)
    return made


def same(left: float, right: float) -> bool:
    """Equal as doubles; NaN equals NaN."""
    return left == right or (math.isnan(left) and math.isnan(right))


@pytest.mark.slow
@given(polls())
def test_every_double_comes_back(made: list[Poll]) -> None:
    columns = {column.series: column for column in decode_samples(encode_samples(made, {}))}
    assert sorted(columns) == [series for poll in made for series in poll.ids]
    for poll in made:
        for index, series in enumerate(poll.ids):
            column = columns[series]
            assert column.times == poll.times
            values = [float(row[index]) for row in poll.rows]
            assert all(map(same, column.values(), values))


@pytest.mark.slow
@given(polls(), polls())
def test_what_came_before_changes_no_value(first: list[Poll], second: list[Poll]) -> None:
    kinds: dict[int, int] = {}
    encode_samples(first, kinds)
    columns = {c.series: c.values() for c in decode_samples(encode_samples(second, kinds))}
    for poll in second:
        for index, series in enumerate(poll.ids):
            values = [float(row[index]) for row in poll.rows]
            assert all(map(same, columns[series], values))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((1, 2, 3), 0),
        ((True, False), 0),
        ((230.1, 229.9), 1),
        ((230.12, 230.1), 2),
        ((0.000001, 5.0), 6),
        (struct.unpack("<2f", struct.pack("<2f", 0.1, 0.2)), FLOAT32),
        ((0.1234567, 0.2), 7),
        ((1 / 3, 0.1), FLOAT64),
        ((math.nan, 1.0), FLOAT64),
        ((math.inf, 1.0), FLOAT32),
        ((math.inf, 0.1), FLOAT64),
        ((2**63, 1), FLOAT32),
    ],
)
def test_smallest_kind_that_is_exact_is_taken(values: tuple[float, ...], kind: int) -> None:
    poll = Poll((0,))
    poll.times = [T0 + index for index in range(len(values))]
    poll.rows = [(value,) for value in values]
    kinds: dict[int, int] = {}
    encode_samples([poll], kinds)
    assert kinds == {0: kind}


def test_minus_zero_becomes_zero() -> None:
    poll = Poll((0,))
    poll.times, poll.rows = [T0], [(-0.0,)]
    (column,) = decode_samples(encode_samples([poll], {}))
    assert math.copysign(1.0, column.values()[0]) == 1.0
