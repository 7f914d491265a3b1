"""What is told about a segment's damage, and what it cost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grug.messages import Noted, Readings
from grug.storage.collect import Collector
from grug.storage.segment import FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader
from grug.storage.survey import Survey, survey_segment

T0 = 1_700_000_000_000
BLOCKS = 8


def a_segment() -> tuple[bytes, list[int]]:
    """A segment of a table and eight blocks of ten samples; and where each block ends."""
    collector = Collector()
    data = SegmentHeader(b"l" * 16, 3, 5, T0).encode()
    ends: list[int] = []
    seq = 5
    for block in range(BLOCKS):
        for index in range(10):
            at_ms = T0 + block * 10_000 + index * 1000
            collector.add(Readings("grid", 0.0, ("power",), (index * 7 % 13,)), at_ms)
        if block == 4:
            collector.add(Noted("test", "half", 0.0), T0 + 45_000)
        for frame in collector.cut(seq, boot_id="b"):
            data += frame
            ends.append(len(data))
            seq += 1
    return data, ends


def survey(data: bytes) -> Survey:
    return survey_segment(data, is_deep=True, may_grow=False)


def test_good_segment_is_counted() -> None:
    data, ends = a_segment()
    found = survey(data)
    assert (found.blocks, found.samples, found.events) == (len(ends), 10 * BLOCKS, 1)
    assert (found.t_min_ms, found.t_max_ms) == (T0, T0 + 79_000)
    assert found.damages == ()
    assert found.sample_bytes == len(data) / 80
    assert found.last_seq == 5 + len(ends) - 1


def test_damaged_block_is_named_with_the_time_it_took_along() -> None:
    data, ends = a_segment()
    spoilt = bytearray(data)
    spoilt[ends[2] + FRAME_HEADER_BYTES] ^= 1
    found = survey(bytes(spoilt))
    (damage,) = found.damages
    assert (damage.offset, damage.blocks) == (ends[2], 1)
    assert "block 8 lost, 11.0 s of the log" in damage.text
    assert found.samples == 10 * BLOCKS - 10


def test_half_a_block_at_the_end_is_damage_unless_a_writer_is_at_it() -> None:
    data, _ = a_segment()
    (damage,) = survey(data[:-3]).damages
    assert "not finished" in damage.text
    assert survey_segment(data[:-3], is_deep=True, may_grow=True).damages == ()


def test_bad_segment_header_is_damage() -> None:
    data, _ = a_segment()
    found = survey(b"?" + data[1:])
    assert "header is bad" in found.damages[0].text
    assert found.header is None


def test_empty_file_is_damage_and_no_crash() -> None:
    assert survey(b"").damages[0].text.startswith("the segment's header is bad")


@given(position=st.integers(min_value=0), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found_and_costs_one_block_at_most(position: int, bit: int) -> None:
    data, ends = a_segment()
    at = SEGMENT_HEADER_BYTES + position % (len(data) - SEGMENT_HEADER_BYTES)
    spoilt = bytearray(data)
    spoilt[at] ^= 1 << bit
    found = survey(bytes(spoilt))
    assert len(found.damages) == 1
    assert found.blocks == len(ends) - 1
