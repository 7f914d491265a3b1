"""Columns of numbers to bytes and back."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from old_blocks import FIRST_LAYOUT

from grug.storage import encode
from grug.storage.block import Poll, decode_samples
from grug.storage.encode import SampleEncoder
from grug.storage.kinds import FLOAT32, FLOAT64

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
        if draw(st.booleans()):  # Otherwise the next poll has series in common with this one.
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


def assert_there(made: list[Poll], payload: bytes) -> None:
    """The payload has exactly the columns of the polls, in their order."""
    columns = decode_samples(payload)
    expected = [(poll, index) for poll in made for index in range(len(poll.ids))]
    for (poll, index), column in zip(expected, columns, strict=True):
        assert (column.series, column.times) == (poll.ids[index], poll.times)
        values = [float(row[index]) for row in poll.rows]
        assert all(map(same, column.values(), values))


@pytest.mark.slow
@given(polls())
def test_every_double_comes_back(made: list[Poll]) -> None:
    assert_there(made, SampleEncoder().encode(made))


@pytest.mark.slow
@given(st.lists(polls(), min_size=2, max_size=4))
def test_what_came_before_changes_no_value(blocks: list[list[Poll]]) -> None:
    """The polls are the same ones, as in a collector; what they hold is not."""
    encoder = SampleEncoder()
    kept: dict[tuple[int, tuple[int, ...]], Poll] = {}
    for made in blocks:
        again = []
        for number, poll in enumerate(made):
            again.append(kept.setdefault((number, poll.ids), poll))
            again[-1].times, again[-1].rows = poll.times, poll.rows
        assert_there(again, encoder.encode(again))


@pytest.mark.slow
@given(polls(), st.data())
def test_polls_that_come_and_go_are_written_as_if_always_there(
    made: list[Poll], data: st.DataObject
) -> None:
    encoder = SampleEncoder()
    encoder.encode(made)
    for _ in range(3):
        present = data.draw(st.lists(st.sampled_from(made), min_size=1, unique=True))
        assert_there(present, encoder.encode(present))


@pytest.mark.parametrize(
    "values",
    [
        (0.1 + 0.2, 5),
        (struct.unpack("<f", struct.pack("<f", 50.3))[0], 0.0),
        (1 / 3, 0),
        (math.nan, 230.1),
        (1.2345678e-05, 5000.1),
    ],
)
def test_one_series_in_two_polls_of_a_block_has_two_kinds(values: tuple[float, float]) -> None:
    """So it is when a value beside it is not good for a while."""
    two = [one_column(value) for value in values]
    assert_there(two, SampleEncoder().encode(two))
    twice = Poll((0, 0))
    twice.times, twice.rows = [T0], [values]
    assert_there([twice], SampleEncoder().encode([twice]))


def test_kinds_that_never_fit_make_a_block_larger_and_stop_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = SampleEncoder()
    made = later()
    with monkeypatch.context() as patch:
        patch.setattr(encode, "_kind_of", lambda column, last_kind: max(0, last_kind))
        assert_there(made, encoder.encode(made))
    again = encoder.encode(made)
    assert_there(made, again)
    assert again == SampleEncoder().encode(made)


def one_column(*values: float) -> Poll:
    poll = Poll((0,))
    poll.times = [T0 + index for index in range(len(values))]
    poll.rows = [(value,) for value in values]
    return poll


def kind_of(payload: bytes) -> int:
    """Of a payload with a single column: it stands behind what is said of times and series."""
    return payload[20 + 9 + 2 + 4]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((1, 2, 3), 0),
        ((True, False), 0),
        ((1.0, -2.0), 0),
        ((1, 2.0), 0),
        ((230.1, 229.9), 1),
        ((230.12, 230.1), 2),
        ((0.000001, 5.0), 6),
        (struct.unpack("<2f", struct.pack("<2f", 0.1, 0.2)), FLOAT32),
        ((0.1234567, 0.2), 7),
        ((1 / 3, 0.1), FLOAT64),
        ((math.nan, 1.0), FLOAT64),
        ((math.inf, 1.0), FLOAT32),
        ((math.inf, 0.1), FLOAT64),
        ((2**55, -(2**55)), 0),
        ((2**63, 1), FLOAT32),
        ((2.0**51 - 1, -(2.0**51)), 0),
        ((2.0**51 + 1, 0.5), FLOAT64),
    ],
)
def test_smallest_kind_that_is_exact_is_taken(values: tuple[float, ...], kind: int) -> None:
    payload = SampleEncoder().encode([one_column(*values)])
    assert kind_of(payload) == kind
    (column,) = decode_samples(payload)
    assert all(map(same, column.values(), map(float, values)))


def test_a_kind_stays_while_it_fits_and_floats_become_decimals_again() -> None:
    encoder, poll = SampleEncoder(), one_column()
    kinds = []
    for values in [(1, 2), (0.25, 1), (1, 2), (math.nan, 1.0), (0.5, 1)]:
        made = one_column(*values)
        poll.times, poll.rows = made.times, made.rows
        kinds.append(kind_of(encoder.encode([poll])))
    assert kinds == [0, 2, 2, FLOAT64, 1]


@pytest.mark.parametrize("step", [0, 1, 127, -128, 128, 32_639, -32_896, 32_640, 2**31, 2**62 - 1])
def test_steps_of_every_width_come_back(step: int) -> None:
    values = [float(index * step % 2**50) for index in range(600)]
    values += [-value for value in values]
    (column,) = decode_samples(SampleEncoder().encode([one_column(*values)]))
    assert column.values() == values


def test_minus_zero_becomes_zero() -> None:
    (column,) = decode_samples(SampleEncoder().encode([one_column(-0.0)]))
    assert math.copysign(1.0, column.values()[0]) == 1.0


def later() -> list[Poll]:
    meter, odd, one = Poll((0, 1, 2, 3)), Poll((7, 8, 9)), Poll((300,))
    late_ms = (2, 1, 2, 1, 2, 2, 2, 2, 0, 1, 0, 2)
    meter.times = [T0 + 200 * index + late for index, late in enumerate(late_ms)]
    volts = (230.6, 230.2, 230.7, 229.3, 230.0, 231.6, 230.8, 231.8, 230.0, 229.6, 229.5, 230.2)
    watts = (45, 842, -2165, 1701, 343, -711, 190, -1693, 2062, 2058, -2957, -1285)
    meter.rows = [
        (volt, watt, 50.01, 1e6 + index * 70000.5)
        for index, (volt, watt) in enumerate(zip(volts, watts, strict=True))
    ]
    odd.times = [T0 + 5, T0 + 70_000, T0 + 5_000_000]
    odd.rows = [(math.nan, 0.1234567, 1), (1.5, -7.0, True), (1 / 3, 2.5, 0)]
    one.times, one.rows = [T0 - 1], [(-42,)]
    return [meter, odd, one]


@pytest.mark.parametrize("payload", [FIRST_LAYOUT, SampleEncoder().encode(later())])
def test_both_layouts_are_read(payload: bytes) -> None:
    columns = {column.series: column for column in decode_samples(payload)}
    for poll in later():
        for index, series in enumerate(poll.ids):
            assert columns[series].times == poll.times
            values = [float(row[index]) for row in poll.rows]
            assert all(map(same, columns[series].values(), values))


def test_only_what_says_which_series_are_there_differs_between_layouts() -> None:
    payload = SampleEncoder().encode(later())
    polls, series = 3, 8
    before = 20 + 9 * polls
    assert payload[:before][12:] == FIRST_LAYOUT[:before][12:]
    assert payload[before + 2 * polls + 4 * series :] == FIRST_LAYOUT[before + 6 * series :]
