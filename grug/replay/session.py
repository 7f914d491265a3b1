"""A recorded session, read out of a log: what controllers heard, and what they answered.

Owns:  nothing; blocks come in, in the order in which they were written
Never: guesses. What a log does not tell (blocks that are lost, a time before it begins) is a gap,
       and is named

Readings come back as the very messages that were published: the same times, the same numbers, in
the same order. Only text registers are missing from them, since no controller decides on text.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from grug.app.parts import Maps
from grug.codec.block import BlockDecoder
from grug.codec.registers import RegisterMap
from grug.config.loads import spans_of
from grug.config.types import HouseConfig
from grug.messages import Message, Readings, RunStarted
from grug.model import Quality, Value
from grug.storage.block import Column, decode_block
from grug.storage.journal import (
    Journal,
    decode_journal,
    in_order,
    messages_of,
    pairs_of,
    run_of,
)
from grug.storage.segment import Event, FrameKind, decode_events
from grug.storage.series import time_of
from grug.transport.logfiles import LogBlock

Row: TypeAlias = tuple[Any, ...]


class Heard(NamedTuple):
    """One message to controllers."""

    at_s: float
    """Monotonic: the time of the fact."""
    floor_s: float
    """It was published at this moment or later."""
    message: Message


class Said(NamedTuple):
    """One recorded decision."""

    at_s: float
    """Monotonic."""
    series: tuple[str, ...]
    values: tuple[float, ...]


class Noticed(NamedTuple):
    """One recorded event."""

    at_s: float
    """Monotonic."""
    source: str
    kind: str
    text: str


@dataclass(slots=True)
class SessionBlock:
    """What one block of the log has for a replay."""

    run: RunStarted | None
    """The run that it belongs to; None when the log does not tell."""
    zero_ms: int
    """UTC at monotonic zero."""
    boot_id: str = ""
    """Of the machine, when it was written; empty when the log does not tell."""
    heard: list[Heard] = field(default_factory=list)
    """In the order in which it was published."""
    said: list[Said] = field(default_factory=list)
    """In the order of time, for each controller."""
    noticed: list[Noticed] = field(default_factory=list)
    gaps: list[Noticed] = field(default_factory=list)
    """Where something is missing before this block or in it, or an actor lost its memory."""


class _ReadingsKind(NamedTuple):
    """Columns that are readings of one device."""

    device: str
    names: tuple[str, ...]
    """Of the columns, then those that were not good."""
    absent: tuple[str, ...]
    """Series of those that were not good."""
    are_integers: tuple[bool, ...]
    are_bits: tuple[bool, ...]


class _Other(NamedTuple):
    """Columns that are decisions or counts."""

    series: tuple[str, ...]
    is_count: bool


class _Poll(NamedTuple):
    times: list[int]
    kind: _ReadingsKind | _Other
    columns: list[Column]


class Recorded(NamedTuple):
    """The house of a run, as it was recorded: without it columns mean nothing."""

    config: HouseConfig
    maps: Maps


class _Content(NamedTuple):
    """A frame of samples or a journal, unpacked."""

    columns: list[Column]
    journal: Journal | None


class Pair(NamedTuple):
    """The frames of the log that were written together."""

    samples: LogBlock | None
    """Or a journal."""
    events: LogBlock | None
    gap: str = ""
    """What is missing before them."""


def pairs_in(blocks: Iterable[LogBlock]) -> Iterator[Pair]:
    """Put together what was written together, and see what is missing."""
    held: Pair | None = None
    last: LogBlock | None = None
    gap = ""
    for block in blocks:
        if last is not None and block.epoch != last.epoch:
            gap = "the log's writer was started again"
        elif last is not None and block.frame.seq > last.frame.seq + 1:
            gap = f"{block.frame.seq - last.frame.seq - 1} blocks of the log are missing"
        last = block
        if block.frame.kind not in (FrameKind.SAMPLES, FrameKind.JOURNAL, FrameKind.EVENTS):
            continue
        is_second = held is not None and block.frame.kind == FrameKind.EVENTS and not gap
        if held is not None:
            yield held._replace(events=block) if is_second else held
            held = None
        if block.frame.kind == FrameKind.EVENTS:
            if not is_second:
                yield Pair(None, block, gap)
        else:
            held = Pair(block, None, gap)
        gap = ""
    if held is not None:
        yield held


class _Clock:
    """Turns a block's times into monotonic ones, also while the log's clock is being set."""

    def __init__(self, zero_ms: int) -> None:
        self._since_ms: list[int] = []
        self._zeros_ms = [zero_ms]

    def set(self, since_ms: int, zero_ms: int) -> None:
        """From a time on, in UTC, monotonic zero is another."""
        if not self._since_ms or since_ms >= self._since_ms[-1]:
            self._since_ms.append(since_ms)
            self._zeros_ms.append(zero_ms)

    def at_s(self, time_ms: int) -> float:
        """The monotonic time."""
        return (time_ms - self._zeros_ms[bisect_right(self._since_ms, time_ms)]) / 1000


class BlockReader:
    """Turns a log's blocks into those of a session."""

    def __init__(self, house_of: Callable[[RunStarted], Recorded]) -> None:
        """Begin.

        Args:
            house_of: the recorded configuration of a run, and its maps.
        """
        self._house_of = house_of
        self._run: RunStarted | None = None
        """The run that the last block belongs to."""
        self._house: Recorded | None = None
        self._zero_ms: int | None = None
        self._kinds: dict[tuple[str, ...], _ReadingsKind | _Other] = {}
        self._qualities: dict[str, list[tuple[int, str]]] = {}
        """By series: since when it was how good."""

    def skip(self, pair: Pair) -> None:
        """Note what must be known of a block that is not replayed itself."""
        content = _content_of(pair.samples)
        self._begin(content.journal)
        if content.journal is not None and self._zero_ms is not None:
            self._zero_ms += sum(change for _, change in pairs_of(content.journal.zeros))

    def read(self, pair: Pair) -> SessionBlock:
        """Read one block."""
        content = _content_of(pair.samples)
        is_new = self._begin(content.journal)
        zero_ms = self._zero_ms or 0
        first = pair.samples or pair.events
        found = SessionBlock(self._run, zero_ms, "" if first is None else first.boot_id)
        events = [] if pair.events is None else decode_events(pair.events.frame.unpack())
        if pair.gap and not is_new and first is not None:
            at_s = (first.frame.t_min_ms - zero_ms) / 1000
            found.gaps.append(Noticed(at_s, "log", "gap", pair.gap))
        clock = _Clock(zero_ms)
        if pair.samples is not None and self._zero_ms is not None and self._house is not None:
            self._note_qualities(events)
            names = pair.samples.names
            if all(column.series < len(names) for column in content.columns):
                self._take_samples(content, names, found, clock)
            else:
                at_s = (pair.samples.frame.t_min_ms - zero_ms) / 1000
                found.gaps.append(Noticed(at_s, "log", "gap", "a series table is damaged"))
        self._take_events(events, found, clock)
        for times in self._qualities.values():
            del times[:-1]
        return found

    def _begin(self, journal: Journal | None) -> bool:
        """Note what a journal says of its run; returns whether another one begins."""
        if journal is None:
            return False
        if journal.zero_ms is not None:
            self._zero_ms = journal.zero_ms
        found = [run_of(journal), *(each.message for each in messages_of(journal))]
        runs = [each for each in found if isinstance(each, RunStarted)]
        if not runs or runs[-1] == self._run:
            return False
        self._run = runs[-1]
        self._house = self._house_of(runs[-1])
        self._kinds.clear()
        return True

    def _note_qualities(self, events: list[Event]) -> None:
        for event in events:
            if event.kind == "quality":
                self._qualities.setdefault(event.source, []).append((event.time_ms, event.text))

    def _take_events(self, events: list[Event], found: SessionBlock, clock: _Clock) -> None:
        for event in events:
            noticed = Noticed(clock.at_s(event.time_ms), *event[1:])
            found.noticed.append(noticed)
            if event.kind == "lagged" and event.source == "log":
                found.gaps.append(noticed)
            elif event.kind == "actor_failed":
                text = event.text.strip().splitlines()[-1]
                found.gaps.append(noticed._replace(text=f"{event.source} crashed: {text}"))
            elif event.source == "recorder" and "samples were lost" in event.text:
                found.gaps.append(noticed)

    def _take_samples(
        self, content: _Content, names: Sequence[str], found: SessionBlock, clock: _Clock
    ) -> None:
        polls = list(self._polls(content.columns, names))
        entries: list[tuple[int, int, _ReadingsKind | None, Any]] = []
        for index, poll in enumerate(polls):
            if isinstance(poll.kind, _ReadingsKind):
                kind, readings = poll.kind, _rows(poll.kind, poll.columns)
                entries += [
                    (time_ms, index, kind, row)
                    for time_ms, row in zip(poll.times, readings, strict=True)
                ]
        if content.journal is not None:
            messages = messages_of(content.journal)
            entries += [(time_ms, -1, None, each) for time_ms, each in messages]
        entries.sort(key=itemgetter(0, 1))
        self._put_in_order(entries, content.journal, found, clock)
        for poll in polls:
            if isinstance(poll.kind, _Other) and not poll.kind.is_count:
                rows = zip(*(column.values() for column in poll.columns), strict=True)
                found.said += [
                    Said(clock.at_s(time_ms), poll.kind.series, row)
                    for time_ms, row in zip(poll.times, rows, strict=True)
                ]

    def _put_in_order(
        self,
        entries: list[tuple[int, int, _ReadingsKind | None, Any]],
        journal: Journal | None,
        found: SessionBlock,
        clock: _Clock,
    ) -> None:
        """Give everything its place and its monotonic time."""
        zero_ms = found.zero_ms
        zeros: dict[int, int] = {}
        shifts: dict[int, int] = {}
        lates: dict[int, int] = {}
        ordered: Iterable[tuple[int, int, _ReadingsKind | None, Any]] = entries
        if journal is not None:
            zeros, shifts = dict(pairs_of(journal.zeros)), dict(pairs_of(journal.shifts))
            lates = dict(pairs_of(journal.late))
            ordered = in_order(journal, entries)
        heard = found.heard
        for position, (time_ms, _, kind, row) in enumerate(ordered):
            if position in zeros:
                zero_ms += zeros[position]
                clock.set(time_ms, zero_ms)
            at_ms = time_ms - zero_ms - shifts.get(position, 0)
            at_s = at_ms / 1000
            floor_s = (at_ms + lates[position]) / 1000 if position in lates else at_s
            if kind is None:
                if row is not None:  # It has its exact time.
                    exact_s = time_of(row, at_s)
                    heard.append(Heard(exact_s, max(exact_s, floor_s), row))
            elif kind.absent:
                heard.append(Heard(at_s, floor_s, self._mixed(kind, row, time_ms, at_s)))
            else:
                heard.append(Heard(at_s, floor_s, Readings(kind.device, at_s, kind.names, row)))
        self._zero_ms = found.zero_ms + sum(zeros.values())  # Also what came after the last entry.

    def _mixed(self, kind: _ReadingsKind, row: Row, time_ms: int, at_s: float) -> Readings:
        """Readings of which some were not good; the numbers of those were not kept."""
        qualities = [Quality.GOOD] * len(row)
        for series in kind.absent:
            known = self._qualities.get(series, [])
            index = bisect_right(known, time_ms, key=itemgetter(0))
            text = known[max(0, index - 1)][1] if known else "bad"
            is_quality = text in set(Quality) and text != Quality.GOOD
            qualities.append(Quality(text) if is_quality else Quality.BAD)
        values = (*row, *[math.nan] * len(kind.absent))
        return Readings(kind.device, at_s, kind.names, values, tuple(qualities))

    def _polls(self, columns: list[Column], names: Sequence[str]) -> Iterator[_Poll]:
        """Put together the columns that came together."""
        start = 0
        for end in range(1, len(columns) + 1):
            if end == len(columns) or columns[end].times is not columns[start].times:
                part = columns[start:end]
                series = tuple([names[column.series] for column in part])
                kind = self._kinds.get(series)
                if kind is None:
                    kind = self._kinds[series] = self._kind_of(series)
                yield _Poll(part[0].times, kind, part)
                start = end

    def _kind_of(self, series: tuple[str, ...]) -> _ReadingsKind | _Other:
        """What columns are, by the names of their series."""
        assert self._house is not None, "a house is known before its columns"
        device, _, first = series[0].partition("/")
        config = self._house.config.device.get(device)
        if config is not None:
            register_map = self._house.maps[config.map]
            names = tuple([each.partition("/")[2] for each in series])
            if first in register_map.registers:
                groups = [register_map.select(poll.registers) for poll in config.poll]
                polled = [[register.name for register in group] for group in groups]
                return _readings_kind(device, names, register_map, polled)
        if device in self._house.config.fakemeter:  # How often it answered, which is steered by.
            names = tuple([each.partition("/")[2] for each in series])
            return _ReadingsKind(device, names, (), (True,) * len(names), (False,) * len(names))
        return _Other(series, series[0].startswith(("fakemeter/", "line/")))


def _readings_kind(
    device: str, names: tuple[str, ...], register_map: RegisterMap, polled: list[list[str]]
) -> _ReadingsKind:
    """How a poll group's columns become readings again."""
    zeros = {name: _zero_of(register_map, name) for name in names}
    absent: list[str] = []
    if list(names) not in polled:
        wider = [group for group in polled if set(names) < set(group)]
        for name in min(wider, key=len, default=[]):
            if name not in names and not isinstance(_zero_of(register_map, name), str):
                absent.append(name)
    return _ReadingsKind(
        device,
        (*names, *absent),
        tuple([f"{device}/{name}" for name in absent]),
        tuple([type(zeros[name]) is int for name in names]),
        tuple([type(zeros[name]) is bool for name in names]),
    )


def _zero_of(register_map: RegisterMap, name: str) -> Value:
    """What a register decodes to when all its bytes are zero: it tells the type."""
    registers = (register_map[name],)
    spans = spans_of(registers)
    blocks = [bytes(span.count if span.table.is_bits else 2 * span.count) for span in spans]
    return BlockDecoder(registers, spans).decode(blocks)[0][0]


def _rows(kind: _ReadingsKind, columns: list[Column]) -> Iterator[Row]:
    """The values of each poll, of the types that the device's map gives them."""
    values: list[Sequence[Any]] = []
    for column, is_integer, is_bit in zip(columns, kind.are_integers, kind.are_bits, strict=True):
        if is_integer and column.exponent == 0:
            values.append(column.integers)
        elif is_bit:
            values.append([bool(each) for each in column.integers])
        else:
            values.append(column.values())
    return zip(*values, strict=True)


def _content_of(block: LogBlock | None) -> _Content:
    """What a frame holds."""
    if block is None:
        return _Content([], None)
    if block.frame.kind == FrameKind.JOURNAL:
        return _Content([], decode_journal(block.frame.unpack()))
    columns, notes = decode_block(block.frame.unpack())
    return _Content(columns, decode_journal(notes) if notes else None)
