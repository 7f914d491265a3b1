"""Cuts the spans that were asked for out of a block that was read."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from grug.model import Span

CUTS_MAX = 2000
"""Cuts remembered; polls repeat, so that more means a runaway asker."""


class Cut(NamedTuple):
    """How one block serves one request."""

    served: tuple[int, ...]
    """Which of the request's spans lie within what was read."""
    pieces: Callable[[bytes], tuple[bytes, ...]]
    """Their contents, from the block."""


@lru_cache(maxsize=CUTS_MAX)
def cut_of(spans: tuple[Span, ...], read: Span) -> Cut:
    """Prepare to cut spans out of what is read; remembered, since polls repeat.

    Args:
        spans: what was asked for.
        read: what is read at once.
    """
    width = 1 if read.table.is_bits else 2
    served: list[int] = []
    slices: list[slice] = []
    for at, span in enumerate(spans):
        if lies_within(span, read):
            first = (span.address - read.address) * width
            served.append(at)
            slices.append(slice(first, first + span.count * width))
    return Cut(tuple(served), _cutter(slices))


def lies_within(inner: Span, outer: Span) -> bool:
    """Whether reading the outer span reads the inner one too."""
    return inner.table is outer.table and outer.address <= inner.address and inner.end <= outer.end


def _cutter(slices: list[slice]) -> Callable[[bytes], tuple[bytes, ...]]:
    if len(slices) == 1:
        only = slices[0]
        return lambda block: (block[only],)
    if not slices:
        return lambda _block: ()
    cut_all: Callable[[Any], tuple[bytes, ...]] = operator.itemgetter(*slices)
    return cut_all
