"""A loop that swings is noticed, sooner the more it swings; what loads and clouds do is not."""

from __future__ import annotations

import math
from collections.abc import Callable

from grug.control.hunting import QUIET, HuntingSettings, is_gentle, note

SETTINGS = HuntingSettings()
PERIOD_S = 6.0
"""Of a swing of inverters that are twice as strong and slow as was thought."""


def noticed_s(error_w: Callable[[float], float], seconds: float = 60.0) -> float:
    """When hunting is noticed; infinite when it is not."""
    state = QUIET
    for step in range(round(seconds * 5)):
        now_s = step * 0.2
        state = note(SETTINGS, state, error_w(now_s), now_s)
        if is_gentle(state, now_s):
            return now_s
    return math.inf


def swing(peak_w: float, period_s: float = PERIOD_S) -> Callable[[float], float]:
    return lambda now_s: peak_w * math.cos(2.0 * math.pi * now_s / period_s)


def test_a_swing_by_kilowatts_is_noticed_at_its_third_reversal() -> None:
    assert noticed_s(swing(3000.0)) < 1.5 * PERIOD_S


def test_a_smaller_swing_takes_longer_and_one_below_the_bound_is_none() -> None:
    assert 3.0 * 4.0 < noticed_s(swing(1200.0, 4.0)) < math.inf
    assert noticed_s(swing(250.0), 600.0) == math.inf


def test_a_kettle_on_and_off_is_no_hunting() -> None:
    def kettle_w(now_s: float) -> float:
        since_s = now_s % 10.0
        return 0.0 if since_s > 1.5 else math.copysign(2500.0, 10.0 - now_s % 20.0)

    assert noticed_s(kettle_w, 600.0) == math.inf


def test_a_single_overshoot_of_kilowatts_is_no_hunting() -> None:
    assert noticed_s(lambda now_s: (2000.0, -2500.0, 800.0, 0.0)[min(3, int(now_s))]) == math.inf


def test_what_happens_again_is_held_for_twice_as_long() -> None:
    state, began_s = QUIET, []
    for step in range(5 * 900):
        now_s = step * 0.2
        before = state
        state = note(SETTINGS, state, swing(3000.0)(now_s), now_s)
        if state.gentle_until_s > before.gentle_until_s:
            began_s.append(state.gentle_until_s - now_s)
    assert [round(hold_s) for hold_s in began_s] == [60, 120, 240, 480]
