"""The silence between frames becomes short where that goes well, and long again where not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grug.planner.gap import GOOD_MIN, GOOD_MIN_MAX, LearnedGap

SAFE_S, SHORT_S = 0.005, 0.002


def test_it_becomes_short_after_many_good_replies_in_a_row() -> None:
    gap = LearnedGap(SAFE_S, SHORT_S)
    for _ in range(GOOD_MIN - 1):
        gap.replied()
    gap.failed()
    for _ in range(GOOD_MIN - 1):
        gap.replied()
    assert gap.gap_s == SAFE_S
    gap.replied()
    assert gap.gap_s == SHORT_S


def test_it_goes_back_at_the_first_trouble_and_tries_again_ever_later() -> None:
    gap = LearnedGap(SAFE_S, SHORT_S)
    waited = []
    for _ in range(3):
        replies = 0
        while gap.gap_s == SAFE_S:
            gap.replied()
            replies += 1
        waited.append(replies)
        gap.failed()
        assert gap.gap_s == SAFE_S
    assert waited == [GOOD_MIN, 4 * GOOD_MIN, 16 * GOOD_MIN]


def test_trouble_long_after_is_not_blamed_on_it() -> None:
    gap = LearnedGap(SAFE_S, SHORT_S)
    for _ in range(3):
        for _ in range(2 * GOOD_MIN):
            gap.replied()
        gap.failed()
        assert gap.gap_s == SAFE_S
    for _ in range(GOOD_MIN):
        gap.replied()
    assert gap.gap_s == SHORT_S


def test_a_line_that_does_not_bear_it_loses_one_reply_in_a_hundred_thousand() -> None:
    gap = LearnedGap(SAFE_S, SHORT_S)
    lost = 0
    for _ in range(1_000_000):
        gap.replied()
        if gap.gap_s < SAFE_S:
            gap.failed()
            lost += 1
    assert lost <= 7


@given(st.lists(st.booleans(), max_size=3000))
def test_it_is_always_one_of_the_two(replies: list[bool]) -> None:
    gap = LearnedGap(SAFE_S, SHORT_S)
    for is_good in replies:
        if is_good:
            gap.replied()
        else:
            gap.failed()
            assert gap.gap_s == SAFE_S
        assert gap.gap_s in (SAFE_S, SHORT_S)
    assert gap._good_min <= GOOD_MIN_MAX
