"""Blocks of frames: everything comes back, and damage is said."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from old_blocks import FIRST_WIRE_LAYOUT

from grug.errors import StorageError
from grug.model import Role, Wire, WireFraming, WireKind, WireRecord
from grug.protocol.rtu import with_crc
from grug.storage.frames import coarse, decode_wire, encode_wire, parse_wire
from grug.storage.segment import FrameKind, encode_frame

STARTS = st.integers(0, 1 << 50)
KINDS = st.sampled_from(list(WireKind))
CONTENTS = st.one_of(
    st.binary(max_size=20), st.binary(min_size=1, max_size=12).map(with_crc), st.just(b"")
)
STEPS = st.lists(
    st.tuples(st.integers(0, 5), KINDS, st.integers(0, (1 << 32) - 1), CONTENTS), min_size=1
)


def records_of(start_us: int, steps: list[tuple[int, WireKind, int, bytes]]) -> list[WireRecord]:
    records = []
    at_us = start_us
    for wire, kind, step_us, data in steps:
        records.append(WireRecord(wire, kind, at_us, data))
        at_us += step_us
    return records


@given(STARTS, STEPS)
def test_every_record_comes_back(
    start_us: int, steps: list[tuple[int, WireKind, int, bytes]]
) -> None:
    records = records_of(start_us, steps)
    assert decode_wire(encode_wire(records)) == records


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 2)), min_size=1, max_size=200))
def test_records_of_one_time_keep_their_order(steps: list[tuple[int, int]]) -> None:
    """On wires of high and low numbers, taken in any order, many at one time."""
    records, at_us = [], 7
    for number, (wire, step) in enumerate(steps):
        at_us += step // 2 * 1000
        data = with_crc(number.to_bytes(3, "big"))
        records.append(WireRecord(wire, WireKind.SENT, at_us, data))
    assert decode_wire(encode_wire(records)) == records


def test_days_between_two_records_are_no_trouble() -> None:
    times = (0, 1, 40 * 86_400_000_000, 40 * 86_400_000_000 + 1)
    records = [WireRecord(0, WireKind.RECEIVED, at_us, b"abc") for at_us in times]
    assert decode_wire(encode_wire(records)) == records


def test_what_the_first_version_wrote_is_read() -> None:
    silence = WireRecord(1, WireKind.SILENCE, 500_000, b"")
    assert decode_wire(FIRST_WIRE_LAYOUT) == [*poll_records(3), silence]
    for length in range(len(FIRST_WIRE_LAYOUT)):
        with pytest.raises(StorageError):
            decode_wire(FIRST_WIRE_LAYOUT[:length])


def test_the_ring_keeps_tenths_of_a_millisecond_and_the_order_on_each_wire() -> None:
    taken = [(2, 1_000_099), (1, 1_000_050), (2, 1_000_098), (1, 1_000_150), (0, 1_000_120)]
    records = [
        WireRecord(wire, WireKind.SENT, at_us, bytes((number,)))
        for number, (wire, at_us) in enumerate(taken)
    ]
    kept = [(each.wire, each.at_us, each.data[0]) for each in coarse(records)]
    assert kept == [
        (1, 1_000_000, 1),
        (2, 1_000_000, 0),
        (2, 1_000_000, 2),
        (0, 1_000_100, 4),
        (1, 1_000_100, 3),
    ]


def test_numbers_that_move_slowly_and_times_that_vary_little_cost_little() -> None:
    """A meter of 20 words at 5 Hz: 5 bytes for a question with its answer."""
    chance = random.Random(3)
    request = with_crc(bytes((1, 4, 0, 0, 0, 20)))
    records, words = [], [2300] * 20
    for index in range(300):
        words = [word + chance.choice((0, 0, 0, 0, 0, 0, 0, 0, 0, 1, -1)) for word in words]
        reply = with_crc(bytes((1, 4, 40)) + b"".join(word.to_bytes(2, "big") for word in words))
        asked_us = index * 200_000 + chance.randrange(100)
        records.append(WireRecord(0, WireKind.SENT, asked_us, request))
        answered_us = asked_us + 20_000 + chance.randrange(300)
        records.append(WireRecord(0, WireKind.RECEIVED, answered_us, reply))
    payload = encode_wire(coarse(records))
    frame = encode_frame(
        FrameKind.WIRE, payload, seq=1, count=600, t_min_ms=0, t_max_ms=0, monotonic_ms=0, level=15
    )
    assert len(frame) / 300 < 5.2


def test_time_that_runs_back_is_held_until_it_has_caught_up() -> None:
    times = (100, 90, 95, 101)
    records = [WireRecord(0, WireKind.SENT, at_us, b"x") for at_us in times]
    assert [r.at_us for r in decode_wire(encode_wire(records))] == [100, 100, 100, 101]


def poll_records(count: int) -> list[WireRecord]:
    chance = random.Random(1)
    request = with_crc(bytes((1, 4, 0, 0, 0, 20)))
    records = []
    for index in range(count):
        at_us = index * 200_000
        reply = with_crc(bytes((1, 4, 40)) + bytes(36) + chance.randbytes(4))
        records.append(WireRecord(0, WireKind.SENT, at_us, request))
        records.append(WireRecord(0, WireKind.RECEIVED, at_us + chance.randrange(99), reply))
    return records


def test_what_repeats_costs_nearly_nothing() -> None:
    records = poll_records(1000)
    payload = encode_wire(records)
    frame = encode_frame(
        FrameKind.WIRE, payload, seq=1, count=2000, t_min_ms=0, t_max_ms=0, monotonic_ms=0
    )
    assert len(frame) < sum(len(record.data) for record in records) / 7
    assert decode_wire(payload) == records


def test_cut_or_damaged_payload_is_an_error_or_still_records() -> None:
    payload = encode_wire(poll_records(8))
    for length in range(len(payload)):
        with pytest.raises(StorageError):
            decode_wire(payload[:length])
    chance = random.Random(2)
    for _ in range(2000):
        damaged = bytearray(payload)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        with contextlib.suppress(StorageError):
            decode_wire(bytes(damaged))


def test_wire_is_found_by_its_name() -> None:
    wire = Wire("a/b", Role.SERVER, WireFraming.MBAP)
    assert parse_wire(wire.name) == wire
    for name in ("grid/power", "grid", "grid/client/pigeon"):
        with pytest.raises(StorageError, match="no wire"):
            parse_wire(name)
