"""The ladder: which reading of the grid is believed, down and up again, as scripts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.control.ladder import (
    GridReading,
    LadderSettings,
    Readings,
    Rung,
    choose,
    next_look_s,
    problem_of_reading,
)

LADDER = LadderSettings(live_s=0.7, second_s=1.5, max_age_s=2.0)


def known(first_s: float | None = None, second_s: float | None = None) -> Readings:
    readings = Readings()
    if first_s is not None:
        readings.take_first(GridReading(100.0, first_s))
    if second_s is not None:
        readings.take_second(GridReading(200.0, second_s))
    return readings


@pytest.mark.parametrize(
    ("now_s", "second_s", "rung"),
    [
        (10.7, None, Rung.LIVE),
        (10.8, None, Rung.RAMP),
        (12.0, None, Rung.RAMP),
        (12.1, None, Rung.SILENT),
        (10.7, 10.6, Rung.LIVE),
        (10.8, 10.6, Rung.SECOND),
        (12.1, 10.6, Rung.SECOND),
        (12.2, 10.6, Rung.SILENT),
        (11.0, 9.4, Rung.RAMP),
    ],
)
def test_each_rung_ends_at_its_age(now_s: float, second_s: float | None, rung: Rung) -> None:
    step = choose(LADDER, known(10.0, second_s), now_s)
    assert step.rung is rung
    assert step.reason


def test_nothing_read_yet_is_silent() -> None:
    step = choose(LADDER, Readings(), 5.0)
    assert step.rung is Rung.SILENT
    assert problem_of_reading(step.reading) == "grid meter never read"


@pytest.mark.parametrize("power_w", [math.nan, math.inf, 2e5, -2e5])
def test_impossible_reading_leaves_the_last_good_one_to_age(power_w: float) -> None:
    readings = known(10.0)
    readings.take_first(GridReading(power_w, 10.2))
    readings.take_second(GridReading(power_w, 10.2))
    step = choose(LADDER, readings, 10.3)
    assert (step.rung, step.reading.read_s) == (Rung.RAMP, 10.0)
    assert "implausible" in step.reason


def test_missing_reading_goes_to_the_second_meter_at_once() -> None:
    readings = known(10.0, 9.9)
    readings.take_first(GridReading(0.0, 10.2, "grid not read: no_reply"))
    step = choose(LADDER, readings, 10.3)
    assert (step.rung, step.reading.power_w) == (Rung.SECOND, 200.0)
    assert step.reason == "grid not read: no_reply; second meter read 0.4 s ago"


def test_a_power_that_an_inverter_passes_on_is_as_old_as_the_look_before_it_changed() -> None:
    readings = Readings()
    seen = []
    for at_s, power_w in ((1.0, 300.0), (1.5, 300.0), (2.0, 310.0), (2.5, 310.0), (3.0, 320.0)):
        readings.take_relayed(GridReading(power_w, at_s))
        seen.append(readings.second and (readings.second.power_w, readings.second.read_s))
    assert seen == [None, None, (310.0, 1.5), (310.0, 1.5), (320.0, 2.5)]


def test_an_inverter_that_lost_its_own_meter_is_not_believed_for_ever() -> None:
    """It shows the last power, and answers as ever."""
    readings = Readings()
    readings.take_relayed(GridReading(200.0, 9.5))
    for tenths in range(100, 131, 5):
        readings.take_relayed(GridReading(250.0, tenths / 10))
    readings.take_first(GridReading(0.0, 10.0, "grid not read: no_reply"))
    assert choose(LADDER, readings, 10.9).rung is Rung.SECOND
    assert choose(LADDER, readings, 11.1).rung is Rung.SILENT
    readings.take_relayed(GridReading(math.nan, 13.5))
    assert choose(LADDER, readings, 13.5).rung is Rung.SILENT


TIMES = st.floats(0.0, 20.0)


@given(st.none() | TIMES, st.none() | TIMES, TIMES)
def test_what_is_believed_is_never_older_than_allowed(
    first_s: float | None, second_s: float | None, now_s: float
) -> None:
    readings = known(first_s, second_s)
    step = choose(LADDER, readings, now_s)
    assert now_s <= next_look_s(LADDER, readings, step) + 1e-9
    if step.rung is Rung.SILENT:
        assert step.reading.fault
    else:
        assert step.reading in (readings.good, readings.second)
        assert now_s - step.reading.read_s <= LADDER.max_age_s


@given(st.none() | TIMES, st.none() | TIMES, TIMES)
def test_a_rung_holds_until_the_next_look_and_no_longer(
    first_s: float | None, second_s: float | None, now_s: float
) -> None:
    readings = known(first_s, second_s)
    step = choose(LADDER, readings, now_s)
    look_s = next_look_s(LADDER, readings, step)
    if step.rung is Rung.SILENT:
        assert look_s == math.inf
        return
    before_s = max(now_s, look_s - 1e-6)
    assert choose(LADDER, readings, before_s).rung is step.rung
    assert choose(LADDER, readings, look_s + 1e-6).rung is not step.rung
