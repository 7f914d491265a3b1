"""Which segments have to go so that the log stays within its limits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple


class Segment(NamedTuple):
    """A segment file, as far as retention cares."""

    first_seq: int
    size_bytes: int
    created_ms: int
    """UTC."""


def segments_to_delete(
    segments: Sequence[Segment],
    *,
    now_ms: int,
    max_bytes: int,
    max_age_ms: int,
    free_bytes: int,
    reserve_bytes: int,
) -> list[Segment]:
    """Choose the oldest segments until every limit holds; the newest always stays.

    Args:
        segments: all of the log, oldest first.
        now_ms: UTC.
        max_bytes: of all segments together.
        max_age_ms: a segment ends when the next one was created.
        free_bytes: on the file system, now.
        reserve_bytes: that must stay free for others; when it is others who fill the file system,
            a tenth of ``max_bytes`` of the log stays all the same.
    """
    total_bytes = sum(segment.size_bytes for segment in segments)
    doomed: list[Segment] = []
    for segment, following in pairwise(segments):
        is_old = now_ms - following.created_ms > max_age_ms
        is_in_the_way = free_bytes < reserve_bytes and total_bytes > max_bytes // 10
        if not (is_old or total_bytes > max_bytes or is_in_the_way):
            break
        doomed.append(segment)
        total_bytes -= segment.size_bytes
        free_bytes += segment.size_bytes
    return doomed
