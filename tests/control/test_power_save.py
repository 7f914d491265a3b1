"""When an inverter is switched off and on, and when its clock is set."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.control import clockwork
from grug.control.power_save import (
    PowerSaveSettings,
    PowerState,
    Seen,
    Switch,
    decide,
    switched,
)

SETTINGS = PowerSaveSettings(off_after_s=600.0, on_after_s=120.0, rest_s=900.0)
NIGHT, DAY = Seen(True, 8.0, 10.0), Seen(False, 8.0, 300.0)


class Nights:
    """Looks every 30 s, and does as it is told."""

    def __init__(self, state: PowerState = PowerState()) -> None:  # noqa: B008  it is frozen
        self.state = state
        self.now_s = 0.0
        self.is_on = True
        self.switches: list[tuple[float, str]] = []
        self.reason = ""

    def look(self, soc_pct: float | None, pv_v: float | None, times: int = 1) -> None:
        for _ in range(times):
            seen = Seen(self.is_on, soc_pct, pv_v)
            plan = decide(SETTINGS, self.state, seen, self.now_s)
            self.state, self.reason = plan.state, plan.reason
            if plan.switch is not Switch.NONE:
                self.switches.append((self.now_s, plan.switch.value))
                self.is_on = plan.switch is Switch.ON
                self.state = switched(self.state, plan.switch, self.now_s)
            self.now_s += 30.0


def test_it_goes_off_after_ten_empty_minutes_and_comes_back_with_the_sun() -> None:
    it = Nights()
    it.look(8.0, 10.0, 100)
    it.look(8.0, 120.0, 100)
    assert it.switches == [(600.0, "off"), (3120.0, "on")]


@pytest.mark.parametrize(
    ("soc_pct", "pv_v"), [(8.0, 75.0), (12.0, 10.0), (None, 10.0), (8.0, None), (None, None)]
)
def test_between_the_thresholds_and_in_the_dark_about_something_nothing_changes(
    soc_pct: float | None, pv_v: float | None
) -> None:
    for is_on in (True, False):
        it = Nights()
        it.is_on = is_on
        it.look(soc_pct, pv_v, 200)
        assert it.switches == []


def test_a_cloud_or_a_gap_starts_the_patience_anew() -> None:
    it = Nights()
    for _ in range(10):
        it.look(8.0, 10.0, 15)
        it.look(8.0, None)
    assert it.switches == []


def test_what_a_person_switched_off_stays_off_until_a_person_switches_it_on() -> None:
    it = Nights()
    it.look(50.0, 300.0, 3)
    it.is_on = False
    it.look(50.0, 300.0, 200)
    assert it.switches == []
    assert it.reason == "a person switched it off"
    it.is_on = True
    it.look(8.0, 10.0, 100)
    it.look(8.0, 300.0, 100)
    assert [switch for _, switch in it.switches] == ["off", "on"]


def test_an_inverter_that_missed_its_wakening_is_woken_again() -> None:
    """A write that was lost in the morning is no person who wants it off."""
    it = Nights()
    it.look(8.0, 10.0, 30)
    assert not it.is_on
    tries = 0
    for _ in range(200):
        seen = len(it.switches)
        it.look(8.0, 300.0)
        if len(it.switches) > seen:
            tries += 1
            it.is_on = tries == 3  # Two of them do not arrive.
    assert [switch for _, switch in it.switches] == ["off", "on", "on", "on"]
    assert it.is_on


def test_an_inverter_found_off_at_the_start_comes_back_by_day() -> None:
    it = Nights()
    it.is_on = False
    it.look(8.0, 300.0, 10)
    assert [switch for _, switch in it.switches] == ["on"]


def test_a_switch_that_nobody_can_read_is_left_alone() -> None:
    plan = decide(SETTINGS, PowerState(), Seen(None, 5.0, 5.0), 1e6)
    assert plan.switch is Switch.NONE


@given(
    st.lists(
        st.tuples(st.none() | st.floats(0, 100), st.none() | st.floats(0, 500), st.integers(1, 40)),
        max_size=40,
    )
)
def test_whatever_the_weather_switchings_keep_their_distance(
    weather: list[tuple[float | None, float | None, int]],
) -> None:
    it = Nights()
    for soc_pct, pv_v, times in weather:
        it.look(soc_pct, pv_v, times)
    times_s = [at_s for at_s, _ in it.switches]
    assert all(later - sooner >= SETTINGS.rest_s for sooner, later in zip(times_s, times_s[1:]))  # noqa: B905, RUF007
    assert [switch for _, switch in it.switches] == (["off", "on"] * len(times_s))[: len(times_s)]


# The clock


def test_a_wrong_clock_is_set_when_two_looks_agree() -> None:
    first = clockwork.decide(clockwork.started(0.0), 3600.0, 600.0)
    assert not first.sets
    assert first.state.look_s == 600.0 + clockwork.CONFIRM_S
    second = clockwork.decide(first.state, 3602.0, first.state.look_s)
    assert second.sets
    assert second.state.look_s == first.state.look_s + clockwork.LOOK_S


def test_a_machine_whose_own_clock_jumps_sets_nothing() -> None:
    first = clockwork.decide(clockwork.started(0.0), 5e8, 600.0)
    second = clockwork.decide(first.state, 3.0, 4200.0)
    assert not first.sets
    assert not second.sets


def test_a_clock_that_was_never_set_is_set_after_two_looks() -> None:
    first = clockwork.decide(clockwork.started(0.0), math.nan, 600.0)
    assert not first.sets
    assert clockwork.decide(first.state, math.nan, 4200.0).sets
    assert not clockwork.decide(first.state, 500.0, 4200.0).sets
    assert not clockwork.decide(first.state, None, 4200.0).sets


@given(drifts_s=st.lists(st.floats(-1e9, 1e9) | st.none() | st.just(math.nan), max_size=50))
def test_a_clock_is_never_set_more_than_a_few_times_a_day(drifts_s: list[float | None]) -> None:
    state, sets_s = clockwork.started(0.0), []
    for drift_s in drifts_s:
        now_s = state.look_s
        plan = clockwork.decide(state, drift_s, now_s)
        assert plan.reason
        assert plan.state.look_s >= now_s + clockwork.CONFIRM_S
        if plan.sets:
            sets_s.append(now_s)
        state = plan.state
    assert len(sets_s) <= 1 + (sets_s[-1] if sets_s else 0.0) / clockwork.LOOK_S
