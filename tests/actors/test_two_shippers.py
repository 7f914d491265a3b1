"""Two shippers of one log: who comes last brings it, and nothing doubles wherever they meet."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from log_writing import TestLog, block_messages, write_log

from grug.actors import shipper
from grug.messages import Message, Noted, Readings, ShipCounted
from grug.runtime.feed import Feed
from grug.storage.schema import AGGREGATES, DEDUPLICATED, quoted
from grug.transport.asking import embedded_url
from grug.transport.clickhouse import Database, SharedDatabase
from grug.transport.logfiles import Synced

pytestmark = pytest.mark.slow

BLOCKS = 30


class InThisTask(SharedDatabase):
    """Works on the database in the event loop, and counts the statements that it gets.

    Before one of them ``meet`` is called; after ``statements_max`` the database is away.
    """

    def __init__(
        self, url: str, meet_at: int = -1, meet: Callable[[], None] = lambda: None
    ) -> None:
        self.database = Database(url)
        self.count = 0
        self.statements_max = 1 << 30
        self._meet_at, self._meet = meet_at, meet
        client = self.database._client
        for name in ("query", "command", "raw_insert"):
            setattr(client, name, partial(self._counted, getattr(client, name)))

    def _counted(self, work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        self.count += 1
        if self.count == self._meet_at:
            self._meet()
        if self.count > self.statements_max:
            raise OSError("the database is away")
        return work(*arguments, **named)

    async def call(self, work: Callable[[Database], Any]) -> Any:
        await trio.lowlevel.checkpoint()
        return work(self.database)


async def ship(directory: Path, database: SharedDatabase, *, gives_up: bool) -> list[Message]:
    feed, synced = Feed(), Synced()
    synced.mark(1 << 60)
    synced.end()
    with feed.subscribe("test", ShipCounted, Noted, bound=10_000) as told:
        await shipper.run(
            log_directory=directory, database=database, synced=synced, feed=feed, gives_up=gives_up
        )
        return told.drain()


def texts_of(messages: list[Message]) -> str:
    return "\n".join(m.cause if isinstance(m, ShipCounted) else str(m) for m in messages)


def numbers(database: Database) -> list[tuple[Any, ...]]:
    asked = ["count(), round(sum(value), 3) FROM readings"]
    asked += [f"sum(n), round(sum(s), 3) FROM {a.name}" for a in AGGREGATES]
    asked += ["count(), uniqExact(text) FROM events"]
    return [database.query(f"SELECT {each}").rows[0] for each in asked]


def expected(blocks: int = BLOCKS) -> list[tuple[Any, ...]]:
    values = [
        float(value)
        for block in range(blocks)
        for message in block_messages(block * 10)
        if isinstance(message, Readings)
        for value in message.values
    ]
    row = (len(values), pytest.approx(sum(values), abs=0.01))
    return [row] * (1 + len(AGGREGATES)) + [((blocks + 9) // 10,) * 2]


def lose_rows(url: str, directory: Path) -> None:
    """Ship a batch, and leave each table as a kill may: with its token and without its rows."""
    database = InThisTask(url)
    trio.run(partial(ship, directory, database, gives_up=True))
    parts = database.database.query(
        f"SELECT path FROM system.parts WHERE active AND table IN ({quoted(DEDUPLICATED)})"
    ).rows
    database.database.close()
    for (part,) in parts:
        shutil.rmtree(part)


@pytest.mark.parametrize(
    ("is_in_doubt", "meet_at"),
    [(False, at) for at in range(1, 21, 3)] + [(True, at) for at in range(1, 61, 7)],
)
async def test_another_shipper_between_any_two_statements(
    tmp_path: Path,
    meet_at: int,
    is_in_doubt: bool,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other one ships all, or is cut off within; both begin with a repair where in doubt."""
    url, log = embedded_url(tmp_path), tmp_path / "log"
    if is_in_doubt:
        write_log(log, 12)
        thread = threading.Thread(target=lose_rows, args=(url, log))
        thread.start()
        thread.join()
        write_log(log, BLOCKS - 12, first_s=120)
    else:
        write_log(log, BLOCKS)
    monkeypatch.setattr(shipper, "ROWS_PER_BATCH", 130)
    other = InThisTask(url)
    if meet_at % 2:
        other.statements_max = 20 + meet_at

    def meet() -> None:
        """In a thread, since this one has an event loop."""
        with monkeypatch.context() as patch:
            patch.setattr(shipper, "ROWS_PER_BATCH", 70)
            run = partial(ship, log, other, gives_up=True)
            thread = threading.Thread(target=trio.run, args=(run,))
            thread.start()
            thread.join()

    mine = InThisTask(url, meet_at, meet)
    await ship(log, mine, gives_up=False)
    assert mine.count > meet_at
    assert numbers(mine.database) == expected()
    other.database.close()
    mine.database.close()


async def in_this_task(work: Callable[..., Any], *arguments: Any) -> Any:
    """Instead of a thread, for which virtual time would not wait."""
    await trio.lowlevel.checkpoint()
    return work(*arguments)


async def test_the_first_goes_on_once_the_other_one_is_quiet(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trio.to_thread, "run_sync", in_this_task)
    url = embedded_url(tmp_path)
    first, second = InThisTask(url), InThisTask(url)
    synced, feed = Synced(), Feed()
    run = partial(shipper.run, log_directory=tmp_path / "log", synced=synced, feed=feed)
    with (
        TestLog(tmp_path / "log") as log,
        feed.subscribe("test", ShipCounted, Noted, bound=10_000) as told,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(run, database=first))
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as inner:
                    for block in range(BLOCKS):
                        if block == 5:
                            inner.start_soon(partial(run, database=second))
                        synced.mark(log.write())
                        await trio.sleep(10)
                    count = second.count
                    scope.cancel()
            assert "process" in (said := texts_of(told.drain()))
            assert "has been quiet" not in said
            synced.mark(log.write())
            await trio.sleep(2 * shipper.QUIET_S + 60)
            assert "has been quiet" in texts_of(told.drain())
            synced.end()
    assert second.count == count
    assert numbers(first.database) == expected(BLOCKS + 1)
    first.database.close()
    second.database.close()


async def test_a_shipper_that_was_killed_holds_up_nobody(tmp_path: Path) -> None:
    """Its claim is older than any new one, whatever the clocks say."""
    url, log = embedded_url(tmp_path), tmp_path / "log"
    write_log(log, BLOCKS)
    killed, second = InThisTask(url), InThisTask(url)
    killed.statements_max = 7
    await ship(log, killed, gives_up=True)
    assert killed.count == killed.statements_max + 1
    await ship(log, second, gives_up=True)
    assert numbers(second.database) == expected()
    killed.database.close()
    second.database.close()
