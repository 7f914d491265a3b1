"""Ships another machine's log into a database.

A puller keeps a copy of what has not been shipped yet; the same shipper that a house has reads it.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

import trio

from grug.actors import puller, shipper
from grug.errors import LinkError
from grug.messages import Noted, ShipCounted
from grug.runtime.feed import Feed, Subscription
from grug.transport.clickhouse import SharedDatabase
from grug.transport.logfiles import START, Position, Synced
from grug.transport.mirror import Mirror

_PROGRESS_BOUND = 1000
_WIPED_EVERY_S = 300.0
"""How often to see whether the other machine has begun a new log."""


async def ship_from(url: str, token: str, to: str, *, once: bool) -> int:
    """Ship what a log server has and then what comes; exit status 1 when it could not be done.

    Args:
        url: of the log server.
        token: that it wants.
        to: address of the database.
        once: end when all that was there at the start has arrived.

    Raises:
        LinkError: the server is away or refuses the token, at the start.
        ShipError: the database is away, at the start.
    """
    while True:
        about = await puller.ask_about(url, token)
        if about.log:
            with tempfile.TemporaryDirectory(prefix="grug-ship-") as directory:
                status = await _ship_log(url, token, to, about, Path(directory), once)
            if once:
                return status
        elif once:
            sys.stderr.write(f"{url} has no log yet\n")
            return 0
        else:
            await trio.sleep(shipper.REST_S)


async def _ship_log(
    url: str, token: str, to: str, about: puller.About, directory: Path, once: bool
) -> int:
    """Ship one log, until all has arrived or the other machine has begun another."""
    database = SharedDatabase(to)
    feed, synced = Feed(), Synced()
    try:
        last = await database.call(lambda opened: opened.last_ship(about.log))
        mirror = Mirror(directory, Position(last.epoch, last.first - 1) if last else START)
        pull = partial(
            puller.run,
            url=url,
            token=token,
            mirror=mirror,
            synced=synced,
            feed=feed,
            until_seq=about.seq if once else None,
        )
        progress = _Progress(about.seq, mirror)
        with feed.subscribe("progress", ShipCounted, Noted, bound=_PROGRESS_BOUND) as told:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pull)
                nursery.start_soon(progress.run, told)
                if not once:
                    nursery.start_soon(_end_with_log, url, token, about.log, nursery.cancel_scope)
                await shipper.run(
                    log_directory=directory, database=database, synced=synced, feed=feed
                )
                for message in told.drain():
                    progress.tell(message)
                nursery.cancel_scope.cancel()
        mirror.close()
        return 1 if progress.cause else 0
    finally:
        with trio.CancelScope(shield=True):
            await database.close()


async def _end_with_log(url: str, token: str, log: str, scope: trio.CancelScope) -> None:
    """End when the other machine's log is another one: its directory was wiped."""
    while True:
        await trio.sleep(_WIPED_EVERY_S)
        try:
            about = await puller.ask_about(url, token)
        except LinkError:
            continue
        if about.log and about.log != log:
            scope.cancel()


class _Progress:
    """Tells a person how far it is, on standard error."""

    def __init__(self, goal_seq: int, mirror: Mirror) -> None:
        self.cause = ""
        self._goal_seq = goal_seq
        self._mirror = mirror
        self._started_s = trio.current_time()
        self._is_live = False

    async def run(self, told: Subscription) -> None:
        """Tell until cancelled."""
        while True:
            for message in await told.receive_batch():
                self.tell(message)

    def tell(self, message: object) -> None:
        """Tell of one message."""
        if isinstance(message, Noted):
            sys.stderr.write(f"{message.text}\n")
        elif isinstance(message, ShipCounted):
            self._tell_count(message)

    def _tell_count(self, count: ShipCounted) -> None:
        self._mirror.forget(count.shipped_seq)
        if count.cause and count.cause != self.cause:
            sys.stderr.write(f"{count.cause}\n")
        self.cause = count.cause
        if self._is_live or count.cause:
            return
        goal = max(1, self._goal_seq)
        share = min(1.0, max(0, count.shipped_seq) / goal)
        rows_per_s = count.rows / max(0.001, trio.current_time() - self._started_s)
        sys.stderr.write(
            f"block {count.shipped_seq} of {goal} ({share:.0%}), {count.rows} rows,"
            f" {rows_per_s:.0f} a second\n"
        )
        if count.shipped_seq >= self._goal_seq:
            self._is_live = True
            sys.stderr.write("caught up\n")
