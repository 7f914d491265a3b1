"""Bus actor: owns one line and keeps exactly one request in flight on it.

In:    calls with ReadRegisters and WriteRegisters
Out:   exactly one reply per call; WriteDone and WriteFailed (the write ledger), LineChanged,
       UnitChanged, LineCounted on the feed
Owns:  the line; nobody else touches it
Stops: when the last sender of its calls closes and all are answered; crashes only on a bug
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import trio

from grug.errors import BusError, LineError, LocalProtocolError, NoReplyError, RemoteProtocolError
from grug.messages import LineChanged
from grug.planner.queue import BusQueue, Job, WriteJob
from grug.planner.units import UnitTraits, WireTiming
from grug.protocol.client import ReadTransaction, WriteTransaction
from grug.protocol.rtu import CHARACTER_BITS, character_s, interframe_delay_s
from grug.runtime.calls import BusCalls
from grug.runtime.feed import Feed
from grug.transport.line import Line, LineOpener

__all__ = ["LineTiming", "UnitTraits", "run"]

REOPEN_S_FIRST = 0.5
REOPEN_S_MAX = 30.0
OPEN_S_MAX = 5.0
"""Longest that opening may take; a TCP connection to a host that is away takes minutes to fail."""

COUNT_EVERY_S = 1.0

GAP_S_MIN = 0.005
"""Many units need more than 3.5 characters; 5 ms is what most of those that do are content with."""

REPLY_SLACK_S = 0.05
"""How much later than at wire speed the rest of a reply may come: an FTDI adapter holds bytes back
for up to 16 ms, and a busy machine wakes us late. Only a damaged reply ever waits for this."""

QUIET_TRIES_MAX = 20
"""How many gaps to wait for a babbling line to be quiet before asking all the same."""

CLOSE_S_MAX = 1.0


@dataclass(frozen=True, slots=True)
class LineTiming:
    """How long things last on a serial line."""

    baudrate: int
    reply_timeout_s: float
    """How long a unit may take to begin its reply."""
    gap_s: float | None = None
    """Silence between two frames; None means 3.5 characters, and at least 5 ms."""
    settle_s: float = 0.0
    """Pause after opening."""
    character_bits: int = CHARACTER_BITS
    """10 for 8N1, 11 with parity or two stop bits."""

    def on_wire(self) -> WireTiming:
        """The same in seconds, with the gap decided."""
        gap_s = self.gap_s
        if gap_s is None:
            gap_s = max(interframe_delay_s(self.baudrate), GAP_S_MIN)
        return WireTiming(
            character_s(self.baudrate, self.character_bits), gap_s, self.reply_timeout_s
        )


async def run(
    calls: BusCalls,
    feed: Feed,
    *,
    line_name: str,
    open_line: LineOpener,
    timing: LineTiming,
    units: Mapping[int, UnitTraits],
) -> None:
    """Serve calls until their senders are gone, through any number of lost and reopened lines."""
    owner = _BusOwner(calls, feed, line_name, open_line, timing, units)
    try:
        await owner.serve()
    finally:
        owner.stop()


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
    ) -> None:
        self._calls = calls
        self._feed = feed
        self._line_name = line_name
        self._open_line = open_line
        self._settle_s = timing.settle_s
        self._timing = timing.on_wire()
        self._queue = BusQueue(line_name, self._timing, units, feed.publish)
        self._job: Job | None = None
        self._is_up: bool | None = None  # None until the first attempt has ended.
        self._has_ended = False
        self._is_dirty = False
        self._line_echoes = False
        self._free_s = -math.inf
        self._reopen_s = REOPEN_S_FIRST
        self._count_s = trio.current_time() + COUNT_EVERY_S
        self._queue.counted(trio.current_time())

    def stop(self) -> None:
        """Leave nobody waiting for a bus owner that is gone."""
        self._queue.line_lost("the bus owner stopped", trio.current_time(), self._job)

    async def serve(self) -> None:
        """Open the line, serve, and begin again when it is lost."""
        while not self._has_ended:
            line = await self._open()
            if line is not None:
                try:
                    await self._serve_line(line)
                except LineError as error:
                    self._lost(error)
                finally:
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
        now_s = trio.current_time()
        self._queue.line_lost(str(error), now_s, self._job)
        self._job = None
        if self._is_up is not False:
            self._is_up = False
            self._feed.publish(LineChanged(self._line_name, False, str(error), now_s))

    async def _rest(self) -> None:
        """Wait for the next attempt; the queue answers all calls at once meanwhile."""
        until_s = trio.current_time() + self._reopen_s
        self._reopen_s = min(2 * self._reopen_s, REOPEN_S_MAX)
        while not self._has_ended and (now_s := trio.current_time()) < until_s:
            self._count_when_due(now_s)
            await self._wait_for_call(min(until_s, self._count_s))

    # While it is up

    async def _serve_line(self, line: Line) -> None:
        await trio.sleep(self._settle_s)
        now_s = trio.current_time()
        self._queue.line_opened(now_s)
        self._is_up = True
        self._is_dirty = True
        self._feed.publish(LineChanged(self._line_name, True, "opened", now_s))
        while True:  # The loop is the lock.
            now_s = trio.current_time()
            self._count_when_due(now_s)
            if self._free_s > now_s and len(self._queue):
                await trio.sleep_until(self._free_s)
                now_s = trio.current_time()
            self._collect(now_s)
            job = self._queue.pick(now_s)
            if job is not None:
                await self._carry_out(job, line)
            elif self._has_ended and not len(self._queue):
                return
            else:
                await self._wait_for_call(min(self._queue.wake_s, self._count_s))

    def _count_when_due(self, now_s: float) -> None:
        if now_s >= self._count_s:
            self._count_s = now_s + COUNT_EVERY_S
            self._feed.publish(self._queue.counted(now_s))

    def _collect(self, now_s: float) -> None:
        """Take over all calls that came while the line was busy."""
        try:
            while not self._has_ended:
                self._queue.add(self._calls.receive_nowait(), now_s)
        except trio.WouldBlock:
            pass
        except trio.EndOfChannel:
            self._has_ended = True

    async def _wait_for_call(self, until_s: float) -> None:
        with trio.move_on_at(until_s):
            if self._has_ended:
                await trio.sleep_forever()
            try:
                call = await self._calls.receive()
            except trio.EndOfChannel:
                self._has_ended = True
            else:
                self._queue.add(call, trio.current_time())

    async def _carry_out(self, job: Job, line: Line) -> None:
        """Put one job on the wire and tell the queue how it ended."""
        try:
            transaction = self._transaction_of(job)
        except LocalProtocolError as error:
            self._queue.refused(job, str(error), trio.current_time())
            return
        self._job = job
        await self._quieten(line)
        started_s = trio.current_time()
        if isinstance(job, WriteJob) and started_s > job.request.deadline_s:
            self._job = None
            self._queue.refused(job, "the line was not quiet in time", started_s)
            return
        try:
            block = await self._exchange(transaction, line, started_s)
        except LineError:
            raise
        except BusError as error:
            self._is_dirty = True
            self._free_s = trio.current_time() + self._timing.gap_s
            self._queue.failed(job, error, started_s, trio.current_time())
        else:
            ended_s = trio.current_time()
            self._free_s = ended_s + self._timing.gap_s
            self._queue.succeeded(job, block, started_s, ended_s)
        self._job = None
        self._reopen_s = REOPEN_S_FIRST
        self._line_echoes = self._line_echoes or transaction.saw_echo

    def _transaction_of(self, job: Job) -> ReadTransaction | WriteTransaction:
        unit = job.unit
        if not isinstance(job, WriteJob):
            return ReadTransaction(unit.unit_id, job.transaction.span)
        return WriteTransaction(
            unit.unit_id,
            job.request.table,
            job.request.address,
            job.request.block,
            always_multiple=unit.traits.writes_multiple,
            line_echoes=self._line_echoes,
        )

    async def _quieten(self, line: Line) -> None:
        """Drop what nobody asked for; after trouble wait, within bounds, until nothing comes."""
        for _ in range(QUIET_TRIES_MAX):
            if not await line.discard_input() or not self._is_dirty:
                break
            await trio.sleep(self._timing.gap_s)
        self._is_dirty = False

    async def _exchange(
        self, transaction: ReadTransaction | WriteTransaction, line: Line, started_s: float
    ) -> bytes:
        """Send, and receive until the answer is there.

        Raises:
            BusError: which kind of answer it was not.
        """
        timing = self._timing
        sent_s = started_s + len(transaction.adu) * timing.character_s
        has_begun = False
        with trio.move_on_at(sent_s + timing.reply_timeout_s) as scope:
            await line.send_all(transaction.adu)
            while True:
                block = transaction.receive(await line.receive_some())
                if block is not None:
                    if trio.current_time() > scope.deadline:
                        # We were stopped meanwhile: nobody knows how old this is.
                        raise NoReplyError("the reply was read too late to be trusted")
                    return block
                if not has_begun and transaction.has_received:
                    has_begun = True
                    rest_s = transaction.reply_bytes * timing.character_s + REPLY_SLACK_S
                    scope.deadline = max(scope.deadline, trio.current_time() + rest_s)
        if transaction.has_received:
            raise RemoteProtocolError("what came was no answer")
        raise NoReplyError(f"no reply within {timing.reply_timeout_s:g} s")
