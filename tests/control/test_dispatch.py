"""What an inverter's registers are told, in which order, and how it ends."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.control.dispatch import (
    ARMS_PER_TIMER,
    DEAD_BAND_W,
    ENABLED,
    FAILSAFE,
    MODE,
    POWER,
    Act,
    DispatchSettings,
    DispatchState,
    Phase,
    Plan,
    came_back,
    decide,
    failed,
    in_doubt,
    probed,
    rest_s,
    seen,
    steps,
    wish_of,
    wish_w,
)

SETTINGS = DispatchSettings("solis1", "com1", share=0.5)
ACTIVE = DispatchState(Phase.ACTIVE, -1000.0, armed_s=100.0, moved_s=100.0)
DOUBT = in_doubt(ACTIVE._replace(tried_s=100.0, failures=5), 100.0, 60.0)


@given(act=st.sampled_from(Act), power_w=st.floats(-6000, 6000))
def test_the_timer_is_armed_before_the_switch_and_the_mode_comes_last(
    act: Act, power_w: float
) -> None:
    names = [name for name, _ in steps(SETTINGS, Plan(act, power_w, ""))]
    if act in (Act.START, Act.ARM):
        assert names[:2] == [FAILSAFE, ENABLED]
        assert dict(steps(SETTINGS, Plan(act, power_w, "")))[FAILSAFE] >= 1
    if act in (Act.START, Act.ARM, Act.MOVE):
        assert names[-1] == MODE
        assert names.index(POWER) < names.index(MODE)
    if act is Act.RELEASE:
        assert names[-1] == ENABLED
        assert dict(steps(SETTINGS, Plan(act, power_w, "")))[ENABLED] == 0


@pytest.mark.parametrize(
    ("state", "wanted_w", "now_s", "act"),
    [
        (DispatchState(), -1000.0, 0.0, Act.PROBE),
        (DispatchState(tried_s=9.0), -1000.0, 10.0, Act.WAIT),
        (DispatchState(Phase.ABSENT, tried_s=0.0), -1000.0, 10.0, Act.WAIT),
        (DispatchState(Phase.ABSENT, tried_s=0.0), -1000.0, 3600.0, Act.PROBE),
        (ACTIVE._replace(tried_s=100.0), -1000.0, 102.0, Act.WAIT),
        (ACTIVE._replace(tried_s=100.0), -1000.0, 105.0, Act.ARM),
        (ACTIVE._replace(tried_s=99.0), -1000.0, 105.0, Act.WAIT),
        (DispatchState(Phase.IDLE), 0.0, 10.0, Act.WAIT),
        (DispatchState(Phase.IDLE), None, 10.0, Act.WAIT),
        (DispatchState(Phase.IDLE), -1000.0, 10.0, Act.START),
        (DispatchState(Phase.IDLE, tried_s=9.0), -1000.0, 10.0, Act.WAIT),
        (ACTIVE, -1000.0, 105.0, Act.WAIT),
        (ACTIVE, -1000.0, 115.0, Act.ARM),
        (ACTIVE, -1040.0, 105.0, Act.WAIT),
        (ACTIVE, -1100.0, 105.0, Act.MOVE),
        (ACTIVE, -1100.0, 100.5, Act.WAIT),
        (ACTIVE, 0.0, 105.0, Act.RELEASE),
        (ACTIVE, None, 105.0, Act.RELEASE),
        (ACTIVE._replace(tried_s=104.0), None, 105.0, Act.RELEASE),
        (ACTIVE._replace(tried_s=104.0, failures=5), 0.0, 105.0, Act.RELEASE),
        (ACTIVE._replace(tried_s=104.0, failures=5), -1000.0, 108.0, Act.WAIT),
        (ACTIVE._replace(tried_s=104.0, failures=5), -1000.0, 109.0, Act.ARM),
        (came_back(ACTIVE._replace(tried_s=104.0)), -1000.0, 105.0, Act.ARM),
        (came_back(DispatchState(Phase.IDLE, tried_s=9.0)), -1000.0, 10.0, Act.START),
        (DOUBT, -1000.0, 110.0, Act.WAIT),
        (DOUBT, 0.0, 104.0, Act.WAIT),
        (DOUBT, 0.0, 105.0, Act.LOOK),
        (DOUBT, None, 105.0, Act.LOOK),
    ],
)
def test_what_is_done_next(
    state: DispatchState, wanted_w: float | None, now_s: float, act: Act
) -> None:
    plan = decide(SETTINGS, state, wanted_w, now_s)
    assert plan.act is act
    assert plan.reason


@given(
    wishes_w=st.lists(st.floats(-5000, 5000) | st.none(), min_size=1, max_size=80),
    failsafe_min=st.integers(1, 30),
)
def test_whatever_is_wished_the_timer_never_ends_under_way(
    wishes_w: list[float | None], failsafe_min: int
) -> None:
    settings = DispatchSettings("solis1", "com1", 1.0, failsafe_min)
    state, now_s = DispatchState(Phase.IDLE), 0.0
    for wanted_w in wishes_w:
        now_s += 1.0
        plan = decide(settings, state, wanted_w, now_s)
        if plan.act in (Act.START, Act.ARM):
            state = DispatchState(Phase.ACTIVE, plan.power_w, now_s, now_s)
        elif plan.act is Act.MOVE:
            state = state._replace(power_w=plan.power_w, moved_s=now_s)
        elif plan.act is Act.RELEASE:
            state = DispatchState(Phase.IDLE)
        if state.phase is Phase.ACTIVE:
            assert now_s - state.armed_s <= settings.timer_s / ARMS_PER_TIMER + 1.0
            assert wanted_w is not None
            assert abs(state.power_w - wanted_w) < max(DEAD_BAND_W, 1.0) or plan.act is Act.WAIT


@given(offset_w=st.floats(-1e6, 1e6), share=st.floats(0, 1))
def test_the_part_of_an_offset_fits_the_register(offset_w: float, share: float) -> None:
    part_w = wish_w(DispatchSettings("solis1", "com1", share, power_w_max=6000.0), offset_w)
    assert abs(part_w) <= 6000.0
    assert part_w % 10.0 == 0.0
    assert abs(part_w - offset_w * share) <= 5.0 or abs(part_w) == 6000.0


def test_each_failure_doubles_the_rest_up_to_a_bound() -> None:
    rests_s = [rest_s(failures) for failures in range(1, 8)]
    assert rests_s == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0]


def test_a_doubt_ends_when_the_inverters_timer_has_surely_run_out() -> None:
    before = failed(ACTIVE, 130.0)
    doubt = in_doubt(before, 130.0, SETTINGS.surely_over_s)
    assert decide(SETTINGS, doubt, -1000.0, 134.0).act is Act.WAIT
    assert decide(SETTINGS, doubt, -1000.0, 135.0).act is Act.LOOK
    assert decide(SETTINGS, doubt, -1000.0, 130.0 + SETTINGS.timer_s).act is Act.LOOK
    over_s = 130.0 + SETTINGS.surely_over_s
    assert over_s > 130.0 + SETTINGS.timer_s
    assert decide(SETTINGS, doubt, -1000.0, over_s).act is Act.FORGET


def test_a_read_back_ends_a_doubt() -> None:
    doubt = in_doubt(failed(ACTIVE, 130.0), 130.0, SETTINGS.surely_over_s)
    off = seen(doubt, 0, -1000.0, 3)
    assert off is not None
    assert (off.phase, off.failures) == (Phase.IDLE, 1)
    held = seen(doubt, 1, -1200.0, 3)
    assert held is not None
    assert (held.phase, held.power_w) == (Phase.ACTIVE, -1200.0)
    assert decide(SETTINGS, held, -1200.0, 131.0).act is Act.ARM
    assert decide(SETTINGS, held, None, 131.0).act is Act.RELEASE
    assert seen(doubt, 1, -1200.0, 2) is None
    assert seen(doubt, None, None, None) is None


def test_what_cannot_be_armed_any_more_is_forgotten_once_its_timer_is_over() -> None:
    assert decide(SETTINGS, failed(ACTIVE, 199.0), -1000.0, 200.0).act is Act.FORGET


def test_while_the_meter_is_silent_nothing_is_wished() -> None:
    names = ("grid_power_w", "offset_w", "served_w/solis1")
    assert wish_of(SETTINGS, names, (0.0, -2000.0, -900.0)) == -1000.0
    assert wish_of(SETTINGS, names, (0.0, -2000.0, math.nan)) is None
    assert wish_of(SETTINGS, names[:2], (0.0, -2000.0)) is None


def test_the_probe_says_what_it_found_and_what_happens_instead() -> None:
    assert probed(SETTINGS, 0xAA55) == (Phase.IDLE, "")
    phase, reason = probed(SETTINGS, 0)
    assert phase is Phase.ABSENT
    assert reason.startswith("no dispatch by registers: input 34502 reads 0, not 43605 (0xAA55)")
    assert "it carries no offset" in reason
    falling_back = DispatchSettings("solis1", "com1", 0.5, falls_back=True)
    assert "its meter carries the offset instead" in probed(falling_back, None)[1]
