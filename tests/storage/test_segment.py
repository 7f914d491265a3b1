"""Frames survive whatever happens to the bytes around them."""

from __future__ import annotations

import random
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from grug.errors import StorageError
from grug.storage.segment import (
    FRAME_HEADER_BYTES,
    Event,
    Frame,
    FrameKind,
    SegmentHeader,
    SeriesTable,
    decode_events,
    decode_segment_header,
    decode_series,
    encode_events,
    encode_frame,
    encode_series,
    scan_frames,
)

RANDOM = random.Random(1)
PAYLOADS = [RANDOM.randbytes(RANDOM.randrange(1, 60)) + bytes(50) for _ in range(8)]


def frame_bytes(seq: int, payload: bytes) -> bytes:
    return encode_frame(
        FrameKind.SAMPLES, payload, seq=seq, count=1, t_min_ms=5, t_max_ms=9, monotonic_ms=7
    )


FRAMES = [frame_bytes(10 + index, payload) for index, payload in enumerate(PAYLOADS)]
DATA = b"".join(FRAMES)
ENDS = [sum(map(len, FRAMES[: index + 1])) for index in range(len(FRAMES))]


def payloads(frames: list[Frame]) -> list[bytes]:
    return [frame.unpack() for frame in frames]


@given(
    st.binary(max_size=500),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(-(2**62), 2**62),
    st.integers(0, 2**32 - 1),
)
def test_frame_comes_back(payload: bytes, seq: int, count: int, t_min_ms: int, span: int) -> None:
    data = encode_frame(
        FrameKind.EVENTS,
        payload,
        seq=seq,
        count=count,
        t_min_ms=t_min_ms,
        t_max_ms=t_min_ms + span,
        monotonic_ms=3,
    )
    scan = scan_frames(data, seq_after=-1)
    (frame,) = scan.frames
    assert frame.unpack() == payload
    assert (frame.kind, frame.seq, frame.entries) == (FrameKind.EVENTS, seq, count)
    assert (frame.t_min_ms, frame.t_max_ms, frame.monotonic_ms) == (t_min_ms, t_min_ms + span, 3)
    assert scan.end == len(data)


def test_cut_anywhere_keeps_every_complete_frame() -> None:
    for length in range(len(DATA) + 1):
        scan = scan_frames(DATA[:length], seq_after=9)
        complete = sum(end <= length for end in ENDS)
        assert payloads(scan.frames) == PAYLOADS[:complete]
        assert scan.end == (ENDS[complete - 1] if complete else 0)
        rest = scan_frames(DATA, seq_after=9 + complete, offset=scan.end)
        assert payloads(rest.frames) == PAYLOADS[complete:]


def test_flipped_bit_costs_one_frame_at_most() -> None:
    for bit in range(8 * len(DATA)):
        damaged = bytearray(DATA)
        damaged[bit // 8] ^= 1 << (bit % 8)
        hit = sum(end <= bit // 8 for end in ENDS)
        expected = PAYLOADS[:hit] + PAYLOADS[hit + 1 :]
        assert payloads(scan_frames(bytes(damaged), seq_after=9).frames) == expected


@given(st.integers(0, len(DATA)), st.binary(max_size=300) | st.just(bytes(4096)))
def test_garbage_after_the_end_is_never_a_frame(length: int, garbage: bytes) -> None:
    complete = sum(end <= length for end in ENDS)
    data = DATA[:length] + garbage
    for end in ENDS[complete : complete + 1]:
        assume(not data.startswith(DATA[:end]))  # Garbage may be the very bytes that are missing.
    found = payloads(scan_frames(data, seq_after=9).frames)
    assert found == PAYLOADS[:complete]


@given(st.binary(max_size=300))
def test_garbage_between_frames_is_passed_over(garbage: bytes) -> None:
    scan = scan_frames(FRAMES[0] + garbage + b"".join(FRAMES[1:]), seq_after=9)
    assert payloads(scan.frames) == PAYLOADS
    assert scan.bad_bytes == len(garbage)


def test_remains_of_an_old_file_are_refused() -> None:
    scan = scan_frames(FRAMES[5] + FRAMES[2] + FRAMES[6], seq_after=9)
    assert payloads(scan.frames) == [PAYLOADS[5], PAYLOADS[6]]


def test_unknown_codec_is_an_error_that_says_so() -> None:
    (frame,) = scan_frames(FRAMES[0], seq_after=-1).frames
    with pytest.raises(StorageError, match="unknown codec 2"):
        frame._replace(codec=2).unpack()


def test_header_is_as_long_as_the_format_says() -> None:
    assert FRAME_HEADER_BYTES == 56
    assert len(SegmentHeader(bytes(16), 1, 2, 3).encode()) == 64


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_segment_header_comes_back(log_id: bytes, epoch: int, first_seq: int) -> None:
    header = SegmentHeader(log_id, epoch, first_seq, -5)
    assert decode_segment_header(header.encode()) == header


def test_segments_of_both_versions_are_read_and_of_no_other() -> None:
    header = SegmentHeader(bytes(16), 1, 2, 3)
    for version, expected in ((0, None), (1, header), (2, header), (3, None)):
        head = bytearray(header.encode()[:60])
        head[8:10] = version.to_bytes(2, "little")
        data = bytes(head) + zlib.crc32(head).to_bytes(4, "little")
        assert decode_segment_header(data) == expected


def test_damaged_segment_header_is_refused() -> None:
    data = SegmentHeader(bytes(16), 1, 2, 3).encode()
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << (bit % 8)
        assert decode_segment_header(bytes(damaged)) is None
    assert decode_segment_header(data[:-1]) is None


@pytest.mark.slow
@given(st.lists(st.builds(Event, st.integers(-(2**53), 2**53), st.text(), st.text(), st.text())))
def test_events_come_back(events: list[Event]) -> None:
    assert decode_events(encode_events(events)) == events


@given(st.lists(st.text()))
def test_series_table_comes_back(names: list[str]) -> None:
    table = SeriesTable(3, "boot", tuple(names))
    assert decode_series(encode_series(table)) == table


def test_threads_that_pack_at_once_do_not_spoil_each_other() -> None:
    """Recorder and tracer pack in threads of their own."""

    def pack(number: int) -> list[bool]:
        payload = bytes(index * number % 251 for index in range(50_000))
        return [through(payload) for _ in range(40)]

    def through(payload: bytes) -> bool:
        data = encode_frame(
            FrameKind.SAMPLES, payload, seq=1, count=1, t_min_ms=0, t_max_ms=0, monotonic_ms=0
        )
        (frame,) = scan_frames(data, seq_after=0).frames
        return frame.unpack() == payload

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(pack, range(1, 9)):
            assert all(found)
