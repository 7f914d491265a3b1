"""History that other programs kept as JSON lines, as samples and events. Pure.

The files of grug's forerunner hold one MQTT message a line, ``[time, topic, payload]``: UTC seconds
with two decimals, and the payload as text, whatever it means. Source: its public ``mqtt_buffer``.
Read here is more: payloads that are numbers or booleans, or JSON objects and arrays (a series for
each number in them), times in milliseconds or ISO 8601, and objects instead of arrays.

A number becomes a sample, other text an event when it changes.
"""

from __future__ import annotations

import datetime
import math
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from grug.storage.block import Poll, decode_samples
from grug.storage.encode import SampleEncoder
from grug.storage.native import Origin, Rows, SampleBlock, events_rows, readings_rows
from grug.storage.segment import Event

_TIME_NAMES = ("ts", "time", "timestamp", "t")
_SERIES_NAMES = ("topic", "series", "name")
_VALUE_NAMES = ("payload", "value", "message", "v")
_MILLISECONDS_MIN = 1e11
"""A time in seconds is below, one in milliseconds above, from 1973 to 5138."""
EARLIEST_MS = 946_684_800_000
"""2000: what is older was written before the clock was set."""
LATEST_MS = 4_102_444_800_000
"""2100."""
_REPEAT_MS = 1000
"""Messages of one topic this close are in the order of the file, whatever their times say."""
_WORDS = {"true": 1, "false": 0, "on": 1, "off": 0}
_decoder = msgspec.json.Decoder()


class History:
    """What the lines of one file say; give it all of them, in order."""

    def __init__(self, *, strip: str = "") -> None:
        """Begin.

        Args:
            strip: taken off the beginning of topics, such as ``pv/``.
        """
        self._strip = strip
        self._polls: dict[str, Poll] = {}
        self._names: list[str] = []
        self._last_ms: dict[str, int] = {}
        self._texts: dict[str, str] = {}
        self._events: list[Event] = []
        self._samples = SampleEncoder()
        self.crc = 0
        """Of the lines that wait."""
        self.lines = 0
        """That wait."""
        self.bad_lines = 0
        """That say nothing, of all."""

    def add(self, line: bytes) -> None:
        """Take one line."""
        self.lines += 1
        self.crc = zlib.crc32(line, self.crc)
        said = _said(line)
        if said is None:
            self.bad_lines += 1
            return
        time_ms, topic, payload = said
        for name, value in _leaves(topic.removeprefix(self._strip), payload):
            if isinstance(value, str):
                self._add_text(name, value, time_ms)
            else:
                self._add_number(name, value, time_ms)

    def cut(self, origin: Origin, seq: int) -> tuple[Rows, Rows]:
        """Give what waits as rows of readings and of events; nothing waits afterwards."""
        polls = [poll for poll in self._polls.values() if poll.times]
        blocks = [
            SampleBlock(seq, self._names, decode_samples(self._samples.encode(near)))
            for near in _near(polls)
        ]
        rows = readings_rows(origin, blocks), events_rows(origin, [(seq, self._events)])
        for poll in polls:
            poll.times.clear()
            poll.rows.clear()
        self._events = []
        self.crc = self.lines = 0
        return rows

    def _add_number(self, name: str, value: float, time_ms: int) -> None:
        poll = self._polls.get(name)
        if poll is None:
            poll = self._polls[name] = Poll((len(self._names),))
            self._names.append(name)
        last_ms = self._last_ms.get(name, time_ms - 1)
        if last_ms - _REPEAT_MS < time_ms <= last_ms:
            time_ms = last_ms + 1  # The database keeps one of two samples with the same time.
        self._last_ms[name] = time_ms
        poll.times.append(time_ms)
        poll.rows.append((value,))

    def _add_text(self, name: str, text: str, time_ms: int) -> None:
        if self._texts.get(name) != text:
            self._texts[name] = text
            self._events.append(Event(time_ms, name, "text", text))


def _near(polls: Sequence[Poll]) -> Iterable[list[Poll]]:
    """Polls that one payload can hold, since it has 32 bits for where each begins: 49 days."""
    earliest_ms = min((poll.times[0] for poll in polls), default=0)
    near: dict[int, list[Poll]] = defaultdict(list)
    for poll in polls:
        near[(poll.times[0] - earliest_ms) >> 32].append(poll)
    return near.values()


def is_whole(line: bytes) -> bool:
    """Whether a line without an end of line is complete all the same."""
    try:
        _decoder.decode(line)
    except msgspec.DecodeError:
        return False
    return True


def _said(line: bytes) -> tuple[int, str, Any] | None:
    """Time, topic and payload of a line; None when it has none or they make no sense."""
    try:
        said = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if isinstance(said, list) and len(said) == 3:
        moment, topic, payload = said
    elif isinstance(said, dict):
        moment, topic, payload = (
            next((said[name] for name in names if name in said), None)
            for names in (_TIME_NAMES, _SERIES_NAMES, _VALUE_NAMES)
        )
    else:
        return None
    time_ms = _time_ms(moment)
    if time_ms is None or not isinstance(topic, str) or payload is None:
        return None
    return time_ms, topic, payload


def _time_ms(moment: object) -> int | None:
    if isinstance(moment, str):
        try:
            said = datetime.datetime.fromisoformat(moment)
        except ValueError:
            moment = _number(moment)
        else:
            utc = said if said.tzinfo else said.replace(tzinfo=datetime.UTC)
            moment = utc.timestamp()
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        return None
    in_ms = moment if moment >= _MILLISECONDS_MIN else moment * 1000
    return round(in_ms) if EARLIEST_MS <= in_ms < LATEST_MS else None


def _leaves(name: str, payload: object) -> Iterator[tuple[str, float | str]]:
    """The numbers and texts in a payload, each with its series."""
    match payload:
        case bool():
            yield name, int(payload)
        case int() | float():
            yield name, payload
        case str():
            number = _number(payload)
            if number is not None:
                yield name, number
            elif payload[:1] in ("{", "[") and (inner := _json_inside(payload)) is not None:
                yield from _leaves(name, inner)
            else:
                yield name, payload
        case dict():
            for key, value in payload.items():
                yield from _leaves(f"{name}/{key}", value)
        case list():
            for index, value in enumerate(payload):
                yield from _leaves(f"{name}/{index}", value)


def _number(text: str) -> float | None:
    """The number that a text is; integers stay integers."""
    word = _WORDS.get(text.lower())
    if word is not None:
        return word
    try:
        return int(text) if len(text) < 16 else float(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _json_inside(text: str) -> object:
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError:
        return None
