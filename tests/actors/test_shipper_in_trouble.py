"""Shipping when things go wrong for long, or half: views that throw, a day without a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from log_writing import TestLog, block_messages, write_log

from grug.actors import shipper
from grug.errors import ShipError
from grug.messages import Message, Noted, Readings, ShipCounted
from grug.runtime.feed import Feed
from grug.storage.schema import AGGREGATES
from grug.storage.segment import FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES, FrameKind
from grug.transport import logwriter
from grug.transport.asking import embedded_url
from grug.transport.clickhouse import Database, SharedDatabase
from grug.transport.logfiles import LogReader, Synced

pytestmark = pytest.mark.slow

Result = TypeVar("Result")


class InThisTask(SharedDatabase):
    """Works on the database in the event loop, so that virtual time stands still meanwhile."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.is_away: Callable[[], bool] = lambda: False
        self.tries = 0

    async def call(self, work: Callable[[Database], Result]) -> Result:
        await trio.lowlevel.checkpoint()
        self.tries += 1
        if self.is_away():
            raise ShipError("the database is away")
        return work(self.database)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[InThisTask]:
    opened = Database(embedded_url(tmp_path))
    yield InThisTask(opened)
    opened.close()


def numbers(database: Database) -> list[tuple[Any, ...]]:
    asked = ["count(), round(sum(value), 3) FROM readings"]
    asked += [f"sum(n), round(sum(s), 3) FROM {a.name}" for a in AGGREGATES]
    asked += ["count(), uniqExact(text) FROM events"]
    return [database.query(f"SELECT {each}").rows[0] for each in asked]


def expected(blocks: int) -> list[tuple[Any, ...]]:
    values = [
        float(value)
        for block in range(blocks)
        for message in block_messages(block * 10)
        if isinstance(message, Readings)
        for value in message.values
    ]
    row = (len(values), pytest.approx(sum(values), abs=0.01))
    return [row] * (1 + len(AGGREGATES)) + [((blocks + 9) // 10,) * 2]


async def ship(directory: Path, shared: SharedDatabase, **how: Any) -> list[Message]:
    """Ship a log that has ended; gives what the shipper published."""
    feed, synced = Feed(), Synced()
    synced.mark(max(b.frame.seq for b in LogReader(directory).read()))
    synced.end()
    with feed.subscribe("test", ShipCounted, Noted, bound=10_000) as told:
        await shipper.run(log_directory=directory, database=shared, synced=synced, feed=feed, **how)
        return told.drain()


def fuse(database: Database, view: str) -> None:
    """Make a view throw as long as there is a row in ``fuse``."""
    ((created,),) = database.query(
        f"SELECT create_table_query FROM system.tables WHERE name = '{view}'"
    ).rows
    head, _, select = str(created).partition(" AS SELECT ")
    select = select.replace(
        " GROUP BY ", " AND NOT throwIf((SELECT count() FROM fuse) > 0) GROUP BY "
    )
    if " WHERE " not in select:
        select = select.replace(" AND NOT", " WHERE NOT", 1)
    database._run(
        "CREATE TABLE IF NOT EXISTS fuse (x UInt8) ENGINE = MergeTree ORDER BY x",
        f"DROP VIEW {view}",
        f"{head} AS SELECT {select}",
    )


@pytest.mark.parametrize("view", [f"{aggregate.name}_view" for aggregate in AGGREGATES])
async def test_a_view_that_throws_gets_its_rows_at_the_next_try(
    tmp_path: Path, shared: InThisTask, view: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Seen with ClickHouse: the rows are in the table although the insert has failed."""
    fuse(shared.database, view)
    shared.database._run("INSERT INTO fuse VALUES (1)")
    write_log(tmp_path / "log", 30)
    (*_, last) = await ship(tmp_path / "log", shared)
    assert isinstance(last, ShipCounted)
    assert "throwIf" in last.cause
    shared.database._run("TRUNCATE TABLE fuse")
    for _ in range(2):
        (*_, last) = await ship(tmp_path / "log", shared)
        assert isinstance(last, ShipCounted)
        assert last.cause == ""
    assert numbers(shared.database) == expected(30)


async def test_database_that_is_away_for_a_day_is_asked_seldom_and_gets_all(
    tmp_path: Path, shared: InThisTask, autojump_clock: trio.testing.MockClock
) -> None:
    shared.is_away = lambda: trio.current_time() < 86_400
    synced, feed = Synced(), Feed()
    with feed.subscribe("test", ShipCounted, bound=10_000) as told, TestLog(tmp_path) as log:
        async with trio.open_nursery() as nursery:
            run = partial(
                shipper.run, log_directory=tmp_path, database=shared, synced=synced, feed=feed
            )
            nursery.start_soon(run)
            for hour in range(24):
                await trio.sleep_until(hour * 3600 + 5)
                synced.mark(log.write(20))
            await trio.sleep_until(86_399)
            tries_while_away = shared.tries
            counts = told.drain()
            waiting = [c for c in counts if isinstance(c, ShipCounted) and c.waiting_blocks]
            assert {count.cause for count in waiting} == {"the database is away"}
            assert waiting[-1].waiting_blocks >= 24 * 20
            await trio.sleep(3600)
            synced.mark(log.write(20))
            synced.end()
    assert 24 * 60 <= tries_while_away <= 24 * 60 + 10
    assert numbers(shared.database) == expected(25 * 20)


async def test_the_last_copy_of_a_log_is_not_given_up(
    tmp_path: Path, shared: InThisTask, autojump_clock: trio.testing.MockClock
) -> None:
    write_log(tmp_path / "log", 30)
    shared.is_away = lambda: trio.current_time() < 1000
    await ship(tmp_path / "log", shared, gives_up=False)
    assert 1000 <= trio.current_time() < 1100
    assert numbers(shared.database) == expected(30)


@pytest.mark.parametrize("seen", [1, 2, 15, 29])
async def test_a_repeat_waits_until_all_of_its_batch_can_be_read(
    tmp_path: Path, shared: InThisTask, seen: int, autojump_clock: trio.testing.MockClock
) -> None:
    """The copy that ``grug ship --from`` makes of a log has a part of the doubtful batch first."""
    last = write_log(tmp_path / "log", 30)
    await ship(tmp_path / "log", shared)
    feed, synced = Feed(), Synced()
    synced.mark(seen)
    with feed.subscribe("test", Noted, bound=100) as told:
        async with trio.open_nursery() as nursery:
            run = partial(
                shipper.run,
                log_directory=tmp_path / "log",
                database=shared,
                synced=synced,
                feed=feed,
            )
            nursery.start_soon(run)
            await trio.sleep(100)
            synced.mark(last)
            await trio.sleep(100)
            synced.end()
        assert told.drain() == []
    assert numbers(shared.database) == expected(30)
    assert shared.database.query("SELECT count() FROM ships").rows == [(1,)]


@pytest.mark.parametrize("broken", ["readings", "events"])
async def test_what_retention_has_left_of_a_doubtful_batch_arrives(
    tmp_path: Path,
    shared: InThisTask,
    broken: str,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An insert failed before a table's turn; then the first of two segments was deleted."""
    real = Database._insert

    def fail(self: Database, table: str, *arguments: Any) -> None:
        if table == broken:
            raise ShipError("the connection broke")
        real(self, table, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(logwriter, "SEGMENT_AGE_MS_MAX", 200_000)
        patch.setattr(Database, "_insert", fail)
        write_log(tmp_path / "log", 30)
        await ship(tmp_path / "log", shared)
    oldest, *rest = sorted((tmp_path / "log").glob("*.grug"))
    assert len(rest) == 1
    oldest.unlink()
    for _ in range(2):
        told = await ship(tmp_path / "log", shared)
        assert any("no longer in the log" in m.text for m in told if isinstance(m, Noted))
    there = numbers(shared.database)
    left = numbers_of_log(tmp_path / "log")
    assert there[-1] == (left[1],) * 2
    if broken == "events":
        assert there[:-1] == expected(30)[:-1]
    else:
        assert [count for count, _ in there[:-1]] == [left[0]] * (1 + len(AGGREGATES))


def numbers_of_log(directory: Path) -> tuple[int, int]:
    """How many samples and events are in a log."""
    frames = [block.frame for block in LogReader(directory).read()]
    samples = sum(frame.entries for frame in frames if frame.kind == FrameKind.SAMPLES)
    return samples, sum(frame.entries for frame in frames if frame.kind == FrameKind.EVENTS)


async def test_samples_without_names_are_counted_and_the_rest_arrives(
    tmp_path: Path, shared: InThisTask, autojump_clock: trio.testing.MockClock
) -> None:
    write_log(tmp_path / "log", 30)
    write_log(tmp_path / "log", 30, first_s=300)
    (first, _) = sorted((tmp_path / "log").glob("*.grug"))
    data = bytearray(first.read_bytes())
    data[SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES + 2] ^= 1
    first.write_bytes(data)
    told = await ship(tmp_path / "log", shared)
    (noted,) = [message.text for message in told if isinstance(message, Noted)][-1:]
    assert "600 samples" in noted
    assert "have no name" in noted
    rows = shared.database.query("SELECT count(), min(value) FROM readings").rows
    assert rows[0][0] == 600
    assert shared.database.query("SELECT count() FROM events").rows == [(6,)]
