"""What of each message goes into the log: which series get a sample, and which events a line.

Series are named ``<device>/<register>``, ``<controller>/<name>``, ``fakemeter/<name>/<count>``,
``line/<name>/<count>`` and ``belief/<inverter>/<number>``. Samples are numbers read well; all else
is an event, and only when it changes: a text register, a value that is not good, a poll without an
answer, the reason of a decision. Writes are all events: that is the ledger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from grug.messages import (
    ActorFailed,
    BeliefEstimated,
    Decided,
    DispatchChanged,
    FakeMeterChanged,
    FakeMeterCounted,
    GateAnswered,
    Lagged,
    LineChanged,
    LineCounted,
    Message,
    Noted,
    Readings,
    ReadingsMissing,
    Remembered,
    RunStarted,
    RunStopping,
    SetOffset,
    UnitChanged,
    WriteDone,
    WriteFailed,
    WriteRecorded,
    WriteRegisters,
)
from grug.storage.segment import SeriesFacts


class About(NamedTuple):
    """What a log says of the house besides what happens there."""

    site: str = ""
    """Name of the house."""
    series: Mapping[str, SeriesFacts] = MappingProxyType({})
    """Of registers, as their maps have it."""

    def facts_of(self, series: str) -> SeriesFacts:
        """Of any series: counters and decisions end in their unit."""
        facts = self.series.get(series)
        if facts is not None:
            return facts
        return next((f for end, f in _FACTS_BY_END.items() if series.endswith(end)), SeriesFacts())


_FACTS_BY_END = {
    "_per_s": SeriesFacts("1/s", 1),
    "_pct": SeriesFacts("%", 1),
    "_wh": SeriesFacts("Wh", 0),
    "_ms": SeriesFacts("ms", 0),
    "_w": SeriesFacts("W", 0),
    "_v": SeriesFacts("V", 1),
    "_a": SeriesFacts("A", 1),
    "_s": SeriesFacts("s", 3),
}
"""The first that fits counts."""


class TextEvent(NamedTuple):
    """One thing that happened, in words."""

    at_s: float
    """Monotonic."""
    source: str
    kind: str
    text: str


LOGGED_KINDS = (
    Readings,
    ReadingsMissing,
    Decided,
    SetOffset,
    WriteDone,
    WriteFailed,
    WriteRecorded,
    DispatchChanged,
    Remembered,
    GateAnswered,
    FakeMeterCounted,
    FakeMeterChanged,
    BeliefEstimated,
    LineCounted,
    LineChanged,
    UnitChanged,
    ActorFailed,
    Noted,
    Lagged,
    RunStarted,
    RunStopping,
)
"""Messages that the log wants; ``Readings`` first, since nearly all are."""

JOURNAL_KINDS = (
    RunStarted,
    RunStopping,
    ReadingsMissing,
    SetOffset,
    UnitChanged,
    DispatchChanged,
    Remembered,
    GateAnswered,
)
"""What controllers are told besides readings, and what they remember: the journal has every one,
word for word."""


def event_of(message: Message) -> TextEvent | None:
    """The event that a message is by itself; None for those of another kind or without a time."""
    make = _EVENTS.get(type(message))
    return None if make is None else make(message)


def time_of(message: Message, otherwise_s: float) -> float:
    """When a message's fact was so, monotonic; ``otherwise_s`` for those that do not say."""
    name = _TIMES.get(type(message))
    if name is None:
        return otherwise_s
    at_s: float = getattr(message, name)
    return at_s


def counts_of(message: Message) -> tuple[str, tuple[str, ...], tuple[float, ...]] | None:
    """Prefix, names and numbers of a message that counts or decides; None for others.

    A number that is not known yet (NaN) is left out, so that it spoils no average.
    """
    fields: tuple[str, ...]
    match message:
        case Decided():
            return message.controller, message.names, message.values
        case FakeMeterCounted():
            fields = _known(message, _FAKEMETER_FIELDS)
            prefix = f"fakemeter/{message.fakemeter}"
        case BeliefEstimated():
            fields = _known(message, _BELIEF_FIELDS)
            prefix = f"belief/{message.inverter}"
        case LineCounted():
            fields, prefix = _LINE_FIELDS, f"line/{message.line}"
        case _:
            return None
    return prefix, fields, tuple([_as_kept(field, getattr(message, field)) for field in fields])


def _known(message: Message, fields: tuple[str, ...]) -> tuple[str, ...]:
    return tuple([field for field in fields if not math.isnan(getattr(message, field))])


_FAKEMETER_FIELDS = (
    *("queries_per_s", "answered", "silent_stale", "refused", "foreign", "age_s"),
    *("unknown", "silent_late", "latency_p50_ms", "latency_p99_ms"),
)
_BELIEF_FIELDS = ("scale", "offset_w", "lag_s", "fit", "reports")
_LINE_FIELDS = ("utilisation_pct", "transactions", "failures", "waiting")
_DECIMALS = {
    "queries_per_s": 2,
    "age_s": 3,
    "latency_p50_ms": 3,
    "latency_p99_ms": 3,
    "scale": 4,
    "offset_w": 1,
    "lag_s": 3,
    "fit": 4,
    "utilisation_pct": 2,
}
"""As many as mean something. All digits of a computed number take 8 bytes each time."""


def _as_kept(field: str, number: float) -> float:
    decimals = _DECIMALS.get(field)
    return number if decimals is None else round(number, decimals)


def _request_text(request: WriteRegisters) -> str:
    contents = request.block.hex()
    if request.mask:
        contents += f" where {request.mask.hex()}"
    return (
        f"unit {request.unit_id} {request.table} {request.address} = {contents}"
        f" by {request.who}: {request.why}"
    )


def _write_done(message: WriteDone) -> TextEvent:
    return TextEvent(
        message.done_s, f"line/{message.line}", "write", _request_text(message.request)
    )


def _write_failed(message: WriteFailed) -> TextEvent:
    text = f"{_request_text(message.request)}: {message.kind}: {message.text}"
    return TextEvent(message.failed_s, f"line/{message.line}", "write_failed", text)


def _write_recorded(message: WriteRecorded) -> TextEvent:
    was = "" if message.old is None else f"{message.old} -> "
    reason = f"; {message.reason}" if message.reason else ""
    text = f"{message.state}: {was}{message.new} by {message.who}: {message.why}{reason}"
    source = f"{message.device}/{message.register}"
    return TextEvent(message.recorded_s, source, "register", text)


def _dispatch_changed(message: DispatchChanged) -> TextEvent:
    doubt = "not known, at most " if message.is_doubt else ""
    text = f"{doubt}{message.power_w:g} W by registers: {message.reason}"
    return TextEvent(message.changed_s, message.inverter, "dispatch", text)


def _line_changed(message: LineChanged) -> TextEvent:
    text = _with_cause("up" if message.is_up else "down", message.cause)
    return TextEvent(message.changed_s, f"line/{message.line}", "line", text)


def _unit_changed(message: UnitChanged) -> TextEvent:
    text = _with_cause(f"unit {message.unit_id} {message.health}", message.cause)
    return TextEvent(message.changed_s, f"line/{message.line}", "unit", text)


def _fakemeter_changed(message: FakeMeterChanged) -> TextEvent:
    text = _with_cause("live" if message.is_live else "silent", message.cause)
    return TextEvent(message.changed_s, f"fakemeter/{message.fakemeter}", "fakemeter", text)


def _actor_failed(message: ActorFailed) -> TextEvent:
    text = f"{message.text}; it starts again in {message.restart_delay_s:g} s"
    return TextEvent(message.failed_s, message.actor, "actor_failed", text)


def _noted(message: Noted) -> TextEvent:
    return TextEvent(message.noted_s, message.source, "note", message.text)


def _run_started(message: RunStarted) -> TextEvent:
    text = f"grug {message.version}, configuration {message.digest}"
    return TextEvent(message.started_s, "grug", "started", text)


def _run_stopping(message: RunStopping) -> TextEvent:
    return TextEvent(message.stopping_s, "grug", "stopping", message.cause)


def _with_cause(text: str, cause: str) -> str:
    return f"{text}: {cause}" if cause else text


_EVENTS: dict[type[Message], Callable[..., TextEvent]] = {
    WriteDone: _write_done,
    WriteFailed: _write_failed,
    WriteRecorded: _write_recorded,
    DispatchChanged: _dispatch_changed,
    LineChanged: _line_changed,
    UnitChanged: _unit_changed,
    FakeMeterChanged: _fakemeter_changed,
    ActorFailed: _actor_failed,
    Noted: _noted,
    RunStarted: _run_started,
    RunStopping: _run_stopping,
}
EVENT_KINDS: tuple[type[Message], ...] = tuple(_EVENTS)
"""Messages that are events by themselves, for whoever shows events to a person."""

_TIMES: dict[type[Message], str] = {
    Readings: "read_s",
    ReadingsMissing: "failed_s",
    Decided: "decided_s",
    WriteDone: "done_s",
    WriteFailed: "failed_s",
    WriteRecorded: "recorded_s",
    DispatchChanged: "changed_s",
    Remembered: "remembered_s",
    GateAnswered: "answered_s",
    FakeMeterCounted: "counted_s",
    FakeMeterChanged: "changed_s",
    BeliefEstimated: "estimated_s",
    LineCounted: "counted_s",
    LineChanged: "changed_s",
    UnitChanged: "changed_s",
    ActorFailed: "failed_s",
    Noted: "noted_s",
    RunStarted: "started_s",
    RunStopping: "stopping_s",
}
