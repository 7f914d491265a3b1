"""What the lines of another program's history mean."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.storage.history import History
from grug.storage.native import Origin

T0 = 1_700_000_000


def rows_of(*lines: object, strip: str = "") -> tuple[int, int, int]:
    """Samples, events and bad lines."""
    history = History(strip=strip)
    for line in lines:
        history.add(line if isinstance(line, bytes) else json.dumps(line).encode())
    readings, events = history.cut(Origin("", "", 1), 0)
    return readings.entries, events.entries, history.bad_lines


@pytest.mark.parametrize(
    "line",
    [
        [T0 + 0.25, "pv/solis1/pv_power", "1234"],
        [T0 + 0.25, "pv/solis1/pv_power", "1234.5"],
        [T0, "pv/solis1/pv_power", 1234.5],
        [T0 * 1000, "pv/solis1/pv_power", "-0.07"],
        ["2023-11-14T22:13:20Z", "pv/evse/charging", "ON"],
        [str(T0), "pv/evse/charging", True],
        {"ts": T0, "topic": "pv/a", "payload": "1"},
        {"timestamp": T0, "series": "pv/a", "value": 0},
    ],
)
def test_one_number_is_one_sample(line: object) -> None:
    assert rows_of(line) == (1, 0, 0)


def test_series_that_begin_years_apart_are_one_batch() -> None:
    """A file may hold a series that ended before another began; a batch is 100 000 lines."""
    years = [[T0 + year * 31_536_000 * 1.0, f"pv/{year % 4}", year + 0.25] for year in range(12)]
    assert rows_of(*reversed(years)) == (12, 0, 0)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b'[1700000000.12,"pv/a","1',
        b"\xff\xfe",
        [T0, "pv/a"],
        [T0, 5, "1"],
        [None, "pv/a", "1"],
        ["soon", "pv/a", "1"],
        [True, "pv/a", "1"],
        [12.5, "pv/a", "1"],
        [1e300, "pv/a", "1"],
        {"topic": "pv/a", "payload": "1"},
        7,
    ],
)
def test_a_line_that_says_nothing_is_counted_and_passed_over(line: object) -> None:
    assert rows_of(line, [T0, "pv/a", "1"]) == (1, 0, 1)


def test_json_in_a_payload_gives_a_series_for_each_number() -> None:
    plug = {"Time": "2023", "ENERGY": {"Power": 12, "Voltage": 230.5, "Phases": [1, 2]}}
    assert rows_of([T0, "tele/plug", json.dumps(plug)]) == (5, 0, 0)
    named = dict(plug, Time="noon")
    assert rows_of([T0, "tele/plug", named], [T0 + 1, "tele/plug", named]) == (8, 1, 0)


def test_text_is_an_event_when_it_changes() -> None:
    lines = [[T0 + index, "pv/state", text] for index, text in enumerate("aabbba{")]
    assert rows_of(*lines) == (0, 4, 0)


def test_messages_of_one_moment_all_stay() -> None:
    history = History()
    for value in range(5):
        history.add(json.dumps([T0 + 0.01, "a", str(value)]).encode())
    readings, _ = history.cut(Origin("", "", 1), 0)
    assert readings.entries == 5
    times = {(T0 * 1000 + 10 + index).to_bytes(8, "little") for index in range(5)}
    assert all(time in readings.data for time in times)


def test_prefix_is_taken_off() -> None:
    history = History(strip="pv/")
    history.add(json.dumps([T0, "pv/grid/power", "1"]).encode())
    readings, _ = history.cut(Origin("", "", 1), 0)
    assert b"\x0agrid/power" in readings.data
    assert b"pv/" not in readings.data


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    ).map(lambda payload: json.dumps([T0, "a", payload]).encode())
)
def test_no_line_is_a_crash(line: bytes) -> None:
    rows_of(line)
