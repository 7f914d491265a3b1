"""The shipper over a real log and the real embedded engine.

The engine is one per process and takes a second to open: these tests use real time and threads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from grug.actors import query, recorder, shipper
from grug.config.types import LogConfig, Seconds
from grug.errors import ShipError
from grug.messages import Decided, Message, Noted, Readings, ShipCounted, StopRecording
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed, Subscription
from grug.storage.schema import AGGREGATES
from grug.transport.asking import ask_database, embedded_url, socket_path
from grug.transport.clickhouse import Database, SharedDatabase
from grug.transport.logfiles import LogReader, Synced

pytestmark = pytest.mark.slow

SETTINGS = LogConfig(block=Seconds(10.0), reserve_bytes=0)
WALL = WallClock(origin_s=1_700_000_000.0)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SharedDatabase]:
    shared = SharedDatabase(embedded_url(tmp_path))
    yield shared
    with trio.CancelScope(shield=True):
        await shared.close()


def an_hour(start_s: float = 0.0, seconds: int = 3600) -> list[Message]:
    messages: list[Message] = []
    for index in range(seconds):
        at_s = start_s + index
        messages.append(Readings("grid", at_s, ("power", "voltage"), (at_s * 0.1, 230)))
        if index % 100 == 0:
            messages.append(Decided("offset", at_s, ("power_w",), (at_s,), f"reason {at_s}"))
    return messages


async def record(directory: Path, messages: list[Message], synced: Synced | None = None) -> None:
    feed = Feed()
    with feed.subscribe("recorder", *recorder.KINDS, bound=100_000) as source:
        for message in messages:
            feed.publish(message)
        feed.publish(StopRecording(ship=True))
        await recorder.run(
            source,
            log_directory=directory,
            settings=SETTINGS,
            wall=WALL,
            feed=feed,
            on_block=None if synced is None else synced.mark,
            is_durable=False,
        )


async def ship(directory: Path, database: SharedDatabase) -> list[Message]:
    """Ship a log that has ended; gives what the shipper published."""
    feed = Feed()
    synced = Synced()
    synced.mark(max((b.frame.seq for b in LogReader(directory).read()), default=-1))
    synced.end()
    with feed.subscribe("test", ShipCounted, Noted, bound=10_000) as told:
        await shipper.run(log_directory=directory, database=database, synced=synced, feed=feed)
        return told.drain()


async def hear(told: Subscription, is_it: Callable[[ShipCounted], bool]) -> None:
    """Wait for a count like this."""
    with trio.fail_after(20):
        while True:
            for message in await told.receive_batch():
                assert isinstance(message, ShipCounted)
                if is_it(message):
                    return


def seqs(database: Database) -> list[tuple[object, ...]]:
    return database.query("SELECT DISTINCT seq FROM readings ORDER BY seq").rows


def numbers(database: Database) -> list[tuple[object, ...]]:
    """Count and sum in every table that rows reach; equal everywhere when nothing doubled."""
    sql = "SELECT count(), round(sum(value), 3) FROM readings"
    for name, _, _ in AGGREGATES:
        sql += f" UNION ALL SELECT sum(n), round(sum(s), 3) FROM {name}"
    distinct = database.query("SELECT count() - uniqExact(series, ts) FROM readings").rows
    assert distinct == [(0,)]
    return database.query(sql).rows


def expected(messages: list[Message]) -> list[tuple[object, ...]]:
    values: list[float] = []
    for message in messages:
        assert isinstance(message, Readings | Decided)
        values += [float(value) for value in message.values]
    return [(len(values), pytest.approx(sum(values), abs=0.01))] * (1 + len(AGGREGATES))


async def test_everything_recorded_arrives_once(tmp_path: Path, database: SharedDatabase) -> None:
    messages = an_hour()
    await record(tmp_path / "log", messages)
    told = await ship(tmp_path / "log", database)
    again = await ship(tmp_path / "log", database)
    assert await database.call(numbers) == expected(messages)
    reasons = await database.call(lambda db: db.query("SELECT count() FROM events").rows)
    assert reasons == [(36,)]
    assert isinstance(told[-1], ShipCounted)
    assert (told[-1].cause, told[-1].waiting_blocks) == ("", 0)
    assert isinstance(again[-1], ShipCounted)
    assert again[-1].cause == ""


async def test_value_is_the_double_that_was_read(tmp_path: Path, database: SharedDatabase) -> None:
    values = [0.1 * 3, 1e-12, 123456.789, -0.07, 1 / 3, 2.0**60, float("inf"), 16777217.0]
    messages: list[Message] = [
        Readings("meter", float(index), ("value",), (value,)) for index, value in enumerate(values)
    ] + [Readings("decimal", float(index), ("value",), (index * 0.07,)) for index in range(1000)]
    await record(tmp_path / "log", messages)
    await ship(tmp_path / "log", database)
    rows = await database.call(
        lambda db: db.query("SELECT value FROM readings ORDER BY series DESC, ts").rows
    )
    assert [value for (value,) in rows] == values + [index * 0.07 for index in range(1000)]


@pytest.mark.parametrize(
    ("step", "every", "first"), [("announce", 2, 1), ("_insert", 3, 1), ("_insert", 5, 2)]
)
async def test_error_after_the_deed_doubles_nothing(
    tmp_path: Path,
    database: SharedDatabase,
    step: str,
    every: int,
    first: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some calls fail although the database has done what it was asked; the process starts anew."""
    real = getattr(Database, step)
    calls: list[int] = []

    def do_and_fail(self: Database, *args: object) -> None:
        real(self, *args)
        calls.append(1)
        if len(calls) % every == first:
            raise ShipError("the connection broke")

    monkeypatch.setattr(Database, step, do_and_fail)
    monkeypatch.setattr(shipper, "ROWS_PER_BATCH", 1000)
    messages = an_hour()
    await record(tmp_path / "log", messages)
    for _ in range(30):
        told = await ship(tmp_path / "log", database)
        assert isinstance(told[-1], ShipCounted)
        if not told[-1].cause:
            break
    assert await database.call(numbers) == expected(messages)
    assert len(calls) >= 8


async def test_repeat_is_the_same_batch_though_the_log_has_grown(
    tmp_path: Path, database: SharedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first insert is done and fails; before it is tried again, there is more to ship."""
    monkeypatch.setattr(shipper, "BACKOFF_S_MIN", 0.01)
    real = Database._insert
    calls: list[int] = []
    synced, feed = Synced(), Feed()
    messages = an_hour(seconds=600)

    def do_and_fail(self: Database, *args: object) -> None:
        real(self, *args)  # type: ignore[arg-type]
        calls.append(1)
        if len(calls) == 1:
            synced.seq = last_seq
            raise ShipError("the connection broke")

    monkeypatch.setattr(Database, "_insert", do_and_fail)
    await record(tmp_path / "log", messages)
    last_seq = LogReader(tmp_path / "log").read()[-1].frame.seq
    synced.mark(10)
    with feed.subscribe("test", ShipCounted, bound=1000) as told:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                partial(
                    shipper.run,
                    log_directory=tmp_path / "log",
                    database=database,
                    synced=synced,
                    feed=feed,
                )
            )
            await hear(told, lambda count: count.shipped_seq == last_seq)
            synced.end()
    assert await database.call(numbers) == expected(messages)


async def test_grouping_after_a_crash_repeats_what_was_announced(
    tmp_path: Path, database: SharedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small batches first, with the last one in doubt; then the rest in one large batch."""
    messages = an_hour(seconds=600)
    await record(tmp_path / "log", messages)
    with monkeypatch.context() as patch:
        patch.setattr(shipper, "ROWS_PER_BATCH", 50)
        await ship(tmp_path / "log", database)
    more = an_hour(start_s=600.0)
    await record(tmp_path / "log", more)
    await ship(tmp_path / "log", database)
    assert await database.call(numbers) == expected([*messages, *more])


async def test_blocks_deleted_while_in_doubt_are_passed_over(
    tmp_path: Path, database: SharedDatabase
) -> None:
    await record(tmp_path / "log", an_hour())
    await ship(tmp_path / "log", database)
    (segment,) = (tmp_path / "log").glob("*.grug")
    await record(tmp_path / "log", an_hour(start_s=3600.0))
    segment.unlink()
    told = await ship(tmp_path / "log", database)
    assert any(isinstance(message, Noted) for message in told)
    assert await database.call(numbers) == expected(an_hour(seconds=7200))


async def test_blocks_deleted_before_they_were_shipped_are_reported(
    tmp_path: Path, database: SharedDatabase
) -> None:
    messages = an_hour(seconds=4 * 3600)
    await record(tmp_path / "log", an_hour(seconds=60))
    await ship(tmp_path / "log", database)
    await record(tmp_path / "log", messages)
    segments = sorted((tmp_path / "log").glob("*.grug"))
    segments[2].unlink()
    told = await ship(tmp_path / "log", database)
    (noted,) = [message for message in told if isinstance(message, Noted)]
    assert "went before they were shipped" in noted.text


async def test_window_of_zero_is_refused(tmp_path: Path, database: SharedDatabase) -> None:
    def spoil(db: Database) -> None:
        db._client.command(
            "ALTER TABLE agg_15m MODIFY SETTING non_replicated_deduplication_window = 0"
        )

    await database.call(spoil)
    await database.close()
    with pytest.raises(ShipError, match="agg_15m would take repeated rows twice"):
        await database.call(numbers)


async def test_ships_what_is_synced_and_answers_queries_meanwhile(
    tmp_path: Path, database: SharedDatabase
) -> None:
    synced = Synced()
    feed = Feed()
    messages = an_hour(seconds=300)
    ask = partial(ask_database, tmp_path)
    with feed.subscribe("test", ShipCounted, bound=10_000) as told:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                partial(query.run, socket_path=socket_path(tmp_path), database=database)
            )
            nursery.start_soon(
                partial(
                    shipper.run,
                    log_directory=tmp_path / "log",
                    database=database,
                    synced=synced,
                    feed=feed,
                )
            )
            await record(tmp_path / "log", messages)
            last_seq = LogReader(tmp_path / "log").read()[-1].frame.seq
            synced.mark(10)
            await hear(told, lambda count: count.shipped_seq >= 10)
            await trio.testing.wait_all_tasks_blocked()
            assert (await database.call(seqs))[-1] <= (10,)
            synced.mark(last_seq)
            synced.end()
            await hear(told, lambda count: count.shipped_seq == last_seq)
            answer = await trio.to_thread.run_sync(ask, "SELECT count() AS n FROM readings")
            assert answer == (("n",), [(603,)])
            with pytest.raises(ShipError, match="only single statements"):
                await trio.to_thread.run_sync(ask, "DROP TABLE readings")
            with pytest.raises(ShipError, match="nonsense"):
                await trio.to_thread.run_sync(ask, "SELECT nonsense")
            nursery.cancel_scope.cancel()
    await database.close()
    assert ask("SELECT count() FROM readings").rows == [(603,)]


async def test_database_that_is_away_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper, "BACKOFF_S_MIN", 0.01)
    database = SharedDatabase("http://127.0.0.1:9/")
    await record(tmp_path / "log", an_hour(seconds=60))
    synced, feed = Synced(), Feed()
    synced.mark(1)
    with feed.subscribe("test", ShipCounted) as told, trio.move_on_after(3):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                partial(
                    shipper.run,
                    log_directory=tmp_path / "log",
                    database=database,
                    synced=synced,
                    feed=feed,
                )
            )
            causes: list[str] = []
            while len(causes) < 3:
                causes += [m.cause for m in await told.receive_batch()]  # type: ignore[attr-defined]
            nursery.cancel_scope.cancel()
        assert all("9" in cause for cause in causes), causes
