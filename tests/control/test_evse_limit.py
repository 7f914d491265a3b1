"""What current limit a charger is sent."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.control.evse import decide_limit


@given(st.floats())
def test_limit_is_always_one_that_the_charger_knows(wanted_a: float) -> None:
    current_a = decide_limit(wanted_a).current_a
    assert current_a == 5.0 or 6.0 <= current_a <= 32.0


@pytest.mark.parametrize(
    ("wanted_a", "current_a", "reason"),
    [
        (16.0, 16.0, "fixed limit from the config"),
        (6.0, 6.0, "fixed limit from the config"),
        (5.9, 5.0, "paused: fixed limit from the config of 5.9 A is under 6 A"),
        (0.0, 5.0, "paused: fixed limit from the config of 0 A is under 6 A"),
        (63.0, 32.0, "fixed limit from the config, cut from 63 A to 32 A"),
        (math.nan, 5.0, "paused: fixed limit from the config is not a number"),
    ],
)
def test_limit_says_why(wanted_a: float, current_a: float, reason: str) -> None:
    assert decide_limit(wanted_a) == (current_a, reason)
