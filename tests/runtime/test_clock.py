"""The two clocks side by side."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from grug.runtime import clock
from grug.runtime.clock import WallClock


class _Clocks:
    """Both show the same time, but somebody else may run before a reading is there."""

    def __init__(self, held_up_s: Iterable[float]) -> None:
        self._held_up_s = iter(held_up_s)
        self._now_s = 50.0

    def boot_s(self) -> float:
        self._now_s += next(self._held_up_s)
        return self._now_s

    def wall_s(self) -> float:
        return 1_700_000_000.0 + self._now_s


def show(clocks: _Clocks, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(clock, "boot_s", clocks.boot_s)
    patch.setattr(clock, "wall_s", clocks.wall_s)


def test_being_held_up_between_two_clocks_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    show(_Clocks(itertools.chain([0.0, 0.040], itertools.repeat(0.0))), monkeypatch)
    assert {WallClock().utc_ms(100.0) for _ in range(3)} == {1_700_000_100_000}


def test_machine_that_always_holds_up_still_tells_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    show(_Clocks(itertools.repeat(0.5)), monkeypatch)
    assert abs(WallClock().utc_ms(0.0) - 1_700_000_000_000) <= 500
