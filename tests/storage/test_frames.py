"""Blocks of frames: everything comes back, and damage is said."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.errors import StorageError
from grug.model import Role, Wire, WireFraming, WireKind, WireRecord
from grug.protocol.rtu import with_crc
from grug.storage.frames import decode_wire, encode_wire, parse_wire
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
