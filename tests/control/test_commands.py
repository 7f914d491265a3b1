"""Wishes as objects: what is understood, what is refused, and with which words."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.control.commands import Refused, parse_offset
from grug.messages import SetOffset
from grug.model import Aim

INVERTERS = ("solis1", "solis2")
GOOD = {"command": "offset", "target": "solis1", "power_w": -2000, "for_s": 7200, "who": "cli"}


def test_good_wish_is_understood() -> None:
    wish = parse_offset(GOOD | {"why": " cheap hour "}, INVERTERS, 100.0)
    assert wish == SetOffset(-2000.0, 7300.0, "cli", "cheap hour", "solis1")


def test_wish_for_the_house_has_no_target() -> None:
    wish = parse_offset(GOOD | {"target": "house"}, INVERTERS, 0.0)
    assert isinstance(wish, SetOffset)
    assert wish.target == ""


def test_aim_may_be_a_battery() -> None:
    wish = parse_offset(GOOD | {"aim": "battery", "power_w": 1500}, INVERTERS, 0.0)
    assert isinstance(wish, SetOffset)
    assert (wish.aim, wish.power_w) == (Aim.BATTERY, 1500.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"power_w": 1e9}, "1e+09 W is more than any house has"),
        ({"power_w": math.nan}, "not a number of watts"),
        ({"power_w": 10**400}, "not a number of watts"),
        ({"power_w": "2000"}, "not a number of watts"),
        ({"power_w": True}, "not a number of watts"),
        ({"for_s": -60}, "its end is 60 s in the past"),
        ({"for_s": None}, "every offset has an end"),
        ({"for_s": math.inf}, "every offset has an end"),
        ({"for_s": 1e7}, "longer than a week"),
        ({"target": "solis3"}, "there are house, solis1, solis2"),
        ({"target": 7}, "there is no inverter 7"),
        ({"who": ""}, "who is needed"),
        ({"why": "x" * 300}, "at most 200"),
        ({"watts": 5}, "unknown key 'watts'"),
        ({"aim": "moon"}, "there is no aim 'moon'; there are offset, grid, battery"),
        ({"aim": []}, "there is no aim []"),
        ({"aim": "export_max", "target": "house"}, "a bound"),
        ({"per_soc_w": "lots"}, "no number of watts for a percent"),
        ({"who": "schedule/night"}, "what the schedule's own wishes are called"),
    ],
)
def test_bad_wish_is_refused_with_its_reason(change: dict[str, Any], reason: str) -> None:
    refused = parse_offset(GOOD | change, INVERTERS, 0.0)
    assert isinstance(refused, Refused)
    assert reason in refused.reason


JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(st.dictionaries(st.sampled_from(sorted({*GOOD, "why", "aim", "per_soc_w"})), JSON))
def test_whatever_comes_is_a_sane_wish_or_refused(change: dict[str, Any]) -> None:
    wish = parse_offset(GOOD | change, INVERTERS, 50.0)
    if isinstance(wish, SetOffset):
        assert math.isfinite(wish.power_w)
        assert 50.0 <= wish.expires_s < math.inf
