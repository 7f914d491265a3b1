"""Every number that was read well comes back out of the log, and no other."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.messages import Readings
from grug.model import Quality
from grug.storage.block import decode_samples
from grug.storage.collect import Collector
from grug.storage.segment import FrameKind, scan_frames

T0 = 1_700_000_000_000
NAMES = {"grid": ("a", "b", "c"), "solis1": ("a",), "car": ("a", "d")}

numbers = st.one_of(
    st.integers(-(2**63), 2**63),
    st.integers(-(10**6), 10**6).map(lambda tenths: tenths / 10),
    st.floats(),
    st.booleans(),
)
qualities = st.one_of(st.just(Quality.GOOD), st.sampled_from(list(Quality)))


@st.composite
def arrivals(draw: st.DrawFn) -> list[tuple[int, bool, Readings]]:
    """Time, whether a block ends before it, and what was read: with gaps, in any mixture."""
    found = []
    time_ms = T0
    for _ in range(draw(st.integers(1, 40))):
        time_ms += draw(st.sampled_from([1, 200, 10_000, 3_600_000]))
        device = draw(st.sampled_from(sorted(NAMES)))
        names = NAMES[device]
        size = len(names)
        values = tuple(draw(st.lists(numbers, min_size=size, max_size=size)))
        marks = tuple(draw(st.lists(qualities, min_size=size, max_size=size)))
        is_good = all(mark is Quality.GOOD for mark in marks)
        readings = Readings(device, time_ms / 1000, names, values, () if is_good else marks)
        found.append((time_ms, draw(st.integers(0, 9)) == 0, readings))
    return found


@pytest.mark.slow
@given(arrivals())
def test_what_was_read_well_comes_back(arrived: list[tuple[int, bool, Readings]]) -> None:
    collector = Collector()
    data = b""
    expected: dict[tuple[str, int], float] = {}
    for time_ms, is_cut, readings in arrived:
        if is_cut:
            data += b"".join(collector.cut(data.count(b"GBLK") + 1, boot_id="b"))
        collector.add(readings, time_ms)
        marks = readings.qualities or (Quality.GOOD,) * len(readings.names)
        for name, value, mark in zip(readings.names, readings.values, marks, strict=True):
            if mark is Quality.GOOD:
                assert not isinstance(value, str)
                expected[(f"{readings.device}/{name}", time_ms)] = float(value)
    data += b"".join(collector.cut(1 << 20, boot_id="b"))
    found = {
        (collector.names[column.series], time_ms): value
        for frame in scan_frames(data, seq_after=0).frames
        if frame.kind == FrameKind.SAMPLES
        for column in decode_samples(frame.unpack())
        for time_ms, value in zip(column.times, column.values(), strict=True)
    }
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == value or (math.isnan(found[key]) and math.isnan(value))
