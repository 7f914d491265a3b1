"""The database: schema, rows that arrive exactly once, queries. The only importer of its driver.

Exactly once rests on two things. Before a batch of log blocks is inserted, the ``ships`` table is
told which one; after a crash the very same batch is sent again, whatever grouping would be chosen
now. And each insert carries a token made of the batch's identity, so that the database drops what
it has, in ``readings`` and in each table that a view fills; the default window of such tokens is 0,
which means never, so the windows are looked at before anything is inserted.

``chdb:///directory`` is the engine inside this process, which locks the directory; ``http://`` and
``https://`` addresses are servers.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import trio

from grug.errors import ShipError
from grug.storage.native import Rows

Result = TypeVar("Result")

DEDUPLICATION_WINDOW = 10_000
_WINDOW_MIN = 1000
"""Batches that a table must remember: far more than are ever in doubt, which is one."""

ONLY_READS = "only single statements that read are answered here"
_DIRECTORY = "db"

_EMBEDDED_OPTIONS = {
    "max_server_memory_usage": 400_000_000,
    "mark_cache_size": 16_000_000,
    "primary_index_cache_size": 16_000_000,
    "query_condition_cache_size": 4_000_000,
    "compiled_expression_cache_size": 4_000_000,
}
"""The engine expects a server's memory; on a Raspberry Pi it shall leave most of it to others."""

_EMBEDDED_SETTINGS = {
    "max_threads": 1,
    "max_insert_threads": 1,
    "max_memory_usage": 300_000_000,
    "max_block_size": 32_768,
    "compile_expressions": 0,
}

_INSERT_SETTINGS = {
    "deduplicate_insert": "enable",
    "insert_deduplicate": "1",
    "deduplicate_blocks_in_dependent_materialized_views": "1",
    "async_insert": "0",
}
"""Those that the database knows are sent; which ones it knows depends on its version."""

_READ_ONLY = re.compile(
    r"\s*\(*\s*(select|with|show|describe|desc|explain|exists)\b", re.IGNORECASE
)

_WRITES_FILE = re.compile(r"\binto\s+outfile\b", re.IGNORECASE)

_READINGS = f"""
CREATE TABLE IF NOT EXISTS readings (
  series LowCardinality(String) CODEC(ZSTD(3)),
  ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(3))
    SETTINGS (min_compress_block_size = 4194304, max_compress_block_size = 4194304),
  e Int8 CODEC(ZSTD(3)) COMMENT 'decimal exponent; -1: m holds the bits of a Float64',
  m Int64 CODEC(Delta, T64('bit'), ZSTD(3)),
  seq UInt64 CODEC(Delta, ZSTD(3)) COMMENT 'block of the log',
  epoch UInt32 CODEC(ZSTD(3)) COMMENT 'start of the log''s writer',
  value Float64 ALIAS if(e < 0, reinterpretAsFloat64(m), m / exp10(e))
) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(ts) ORDER BY (series, ts)
SETTINGS non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}
"""

_EVENTS = f"""
CREATE TABLE IF NOT EXISTS events (
  source LowCardinality(String) CODEC(ZSTD(3)),
  ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(3)),
  kind LowCardinality(String) CODEC(ZSTD(3)),
  text String CODEC(ZSTD(3)),
  seq UInt64 CODEC(Delta, ZSTD(3)),
  epoch UInt32 CODEC(ZSTD(3))
) ENGINE = MergeTree PARTITION BY toYYYYMM(ts) ORDER BY (ts, source)
SETTINGS non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}
"""

_SHIPS = """
CREATE TABLE IF NOT EXISTS ships (
  log String, epoch UInt32, first UInt64, last UInt64, crc UInt32
) ENGINE = ReplacingMergeTree ORDER BY (log, epoch, last, first)
"""

_AGGREGATE = """
CREATE TABLE IF NOT EXISTS {name} (
  series LowCardinality(String) CODEC(ZSTD(3)),
  t DateTime('UTC') CODEC(DoubleDelta, ZSTD(3)),
  n SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(3)),
  s SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(3)),
  mn SimpleAggregateFunction(min, Float64) CODEC(ZSTD(3)),
  mx SimpleAggregateFunction(max, Float64) CODEC(ZSTD(3))
) ENGINE = AggregatingMergeTree PARTITION BY toYYYYMM(t) ORDER BY (series, t)
SETTINGS non_replicated_deduplication_window = {window}
"""

_FIRST_VIEW = """
CREATE MATERIALIZED VIEW IF NOT EXISTS {name}_view TO {name} AS
SELECT series, toStartOfInterval(ts, INTERVAL {interval}) AS t,
  count() AS n, sum(value) AS s, min(value) AS mn, max(value) AS mx
FROM {source} WHERE NOT isNaN(value) GROUP BY series, t
"""

_NEXT_VIEW = """
CREATE MATERIALIZED VIEW IF NOT EXISTS {name}_view TO {name} AS
SELECT series, toStartOfInterval({source}.t, INTERVAL {interval}) AS t,
  sum({source}.n) AS n, sum({source}.s) AS s, min({source}.mn) AS mn, max({source}.mx) AS mx
FROM {source} GROUP BY series, t
"""

AGGREGATES = (
    ("agg_1m", "1 MINUTE", "readings"),
    ("agg_15m", "15 MINUTE", "agg_1m"),
    ("agg_1h", "1 HOUR", "agg_15m"),
)
"""Table, interval, and where its view reads: each level is fed by the one below."""

_DEDUPLICATED = ("readings", "events", *(name for name, _, _ in AGGREGATES))


class Ship(NamedTuple):
    """One batch of log blocks, as the database was told before it got them."""

    log: str
    """Id of the log, hexadecimal."""
    epoch: int
    first: int
    last: int
    """Sequence numbers, inclusive."""
    crc: int
    """Of the checksums of all blocks."""

    @property
    def token(self) -> str:
        """What makes a repeated insert known."""
        return f"{self.log}:{self.epoch}:{self.first}-{self.last}:{self.crc:08x}"


class Answer(NamedTuple):
    """A query's result."""

    names: tuple[str, ...]
    rows: list[tuple[Any, ...]]


class Database:
    """One open database. Its methods block."""

    def __init__(self, url: str) -> None:
        """Open it, make what tables are missing, and check that repeated inserts will be seen.

        Raises:
            ShipError: it is away, held by another process, or set up so that rows might double.
        """
        self._client = _connect(url)
        try:
            _mapped(self._create_schema)
            _mapped(self._check_windows)
            known = self.query(
                "SELECT name FROM system.settings WHERE name IN ("
                + ", ".join(f"'{name}'" for name in _INSERT_SETTINGS)
                + ")"
            )
        except ShipError:
            self.close()
            raise
        self._insert_settings = {name: _INSERT_SETTINGS[name] for (name,) in known.rows}

    def last_ship(self, log: str) -> Ship | None:
        """The batch of this log that was announced last; it may or may not have arrived."""
        answer = self.query(
            "SELECT log, epoch, first, last, crc FROM ships"
            f" WHERE log = '{log}' ORDER BY epoch DESC, last DESC, first LIMIT 1"
        )
        return Ship(*answer.rows[0]) if answer.rows else None

    def has_rows_of(self, ship: Ship) -> bool:
        """Whether anything of a batch is in the tables."""
        blocks = f"epoch = {ship.epoch} AND seq BETWEEN {ship.first} AND {ship.last}"
        return any(
            self.query(f"SELECT 1 FROM {table} WHERE {blocks} LIMIT 1").rows
            for table in ("readings", "events")
        )

    def announce(self, ship: Ship) -> None:
        """Write down which batch comes next."""
        values = f"('{ship.log}', {ship.epoch}, {ship.first}, {ship.last}, {ship.crc})"
        _mapped(lambda: self._client.command(f"INSERT INTO ships VALUES {values}"))

    def insert(self, ship: Ship, *, readings: Rows, events: Rows) -> None:
        """Insert a batch's rows; those that are there already are dropped by the database.

        Raises:
            ShipError: it is unknown what has arrived. Call it again with the same arguments.
        """
        for table, rows in (("readings", readings), ("events", events)):
            if rows.entries:
                self._insert(table, rows, f"{ship.token}:{table}")

    def query(self, sql: str) -> Answer:
        """Run one statement that gives rows."""
        result = _mapped(lambda: self._client.query(sql))
        return Answer(tuple(result.column_names), [tuple(row) for row in result.result_rows])

    def close(self) -> None:
        """Let go of it."""
        with suppress(ShipError):
            _mapped(self._client.close)

    def _insert(self, table: str, rows: Rows, token: str) -> None:
        settings = {**self._insert_settings, "insert_deduplication_token": token}
        _mapped(
            lambda: self._client.raw_insert(
                table, rows.names, insert_block=rows.data, settings=settings, fmt="Native"
            )
        )

    def _create_schema(self) -> None:
        for statement in (_READINGS, _EVENTS, _SHIPS):
            self._client.command(statement)
        for name, interval, source in AGGREGATES:
            view = _FIRST_VIEW if source == "readings" else _NEXT_VIEW
            self._client.command(_AGGREGATE.format(name=name, window=DEDUPLICATION_WINDOW))
            self._client.command(view.format(name=name, interval=interval, source=source))

    def _check_windows(self) -> None:
        for name in _DEDUPLICATED:
            text = str(self._client.command(f"SHOW CREATE TABLE {name}"))
            windows = re.findall(r"replicated_deduplication_window\s*=\s*(\d+)", text)
            if not windows or int(windows[-1]) < _WINDOW_MIN:
                raise ShipError(
                    f"table {name} would take repeated rows twice; please run: ALTER TABLE {name}"
                    " MODIFY SETTING non_replicated_deduplication_window"
                    f" = {DEDUPLICATION_WINDOW}"
                )


def write_parquet(blocks: Iterable[bytes], output: Path) -> int:
    """Write rows of ``readings`` as a Parquet file with series, ts and value. Blocks.

    The engine in this process makes it, from a file that it can read piece by piece.

    Args:
        blocks: as ``Rows.data`` has them.
        output: replaced when it is there.

    Returns:
        The number of rows.

    Raises:
        ShipError: the engine is not installed, or cannot write there.
    """
    target = output.resolve()
    source = target.with_name(target.name + ".rows")
    part = target.with_name(target.name + ".part")
    client = _connect("chdb://")
    try:
        with source.open("wb") as file:
            file.writelines(blocks)
        part.unlink(missing_ok=True)
        rows = f"file({_quoted(source)}, Native)"
        _mapped(
            lambda: client.command(
                f"INSERT INTO FUNCTION file({_quoted(part)}, Parquet) SELECT series, ts,"
                f" if(e < 0, reinterpretAsFloat64(m), m / exp10(e)) AS value FROM {rows}"
            )
        )
        (count,) = _mapped(lambda: client.query(f"SELECT count() FROM {rows}")).result_rows[0]
        part.replace(target)
    except OSError as error:
        raise ShipError(f"{output} cannot be written: {error}") from error
    finally:
        client.close()
        source.unlink(missing_ok=True)
        part.unlink(missing_ok=True)
    return int(count)


def _quoted(path: Path) -> str:
    """A path as a string of SQL."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


class SharedDatabase:
    """The database as actors share it: one call at a time, in a worker thread."""

    def __init__(self, url: str) -> None:
        """Nothing is opened before the first call."""
        self._url = url
        self._database: Database | None = None
        self._lock = trio.Lock()

    async def call(self, work: Callable[[Database], Result]) -> Result:
        """Run blocking work on the database, opening it when it is not open.

        Raises:
            ShipError: it is away or refused.
        """
        async with self._lock:
            return await trio.to_thread.run_sync(self._call, work)

    async def close(self) -> None:
        """Let go of the database; the next call opens it again."""
        async with self._lock:
            database, self._database = self._database, None
            if database is not None:
                await trio.to_thread.run_sync(database.close)

    def _call(self, work: Callable[[Database], Result]) -> Result:
        if self._database is None:
            self._database = Database(self._url)
        return work(self._database)


def is_read_only(sql: str) -> bool:
    """Whether a statement only reads."""
    if _READ_ONLY.match(sql) is None or _WRITES_FILE.search(sql) is not None:
        return False
    return ";" not in sql.rstrip().rstrip(";")


def embedded_url(state: Path) -> str:
    """The address of a house's embedded database."""
    return f"chdb://{(state / _DIRECTORY).resolve()}"


def socket_path(state: Path) -> Path:
    """Where the process that holds a house's database answers queries."""
    return state / "db.sock"


def find_database(states: Sequence[Path]) -> Path | None:
    """The state directory whose embedded database was written last; None without any.

    One that has just been started has a socket before it has rows.
    """
    found = [
        (path.stat().st_mtime, state)
        for state in states
        for path in (state / _DIRECTORY, socket_path(state))
        if path.exists()
    ]
    return max(found)[1] if found else None


def ask_database(state: Path, sql: str, *, timeout_s: float = 60.0) -> Answer:
    """Ask a house's embedded database, through the process that holds it if there is one. Blocks.

    Raises:
        ShipError: the query failed, or does more than read.
    """
    try:
        reply = _ask_socket(socket_path(state), sql, timeout_s)
    except (FileNotFoundError, ConnectionRefusedError):  # Nobody holds it.
        if not is_read_only(sql):
            raise ShipError(ONLY_READS) from None
        database = Database(embedded_url(state))
        try:
            return database.query(sql)
        finally:
            database.close()
    except OSError as error:
        raise ShipError(f"no answer at {socket_path(state)}: {error}") from error
    if "error" in reply:
        raise ShipError(reply["error"])
    return Answer(tuple(reply["names"]), [tuple(row) for row in reply["rows"]])


def _ask_socket(path: Path, sql: str, timeout_s: float) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.settimeout(timeout_s)
        asker.connect(str(path))
        asker.sendall(json.dumps({"sql": sql}).encode() + b"\n")
        with asker.makefile("rb") as replies:
            line = replies.readline()
    if not line:
        raise ConnectionResetError("hung up before the answer")
    reply: dict[str, Any] = json.loads(line)
    return reply


def _connect(url: str) -> Any:
    """Open a client. The driver takes half a second to import, so only who ships pays for it."""
    try:
        import clickhouse_connect
    except ImportError as error:
        raise ShipError(f"the database needs `pip install grug[db]`: {error}") from error
    if not url.startswith("chdb:"):
        return _mapped(
            lambda: clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False)
        )
    options = {name: str(value) for name, value in _EMBEDDED_OPTIONS.items()}
    try:
        return _mapped(
            lambda: clickhouse_connect.get_client(
                dsn=url, chdb_options=options, settings=_EMBEDDED_SETTINGS
            )
        )
    except ImportError as error:
        raise ShipError(f"the embedded database needs `pip install grug[db]`: {error}") from error
    except ShipError as error:
        raise ShipError(
            f"{url} cannot be opened; another process may hold it, or a second engine be open in"
            f" this one: {error}"
        ) from error


def _mapped(work: Callable[[], Result]) -> Result:
    """Run the driver; what it raises when the database is away or unwilling becomes a ShipError."""
    from clickhouse_connect.driver.exceptions import ClickHouseError
    from urllib3.exceptions import HTTPError

    try:
        return work()
    except (ClickHouseError, HTTPError, OSError, RuntimeError) as error:
        text = str(error).strip().splitlines()
        raise ShipError(text[0] if text else type(error).__name__) from error
