"""Rows straight from packed blocks are, byte for byte, those of decoded columns."""

from __future__ import annotations

import math
import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from old_blocks import FIRST_LAYOUT

from grug.storage.block import Poll, decode_samples
from grug.storage.bulk import PackedBlock, packed_rows
from grug.storage.encode import SampleEncoder
from grug.storage.native import Origin, Rows, SampleBlock, readings_rows
from grug.storage.show import TimeRange

ORIGIN = Origin("höhle", "a" * 32, 3)
T0 = 1_700_000_000_000
EVER = TimeRange()

values = st.one_of(
    st.integers(-(1 << 60), 1 << 60),
    st.floats(),
    st.floats(width=32),
    st.decimals(-1000, 1000, places=2).map(float),
    st.sampled_from([0, 1, 230.1, 2.0**60, math.inf, -0.0]),
)


@st.composite
def polls_of(draw: st.DrawFn) -> list[Poll]:
    """Polls; some have series in common."""
    polls, first_id = [], 0
    for width in draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)):
        poll = Poll(tuple(range(first_id, first_id + width)))
        first_id += draw(st.integers(0, width))
        at_ms = T0 + draw(st.integers(0, 1 << 20))
        for step in draw(st.lists(st.integers(1, 1 << 18), min_size=1, max_size=12)):
            at_ms += step
            poll.times.append(at_ms)
            row = [draw(values) for _ in range(width)]
            poll.rows.append(tuple(row))
        polls.append(poll)
    return polls


def both(
    payloads: list[bytes], names: list[list[str]], times: TimeRange, shift_ms: int
) -> tuple[Rows, Rows]:
    packed = [
        PackedBlock(seq, named, payload, shift_ms)
        for seq, (named, payload) in enumerate(zip(names, payloads, strict=True))
    ]
    decoded = []
    for block in packed:
        columns = [
            times.cut(column._replace(times=[ms + shift_ms for ms in column.times]))
            for column in decode_samples(block.payload)
            if column.series < len(block.names)
        ]
        decoded.append(SampleBlock(block.seq, block.names, columns))
    return packed_rows(ORIGIN, packed, times), readings_rows(ORIGIN, decoded)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(polls_of(), min_size=1, max_size=3),
    st.integers(-(1 << 30), 1 << 30),
    st.booleans(),
    st.integers(0, 12),
)
def test_same_bytes_as_column_by_column(
    blocks: list[list[Poll]], shift_ms: int, is_cut: bool, named: int
) -> None:
    """Some series have no name; names differ between segments; blocks may be cut to a range."""
    payloads = [SampleEncoder().encode(polls) for polls in blocks]
    names = [[f"s{(7 * i + n) % 5}/{i}" for i in range(named)] for n in range(len(blocks))]
    middle_ms = T0 + shift_ms + (1 << 19)
    times = TimeRange(middle_ms, middle_ms + (1 << 19)) if is_cut else EVER
    bulk, single = both(payloads, names, times, shift_ms)
    assert bulk == single


def test_raw_floats_keep_their_bits() -> None:
    """Also those that are no numbers, and differences that wrap."""
    columns = [
        [struct.unpack("<d", struct.pack("<q", bits))[0] for bits in (1, -1, 1 << 62, -(1 << 62))],
        [0.1, 1e300, -1e-300, math.nan],
        [struct.unpack("<f", struct.pack("<f", x))[0] for x in (0.1, 7.3, math.inf, -5.5)],
    ]
    poll = Poll((0, 1, 2))
    poll.times += [T0, T0 + 5, T0 + 1000, T0 + 1001]
    poll.rows += list(zip(*columns, strict=True))
    payload = SampleEncoder().encode([poll])
    bulk, single = both([payload], [["c", "b", "a"]], EVER, 0)
    assert bulk == single
    assert bulk.entries == 12
    assert (bulk.t_min_ms, bulk.t_max_ms) == (T0, T0 + 1001)


def test_a_block_of_which_nothing_is_wanted_has_no_rows() -> None:
    poll = Poll((0,))
    poll.times.append(T0)
    poll.rows.append((1,))
    bulk, single = both([SampleEncoder().encode([poll])], [["a"]], TimeRange(T0 + 1), 0)
    assert bulk == single
    assert (bulk.entries, bulk.t_min_ms) == (0, 0)


def test_blocks_of_the_first_layout_are_read_among_others() -> None:
    poll = Poll((5, 2, 9))
    poll.times += [T0, T0 + 7]
    poll.rows += [(1, 2.5, -3), (4, 2.5, 0)]
    payloads = [FIRST_LAYOUT, SampleEncoder().encode([poll]), FIRST_LAYOUT]
    bulk, single = both(payloads, [[f"s{index % 7}/{index}" for index in range(301)]] * 3, EVER, 0)
    assert bulk == single
    assert bulk.entries == 2 * 58 + 6
