"""The database's tables: statements that make them, on one server or on a cluster. Pure.

``readings`` and ``events`` take the rows; each aggregate is filled by a view on the level below.
All of them remember the tokens of inserts, so that a repeated one changes nothing: the window of
such tokens is 0 by default, which means never, and every target of a view has its own.

On a cluster each of them is three things: a replicated table ``<name>_local`` on every server, a
distributed table ``<name>`` over all of them, and for aggregates a view between local tables. A
series lives on one shard, so what a view sees there is all there is. What is small is on every
server whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

VERSION = 3
"""Of what ``statements`` makes. 1 knew neither sites nor units, and one log only; 2 knew not who
ships."""

DEDUPLICATION_WINDOW = 10_000
WINDOW_MIN = 1000
"""Batches that a table must remember: far more than are ever in doubt, which is one per log."""
WINDOW_S = 10 * 365 * 86_400
WINDOW_S_MIN = 90 * 86_400
"""Replicated tables also forget by age; a machine that ships may be switched off for weeks."""

LOCAL = "_local"


class Aggregate(NamedTuple):
    """One level of resolution."""

    name: str
    interval: str
    source: str
    """The table that its view reads."""


AGGREGATES = (
    Aggregate("agg_1m", "1 MINUTE", "readings"),
    Aggregate("agg_15m", "15 MINUTE", "agg_1m"),
    Aggregate("agg_1h", "1 HOUR", "agg_15m"),
)
"""Each level is fed by the one below."""

DEDUPLICATED = ("readings", "events", *(aggregate.name for aggregate in AGGREGATES))
"""Tables that must remember tokens."""

_VERSIONS = """
CREATE TABLE IF NOT EXISTS {table} (version UInt16, at DateTime DEFAULT now())
ENGINE = {engine} ORDER BY version
"""

_SHIPS = """
CREATE TABLE IF NOT EXISTS {table} (
  log String, epoch UInt32, first UInt64, last UInt64, crc UInt32,
  claim UInt64 COMMENT 'of the shipper that announced it'
) ENGINE = {engine} ORDER BY (log, epoch, last, first, claim)
"""

_CLAIM_SHIPS = (
    "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS claim UInt64"
    " COMMENT 'of the shipper that announced it', MODIFY ORDER BY (log, epoch, last, first, claim)"
)

_SHIPPERS = """
CREATE TABLE IF NOT EXISTS {table} (
  log String,
  claim UInt64 COMMENT 'the highest of a log is the one that holds',
  who String,
  at DateTime DEFAULT now()
) ENGINE = {engine} ORDER BY log
"""

_SERIES = """
CREATE TABLE IF NOT EXISTS {table} (
  site LowCardinality(String),
  series String,
  unit LowCardinality(String),
  decimals Int8 COMMENT '-1: not known',
  seen DateTime64(3, 'UTC')
) ENGINE = {engine} ORDER BY (site, series)
"""

_READINGS = """
CREATE TABLE IF NOT EXISTS {table} (
  site LowCardinality(String) CODEC(ZSTD(3)),
  series LowCardinality(String) CODEC(ZSTD(3)),
  ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(3, 24))
    SETTINGS (min_compress_block_size = 16777216, max_compress_block_size = 16777216),
  log LowCardinality(String) COMMENT 'id of the log that it came from' CODEC(ZSTD(3)),
  e Int8 COMMENT 'decimal exponent; -1: m holds the bits of a Float64' CODEC(ZSTD(3)),
  m Int64 CODEC(Delta, T64('bit'), ZSTD(3))
    SETTINGS (min_compress_block_size = 1048576, max_compress_block_size = 1048576),
  seq UInt64 COMMENT 'block of the log' CODEC(Delta, ZSTD(3, 24))
    SETTINGS (min_compress_block_size = 4194304, max_compress_block_size = 4194304),
  epoch UInt32 COMMENT 'start of the log''s writer' CODEC(ZSTD(3)),
  value Float64 ALIAS if(e < 0, reinterpretAsFloat64(m), m / exp10(e))
) ENGINE = {engine} PARTITION BY toYYYYMM(ts) ORDER BY (site, toDate(ts), series, ts, log)
SETTINGS {window}
"""

# Series of one poll have the same times and blocks' numbers: a compress block that holds several
# of them, and a window (2^24 bytes) that spans it, let zstd find the repeat. A day of a series at
# 5 Hz has 3.5 MB of times, so that a block has to be of 16 MB, and a day has to be together: by
# series and then by time alone, a merged month would have nothing beside anything. The whole
# synthetic day of bench/workloads.py: ts takes 0.305 B a row with blocks of 4 MB, 0.189 with 8 and
# 0.122 with 16. The price is paid in reading: an hour of one series took 72 ms on a busy machine.

_EVENTS = """
CREATE TABLE IF NOT EXISTS {table} (
  site LowCardinality(String) CODEC(ZSTD(3)),
  source LowCardinality(String) CODEC(ZSTD(3)),
  ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(3)),
  kind LowCardinality(String) CODEC(ZSTD(3)),
  text String CODEC(ZSTD(3)),
  log LowCardinality(String) CODEC(ZSTD(3)),
  seq UInt64 CODEC(Delta, ZSTD(3)),
  epoch UInt32 CODEC(ZSTD(3))
) ENGINE = {engine} PARTITION BY toYYYYMM(ts) ORDER BY (site, ts, source)
SETTINGS {window}
"""

_STRINGS = """
CREATE VIEW IF NOT EXISTS {table} AS
SELECT site, source AS series, ts, text FROM {events} WHERE kind = 'text'
"""

_AGGREGATE = """
CREATE TABLE IF NOT EXISTS {table} (
  site LowCardinality(String) CODEC(ZSTD(3)),
  series LowCardinality(String) CODEC(ZSTD(3)),
  t DateTime('UTC') CODEC(DoubleDelta, ZSTD(3)),
  log LowCardinality(String) CODEC(ZSTD(3)),
  n SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(3)),
  s SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(3)),
  mn SimpleAggregateFunction(min, Float64) CODEC(ZSTD(3)),
  mx SimpleAggregateFunction(max, Float64) CODEC(ZSTD(3))
) ENGINE = {engine} PARTITION BY toYYYYMM(t) ORDER BY (site, series, t, log)
SETTINGS {window}
"""

_FIRST_VIEW = """
CREATE MATERIALIZED VIEW IF NOT EXISTS {view} TO {target} AS
SELECT site, series, toStartOfInterval(ts, INTERVAL {interval}) AS t, log,
  count() AS n, sum(value) AS s, min(value) AS mn, max(value) AS mx
FROM {source} WHERE NOT isNaN(value) GROUP BY site, series, t, log
"""

_NEXT_VIEW = """
CREATE MATERIALIZED VIEW IF NOT EXISTS {view} TO {target} AS
SELECT site, series, toStartOfInterval({source}.t, INTERVAL {interval}) AS t, log,
  sum({source}.n) AS n, sum({source}.s) AS s, min({source}.mn) AS mn, max({source}.mx) AS mx
FROM {source} GROUP BY site, series, t, log
"""


class _Placed(NamedTuple):
    """How names and engines are spelt in one place."""

    cluster: str
    """Empty: one server."""

    def on(self, name: str) -> str:
        """A name to create, on all servers of the cluster."""
        return f"{name} ON CLUSTER '{self.cluster}'" if self.cluster else name

    def local(self, name: str) -> str:
        """The table that holds a server's part."""
        return name + LOCAL if self.cluster else name

    def engine(self, kind: str, *, is_everywhere: bool = False, version: str = "") -> str:
        """An engine; one that is everywhere has all its rows on each server."""
        if not self.cluster:
            return f"{kind}({version})"
        shard, replica = ("all", "{shard}-{replica}") if is_everywhere else ("{shard}", "{replica}")
        place = f"'/clickhouse/tables/{shard}/{{database}}/{{table}}', '{replica}'"
        return f"Replicated{kind}({place}{', ' if version else ''}{version})"

    @property
    def window(self) -> str:
        """Settings that make a table remember tokens."""
        if self.cluster:
            return (
                f"replicated_deduplication_window = {DEDUPLICATION_WINDOW},"
                f" replicated_deduplication_window_seconds = {WINDOW_S}"
            )
        return f"non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}"

    def view(self, aggregate: Aggregate) -> str:
        """Fill an aggregate from the level below."""
        text = _FIRST_VIEW if aggregate.source == "readings" else _NEXT_VIEW
        return text.format(
            view=self.on(f"{aggregate.name}_view"),
            target=self.local(aggregate.name),
            source=self.local(aggregate.source),
            interval=aggregate.interval,
        )

    def spread(self, name: str, key: str) -> Iterator[str]:
        """The table over all shards, on a cluster."""
        if self.cluster:
            yield (
                f"CREATE TABLE IF NOT EXISTS {self.on(name)} AS {name}{LOCAL}\nENGINE ="
                f" Distributed('{self.cluster}', currentDatabase(), {name}{LOCAL}, {key})"
            )


def version_statement(cluster: str = "") -> str:
    """Make the table that says of which version the others are."""
    placed = _Placed(cluster)
    engine = placed.engine("ReplacingMergeTree", is_everywhere=True)
    return _VERSIONS.format(table=placed.on("schema_version"), engine=engine).strip()


def statements(cluster: str = "") -> list[str]:
    """Make everything else that is missing.

    Args:
        cluster: its name in the servers' configuration; empty for one server.
    """
    placed = _Placed(cluster)
    replacing = placed.engine("ReplacingMergeTree", is_everywhere=True)
    made = [
        _SHIPS.format(table=placed.on("ships"), engine=replacing),
        _SHIPPERS.format(
            table=placed.on("shippers"),
            engine=placed.engine("ReplacingMergeTree", is_everywhere=True, version="claim"),
        ),
        _SERIES.format(
            table=placed.on("series"),
            engine=placed.engine("ReplacingMergeTree", is_everywhere=True, version="seen"),
        ),
    ]
    tables = [
        ("readings", _READINGS, "ReplacingMergeTree", "cityHash64(site, series)"),
        ("events", _EVENTS, "MergeTree", "cityHash64(site)"),
    ]
    tables += [
        (aggregate.name, _AGGREGATE, "AggregatingMergeTree", "cityHash64(site, series)")
        for aggregate in AGGREGATES
    ]
    for name, text, kind, key in tables:
        table = placed.on(placed.local(name))
        made.append(text.format(table=table, engine=placed.engine(kind), window=placed.window))
        made += placed.spread(name, key)
    made += [placed.view(aggregate) for aggregate in AGGREGATES]
    made.append(_STRINGS.format(table=placed.on("strings"), events="events"))
    return [statement.strip() for statement in made]


TABLES = (
    "schema_version", "ships", "shippers", "series", *DEDUPLICATED,
    *(f"{aggregate.name}_view" for aggregate in AGGREGATES), "strings",
)  # fmt: skip
"""All that ``version_statement`` and ``statements`` make on one server."""


def script(cluster: str = "") -> str:
    """Everything as one text for a client that takes several statements."""
    parts = [version_statement(cluster), *statements(cluster)]
    if cluster:  # Nobody else brings a cluster's older tables up to date.
        parts.append(_CLAIM_SHIPS.format(table=_Placed(cluster).on("ships")))
    parts.append(f"INSERT INTO schema_version (version) VALUES ({VERSION})")
    return ";\n\n".join(parts) + ";\n"


def migration(version: int) -> list[str]:
    """Bring tables of a version to the next one; any of it may have been done before.

    The keys keep their order, since rows would have to be written anew to change it, and only what
    makes two logs different is added at their ends. Views are dropped and made again under their
    names: after ``ALTER TABLE ... MODIFY QUERY`` a repeated insert is no longer recognised in the
    view's target (seen with ClickHouse 26.9).

    Args:
        version: from 1 to ``VERSION`` - 1.
    """
    if version == 2:
        return [_CLAIM_SHIPS.format(table="ships"), *statements()]
    assert version == 1
    site = "ADD COLUMN IF NOT EXISTS site LowCardinality(String) CODEC(ZSTD(3)) FIRST"
    log = "ADD COLUMN IF NOT EXISTS log LowCardinality(String) CODEC(ZSTD(3)) AFTER"
    keyed = [("readings", "ts"), *((aggregate.name, "t") for aggregate in AGGREGATES)]
    made = [f"DROP VIEW IF EXISTS {aggregate.name}_view" for aggregate in AGGREGATES]
    made += [
        f"ALTER TABLE {name} {site}, {log} {time}, MODIFY ORDER BY (series, {time}, log)"
        for name, time in keyed
    ]
    made.append(f"ALTER TABLE events {site}, {log} text")
    return made + statements()


def window_problem(name: str, created: str) -> str:
    """Why a table might take repeated rows twice, and what to do; empty when it will not.

    Args:
        name: of the table.
        created: its statement, as the database shows it.
    """
    is_replicated = re.search(r"ENGINE\s*=\s*Replicated", created) is not None
    needed = {
        f"{'' if is_replicated else 'non_'}replicated_deduplication_window": (
            WINDOW_MIN,
            DEDUPLICATION_WINDOW,
        )
    }
    if is_replicated:
        needed["replicated_deduplication_window_seconds"] = (WINDOW_S_MIN, WINDOW_S)
    wrong = []
    for setting, (least, good) in needed.items():
        found = re.findall(rf"\b{setting}\s*=\s*(\d+)", created)
        if not found or int(found[-1]) < least:
            wrong.append(f"{setting} = {good}")
    if not wrong:
        return ""
    return (
        f"table {name} would take repeated rows twice; please run: ALTER TABLE {name}"
        f" MODIFY SETTING {', '.join(wrong)}"
    )


def is_distributed(created: str) -> bool:
    """Whether a table is spread over a cluster, from its statement."""
    return re.search(r"ENGINE\s*=\s*Distributed\b", created) is not None


def target_of(created: str) -> str | None:
    """The table that a materialized view fills, from its statement; None when it has its own."""
    found = re.match(r"CREATE MATERIALIZED VIEW \S+(?: ON CLUSTER \S+)? TO (\S+)", created)
    return found[1] if found else None


def quoted(names: Sequence[str]) -> str:
    """Strings as a list of SQL."""
    return ", ".join("'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'" for name in names)
