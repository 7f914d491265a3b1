"""Bus actor: owns one line and keeps exactly one request in flight on it.

In:    calls with ReadRegisters and WriteRegisters
Out:   exactly one reply per call; WriteDone and WriteFailed (the write ledger), LineChanged,
       UnitChanged, LineCounted on the feed
Owns:  the line; nobody else touches it
Stops: when the last sender of its calls closes and all are answered; crashes only on a bug
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping

import trio

from grug.errors import (
    BusError,
    ConnectionEndedError,
    ExceptionReply,
    LineError,
    LocalProtocolError,
    NoReplyError,
    RemoteProtocolError,
)
from grug.messages import LineChanged
from grug.planner.queue import BusQueue, Job, WriteJob
from grug.planner.renewal import Renewals
from grug.planner.traits import UnitTraits
from grug.planner.verdicts import VerdictStore
from grug.planner.writes import MASK_WRITE, READ_WRITE, WRITE_COILS, WRITE_WORDS
from grug.protocol.framing import Exchange
from grug.runtime.alarm import Alarm
from grug.runtime.calls import BusCall, BusCalls
from grug.runtime.feed import Feed
from grug.runtime.line_timing import LineTiming
from grug.transport.line import Line, LineOpener

__all__ = ["LineTiming", "UnitTraits", "run"]

REOPEN_S_FIRST = 0.5
REOPEN_S_MAX = 30.0
OPEN_S_MAX = 5.0
"""Longest that opening may take; a TCP connection to a host that is away takes minutes to fail."""

COUNT_EVERY_S = 1.0

REPLY_SLACK_S = 0.05
"""How much later than at wire speed the rest of a reply may come: an FTDI adapter holds bytes back
for up to 16 ms, and a busy machine wakes us late. Only a damaged reply ever waits for this."""

QUIET_TRIES_MAX = 20
"""How many gaps to wait for a babbling line to be quiet before asking all the same."""

LOOK_S_MIN = 0.002
"""For so much of a reply we sleep, and look again then: adapters pass on what they have each
millisecond, which at 9600 baud is each byte, and each look costs as much as a whole transaction."""

LOOK_SHARE = 0.9
"""Of the time that is missing: characters may have 10 bits where we count with 11."""

CLOSE_S_MAX = 1.0


async def run(
    calls: BusCalls,
    feed: Feed,
    *,
    line_name: str,
    open_line: LineOpener,
    timing: LineTiming,
    units: Mapping[int, UnitTraits],
    verdicts: VerdictStore | None = None,
) -> None:
    """Serve calls until their senders are gone, through any number of lost and reopened lines.

    Args:
        calls: what is asked.
        feed: where facts go.
        line_name: as the facts name it.
        open_line: opens it.
        timing: of it.
        units: what is known of each unit by its id; looked up whenever a call comes, so that more
            may become known.
        verdicts: where it is kept what units refuse.
    """
    owner = _BusOwner(calls, feed, line_name, open_line, timing, units, verdicts)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(owner.count, name=f"count of {line_name}")
            nursery.start_soon(owner.ring, name=f"alarm of {line_name}")
            await owner.serve()
            nursery.cancel_scope.cancel()
    finally:
        owner.stop()


class _Renewal(Exception):
    """This connection will not do any more; a new one probably will."""


class _BusOwner:
    """The effects around a BusQueue's decisions."""

    def __init__(
        self,
        calls: BusCalls,
        feed: Feed,
        line_name: str,
        open_line: LineOpener,
        timing: LineTiming,
        units: Mapping[int, UnitTraits],
        verdicts: VerdictStore | None,
    ) -> None:
        self._calls = calls
        self._feed = feed
        self._line_name = line_name
        self._open_line = open_line
        self._line_timing = timing
        self._timing = timing.on_wire()
        self._queue = BusQueue(line_name, self._timing, units, feed.publish, verdicts)
        self._job: Job | None = None
        """What was picked and has not ended."""
        self._exchange: Exchange | None = None
        """What is on the wire of it, or about to be."""
        self._is_sent = False
        """Whether all of that has been handed to the line."""
        self._started_s = -math.inf
        self._alarm = Alarm()
        """Rings when that has waited long enough for its reply."""
        self._line: Line | None = None
        """What is up."""
        self._trouble: Exception | None = None
        """What came of it while an asker carried its own request."""
        self._is_up: bool | None = None  # None until the first attempt has ended.
        self._has_ended = False
        self._is_dirty = False
        self._framing = timing.framing()
        self._gap = timing.learned_gap()
        self._free_s = -math.inf
        self._switch_s = -math.inf
        """When another unit than the last one may be asked."""
        self._last_unit_id = 0
        self._now_s = trio.lowlevel.current_clock().current_time
        self._renewals = Renewals(timing.silence_s_max, self._now_s())
        self._reopen_s = REOPEN_S_FIRST
        self._queue.counted(self._now_s())

    def stop(self) -> None:
        """Leave nobody waiting for a bus owner that is gone."""
        self._queue.line_lost("the bus owner stopped", self._now_s(), self._job)

    async def count(self) -> None:
        """Publish the counters, for ever."""
        while True:
            await trio.sleep(COUNT_EVERY_S)
            self._feed.publish(self._queue.counted(self._now_s()))

    async def ring(self) -> None:
        """Wake whoever waits for a reply that is overdue, for ever."""
        await self._alarm.ring(self._interrupt)

    def _interrupt(self) -> None:
        if self._line is not None:
            self._line.interrupt()

    async def serve(self) -> None:
        """Open the line, serve, and begin again when it is lost."""
        while not self._has_ended:
            line = await self._open()
            if line is not None:
                try:
                    await self._serve_line(line)
                except _Renewal:
                    continue
                except LineError as error:
                    self._lost(error)
                finally:
                    self._line = None
                    line.interrupt()  # An asker that carries its own request lets go of it.
                    with trio.move_on_after(CLOSE_S_MAX, shield=True):
                        await line.aclose()
            if not self._is_up:
                await self._rest()

    # While the line is down

    async def _open(self) -> Line | None:
        """Try once."""
        line = None
        try:
            with trio.move_on_after(OPEN_S_MAX):
                line = await self._open_line()
            if line is None:
                raise LineError(f"opening took longer than {OPEN_S_MAX:g} s")
        except LineError as error:
            self._lost(error)
        return line

    def _lost(self, error: LineError) -> None:
        now_s = self._now_s()
        self._queue.line_lost(str(error), now_s, self._job)
        self._job = self._exchange = None
        self._renewals.line_lost()
        if self._is_up is not False:
            self._is_up = False
            self._feed.publish(LineChanged(self._line_name, False, str(error), now_s))

    async def _rest(self) -> None:
        """Wait for the next attempt; the queue answers all calls at once meanwhile."""
        until_s = self._now_s() + self._reopen_s
        self._reopen_s = min(2 * self._reopen_s, REOPEN_S_MAX)
        while not self._has_ended and self._now_s() < until_s:
            with trio.move_on_at(until_s):
                await self._calls.wait()
            self._collect(self._now_s())

    # While it is up

    async def _serve_line(self, line: Line) -> None:
        """Carry out one job after the other, until all is done."""
        await trio.sleep(self._line_timing.settle_s)
        self._line = line
        self._begin(self._now_s())
        while True:  # The loop is the lock; what it may lend is in _carry.
            now_s = self._now_s()
            self._collect(now_s)
            if self._job is not None:  # A connection ended before it was sent, or an asker left it.
                await self._carry_out(self._job, line, now_s)
            elif now_s < self._free_s and len(self._queue):
                await trio.sleep_until(self._free_s)
            elif (job := self._queue.pick(now_s)) is not None:
                await self._carry_out(job, line, now_s)
            elif self._has_ended and not len(self._queue):
                return
            else:
                await self._wait_for_calls()

    def _begin(self, now_s: float) -> None:
        """Take up work on a line just opened."""
        self._is_dirty = True
        self._framing.begin()
        self._renewals.begun(now_s, is_first=not self._is_up)
        if not self._is_up:
            self._is_up = True
            self._queue.line_opened(now_s)
            self._feed.publish(LineChanged(self._line_name, True, "opened", now_s))

    def _collect(self, now_s: float) -> None:
        """Take over all calls that came while the line was busy."""
        for call in self._calls.take():
            self._queue.add(call, now_s)
        self._has_ended = self._calls.has_ended

    async def _wait_for_calls(self) -> None:
        """Wait for the next call, or until what waits has something due.

        Raises:
            Exception: what came of the line while an asker carried its own request.
        """
        if len(self._queue):
            with trio.move_on_at(self._queue.wake_s):
                if self._has_ended:
                    await trio.sleep_forever()
                await self._calls.wait()
            return
        await self._calls.wait(self._carry)
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble
        if self._exchange is not None and not self._is_sent:
            self._exchange = None
            raise _Renewal("an asker was cancelled while it sent its request")

    async def _carry(self, call: BusCall) -> bool:
        """In an asker's task: carry out its request while the owner sleeps, one task switch fewer.

        What a cancelled asker leaves on the wire, and all trouble, is the owner's.

        Returns:
            Whether the owner may sleep on.

        Raises:
            Exception: a bug, seen when the owner has let go of the line and will not raise it.
        """
        try:
            now_s = self._now_s()
            self._queue.add(call, now_s)
            if self._queue.is_joined(call.request, now_s):
                await trio.lowlevel.checkpoint()  # Who asks at this moment shares the transaction.
                now_s = self._now_s()
                self._collect(now_s)
            line = self._line
            if line is None or now_s < self._free_s:
                return False
            self._job = job = self._queue.pick(now_s)
            if job is None:
                await trio.lowlevel.checkpoint()
            elif not isinstance(job, WriteJob):
                await self._carry_out(job, line, now_s)
        except Exception as error:
            if self._line is None and not isinstance(error, BusError | _Renewal):
                raise
            self._trouble = error
        return self._trouble is None and self._job is None and not len(self._queue)

    async def _carry_out(self, job: Job, line: Line, now_s: float) -> None:
        """Put one job on the wire, if it is not there yet, and tell the queue how it ended."""
        self._job = job
        if self._exchange is None:
            unit_id = job.unit.unit_id
            if unit_id != self._last_unit_id and self._switch_s > now_s:
                await trio.sleep_until(self._switch_s)
                now_s = self._now_s()
            self._last_unit_id = unit_id
            if self._discard(line) and self._is_dirty:
                await self._quieten(line)
                now_s = self._now_s()
            self._is_dirty = False
            self._begin_exchange(job, now_s)
        exchange = self._exchange
        if exchange is None:
            return  # The queue knows why.
        try:
            block, ended_s = await self._converse(job, exchange, line)
        except ConnectionEndedError as error:
            self._failed(job, exchange, NoReplyError(f"{error} instead of a reply"), str(error))
        except LineError:
            raise
        except BusError as error:
            self._failed(job, exchange, error)
        else:
            self._gap.replied()
            self._queue.succeeded(job, block, self._started_s, ended_s)
            self._ended(exchange, ended_s, is_answered=True)

    def _begin_exchange(self, job: Job, now_s: float) -> None:
        """Make what goes on the wire now, unless it must not go any more."""
        try:
            if not isinstance(job, WriteJob):
                exchange = self._framing.read(job.unit.unit_id, job.transaction.span)
            elif now_s > job.request.deadline_s:
                self._refuse(job, "the line was not quiet in time", now_s)
                return
            else:
                exchange = self._exchange_of(job)
        except LocalProtocolError as error:
            self._refuse(job, str(error), now_s)
            return
        self._exchange, self._is_sent = exchange, False
        self._started_s = now_s
        self._alarm.set(self._overdue_s(exchange, now_s, job.timeout_s))

    def _refuse(self, job: Job, text: str, now_s: float) -> None:
        self._job = None
        self._queue.refused(job, text, now_s)

    def _overdue_s(self, exchange: Exchange, started_s: float, timeout_s: float) -> float:
        """When a reply must have begun, or be there whole where it comes at once."""
        one_character_s = self._timing.character_s
        begins_s = timeout_s + exchange.reply_bytes * one_character_s
        if not self._framing.is_stored:
            # Where a whole reply comes at once, a timeout that was learned has to allow for that.
            begins_s = min(begins_s, self._timing.reply_timeout_s)
        return started_s + len(exchange.adu) * one_character_s + begins_s

    async def _converse(self, job: Job, exchange: Exchange, line: Line) -> tuple[bytes, float]:
        """Send, unless that is done, and receive until the answer is there or overdue.

        Returns:
            The answer, and when it had arrived.

        Raises:
            BusError: which kind of answer it was not.
        """
        has_begun = self._is_sent and exchange.has_received
        if not self._is_sent:
            await line.send_all(exchange.adu)
        now_s = self._now_s()
        if not self._is_sent and now_s >= self._alarm.due_s:
            raise ConnectionEndedError("a line that takes nothing")
        self._is_sent = True
        while now_s < self._alarm.due_s:
            data = await line.receive_some()
            now_s = self._now_s()
            block = exchange.receive(data) if data else None
            if block is not None:
                if now_s > self._alarm.due_s:
                    # We were stopped meanwhile: nobody knows how old this is.
                    raise NoReplyError("the reply was read too late to be trusted")
                return block, now_s
            if self._line is not line:
                raise LineError("the bus owner stopped")
            if exchange.has_received and now_s < self._alarm.due_s:  # What began in time may end.
                await self._wait_for_rest(exchange, now_s, has_begun=has_begun)
                has_begun = True
                now_s = self._now_s()
        with contextlib.suppress(ConnectionEndedError):  # It will be seen before the next request.
            line.discard_input()
        if exchange.has_received:
            raise RemoteProtocolError(exchange.what_came)
        raise NoReplyError(f"no reply within {job.timeout_s:.3g} s")

    async def _wait_for_rest(self, exchange: Exchange, now_s: float, *, has_begun: bool) -> None:
        """Let the rest of a reply come, rather than look at each byte that an adapter passes on."""
        one_character_s = self._timing.character_s
        if not has_begun:
            rest_s = exchange.reply_bytes * one_character_s + REPLY_SLACK_S
            self._alarm.due_s = max(self._alarm.due_s, now_s + rest_s)
        missing_s = exchange.missing_bytes * one_character_s
        if missing_s > LOOK_S_MIN and not self._framing.is_stored:
            await trio.sleep(LOOK_SHARE * missing_s)

    def _failed(self, job: Job, exchange: Exchange, error: BusError, cause: str = "") -> None:
        """Tell the queue of an exchange that had no good end.

        Args:
            job: what was to be done.
            exchange: how.
            error: what it was instead.
            cause: why the connection ended, if it did.
        """
        now_s = self._now_s()
        self._is_dirty = True
        is_answered = isinstance(error, ExceptionReply)
        if not is_answered and not job.unit.is_offline:
            self._gap.failed()
        self._queue.failed(job, error, self._started_s, now_s)
        self._ended(exchange, now_s, is_answered=is_answered, cause=cause)

    def _ended(
        self, exchange: Exchange, now_s: float, *, is_answered: bool, cause: str = ""
    ) -> None:
        """See what the exchange tells of the line.

        Raises:
            _Renewal: it should be opened anew.
        """
        self._job = self._exchange = None
        self._free_s = now_s + self._gap.gap_s
        self._switch_s = now_s + self._line_timing.switch_gap_s
        self._reopen_s = REOPEN_S_FIRST
        is_worn_out = False
        if is_answered or exchange.has_received:
            is_worn_out = self._renewals.is_worn_out(now_s, is_answered=is_answered)
        elif self._renewals.is_mute(now_s):
            self._queue.line_opened(now_s)  # All that seemed silent may be there after all.
            raise _Renewal
        if cause := self._framing.ended(is_answered=is_answered) or cause:
            self._renewals.ended(now_s)
            raise _Renewal(cause)
        if is_worn_out:
            raise _Renewal("the other end closes after each reply")

    def _exchange_of(self, job: WriteJob) -> Exchange:
        unit_id = job.unit.unit_id
        address, block, framing = job.request.address, job.block, self._framing
        if job.function == MASK_WRITE:
            return framing.mask_write(unit_id, address, block, job.request.mask)
        if job.function == READ_WRITE:
            return framing.read_write(unit_id, address, block, job.write.span)
        return framing.write(
            unit_id,
            job.request.table,
            address,
            block,
            always_multiple=job.function in (WRITE_COILS, WRITE_WORDS),
        )

    def _discard(self, line: Line) -> int:
        """Drop what nobody asked for, and tell how much that was.

        Raises:
            _Renewal: the other end has closed the connection; nothing was sent yet.
        """
        try:
            return line.discard_input()
        except ConnectionEndedError as error:
            now_s = self._now_s()
            if self._renewals.is_refused(now_s):
                raise
            self._renewals.ended(now_s)
            raise _Renewal(str(error)) from error

    async def _quieten(self, line: Line) -> None:
        """After trouble wait, within bounds, until nothing comes."""
        for _ in range(QUIET_TRIES_MAX):
            await trio.sleep(self._timing.gap_s)
            if not self._discard(line):
                return
