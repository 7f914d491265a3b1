"""Recorder actor: writes what happens into the log on disk.

In:    every message that the log wants, from the feed; StopRecording
Out:   ``on_block`` with the number of each block that is safe; LogCounted once a second; Noted when
       the log cannot be kept, and when it can again
Owns:  the log directory
Stops: at StopRecording, after the last block is safe

Blocks are cut by the messages' own time, so that a run in virtual time writes the same blocks.
When the device is full or read-only the house goes on: the block is dropped, counted and reported.

While the clock is not synchronised and a time service is expected to set it, blocks are flagged and
safe on disk, but ``on_block`` hears of them only afterwards, when readers can correct their times.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import trio

from grug.errors import StorageError
from grug.messages import LogCounted, Message, Noted, Readings, StopRecording
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed, Subscription
from grug.runtime.recording import ClockWatch, keep
from grug.storage.collect import Collector
from grug.storage.segment import FrameFlag
from grug.storage.series import LOGGED_KINDS, About, time_of
from grug.storage.timeline import Timeline
from grug.transport.logwriter import Limits, LogWriter

KINDS: tuple[type[Message], ...] = (*LOGGED_KINDS, StopRecording)
"""What to subscribe to for ``run``."""
BLOCK_SAMPLES_MAX = 20_000
_BLOCK_SPAN_MS_MAX = 86_400_000
"""A block's times must lie close together; more means that the clock was set."""
REOPEN_AFTER_S = 10.0
_COUNT_EVERY_S = 1.0


class LogSettings(Protocol):
    """The part of the configuration that is about the log; see ``grug.config.types.LogConfig``."""

    @property
    def block(self) -> float:
        """Seconds of one block."""

    @property
    def max_bytes(self) -> int:
        """Of all segments."""

    @property
    def max_age_days(self) -> float:
        """Of a segment."""

    @property
    def reserve_bytes(self) -> int:
        """Free space left to others."""


async def run(
    source: Subscription,
    *,
    log_directory: Path,
    settings: LogSettings,
    wall: WallClock,
    feed: Feed,
    on_block: Callable[[int], None] | None = None,
    resume: bool = False,
    is_durable: bool = True,
    about: About | None = None,
) -> bool:
    """Record until StopRecording.

    Args:
        source: a queued subscription to ``KINDS``.
        log_directory: where the segments are.
        settings: durations and limits.
        wall: gives UTC.
        feed: where LogCounted and Noted go.
        on_block: told the sequence number of each block that is safe.
        resume: the run repeats exactly what an earlier one did over the same log: what is there
            already is not written again.
        is_durable: wait for the device at each block, in a thread, and try again when the log
            cannot be opened. False is for virtual time, where waiting for a thread would let the
            clock run away.
        about: name, units and decimals, for the log.

    Returns:
        Whether the log shall be shipped before the end.

    Raises:
        StorageError: not durable, and the log cannot be opened.
    """
    limits = Limits.of(settings.max_bytes, settings.max_age_days, settings.reserve_bytes)
    open_log = partial(LogWriter, log_directory, limits, is_durable=is_durable)
    writer = await _open_in_time(open_log, source, feed) if is_durable else open_log()
    if writer is None:
        return False
    try:
        if on_block is not None:
            on_block(writer.next_seq - 1)
        recorder = _Recorder(
            writer, feed, wall, float(settings.block), on_block, resume, about or About()
        )
        stop = await keep(
            source,
            block_s=recorder.block_s,
            take=recorder.take,
            write=partial(recorder.write_block, is_durable),
            rest=recorder.count_if_due,
        )
        recorder.publish_count()
        return stop.ship
    finally:
        writer.close()


async def _open_in_time(
    open_log: Callable[[], LogWriter], source: Subscription, feed: Feed
) -> LogWriter | None:
    """Open the log, as often as it takes; None when told to stop before."""
    last_text = ""
    while True:
        try:
            return await trio.to_thread.run_sync(open_log)
        except StorageError as error:
            if str(error) != last_text:
                last_text = str(error)
                feed.publish(
                    Noted("recorder", f"{error}; nothing is recorded", trio.current_time())
                )
        with trio.move_on_after(REOPEN_AFTER_S):
            while True:
                for message in await source.receive_batch():
                    if isinstance(message, StopRecording):
                        return None


class _Recorder:
    """The state between two messages."""

    def __init__(
        self,
        writer: LogWriter,
        feed: Feed,
        wall: WallClock,
        block_s: float,
        on_block: Callable[[int], None] | None,
        resume: bool,
        about: About,
    ) -> None:
        self.block_s = block_s
        self._writer = writer
        self._feed = feed
        self._wall = wall
        self._on_block = on_block
        self._collector = Collector(writer.recorded() if resume else None, about)
        self._timeline = Timeline(None if resume else writer.last_ms)
        self._now_s: float | None = None
        """The newest time that a message had; not this process' time when time is virtual."""
        self._block_s_start = 0.0
        self._block_ms_start: int | None = None
        self._now_ms = 0
        self._blocks = 0
        self._counted_s = trio.current_time()
        self._lost_samples = 0
        self._clock = ClockWatch(wall, self._note)
        self._flags = 0
        self._origin_ms: int | None = None
        """UTC at monotonic zero, as the collector was told last."""
        self._after_cut: tuple[Message, float, int] | None = None
        """The first message after the clock was set: it begins a block."""

    def take(self, message: Message) -> bool:
        """Gather one message; says whether a block is complete."""
        if type(message) is Readings:  # Nearly all are.
            at_s = message.read_s
        else:
            at_s = time_of(message, trio.current_time() if self._now_s is None else self._now_s)
        if self._now_s is None:
            self._now_s = self._block_s_start = at_s
        time_ms = self._timeline.at(at_s, self._wall.utc_ms(at_s))
        if self._timeline.steps:
            self._note_steps()
            if self._block_ms_start is not None:
                self._after_cut = (message, at_s, time_ms)
                return True
        return self._add(message, at_s, time_ms)

    def _add(self, message: Message, at_s: float, time_ms: int) -> bool:
        if self._block_ms_start is None:
            flags, flags_before = self._clock.flags(at_s), self._flags
            self._flags = flags
            if flags_before == FrameFlag.UNSYNCHRONISED and not flags:
                # What was written so far will be corrected: times begin anew, they need not go on.
                self._timeline = Timeline()
                self._collector.forget_times()
                time_ms = self._timeline.at(at_s, self._wall.utc_ms(at_s))
                self._clock.note_set(at_s)
            self._block_ms_start = time_ms
        collector = self._collector
        if self._origin_ms != self._timeline.zero_ms:
            self._origin_ms = self._timeline.zero_ms
            collector.set_zero(self._origin_ms)
        collector.add(message, time_ms)
        if self._now_s is None or at_s > self._now_s:
            self._now_s = at_s
        self._now_ms = time_ms
        return (
            self._now_s - self._block_s_start >= self.block_s
            or collector.count >= BLOCK_SAMPLES_MAX
            or not -_BLOCK_SPAN_MS_MAX <= time_ms - self._block_ms_start <= _BLOCK_SPAN_MS_MAX
        )

    async def write_block(self, is_in_thread: bool) -> None:
        """Write what waits; a failure is reported, and what was not kept is counted."""
        await self._write(is_in_thread)
        if self._after_cut is not None:
            message, self._after_cut = self._after_cut, None
            self._add(*message)

    async def _write(self, is_in_thread: bool) -> None:
        if self._now_s is not None:
            self._block_s_start = self._now_s
        self._block_ms_start = None
        samples, events = self._collector.count, len(self._collector.events)
        if not samples and not events:
            return
        try:
            if is_in_thread:
                seq = await trio.to_thread.run_sync(self._append)
            else:
                seq = self._append()
        except StorageError as error:
            if not self._lost_samples:
                self._note(f"{error}; samples are being lost until it can")
            self._lost_samples += samples
            return
        if self._lost_samples:
            self._note(f"the log is written again; {self._lost_samples} samples were lost")
            self._lost_samples = 0
        self._blocks += 1
        if self._on_block is not None and self._flags != FrameFlag.UNSYNCHRONISED:
            self._on_block(seq)

    def count_if_due(self) -> None:
        """Publish the counters about once a second."""
        now_s = trio.current_time()
        if now_s - self._counted_s >= _COUNT_EVERY_S:
            self._counted_s = now_s
            self.publish_count()

    def publish_count(self) -> None:
        """Publish the counters."""
        self._feed.publish(
            LogCounted(
                blocks=self._blocks,
                samples=self._collector.accepted,
                bytes_written=self._writer.bytes_written,
                total_bytes=self._writer.total_bytes,
                last_seq=self._writer.next_seq - 1,
                counted_s=trio.current_time(),
            )
        )

    def _append(self) -> int:
        collector, boot_id = self._collector, self._writer.boot_id
        origin_ms, flags = self._origin_ms or 0, self._flags
        return self._writer.append(
            lambda seq: collector.cut(seq, boot_id=boot_id, origin_ms=origin_ms, flags=flags),
            lambda seq: collector.table_frame(
                seq, boot_id=boot_id, time_ms=self._now_ms, origin_ms=origin_ms, flags=flags
            ),
            now_ms=self._now_ms,
        )

    def _note_steps(self) -> None:
        for step_ms in self._timeline.steps:
            self._note(f"the system's clock was set by {step_ms / 1000:+.3f} s")
        self._timeline.steps.clear()

    def _note(self, text: str) -> None:
        self._feed.publish(Noted("recorder", text, trio.current_time()))
