"""How an inverter answers: what is under way, what passes, and when it asks."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.control.plant import (
    GAIN_FACTORS,
    HOLD_S_MAX,
    STILL,
    UNTAUGHT,
    Asking,
    Motion,
    Plant,
    answers_of,
    believed,
    done,
    heard,
    learn,
    passing_w,
    see,
    tell,
    under_way_w,
)

PLANT = Plant(gain_per_s=0.5, dead_s=0.6, lag_s=0.1, passing_s=1.5)
STEPS_WS = ((0.0, 1500.0), (8.0, -1800.0), (16.0, 1600.0), (24.0, -1400.0))
"""(time, W s told at once) of four steps of a load."""


def told(*powers_w: float, asking: Asking | None = None) -> tuple[Motion, float]:
    """Something else is told every 0.2 s; returns the motion and the time of the last."""
    motion, now_s = STILL, 0.0
    for index, power_w in enumerate(powers_w):
        now_s = 0.2 * index
        motion = tell(PLANT, motion, power_w, now_s, answers_of(motion, now_s, asking))
    return motion, now_s


def test_what_was_told_is_under_way_until_the_dead_time_and_the_lag_are_over() -> None:
    motion, now_s = told(1000.0, 0.0)
    assert under_way_w(PLANT, motion, now_s, answers_of(motion, now_s, None)) == pytest.approx(
        100.0
    )
    assert under_way_w(PLANT, motion, 0.69, answers_of(motion, 0.69, None)) == pytest.approx(100.0)
    assert under_way_w(PLANT, motion, 1.5, answers_of(motion, 1.5, None)) < 1.0


def test_what_is_told_just_now_counts_for_no_longer_than_it_is_heard() -> None:
    motion, _ = told(1000.0)
    assert under_way_w(PLANT, motion, 0.4, answers_of(motion, 0.4, None)) == pytest.approx(200.0)
    assert under_way_w(PLANT, motion, 0.55, answers_of(motion, 0.55, None)) == pytest.approx(
        0.5 * HOLD_S_MAX * 1000.0, rel=0.1
    )


@given(st.floats(0.02, 1.0), st.floats(0.0, 3.0), st.floats(0.0, 0.5), st.floats(0.0, 0.5))
def test_every_answer_falls_into_one_of_two_times_that_follow(
    every_s: float, asked_s: float, first_s: float, second_s: float
) -> None:
    asking = Asking(asked_s, every_s)
    middle_s, end_s = 2.0 + first_s, 2.0 + first_s + second_s
    parts = heard(asking, 2.0, middle_s) + heard(asking, middle_s, end_s)
    for at_s, for_s in parts:
        assert for_s == every_s
        assert 2.0 - 1e-9 <= at_s < end_s + 1e-9
    assert abs(len(parts) - (end_s - 2.0) / every_s) <= 1.0 + 1e-6


def test_one_that_has_not_asked_for_long_may_ask_at_any_moment() -> None:
    assert heard(Asking(0.0, 0.25), 10.0, 10.2) == [(pytest.approx(10.1), pytest.approx(0.2))]
    assert heard(Asking(9.9, 0.25), 10.0, 10.1) == [], "between two questions nothing is heard"


def test_what_an_ac_port_does_by_itself_is_passing() -> None:
    motion = see(PLANT, STILL, 3000.0, 0.0)
    motion = see(PLANT, motion, 1500.0, 0.5)
    assert passing_w(PLANT, motion, 0.5) == pytest.approx(-1450.0)
    assert -800.0 < passing_w(PLANT, motion, 1.5) < -700.0
    motion = see(PLANT, motion, 1500.0, 8.0)
    assert passing_w(PLANT, motion, 8.0) == 0.0, "nothing is known of the time between"


def test_what_it_does_as_told_is_not_passing_even_when_the_model_is_half_wrong() -> None:
    for factor in (0.6, 1.0, 1.4):
        motion, now_s = told(5000.0, 0.0, 0.0)
        motion = see(PLANT, motion, 1000.0, now_s)
        motion = see(PLANT, motion, 1000.0 + 500.0 * factor, now_s + 1.0)
        assert passing_w(PLANT, motion, now_s + 1.0) == 0.0


def test_the_same_reading_twice_changes_nothing() -> None:
    motion = see(PLANT, see(PLANT, STILL, 3000.0, 0.0), 1500.0, 0.5)
    assert see(PLANT, motion, 900.0, 0.5) is motion


@given(st.lists(st.floats(-10_000, 10_000), max_size=200))
def test_no_more_is_remembered_than_is_needed(powers_w: list[float]) -> None:
    motion, _ = told(*powers_w, asking=None)
    assert len(motion.moves) <= 20


def taught(true: Plant, sun_w: float = 0.0) -> Motion:
    """What is known after four steps of a load, of an inverter that is not as it was measured.

    Args:
        true: as it is.
        sun_w: what the sun does to its AC port between the moves.
    """
    motion = msgspec.structs.replace(STILL, moves=STEPS_WS)
    for step in range(70):
        now_s = 0.5 * step
        ac_w = true.gain_per_s * sum(ws * done(true, now_s - at_s) for at_s, ws in STEPS_WS)
        if 3.0 < now_s % 8.0 < 6.0:
            ac_w += sun_w
        learned = learn(PLANT, motion, ac_w, now_s)
        motion = msgspec.structs.replace(motion, ac_w=ac_w, ac_s=now_s, learned=learned)
    return motion


@pytest.mark.parametrize("gain", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("dead", [0.5, 1.0, 2.0])
def test_gain_and_dead_time_are_learned_from_a_few_steps(gain: float, dead: float) -> None:
    true = Plant(gain * PLANT.gain_per_s, dead * PLANT.dead_s, PLANT.lag_s)
    found = believed(PLANT, taught(true).learned)
    assert found.gain_per_s == pytest.approx(true.gain_per_s, rel=0.2)
    assert found.dead_s == pytest.approx(true.dead_s, rel=0.45)


def test_what_was_measured_is_believed_while_nothing_speaks_against_it() -> None:
    assert believed(PLANT, UNTAUGHT) is PLANT
    found = believed(PLANT, taught(PLANT).learned)
    assert (found.gain_per_s, found.dead_s) == (PLANT.gain_per_s, PLANT.dead_s)


def test_the_sun_teaches_nothing() -> None:
    for sun_w in (-1500.0, 1500.0):
        found = believed(PLANT, taught(PLANT, sun_w).learned)
        assert (found.gain_per_s, found.dead_s) == (PLANT.gain_per_s, PLANT.dead_s)


@given(st.lists(st.floats(-6000, 6000), max_size=30))
def test_what_is_learned_stays_within_bounds_whatever_an_ac_port_does(
    powers_w: list[float],
) -> None:
    motion = msgspec.structs.replace(STILL, moves=STEPS_WS)
    for step, ac_w in enumerate(powers_w):
        learned = learn(PLANT, motion, ac_w, 0.5 * step)
        motion = msgspec.structs.replace(motion, ac_w=ac_w, ac_s=0.5 * step, learned=learned)
        assert GAIN_FACTORS[0] <= learned.gain <= GAIN_FACTORS[1]


def test_one_that_seems_quick_can_be_found_slower_again() -> None:
    """What it was told long ago is needed to see that it is as slow as it was measured."""
    measured = Plant(gain_per_s=0.45, dead_s=3.0, lag_s=0.1)
    quick = msgspec.structs.replace(UNTAUGHT, at=0)
    motion = msgspec.structs.replace(STILL, ac_s=0.0, told_s=0.0, learned=quick)
    ac_w, told_ws = 0.0, 0.0
    for second in range(1, 400):
        now_s = float(second)
        if second % 10 == 5:  # What it was told more than three seconds ago.
            ac_w += measured.gain_per_s * told_ws
        learned = learn(measured, motion, ac_w, now_s)
        motion = see(believed(measured, learned), motion, ac_w, now_s)
        motion = msgspec.structs.replace(motion, learned=learned)
        answers = ()
        if second % 10 == 1:
            told_ws = 3000.0 if second % 20 == 1 else -3000.0
            motion = msgspec.structs.replace(motion, told_w=told_ws)
            answers = ((now_s, 1.0),)
        motion = tell(measured, motion, 0.0, now_s, answers)
    assert believed(measured, motion.learned).dead_s == measured.dead_s


def test_a_dead_time_that_explains_nothing_for_long_breaks_nothing() -> None:
    """Its sums are made smaller with those of the others, and must not become nothing."""
    plant, motion = Plant(0.5, 0.6, 0.01), STILL
    for step in range(2000):
        now_s = 2.0 * step
        # So late that only the shortest dead time has it in this reading.
        moves = ((now_s - 0.4, 4000.0),)
        motion = msgspec.structs.replace(motion, moves=moves, ac_s=now_s - 1.0, ac_w=0.0)
        learned = learn(plant, motion, 400.0, now_s)
        motion = msgspec.structs.replace(motion, learned=learned)
    assert min(motion.learned.squares) >= 1.0
