"""The margin: the law is played with plants that are not what it believes."""

from __future__ import annotations

import pytest

from grug.control.margin import Margin, margin_of, swings
from grug.control.plant import Plant

PAIR = {"a": Plant(), "b": Plant()}


def test_the_house_comes_to_rest_when_all_is_as_believed() -> None:
    assert not swings(PAIR, 1.0, 1.0)


@pytest.mark.slow
def test_margin_is_where_it_begins_to_swing_and_smaller_for_slow_inverters() -> None:
    margin = margin_of(PAIR)
    assert margin.is_steady
    assert margin.gain[0] < 1.0 < 1.5 <= margin.gain[1]
    assert margin.dead[0] < 1.0 < 1.5 <= margin.dead[1]
    assert swings(PAIR, 8.0, 1.0)
    assert swings(PAIR, 1.0, 6.0)
    assert margin_of({"a": Plant(0.9, 1.2, 0.5)}).dead[1] < margin.dead[1]


def test_there_is_no_margin_where_it_swings_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grug.control.margin.swings", lambda *_: True)
    assert margin_of(PAIR) == Margin((1.0, 1.0), (1.0, 1.0), is_steady=False)
