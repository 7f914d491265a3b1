"""Samples and events as text, and times as people give them."""

from __future__ import annotations

import csv
import io
import json

import pytest

from grug.storage.block import Column
from grug.storage.segment import Event
from grug.storage.show import (
    Sample,
    TextStyle,
    TimeRange,
    events_text,
    parse_time,
    samples_of,
    samples_text,
    show_time,
)

T0 = 1_700_000_000_000
COLUMNS = [
    Column(0, [T0, T0 + 1000, T0 + 2000], 1, [15, 20, 25]),
    Column(1, [T0 + 500, T0 + 1500], 0, [7, 8]),
]
NAMES = ["grid/power", "solis1/mode"]


def test_series_come_mixed_in_the_order_of_their_times() -> None:
    assert samples_of(COLUMNS, NAMES, TimeRange()) == [
        (T0, "grid/power", 1.5),
        (T0 + 500, "solis1/mode", 7),
        (T0 + 1000, "grid/power", 2.0),
        (T0 + 1500, "solis1/mode", 8),
        (T0 + 2000, "grid/power", 2.5),
    ]


def test_a_range_includes_its_beginning_and_not_its_end() -> None:
    times = TimeRange(T0 + 500, T0 + 2000)
    assert [sample.time_ms - T0 for sample in samples_of(COLUMNS, NAMES, times)] == [
        500,
        1000,
        1500,
    ]
    assert times.meets(T0, T0 + 500)
    assert not times.meets(T0 + 2000, T0 + 3000)


def test_every_style_gives_the_same_numbers_back() -> None:
    samples = [Sample(T0, 'a,"b', 0.1), Sample(T0 + 1, "c/d", -3)]
    rows = list(csv.reader(io.StringIO(samples_text(samples, TextStyle.CSV))))
    assert rows == [
        ["2023-11-14T22:13:20.000Z", 'a,"b', "0.1"],
        ["2023-11-14T22:13:20.001Z", "c/d", "-3"],
    ]
    lines = samples_text(samples, TextStyle.JSON).splitlines()
    assert [list(json.loads(line).values()) for line in lines] == [
        [*row[:2], float(row[2])] for row in rows
    ]
    assert "c/d = -3" in samples_text(samples, TextStyle.TEXT)


def test_what_is_no_number_is_null_in_json() -> None:
    samples = [Sample(T0, "a", value) for value in (float("nan"), float("inf"), float("-inf"))]
    lines = samples_text(samples, TextStyle.JSON).splitlines()
    assert [json.loads(line)["value"] for line in lines] == [None] * 3


@pytest.mark.parametrize("style", list(TextStyle))
def test_an_event_keeps_its_words(style: TextStyle) -> None:
    text = events_text([Event(T0, "offset", "reason", "a new one")], style)
    assert "offset" in text
    assert "a new one" in text
    assert text.count("\n") == 1


def test_a_time_is_a_moment_or_a_span_before_the_end() -> None:
    assert parse_time("2h", T0) == T0 - 7_200_000
    assert parse_time("5min", T0) == parse_time("5 m", T0) == T0 - 300_000
    assert parse_time("1.5 d", T0) == T0 - 129_600_000
    assert parse_time("2023-11-14T22:13:20", 0) == T0
    assert parse_time("2023-11-14T23:13:20+01:00", 0) == T0
    assert show_time(parse_time("2026-06-21", 0)) == "2026-06-21T00:00:00.000Z"
    with pytest.raises(ValueError, match="yesterday"):
        parse_time("yesterday", T0)


def test_a_time_that_no_calendar_has_is_shown_as_it_is() -> None:
    assert show_time(1 << 60) == f"{1 << 60} ms"
