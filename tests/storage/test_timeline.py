"""The log's time never goes back by little, and always comes back to the wall's."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from grug.storage.timeline import STEP_BACK_MS_MAX, Timeline

WALL_MS = 1_700_000_000_000


def test_follows_a_steady_clock_exactly() -> None:
    timeline = Timeline()
    for index in range(1000):
        assert timeline.at(index * 0.2, WALL_MS + index * 200) == WALL_MS + index * 200
    assert timeline.steps == []


@given(st.lists(st.integers(-60_000, 60_000), max_size=20))
def test_times_increase_over_any_small_steps(steps: list[int]) -> None:
    timeline = Timeline()
    times: list[int] = []
    offset_ms = WALL_MS
    for index in range(200):
        if steps and index % 10 == 9:
            offset_ms += steps[index // 10] if index // 10 < len(steps) else 0
        times.append(timeline.at(index * 0.2, offset_ms + index * 200))
    assert all(later > earlier for earlier, later in itertools.pairwise(times))


def test_clock_set_back_is_caught_up_with() -> None:
    timeline = Timeline()
    timeline.at(0.0, WALL_MS)
    times = [timeline.at(float(s), WALL_MS - 10_000 + s * 1000) for s in range(1, 300)]
    assert times[0] > WALL_MS
    assert times[-1] == WALL_MS - 10_000 + 299_000
    assert timeline.steps == [-10_000]


def test_clock_set_back_by_days_is_obeyed() -> None:
    timeline = Timeline()
    timeline.at(0.0, WALL_MS)
    back_ms = WALL_MS - 2 * STEP_BACK_MS_MAX
    assert timeline.at(1.0, back_ms + 1000) == back_ms + 1000


def test_new_writer_starts_after_the_old_one() -> None:
    assert Timeline(WALL_MS + 5000).at(0.0, WALL_MS) == WALL_MS + 5001
    assert Timeline(WALL_MS - 5000).at(0.0, WALL_MS) == WALL_MS
    assert Timeline(WALL_MS + 2 * STEP_BACK_MS_MAX).at(0.0, WALL_MS) == WALL_MS


def test_monotonic_zero_stays_while_nobody_sets_the_clock() -> None:
    timeline = Timeline()
    for index in range(1000):
        jitter_ms = (-1, 0, 1, 3)[index % 4]
        at_s = 5.0 + index * 0.2
        assert timeline.at(at_s, WALL_MS + round(at_s * 1000) + jitter_ms) == (
            timeline.zero_ms + round(at_s * 1000)
        )
        assert timeline.zero_ms == WALL_MS - 1
