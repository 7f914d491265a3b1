"""Steps that are too large, and counters that run backwards."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.codec.plausible import Plausibility
from grug.codec.registers import Kind, Register
from grug.model import Quality, Table

BAD, GOOD = Quality.BAD, Quality.GOOD


def register_of(**facts: object) -> Register:
    return Register("x", Table.INPUT_REGISTER, 0, Kind.U32, **facts)  # type: ignore[arg-type]


def believed(register: Register, values: Sequence[float], every_s: float = 1.0) -> list[bool]:
    """Whether each of these values, read one after the other, is good."""
    plausibility = Plausibility([register])
    marks = []
    for index, value in enumerate(values):
        _, qualities = plausibility.judge((value,), (), index * every_s)
        marks.append(qualities == ())
        assert qualities in ((), (BAD,))
    return marks


def test_a_spike_is_bad_and_what_comes_after_it_is_good() -> None:
    register = register_of(step_max=Decimal(10))
    assert believed(register, [230, 231, 999, 232, 231]) == [True, True, False, True, True]


def test_a_step_that_stays_becomes_the_truth_at_its_third_reading() -> None:
    register = register_of(step_max=Decimal(10))
    assert believed(register, [0, 500, 503, 498, 500]) == [True, False, False, True, True]


def test_noise_all_over_the_place_never_becomes_the_truth() -> None:
    register = register_of(step_max=Decimal(10))
    assert believed(register, [0, 500, 800, 300, 900, 5]) == [True] + [False] * 4 + [True]


def test_a_rate_allows_more_the_longer_ago_the_last_value_was() -> None:
    register = register_of(rate_max=Decimal(5))
    assert believed(register, [0, 5, 11], every_s=1.0) == [True, True, False]
    assert believed(register, [0, 50, 101], every_s=10.0) == [True, True, False]


def test_a_counter_that_drops_once_has_not_begun_anew() -> None:
    register = register_of(confirmations=3)
    assert believed(register, [100, 0, 101, 102]) == [True, False, True, True]


def test_a_counter_that_stays_low_has_begun_anew() -> None:
    register = register_of(confirmations=3)
    assert believed(register, [100, 0, 0, 1, 2]) == [True, False, False, True, True]
    register = register_of(confirmations=5)
    assert believed(register, [100, 0, 0, 1, 2, 2]) == [True] + [False] * 4 + [True]


def test_what_drops_again_while_doubted_starts_the_count_anew() -> None:
    register = register_of(confirmations=3)
    assert believed(register, [100, 5, 5, 3, 3, 3]) == [True] + [False] * 4 + [True]


def test_a_rejected_value_is_given_raw_and_others_stay_good() -> None:
    jumpy = register_of(step_max=Decimal(1), scale=Decimal("0.1"))
    calm = register_of()
    plausibility = Plausibility([calm, jumpy])
    assert plausibility.is_needed
    assert plausibility.judge((1, 0.5), (), 0.0) == ((1, 0.5), ())
    assert plausibility.judge((9000, 40.5), (), 1.0) == ((9000, 405), (GOOD, BAD))


def test_a_value_that_is_bad_already_is_not_looked_at() -> None:
    plausibility = Plausibility([register_of(step_max=Decimal(1))])
    assert plausibility.judge((0xFFFF,), (BAD,), 0.0) == ((0xFFFF,), (BAD,))
    assert plausibility.judge((3,), (), 1.0) == ((3,), ())


def test_without_steps_and_counters_nothing_is_needed() -> None:
    assert not Plausibility([register_of(), register_of()]).is_needed


@given(st.lists(st.integers(0, 1000), min_size=1))
def test_a_counter_that_only_grows_is_always_good(steps: list[int]) -> None:
    total, values = 0, []
    for step in steps:
        total += step
        values.append(total)
    assert all(believed(register_of(confirmations=3), values))


@pytest.mark.parametrize("confirmations", [1, 2, 7])
def test_a_reset_is_noticed_after_as_many_readings_as_the_map_says(confirmations: int) -> None:
    marks = believed(register_of(confirmations=confirmations), [50] + [0] * 10)
    assert marks == [True] + [False] * (confirmations - 1) + [True] * (11 - confirmations)
