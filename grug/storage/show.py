"""Samples and events as text: CSV, JSON lines, lines for people; and times as people give them."""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import repeat
from typing import NamedTuple

from grug.storage.block import Column
from grug.storage.segment import Event

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)")
_SPAN_MS = {"s": 1000, "min": 60_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class TextStyle(Enum):
    """How rows are written."""

    CSV = "csv"
    JSON = "json"
    TEXT = "text"


class Sample(NamedTuple):
    """One number of one series."""

    time_ms: int
    """UTC."""
    series: str
    value: int | float
    """An integer where the log has no decimals."""


class TimeRange(NamedTuple):
    """From, inclusive, to, exclusive; ms UTC."""

    since_ms: int = -(1 << 62)
    until_ms: int = 1 << 62

    def meets(self, t_min_ms: int, t_max_ms: int) -> bool:
        """Whether anything from ``t_min_ms`` to ``t_max_ms``, inclusive, can be in it."""
        return t_max_ms >= self.since_ms and t_min_ms < self.until_ms

    def cut(self, column: Column) -> Column:
        """The part of a column that is in it."""
        times = column.times
        if not times or (times[0] >= self.since_ms and times[-1] < self.until_ms):
            return column
        first, end = bisect_left(times, self.since_ms), bisect_left(times, self.until_ms)
        return column._replace(times=times[first:end], integers=column.integers[first:end])


def samples_of(columns: Iterable[Column], names: Sequence[str], times: TimeRange) -> list[Sample]:
    """The samples of a block within a range, in the order of their times.

    Args:
        columns: those that are wanted.
        names: series by id.
        times: others are left out.
    """
    found: list[Sample] = []
    for whole in columns:
        column = times.cut(whole)
        values = column.integers if column.exponent == 0 else column.values()
        found += map(Sample, column.times, repeat(names[column.series]), values)
    found.sort()
    return found


def show_time(time_ms: int) -> str:
    """A time as ISO 8601, UTC, to the millisecond."""
    seconds, milliseconds = divmod(time_ms, 1000)
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):  # Only a broken clock gives such a year.
        return f"{time_ms} ms"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


def parse_time(text: str, newest_ms: int) -> int:
    """Read a time: ISO 8601 (UTC unless it says), or a span such as ``2h`` before the newest.

    Raises:
        ValueError: it is neither.
    """
    span = _SPAN.fullmatch(text.strip())
    if span is not None:
        return newest_ms - round(float(span[1]) * _SPAN_MS[span[2]])
    moment = datetime.datetime.fromisoformat(text.strip())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return round(moment.timestamp() * 1000)


def samples_text(samples: Sequence[Sample], style: TextStyle) -> str:
    """Write samples, a line each, without a title."""
    times = {time_ms: show_time(time_ms) for time_ms in {sample.time_ms for sample in samples}}
    if style is TextStyle.TEXT:
        return "".join(
            [f"{times[each.time_ms]}  {each.series} = {each.value}\n" for each in samples]
        )
    if style is TextStyle.CSV:
        return _csv((times[each.time_ms], each.series, each.value) for each in samples)
    quoted = {name: json.dumps(name) for name in {sample.series for sample in samples}}
    return "".join(
        [
            f'{{"ts": "{times[time_ms]}", "series": {quoted[name]}, "value": {_json(value)}}}\n'
            for time_ms, name, value in samples
        ]
    )


def events_text(events: Iterable[Event], style: TextStyle) -> str:
    """Write events, a line each, without a title."""
    if style is TextStyle.CSV:
        return _csv((show_time(time_ms), *rest) for time_ms, *rest in events)
    if style is TextStyle.TEXT:
        return "".join(
            f"{show_time(each.time_ms)}  {each.source} {each.kind}: {each.text}\n"
            for each in events
        )
    return "".join(
        json.dumps(
            {
                "ts": show_time(each.time_ms),
                "source": each.source,
                "kind": each.kind,
                "text": each.text,
            }
        )
        + "\n"
        for each in events
    )


SAMPLES_TITLE = "ts,series,value\n"
EVENTS_TITLE = "ts,source,kind,text\n"


def _csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _json(value: float) -> str:
    """JSON knows neither NaN nor infinity."""
    return repr(value) if math.isfinite(value) else "null"
