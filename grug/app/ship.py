"""Ships another machine's log into a database.

A puller keeps a copy of what has not been shipped yet; the same shipper that a house has reads it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import trio

from grug.actors import puller, shipper
from grug.app.progress import Arrived, CatchUp, live_line
from grug.errors import LinkError, ShipError
from grug.messages import Noted, ShipCounted
from grug.runtime.feed import Feed, Subscription
from grug.transport.clickhouse import SharedDatabase
from grug.transport.logfiles import START, Position, Synced
from grug.transport.mirror import Mirror

_PROGRESS_BOUND = 1000
RETRY_S = 10.0
"""Between two tries to begin with another log, once one was shipped."""
LINE_EVERY_S = 10.0
"""Where there is no terminal, and a bar would fill a file."""


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
    has_begun = False
    while True:
        try:
            about = await puller.ask_about(url, token)
            if about.log:
                with tempfile.TemporaryDirectory(prefix="grug-ship-") as directory:
                    status = await _ship_log(url, token, to, about, Path(directory), once)
                if once:
                    return status
            elif once:
                sys.stderr.write(f"{url} has no log yet\n")
                return 0
        except (LinkError, ShipError) as error:
            if not has_begun:
                raise
            sys.stderr.write(f"{error}\n")
        has_begun = True
        await trio.sleep(RETRY_S)


async def _ship_log(
    url: str, token: str, to: str, about: puller.About, directory: Path, once: bool
) -> int:
    """Ship one log, until all has arrived or the other machine has begun another."""
    database = SharedDatabase(to)
    feed, synced = Feed(), Synced()
    try:
        last = await database.call(lambda opened: opened.last_ship(about.log))
        begin = Position(last.epoch, last.first - 1) if last else START
        mirror = Mirror(directory, begin, log=about.log)
        pull = partial(
            puller.run,
            url=url,
            token=token,
            mirror=mirror,
            synced=synced,
            feed=feed,
            until_seq=about.seq if once else None,
            log=about.log,
        )
        progress = _Progress(CatchUp(begin.seq, about.seq, trio.current_time()), mirror)
        ship = partial(
            shipper.run,
            log_directory=directory,
            database=database,
            synced=synced,
            feed=feed,
            gives_up=once,
        )
        subscription = feed.subscribe("progress", ShipCounted, Noted, bound=_PROGRESS_BOUND)
        with closing(mirror), subscription as told:
            await _tell_while(ship, pull, progress, told)
        return 1 if progress.cause else 0
    finally:
        with trio.CancelScope(shield=True):
            await database.close()


async def _tell_while(
    ship: Callable[[], Awaitable[None]],
    pull: Callable[[], Awaitable[None]],
    progress: _Progress,
    told: Subscription,
) -> None:
    """Tell how far it is until all has been shipped."""
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pull)
            nursery.start_soon(progress.run, told)
            await ship()
            for message in told.drain():
                progress.tell(message)
            nursery.cancel_scope.cancel()
    finally:
        progress.end()


class _Progress:
    """Tells a person how far it is, on standard error."""

    def __init__(self, catch_up: CatchUp, mirror: Mirror) -> None:
        self.cause = ""
        self._catch_up = catch_up
        self._mirror = mirror
        self._is_terminal = sys.stderr.isatty()
        self._is_live = False
        self._told_s = -LINE_EVERY_S
        self._width = 0
        """Of the line that can still be written over."""

    async def run(self, told: Subscription) -> None:
        """Tell until cancelled."""
        while True:
            for message in await told.receive_batch():
                self.tell(message)

    def tell(self, message: object) -> None:
        """Tell of one message."""
        if isinstance(message, Noted):
            self._line(message.text)
        elif isinstance(message, ShipCounted):
            self._tell_count(message)

    def end(self) -> None:
        """Leave the last line as it is."""
        if self._width:
            sys.stderr.write("\n")
            self._width = 0

    def _tell_count(self, count: ShipCounted) -> None:
        self._mirror.forget(count.shipped_seq)
        if count.cause != self.cause:
            self._line(count.cause or "going on")
        self.cause = count.cause
        now_s = trio.current_time()
        arrived = Arrived(count.shipped_seq, count.rows, self._mirror.size_bytes, now_s)
        if not self._is_live and self._catch_up.is_done(arrived) and not count.cause:
            self._is_live = True
            self._line(self._catch_up.end(arrived))
        elif self._is_terminal:
            self._over(live_line(arrived) if self._is_live else self._catch_up.bar(arrived))
        elif not self._is_live and now_s - self._told_s >= LINE_EVERY_S:
            self._told_s = now_s
            self._line(self._catch_up.line(arrived))

    def _line(self, text: str) -> None:
        """A line that stays."""
        self._over(text)
        sys.stderr.write("\n")
        self._width = 0

    def _over(self, text: str) -> None:
        """A line that the next one is written over, on a terminal."""
        start = "\r" if self._is_terminal else ""
        sys.stderr.write(f"{start}{text.ljust(self._width)}")
        sys.stderr.flush()
        self._width = len(text) if self._is_terminal else 0
