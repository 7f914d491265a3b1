"""From messages to blocks: gathers samples and events until a block is cut. Pure.

A poll is appended as it is (one time, one tuple of numbers); columns are made when the block is
cut. Names become series ids once, when a group of names is first seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from grug.messages import (
    Decided,
    Lagged,
    Message,
    Readings,
    ReadingsMissing,
    RunStarted,
    SetOffset,
)
from grug.model import Aim, Quality, Value
from grug.storage.block import Poll
from grug.storage.encode import SampleEncoder
from grug.storage.journal import JournalWriter, encode_journal
from grug.storage.segment import (
    Event,
    FrameKind,
    SeriesTable,
    encode_events,
    encode_frame,
    encode_series,
)
from grug.storage.series import JOURNAL_KINDS, About, counts_of, event_of
from grug.storage.timeline import STEP_BACK_MS_MAX

_NOTHING = About()

COUNTS_EVERY_MS = 9_500
"""Lines and fake meters count every second; the log keeps every tenth. Most of it only grows, and
all of it together would be a quarter of the log."""


_NEVER_MS = -(1 << 62)


class Recorded:
    """What the log had before a run that repeats itself exactly was started again."""

    def __init__(self, horizon_ms: int, newest_ms: dict[str, int], events: set[Event]) -> None:
        """Remember.

        Args:
            horizon_ms: everything up to this time is there.
            newest_ms: by series, the newest time after the horizon.
            events: those after the horizon.
        """
        self._horizon_ms = horizon_ms
        self._newest_ms = newest_ms
        self._last_ms = max(newest_ms.values(), default=horizon_ms)
        self._events = events

    def has_poll(self, series: Sequence[str], time_ms: int) -> bool:
        """Whether a poll is there: each series was recorded in the order of its times."""
        if time_ms > self._last_ms:
            return False
        return all(time_ms <= self._newest_ms.get(name, self._horizon_ms) for name in series)

    def has_message(self, time_ms: int) -> bool:
        """Whether a message of the journal is there; of the last block it may be missing."""
        return time_ms <= self._last_ms

    def has_event(self, event: Event) -> bool:
        """Whether the event is there."""
        return event.time_ms <= self._horizon_ms or event in self._events


class _Stamp:
    """The last time given to polls that have a series in common: no two may be equal."""

    __slots__ = ("last_ms",)

    def __init__(self) -> None:
        self.last_ms = _NEVER_MS


class _Group(NamedTuple):
    number: int
    poll: Poll
    stamp: list[_Stamp]
    """One element, replaced when groups turn out to share a series."""
    series: tuple[str, ...]
    texts: tuple[int, ...]
    """Positions that hold text; then ``numbers`` are the others."""
    numbers: tuple[int, ...]


class Collector:
    """What waits for the next block, and the series table of this writer."""

    def __init__(self, recorded: Recorded | None = None, about: About = _NOTHING) -> None:
        """Begin.

        Args:
            recorded: what the log has already of a run that repeats itself.
            about: what the series table says besides names.
        """
        self.names: list[str] = []
        """Series by id; ids are the writer's own and mean nothing to another."""
        self.count = 0
        """Samples that wait."""
        self.accepted = 0
        """Samples taken since start, with those that the log already had."""
        self.events: list[Event] = []
        self._recorded = recorded
        self._about = about
        self._ids: dict[str, int] = {}
        self._groups: dict[tuple[str, tuple[str, ...]], _Group] = {}
        self._states: dict[str, str] = {}
        """Last text of what is only noted when it changes."""
        self._unread: set[str] = set()
        """Devices with a poll unanswered or a value not good, to be looked at when they answer."""
        self._counts_due_ms: dict[str, int] = {}
        self._samples = SampleEncoder()
        self._listed = 0
        self._journal = JournalWriter()

    def set_zero(self, zero_ms: int) -> None:
        """What comes from now on has this UTC, in ms, at monotonic zero."""
        self._journal.set_zero(zero_ms)

    def add(self, message: Message, time_ms: int) -> None:
        """Take what the log wants of a message; ``time_ms`` is UTC."""
        if type(message) is Readings:
            if message.qualities or message.device in self._unread:
                self._add_mixed(message, time_ms)
            else:
                self._add_poll(message.device, message.names, message.values, time_ms)
            return
        counts, said_ms = counts_of(message), time_ms
        if counts is not None and (type(message) is Decided or self._is_due(counts[0], time_ms)):
            said_ms = self._add_poll(*counts, time_ms, is_input=False)
        if isinstance(message, JOURNAL_KINDS):
            if isinstance(message, RunStarted):
                self._journal.begin_run(message)
            self._keep(message, time_ms)
        event = event_of(message)
        if event is not None:
            self._add_event(Event(time_ms, event.source, event.kind, event.text))
        match message:
            case Decided():
                self._journal.add_decision(time_ms)
                self._add_change(message.controller, "reason", message.reason, said_ms)
            case ReadingsMissing():
                self._unread.add(message.device)
                source = f"{message.device}/{'+'.join(message.names[:3])}"
                self._add_change(source, "missing", f"{message.kind}: {message.text}", time_ms)
            case SetOffset():
                text = f"{message.power_w:g} W by {message.who}: {message.why}"
                if message.per_soc_w:
                    text = f"{message.per_soc_w:g} W per % + {text}"
                if message.aim is not Aim.OFFSET:
                    text = f"{message.aim} {text}"
                if message.target:
                    text = f"{message.target}: {text}"
                self._add_event(Event(time_ms, "offset", "set_offset", text))
            case Lagged():
                text = f"{message.count} messages were dropped"
                self._add_event(Event(time_ms, message.reader, "lagged", text))

    def cut(self, seq: int, *, boot_id: str, origin_ms: int = 0, flags: int = 0) -> list[bytes]:
        """Turn what waits into frames, numbered from ``seq``; nothing waits afterwards.

        Args:
            seq: of the first frame.
            boot_id: of this machine's boot.
            origin_ms: UTC of that boot, as the clock is set.
            flags: see ``FrameFlag``.
        """
        frames: list[bytes] = []
        polls = [group.poll for group in self._groups.values() if group.poll.times]
        times_ms = [poll.times[0] for poll in polls] + [poll.times[-1] for poll in polls]
        if self._listed < len(self.names):
            newest_ms = max(times_ms, default=0)
            frames.append(self._table(self._listed, seq, boot_id, newest_ms, origin_ms, flags))
        journal = self._journal.cut()
        notes = b"" if journal is None else encode_journal(journal)
        if polls:
            payload = self._samples.encode(polls) + notes
            frames.append(
                _frame(
                    FrameKind.SAMPLES, payload, seq + len(frames), self.count, times_ms, origin_ms,
                    flags,
                )
            )  # fmt: skip
            for poll in polls:
                poll.times.clear()
                poll.rows.clear()
            self.count = 0
        elif journal is not None:
            times_ms = [time_ms for time_ms, _ in journal.messages] or [0]
            frames.append(
                _frame(
                    FrameKind.JOURNAL, notes, seq + len(frames), len(journal.messages), times_ms,
                    origin_ms, flags,
                )
            )  # fmt: skip
        if self.events:
            payload = encode_events(self.events)
            times_ms = [event.time_ms for event in self.events]
            frames.append(
                _frame(
                    FrameKind.EVENTS, payload, seq + len(frames), len(times_ms), times_ms,
                    origin_ms, flags,
                )
            )  # fmt: skip
            self.events.clear()
        return frames

    def forget_times(self) -> None:
        """Let times begin anew: those so far will be corrected."""
        for group in self._groups.values():
            group.stamp[0].last_ms = _NEVER_MS

    def table_frame(
        self, seq: int, *, boot_id: str, time_ms: int, origin_ms: int = 0, flags: int = 0
    ) -> bytes:
        """The whole series table, with which every segment begins; see ``cut``."""
        self._journal.begin_segment()
        return self._table(0, seq, boot_id, time_ms, origin_ms, flags)

    def _table(
        self, first: int, seq: int, boot_id: str, time_ms: int, origin_ms: int, flags: int
    ) -> bytes:
        names = tuple(self.names[first:])
        self._listed = len(self.names)
        facts = [self._about.facts_of(name) for name in names]
        units = tuple([fact.unit for fact in facts])
        decimals = tuple([fact.decimals for fact in facts])
        table = SeriesTable(first, boot_id, names, units, decimals, self._about.site)
        return _frame(
            FrameKind.SERIES, encode_series(table), seq, len(names), [time_ms], origin_ms, flags
        )

    def _add_poll(
        self,
        prefix: str,
        names: tuple[str, ...],
        values: tuple[Value, ...],
        time_ms: int,
        *,
        is_input: bool = True,
    ) -> int:
        """Take numbers that belong together; returns the time that they get.

        ``is_input`` says that controllers act on them.
        """
        group = self._groups.get((prefix, names))
        if group is None:
            group = self._new_group(prefix, names, values)
        stamp = group.stamp[0]
        shift_ms = 0
        last_ms = stamp.last_ms
        if time_ms <= last_ms and time_ms > last_ms - STEP_BACK_MS_MAX:
            shift_ms = last_ms + 1 - time_ms  # By more, the clock was set back: obeyed.
            time_ms += shift_ms
        stamp.last_ms = time_ms
        if group.texts:
            for position in group.texts:
                self._add_change(
                    f"{prefix}/{names[position]}", "text", str(values[position]), time_ms
                )
            values = tuple([values[position] for position in group.numbers])
        count = len(values)
        if not count:
            return time_ms
        self.accepted += count
        if self._recorded is not None and self._recorded.has_poll(group.series, time_ms):
            return time_ms
        poll = group.poll
        poll.times.append(time_ms)
        poll.rows.append(values)
        self.count += count
        if is_input:
            self._journal.add_readings(group.number, time_ms, shift_ms)
        return time_ms

    def _keep(self, message: Message, time_ms: int) -> None:
        """Take a message into the journal, word for word."""
        if self._recorded is None or not self._recorded.has_message(time_ms):
            self._journal.add_message(message, time_ms)

    def _new_group(self, prefix: str, names: tuple[str, ...], values: tuple[Value, ...]) -> _Group:
        """Name the series of a group. Which of its registers are text does not change: maps say."""
        texts = tuple(index for index, value in enumerate(values) if isinstance(value, str))
        numbers = tuple(index for index in range(len(names)) if index not in texts)
        series = tuple([f"{prefix}/{names[index]}" for index in numbers])
        for name in series:
            if name not in self._ids:
                self._ids[name] = len(self.names)
                self.names.append(name)
        ids = tuple(self._ids[name] for name in series)
        stamp = _Stamp()
        group = _Group(len(self._groups), Poll(ids), [stamp], series, texts, numbers)
        shared = [
            other for other in self._groups.values() if not set(ids).isdisjoint(other.poll.ids)
        ]
        replaced = {id(other.stamp[0]) for other in shared}
        for other in self._groups.values():
            if id(other.stamp[0]) in replaced:
                stamp.last_ms = max(stamp.last_ms, other.stamp[0].last_ms)
                other.stamp[0] = stamp
        self._groups[(prefix, names)] = group
        return group

    def _is_due(self, counter: str, time_ms: int) -> bool:
        """Whether a counter's numbers are worth a row again: displays want them more often."""
        if time_ms < self._counts_due_ms.get(counter, time_ms):
            return False
        self._counts_due_ms[counter] = time_ms + COUNTS_EVERY_MS
        return True

    def _add_mixed(self, message: Readings, time_ms: int) -> None:
        """Take the good values as samples; note which others became bad or good again."""
        qualities = message.qualities or (Quality.GOOD,) * len(message.names)
        names: list[str] = []
        values: list[Value] = []
        for name, value, quality in zip(message.names, message.values, qualities, strict=True):
            source = f"{message.device}/{name}"
            if quality is Quality.GOOD:
                names.append(name)
                values.append(value)
                if f"{source} quality" in self._states:
                    self._add_change(source, "quality", "good", time_ms)
                    del self._states[f"{source} quality"]
            else:
                self._unread.add(message.device)
                self._add_change(source, "quality", str(quality), time_ms)
        missing = f"{message.device}/{'+'.join(message.names[:3])}"
        if f"{missing} missing" in self._states:
            self._add_change(missing, "missing", "answers again", time_ms)
            del self._states[f"{missing} missing"]
        if names:
            good = message.names if len(names) == len(message.names) else tuple(names)
            self._add_poll(message.device, good, tuple(values), time_ms)
        else:
            self._keep(message, time_ms)
        prefix = message.device + "/"
        if not any(
            key.startswith(prefix) and key.endswith((" quality", " missing"))
            for key in self._states
        ):
            self._unread.discard(message.device)

    def _add_change(self, source: str, kind: str, text: str, time_ms: int) -> None:
        key = f"{source} {kind}"
        if self._states.get(key) != text:
            self._states[key] = text
            self._add_event(Event(time_ms, source, kind, text))

    def _add_event(self, event: Event) -> None:
        if self._recorded is None or not self._recorded.has_event(event):
            self.events.append(event)


def _frame(
    kind: FrameKind,
    payload: bytes,
    seq: int,
    count: int,
    times_ms: Sequence[int],
    origin_ms: int,
    flags: int,
) -> bytes:
    """One frame, whose monotonic time is that of the newest of its times."""
    newest_ms = max(times_ms)
    return encode_frame(
        kind,
        payload,
        seq=seq,
        count=count,
        t_min_ms=min(times_ms),
        t_max_ms=newest_ms,
        monotonic_ms=max(0, newest_ms - origin_ms),
        flags=flags,
    )
