"""Shipper actor: brings the log into the database, every row exactly once.

In:    ``Synced``: how far the log is on the device, and its end; the log's files
Out:   ShipCounted about once a second while there is work, and when its state changes
Owns:  the place in the log up to which the database has it; that place is kept in the database
Stops: when the log has ended: then it ships what is left, and may give up at the first failure

A batch is announced, inserted, and repeated until the database has acknowledged it; only then comes
the next. What the database announced last is sent once more at the start, since nobody knows
whether it arrived. After such a repeat each table is looked at: a database that was killed may take
a batch for known that it has not got. Nothing else is shipped before all of that batch has been
read, or it is known that the log has no more of it.

One shipper at a time may bring a log into a database: two would announce different batches. Who
comes last is the one. The others notice before they send anything more, wait until nothing has come
of it for a while, and only then go on.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio

from grug.errors import ShipError, StorageError, SupersededError
from grug.messages import Noted, ShipCounted
from grug.runtime.feed import Feed
from grug.storage.native import Rows, Series
from grug.storage.segment import FrameKind
from grug.transport.clickhouse import Database, SharedDatabase, Ship
from grug.transport.logfiles import START, LogBlock, LogReader, Position, Synced, log_id_of
from grug.transport.logrows import rows_of, series_of
from grug.transport.mend import Mended

ROWS_PER_BATCH = 400_000
"""Where an insert's fixed cost no longer counts; some 40 MB of memory while it is made."""
REST_S = 8.0
"""Between two rounds, so that a log that grows fast arrives in few large inserts: each one makes
files that the database must merge later. In real time a block comes every 10 s anyway."""
QUIET_S = 120.0
"""So long after its last batch another shipper is taken for gone: a house has a block each 10 s."""
BACKOFF_S_MIN = 1.0
BACKOFF_S_MAX = 60.0
_COUNT_EVERY_S = 1.0
_NO_LONGER = "blocks {0.first} to {0.last} are no longer in the log as they were shipped"


async def run(
    *,
    log_directory: Path,
    database: SharedDatabase,
    synced: Synced,
    feed: Feed,
    gives_up: bool = True,
) -> None:
    """Ship until the log has ended.

    Args:
        log_directory: where the segments are.
        database: where the rows go.
        synced: marked by the recorder.
        feed: where the counters go.
        gives_up: once the log has ended, end at the first failure: the log is still there at the
            next start. False is for the last copy of a log.
    """
    shipper = _Shipper(log_directory, database, synced, feed)
    backoff_s = BACKOFF_S_MIN
    while True:
        try:
            await shipper.ship_all()
        except (ShipError, StorageError) as error:
            shipper.publish(str(error))
            if synced.has_ended and gives_up:
                return
            if isinstance(error, SupersededError):
                shipper.give_way()
                continue
            with trio.move_on_after(backoff_s):
                if synced.has_ended:
                    await trio.sleep_forever()
                await synced.wait_ended()
            backoff_s = min(backoff_s * 2, BACKOFF_S_MAX)
            continue
        backoff_s = BACKOFF_S_MIN
        if shipper.is_done:
            shipper.publish("")
            return


class _Shipper:
    """What has arrived, and what is on its way."""

    def __init__(
        self, log_directory: Path, database: SharedDatabase, synced: Synced, feed: Feed
    ) -> None:
        self.is_done = False
        self._directory = log_directory
        self._database = database
        self._synced = synced
        self._feed = feed
        self._reader: LogReader | None = None
        self._read_to = START
        self._blocks: list[LogBlock] = []
        """Read but not acknowledged."""
        self._doubtful: Ship | None = None
        """Announced, perhaps by an earlier process; perhaps inserted."""
        self._ahead: _Batch | None = None
        """What comes after the batch that is being inserted; whole."""
        self._gives_way = False
        """Whether another shipper was at work when this one last looked."""
        self._is_repeat = False
        """Whether the doubtful batch has been sent before, or may have been."""
        self._rows = 0
        self._seq = 0
        self._counted_s = 0.0

    async def ship_all(self) -> None:
        """Ship everything that is safe, then wait for more, until the log has ended."""
        while True:
            has_ended, seq_max = self._synced.has_ended, self._synced.seq
            if self._reader is None and seq_max > 0:
                await self._begin()
            while await self._fill(seq_max, has_ended=has_ended):
                await self._ship_batch(await self._next_batch(), seq_max)
                self._publish_if_due()
            self.publish("")
            if has_ended:
                self.is_done = True
                return
            with trio.move_on_after(REST_S):
                await self._synced.wait_ended()
            if self._synced.seq == seq_max and not self._synced.has_ended:
                await self._synced.wait_changed()

    def give_way(self) -> None:
        """Forget what was under way; the next that is done is to wait for the other shipper."""
        self._reader = None
        self._blocks = []
        self._ahead = None
        self._gives_way = True

    def publish(self, cause: str) -> None:
        """Publish the counters, and what is wrong."""
        self._counted_s = trio.current_time()
        waiting = max(0, self._synced.seq - self._seq)
        self._feed.publish(
            ShipCounted(
                rows=self._rows,
                shipped_seq=self._seq,
                waiting_blocks=waiting,
                cause=cause,
                counted_s=self._counted_s,
            )
        )

    def _note(self, text: str) -> None:
        self._feed.publish(Noted("shipper", text, trio.current_time()))

    def _publish_if_due(self) -> None:
        if trio.current_time() - self._counted_s >= _COUNT_EVERY_S:
            self.publish("")

    async def _begin(self) -> None:
        """Find out how far the database is, and go there in the log."""
        log_id = log_id_of(self._directory)
        if log_id is None:
            return
        log = log_id.hex()
        if self._gives_way:
            await self._wait_quiet(log)
        self._doubtful = await self._database.call(lambda database: database.claim(log))
        after = START
        self._is_repeat = self._doubtful is not None
        if self._doubtful is not None:
            after = Position(self._doubtful.epoch, self._doubtful.first - 1)
            self._seq = after.seq
        self._read_to = after
        self._reader = LogReader(self._directory, after, awaits_clock=True)

    async def _wait_quiet(self, log: str) -> None:
        """Wait while another shipper is at work; raises what says so, if it still is."""
        before = await self._database.call(lambda database: database.progress(log))
        with trio.move_on_after(QUIET_S) as waited:
            if self._synced.has_ended:
                await trio.sleep_forever()
            await self._synced.wait_ended()
        after = await self._database.call(lambda database: database.progress(log))
        if after != before or not waited.cancelled_caught:
            raise SupersededError("another shipper brings this log into the database")
        self._gives_way = False
        self._note("the other shipper has been quiet for long: this one brings the log again")

    async def _fill(self, seq_max: int, *, has_ended: bool) -> bool:
        """Read until there is enough for a batch; says whether there is anything to ship."""
        if self._reader is None:
            return False
        await self._read(self._blocks, seq_max)
        if self._doubtful is not None:
            if self._is_within(self._doubtful) and not has_ended:
                return False  # A copy of the log may have a part of it so far.
            await self._settle_doubt(self._doubtful)
        return bool(self._blocks)

    async def _read(self, blocks: list[LogBlock], seq_max: int) -> bool:
        """Read on until some blocks are enough for a batch; says whether they are."""
        assert self._reader is not None
        rows = sum(block.frame.entries for block in blocks)
        while rows < ROWS_PER_BATCH or self._is_within(self._doubtful):
            read = partial(self._reader.read, frames_max=60, seq_max=seq_max)
            more = await trio.to_thread.run_sync(read)
            if not more:
                return False
            self._note_gaps(more)
            blocks += more
            rows += sum(block.frame.entries for block in more)
        return True

    def _is_within(self, ship: Ship | None) -> bool:
        """Whether the rest of a batch may still be read."""
        return ship is not None and self._read_to < (ship.epoch, ship.last)

    async def _settle_doubt(self, ship: Ship) -> None:
        """Look what the log still has of a doubtful batch, all of which has been read.

        Its blocks may have been deleted by retention, or lost by a card that had acknowledged them.
        Those that are left are sent under the token of the whole, and what the database lacks of
        them is mended. If there are none, the next batch comes.
        """
        batch = [block for block in self._blocks if _is_in(block, ship)]
        if batch:
            return
        has_rows = await self._database.call(lambda database: database.give_up(ship))
        self._doubtful = None
        self._is_repeat = False
        some = "some" if has_rows else "none"
        self._note(f"{_NO_LONGER.format(ship)}; the database has {some} of their rows")

    def _note_gaps(self, blocks: Sequence[LogBlock]) -> None:
        """Say what the log has lost before it could be shipped; nobody else would notice."""
        for block in blocks:
            epoch, seq = self._read_to
            if block.epoch == epoch and block.frame.seq > seq + 1:
                text = f"blocks {seq + 1} to {block.frame.seq - 1} went before they were shipped"
                self._note(text)
            self._read_to = block.position

    async def _next_batch(self) -> _Batch:
        """The doubtful batch if there is one, otherwise blocks of one epoch up to the limit."""
        ship = self._doubtful
        if ship is not None:
            blocks = [block for block in self._blocks if _is_in(block, ship)]
            return await trio.to_thread.run_sync(_decode, blocks, ship)
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            return ahead
        return await trio.to_thread.run_sync(_decode, _first_of(self._blocks))

    async def _ship_batch(self, batch: _Batch, seq_max: int) -> None:
        """Bring one batch; meanwhile read and decode the next one, if the log has all of it."""
        rest = self._blocks[len(batch.blocks) :]
        failures: list[ShipError] = []

        async def send() -> None:
            try:
                await self._send(batch)
            except ShipError as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            with suppress(StorageError):  # It is met again when this batch has arrived.
                if await self._read(rest, seq_max) and self._ahead is None:
                    self._ahead = await trio.to_thread.run_sync(_decode, _first_of(rest))
        self._blocks = rest
        if failures:
            self._blocks = [*batch.blocks, *rest]
            self._ahead = None  # This one comes first, announced or not.
            raise failures[0]

    async def _send(self, batch: _Batch) -> None:
        ship = batch.ship
        if self._doubtful is None:
            await self._database.call(lambda database: database.announce(ship))
            self._doubtful = ship
        insert = partial(_insert, batch=batch, is_repeat=self._is_repeat)
        self._is_repeat = True
        mended = await self._database.call(insert)
        for text in batch.notes(mended):
            self._note(text)
        self._doubtful = None
        self._is_repeat = False
        self._rows += batch.readings.entries + batch.events.entries
        self._seq = ship.last


class _Batch(NamedTuple):
    """Blocks of one epoch, ready to be inserted."""

    ship: Ship
    blocks: list[LogBlock]
    """Of ``ship``, or those that are left of them."""
    readings: Rows
    events: Rows
    series: list[Series]

    def notes(self, mended: Sequence[Mended]) -> Iterator[str]:
        """Say what a person should know once it has arrived."""
        blocks = f"blocks {self.ship.first} to {self.ship.last}"
        samples = sum(b.frame.entries for b in self.blocks if b.frame.kind == FrameKind.SAMPLES)
        if nameless := samples - self.readings.entries:
            yield (
                f"{nameless} samples of {blocks} have no name: the series table before them is"
                " damaged"
            )
        for table, rows in mended:
            yield f"the database lacked {rows} rows of {table} from {blocks}, and has them now"
        if _ship_of(self.blocks) != self.ship:
            left = len(self.blocks)
            yield f"{_NO_LONGER.format(self.ship)}: of {left} that are left, all has arrived"


def _first_of(blocks: Sequence[LogBlock]) -> list[LogBlock]:
    """The first blocks that are of one epoch, up to the limit."""
    first: list[LogBlock] = []
    rows = 0
    for block in blocks:
        is_other = first and (block.log_id, block.epoch) != (first[0].log_id, first[0].epoch)
        if is_other or rows >= ROWS_PER_BATCH:
            break
        first.append(block)
        rows += block.frame.entries
    return first


def _decode(blocks: list[LogBlock], ship: Ship | None = None) -> _Batch:
    """Make rows of blocks; all of a batch unless ``ship`` says what they are of. In a thread."""
    readings, events = rows_of(blocks)
    return _Batch(ship or _ship_of(blocks), blocks, readings, events, series_of(blocks))


def _insert(database: Database, batch: _Batch, is_repeat: bool) -> list[Mended]:
    """Insert a batch, and look for what was sent before. Runs in a thread."""
    ship, readings, events = batch.ship, batch.readings, batch.events
    database.insert(ship, readings=readings, events=events, series=batch.series)
    if not is_repeat:
        return []
    there = ship._replace(first=batch.blocks[0].frame.seq, last=batch.blocks[-1].frame.seq)
    return database.mend(there, readings=readings, events=events)


def _ship_of(batch: Sequence[LogBlock]) -> Ship:
    crcs = struct.pack(f"<{len(batch)}I", *(block.frame.crc for block in batch))
    first, last = batch[0], batch[-1]
    return Ship(first.log_id.hex(), first.epoch, first.frame.seq, last.frame.seq, zlib.crc32(crcs))


def _is_in(block: LogBlock, ship: Ship) -> bool:
    if (block.log_id.hex(), block.epoch) != (ship.log, ship.epoch):
        return False
    return ship.first <= block.frame.seq <= ship.last
