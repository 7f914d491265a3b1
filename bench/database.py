"""The database's part of the log's bench: bytes a row beside the forerunner's schema, rows/s."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import zstandard
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


FORERUNNER_ROWS = 262_144


class Speed(NamedTuple):
    """How quickly rows came into the database."""

    rows_per_s: float
    cpu_ns: float
    """Of a row, all threads together."""


class Sizes(NamedTuple):
    """What rows take, merged."""

    row_bytes: float
    """Of ``readings``."""
    aggregate_bytes: float
    """Of all aggregates, per row of ``readings``."""


async def backfill(state: Path, rows: int) -> Speed:
    """Ship a whole log into a new database, with all its views."""
    database = SharedDatabase(embedded_url(state))
    await database.call(lambda opened: None)
    synced = Synced()
    synced.mark(1 << 60)
    synced.end()
    watch = _Watch()
    await shipper.run(log_directory=state / "log", database=database, synced=synced, feed=Feed())
    speed = watch.speed(rows)
    await database.close()
    return speed


def sizes(state: Path) -> Sizes:
    """Of all that was shipped."""
    client = connect(embedded_url(state))
    client.command("OPTIMIZE TABLE readings FINAL")
    found = {
        name: (size, rows)
        for name, size, rows in client.query(
            "SELECT table, sum(bytes_on_disk), sum(rows) FROM system.parts"
            " WHERE active AND database = currentDatabase() GROUP BY table"
        ).result_rows
    }
    client.close()
    size, rows = found["readings"]
    aggregates = sum(found[aggregate.name][0] for aggregate in AGGREGATES)
    return Sizes(size / rows, aggregates / rows)


class _Watch:
    """Takes the time from when it was made."""

    def __init__(self) -> None:
        self._start_s, self._cpu_s = time.perf_counter(), time.process_time()

    def speed(self, rows: int) -> Speed:
        elapsed_s = time.perf_counter() - self._start_s
        return Speed(rows / elapsed_s, (time.process_time() - self._cpu_s) / rows * 1e9)


def seed_bytes(state: Path) -> float:
    """Bytes a row when the very same rows are in the forerunner's schema."""
    client = connect(embedded_url(state))
    client.command("DROP TABLE IF EXISTS seed")
    client.command(SEED_TABLE)
    client.command("INSERT INTO seed SELECT series, ts, value = trunc(value), value FROM readings")
    client.command("OPTIMIZE TABLE seed FINAL")
    ((size, count),) = client.query(
        "SELECT sum(bytes_on_disk), sum(rows) FROM system.parts WHERE active AND table = 'seed'"
    ).result_rows
    client.close()
    return float(size / count)


def forerunner(state: Path, packed: bytes, rows: int) -> Speed:
    """Rows as the forerunner brings them: from its files into its table, without any aggregates.

    Each line of JSON becomes a tuple, and 262 144 of them an insert, as in its mqtt_clickhouse.py;
    here each line is parsed once (there twice), by msgspec, and inserted by clickhouse-connect.
    """
    client = connect(embedded_url(state))
    client.command(SEED_TABLE)
    decode = msgspec.json.Decoder(tuple[float, str, str]).decode
    names = ("topic", "ts", "is_int", "value")
    tuples: list[tuple[str, int, int, float]] = []
    watch = _Watch()
    for line in zstandard.ZstdDecompressor().decompress(packed, 1 << 30).splitlines():
        at_s, topic, text = decode(line)
        try:
            tuples.append((topic, int(at_s * 100), 1, int(text)))
        except ValueError:
            tuples.append((topic, int(at_s * 100), 0, float(text)))
        if len(tuples) == FORERUNNER_ROWS:
            client.insert("seed", tuples, column_names=names)
            tuples = []
    client.insert("seed", tuples, column_names=names)
    speed = watch.speed(rows)
    client.close()
    return speed


TUPLES = ((1, 50), (1000, 50), (10_000, 20), (100_000, 5), (FORERUNNER_ROWS, 3))
"""So many rows an insert, and so many inserts."""


def row_wise(state: Path, rows: Sequence[Row]) -> dict[int, Speed]:
    """Tuples, made beforehand, into the same tables, with the same aggregates; by rows an insert.

    As a program would do it that has samples in memory and ``insert`` of clickhouse-connect: a
    tuple for each sample, with its time as a datetime.
    """
    Database(embedded_url(state)).close()
    client = connect(embedded_url(state))
    names = ("site", "series", "ts", "log", "e", "m", "seq", "epoch")
    speeds = {}
    for rows_per_insert, inserts in TUPLES:
        pieces = [
            _tuples(rows[start : start + rows_per_insert])
            for start in range(0, min(len(rows), rows_per_insert * inserts), rows_per_insert)
        ]
        watch = _Watch()
        for piece in pieces:
            client.insert("readings", piece, column_names=names)
        speeds[rows_per_insert] = watch.speed(sum(map(len, pieces)))
    client.close()
    return speeds


def _tuples(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    return [
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
        for row in rows
    ]
