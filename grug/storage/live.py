"""What displays are told as it happens: JSON lines of samples and events. Pure.

They are not on the disk yet, and after a power cut never were; so they look like nothing that a
shipper takes, which knows blocks alone. ``storage/show.py`` writes the same lines of a log.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

from grug.messages import Decided, FakeMeterCounted, LineCounted, Message, Readings
from grug.model import Quality
from grug.storage.segment import Event
from grug.storage.series import EVENT_KINDS, counts_of, event_of, time_of
from grug.storage.show import Sample, TextStyle, events_text, samples_text

LIVE_KINDS: tuple[type[Message], ...] = (
    Readings,
    Decided,
    FakeMeterCounted,
    LineCounted,
    *EVENT_KINDS,
)
"""What to subscribe to."""


def live_key(message: Message) -> Hashable:
    """Of messages with equal keys a display that is slow gets only the latest."""
    match message:
        case Readings():
            return message.device, message.names
        case Decided():
            return "decided", message.controller
        case FakeMeterCounted():
            return "fakemeter", message.fakemeter
        case LineCounted():
            return "line", message.line
        case _:
            event = event_of(message)
            return type(message), event.source if event is not None else ""


def live_text(messages: Iterable[Message], utc_ms: Callable[[float], int]) -> str:
    """A line for each good number and each event.

    Args:
        messages: of ``LIVE_KINDS``.
        utc_ms: from monotonic seconds to UTC in ms.
    """
    samples: list[Sample] = []
    events: list[Event] = []
    for message in messages:
        time_ms = utc_ms(time_of(message, 0.0))
        event = event_of(message)
        if event is not None:
            events.append(Event(time_ms, event.source, event.kind, event.text))
        elif isinstance(message, Readings):
            qualities = message.qualities or (Quality.GOOD,) * len(message.names)
            samples += [
                Sample(time_ms, f"{message.device}/{name}", value)
                for name, value, quality in zip(
                    message.names, message.values, qualities, strict=True
                )
                if quality is Quality.GOOD and not isinstance(value, str)
            ]
        elif (counts := counts_of(message)) is not None:
            prefix, names, values = counts
            samples += [
                Sample(time_ms, f"{prefix}/{name}", value)
                for name, value in zip(names, values, strict=True)
            ]
    return samples_text(samples, TextStyle.JSON) + events_text(events, TextStyle.JSON)
