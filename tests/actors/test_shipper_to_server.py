"""Shipping over HTTP to a server that fails in every way: exact in every table, always."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio
from clickhouse_front import ClickHouseFront, Fault
from log_writing import block_messages, write_log

from grug.actors import shipper
from grug.errors import ShipError
from grug.messages import Readings, ShipCounted
from grug.runtime.feed import Feed
from grug.storage.schema import AGGREGATES
from grug.transport.clickhouse import SharedDatabase
from grug.transport.logfiles import Synced

pytestmark = pytest.mark.slow

BLOCKS = 200


@pytest.fixture
def front(tmp_path: Path) -> Iterator[ClickHouseFront]:
    server = ClickHouseFront(tmp_path / "server")
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipper, "BACKOFF_S_MIN", 0.01)
    monkeypatch.setattr(shipper, "BACKOFF_S_MAX", 0.05)
    monkeypatch.setattr(shipper, "ROWS_PER_BATCH", 300)


def numbers(front: ClickHouseFront) -> list[tuple[int, float]]:
    """Rows and sums of readings and of each aggregate; then rows of events, in all and distinct."""
    asked = ["count(), sum(value) FROM readings"]
    asked += [f"sum(n), sum(s) FROM {name}" for name, _, _ in AGGREGATES]
    asked += ["count(), uniqExact(text) FROM events"]
    rows = [front.query(f"SELECT {each}")[0] for each in asked]
    return [(int(count), round(float(total), 3)) for count, total in rows]


def expected(blocks: int = BLOCKS) -> list[tuple[int, float]]:
    values = [
        float(value)
        for block in range(blocks)
        for message in block_messages(block * 10)
        if isinstance(message, Readings)
        for value in message.values
    ]
    events = (blocks + 9) // 10
    return [(len(values), round(sum(values), 3))] * (1 + len(AGGREGATES)) + [(events, events)]


async def ship(directory: Path, last_seq: int, url: str) -> list[str]:
    """Ship a log whose writer is there until all has arrived; gives the troubles on the way."""
    feed, synced, database = Feed(), Synced(), SharedDatabase(url)
    synced.mark(last_seq)
    troubles: list[str] = []
    with feed.subscribe("test", ShipCounted, bound=10_000) as told, trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            run = partial(
                shipper.run, log_directory=directory, database=database, synced=synced, feed=feed
            )
            nursery.start_soon(run)
            has_arrived = False
            while not has_arrived:
                for count in await told.receive_batch():
                    assert isinstance(count, ShipCounted)
                    troubles += [count.cause] if count.cause else []
                    has_arrived = has_arrived or count.shipped_seq == last_seq
            nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True):
        await database.close()
    return troubles


async def test_a_healthy_server_gets_everything_once(
    tmp_path: Path, front: ClickHouseFront
) -> None:
    last_seq = write_log(tmp_path / "log", BLOCKS)
    assert await ship(tmp_path / "log", last_seq, front.url) == []
    assert await ship(tmp_path / "log", last_seq, front.url) == []
    assert numbers(front) == expected()


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.NONE])
async def test_one_kind_of_fault_at_every_third_insert(
    tmp_path: Path, front: ClickHouseFront, fault: Fault
) -> None:
    inserts = [0]

    def choose(statement: str) -> Fault:
        if "INSERT" not in statement.upper():
            return Fault.NONE
        inserts[0] += 1
        return fault if inserts[0] % 3 == 1 else Fault.NONE

    front.choose = choose
    last_seq = write_log(tmp_path / "log", 60)
    troubles = await ship(tmp_path / "log", last_seq, front.url)
    assert front.happened[fault] >= 2
    assert bool(troubles) is (fault is not Fault.SLOW)
    assert numbers(front) == expected(60)


@pytest.mark.parametrize("seed", range(3))
async def test_any_fault_at_any_request(tmp_path: Path, front: ClickHouseFront, seed: int) -> None:
    """Half of the inserts fail, and now and then what makes the tables or asks what is there."""
    chance = random.Random(seed)
    rare = (Fault.RESTART_BEFORE, Fault.RESTART_AFTER)
    usual = [fault for fault in Fault if fault not in (Fault.NONE, *rare)]

    def choose(statement: str) -> Fault:
        drawn = chance.random()
        if drawn < 0.01:
            return chance.choice(rare)
        share = 0.5 if "INSERT" in statement.upper() else 0.04
        return chance.choice(usual) if drawn < share else Fault.NONE

    front.choose = choose
    last_seq = write_log(tmp_path / "log", BLOCKS)
    await ship(tmp_path / "log", last_seq, front.url)
    assert numbers(front) == expected()
    assert sum(front.happened.values()) - front.happened[Fault.NONE] >= 10


async def test_server_that_is_away_for_a_while_is_caught_up_with(
    tmp_path: Path, front: ClickHouseFront
) -> None:
    front._stop_listening()
    last_seq = write_log(tmp_path / "log", 60)

    async def come_back() -> None:
        await trio.sleep(0.5)
        front._listen(front.port)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(come_back)
        troubles = await ship(tmp_path / "log", last_seq, front.url)
    assert troubles
    assert numbers(front) == expected(60)


async def test_error_of_the_server_is_told_in_its_words(front: ClickHouseFront) -> None:
    database = SharedDatabase(front.url)
    with pytest.raises(ShipError, match="nonsense"):
        await database.call(lambda db: db.query("SELECT nonsense"))
    await database.close()
