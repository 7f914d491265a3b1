"""Old segments go so that limits hold; the newest never goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grug.storage.retention import Segment, segments_to_delete

NO_LIMIT = {"max_bytes": 1 << 60, "max_age_ms": 1 << 60, "free_bytes": 1 << 60, "reserve_bytes": 0}
FOUR = [Segment(index, 100, 1000 * index) for index in range(4)]


def test_within_limits_nothing_goes() -> None:
    assert segments_to_delete(FOUR, now_ms=4000, **NO_LIMIT) == []


def test_oldest_go_until_the_size_fits() -> None:
    limits = {**NO_LIMIT, "max_bytes": 250}
    assert segments_to_delete(FOUR, now_ms=4000, **limits) == FOUR[:2]


def test_segment_is_old_when_its_last_block_is() -> None:
    limits = {**NO_LIMIT, "max_age_ms": 1500}
    assert segments_to_delete(FOUR, now_ms=3000, **limits) == FOUR[:1]


def test_free_space_for_others_is_kept() -> None:
    limits = {**NO_LIMIT, "free_bytes": 50, "reserve_bytes": 200, "max_bytes": 500}
    assert segments_to_delete(FOUR, now_ms=4000, **limits) == FOUR[:2]


def test_others_who_fill_the_card_do_not_eat_the_whole_log() -> None:
    limits = {**NO_LIMIT, "free_bytes": 0, "reserve_bytes": 10**9, "max_bytes": 2000}
    kept = [each for each in FOUR if each not in segments_to_delete(FOUR, now_ms=4000, **limits)]
    assert sum(each.size_bytes for each in kept) == 200


@given(
    st.lists(st.integers(0, 1000), max_size=10),
    st.integers(0, 3000),
    st.integers(0, 3000),
    st.integers(0, 3000),
)
def test_newest_always_stays(sizes: list[int], max_bytes: int, free: int, reserve: int) -> None:
    segments = [Segment(index, size, index) for index, size in enumerate(sizes)]
    doomed = segments_to_delete(
        segments,
        now_ms=100,
        max_bytes=max_bytes,
        max_age_ms=1000,
        free_bytes=free,
        reserve_bytes=reserve,
    )
    assert doomed == segments[: len(doomed)]
    assert not segments or len(doomed) < len(segments)
