"""The database's part of the log's bench: bytes a row beside the forerunner's schema, rows/s."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from formats import Row

from grug.actors import shipper
from grug.runtime.feed import Feed
from grug.storage.schema import AGGREGATES
from grug.transport.asking import embedded_url
from grug.transport.clickhouse import Database, SharedDatabase
from grug.transport.engine import connect
from grug.transport.logfiles import Synced

SEED_TABLE = """
CREATE TABLE seed (
  topic LowCardinality(String) CODEC(ZSTD(9)),
  ts DateTime64(2) CODEC(Delta, ZSTD(9)),
  is_int UInt8 CODEC(ZSTD(9)),
  value Float64 CODEC(Delta, ZSTD(9))
) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(ts) ORDER BY (topic, ts)
"""
"""As the forerunner's measured schema is described: STORAGE.md, 6."""


class Backfill(NamedTuple):
    """What shipping a log took."""

    rows_per_s: float
    row_bytes: float
    """Of ``readings``, merged."""
    aggregate_bytes: float
    """Of all aggregates, per row of ``readings``."""


async def backfill(state: Path, rows: int) -> Backfill:
    """Ship a whole log into a new database, with all its views."""
    database = SharedDatabase(embedded_url(state))
    await database.call(lambda opened: None)
    synced = Synced()
    synced.mark(1 << 60)
    synced.end()
    start_s = time.perf_counter()
    await shipper.run(log_directory=state / "log", database=database, synced=synced, feed=Feed())
    elapsed_s = time.perf_counter() - start_s
    await database.call(lambda opened: opened._run("OPTIMIZE TABLE readings FINAL"))
    sizes = await database.call(
        lambda opened: dict(
            opened.query(
                "SELECT table, sum(bytes_on_disk) FROM system.parts"
                " WHERE active AND database = currentDatabase() GROUP BY table"
            ).rows
        )
    )
    await database.close()
    aggregates = sum(sizes.get(aggregate.name, 0) for aggregate in AGGREGATES)
    return Backfill(rows / elapsed_s, sizes["readings"] / rows, aggregates / rows)


class RowWise(NamedTuple):
    """Inserting rows one by one, or as tuples."""

    rows_per_insert: int
    rows_per_s: float


def seed_bytes(state: Path) -> float:
    """Bytes a row when the very same rows are in the forerunner's schema."""
    client = connect(embedded_url(state))
    client.command(SEED_TABLE)
    client.command("INSERT INTO seed SELECT series, ts, value = trunc(value), value FROM readings")
    client.command("OPTIMIZE TABLE seed FINAL")
    ((size, count),) = client.query(
        "SELECT sum(bytes_on_disk), sum(rows) FROM system.parts WHERE active AND table = 'seed'"
    ).result_rows
    client.close()
    return float(size / count)


def row_wise(state: Path, rows: Sequence[Row]) -> list[RowWise]:
    """Rows/s of tuples into the same tables, with the same aggregates filled."""
    Database(embedded_url(state)).close()
    client = connect(embedded_url(state))
    speeds = []
    for rows_per_insert, inserts in ((1, 50), (1000, 50), (100_000, 3)):
        piece = rows[: rows_per_insert * inserts]
        elapsed_s = _timed(partial(_insert, client, piece, rows_per_insert))
        speeds.append(RowWise(rows_per_insert, len(piece) / elapsed_s))
    client.close()
    return speeds


def _insert(client: Any, rows: Sequence[Row], rows_per_insert: int) -> None:
    names = ("site", "series", "ts", "log", "e", "m", "seq", "epoch")
    for start in range(0, len(rows), rows_per_insert):
        tuples = [
            (
                "home",
                row.series,
                datetime.datetime.fromtimestamp(row.time_ms / 1000, datetime.UTC),
                "tuples",
                2,
                round(row.value * 100),
                1,
                1,
            )
            for row in rows[start : start + rows_per_insert]
        ]
        client.insert("readings", tuples, column_names=names)


def _timed(work: Callable[[], None]) -> float:
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s
