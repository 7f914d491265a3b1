"""The database's tables: made, brought up to date with rows in them, several logs, a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grug.errors import ShipError
from grug.storage import schema
from grug.storage.block import Poll, decode_samples
from grug.storage.encode import SampleEncoder
from grug.storage.native import Origin, Rows, SampleBlock, Series, events_rows, readings_rows
from grug.storage.segment import Event, SeriesFacts
from grug.transport import engine
from grug.transport.asking import embedded_url
from grug.transport.clickhouse import Database, Ship
from grug.transport.engine import connect

pytestmark = pytest.mark.slow

T0 = 1_700_000_000_000
FIRST = Origin("cave", "a" * 32, 1)


def batch(origin: Origin, first: int, *, samples: int = 100) -> tuple[Ship, Rows, Rows]:
    """One batch of two blocks' numbers: power and one event, at times made of ``first``."""
    poll = Poll((0,))
    for index in range(samples):
        poll.times.append(T0 + (first * samples + index) * 1000)
        poll.rows.append((first + index / 10,))
    columns = decode_samples(SampleEncoder().encode([poll]))
    block = SampleBlock(first, ["grid/power"], columns)
    event = Event(T0 + first, "grid/state", "text", f"{origin.log} {first}")
    return (
        Ship(origin.log, origin.epoch, first, first + 1, 7),
        readings_rows(origin, [block]),
        events_rows(origin, [(first, [event])]),
    )


def send(database: Database, origin: Origin, first: int) -> None:
    ship, readings, events = batch(origin, first)
    database.announce(ship)
    database.insert(ship, readings=readings, events=events)


def numbers(database: Database, condition: str = "1") -> list[tuple[Any, ...]]:
    """Rows and sums of readings and each aggregate, and events."""
    asked = [f"count(), round(sum(value), 3) FROM readings WHERE {condition}"]
    asked += [
        f"sum(n), round(sum(s), 3) FROM {a.name} WHERE {condition}" for a in schema.AGGREGATES
    ]
    asked += [f"count(), uniqExact(text) FROM events WHERE {condition}"]
    return [database.query(f"SELECT {each}").rows[0] for each in asked]


def expected(*firsts: int) -> list[tuple[Any, ...]]:
    values = [first + index / 10 for first in firsts for index in range(100)]
    row = (len(values), pytest.approx(sum(values), abs=0.01))
    return [row] * (1 + len(schema.AGGREGATES)) + [(len(firsts), len(firsts))]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return embedded_url(tmp_path)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database(url)
    yield opened
    opened.close()


def run(url: str, *statements: str) -> None:
    client = connect(url)
    try:
        for statement in statements:
            client.command(statement)
    finally:
        client.close()


def old_tables() -> list[str]:
    """Those of version 1, as they were made then."""
    text = (Path(__file__).parent / "schema_1.sql").read_text(encoding="utf-8")
    return [statement for each in text.split(";\n") if (statement := each.strip())]


def send_old(url: str, origin: Origin, first: int, *, cut_off: bool = False) -> None:
    """Insert a batch as version 1 did: its tables have neither site nor log."""
    ship, _, _ = batch(origin, first)
    times = [(T0 + (first * 100 + index) * 1000, first * 10 + index) for index in range(100)]
    rows = ", ".join(
        f"('grid/power', {ms / 1000:.3f}, 1, {m}, {first}, {origin.epoch})" for ms, m in times
    )
    event = f"('grid/state', {(T0 + first) / 1000:.3f}, 'text', '{origin.log} {first}'"
    client = connect(url)
    try:
        client.command(
            "INSERT INTO ships VALUES"
            f" ('{ship.log}', {ship.epoch}, {ship.first}, {ship.last}, {ship.crc})"
        )
        tables = [("readings", rows), ("events", f"{event}, {first}, {origin.epoch})")]
        for table, values in tables[: 1 if cut_off else 2]:
            settings = {
                "deduplicate_insert": "enable",
                "deduplicate_blocks_in_dependent_materialized_views": "1",
                "insert_deduplication_token": f"{ship.token}:{table}",
            }
            client.command(f"INSERT INTO {table} VALUES {values}", settings=settings)
    finally:
        client.close()


def test_same_rows_of_two_logs_are_all_there(database: Database) -> None:
    """Same house, same series, same times, same epoch and numbers: only the log differs."""
    other = FIRST._replace(log="b" * 32)
    elsewhere = Origin("hut", "c" * 32, 1)
    for origin in (FIRST, other, elsewhere):
        send(database, origin, 5)
        send(database, origin, 5)
    for name in schema.DEDUPLICATED:
        database._run(f"OPTIMIZE TABLE {name} FINAL")
    assert numbers(database, "site = 'hut'") == expected(5)
    assert numbers(database, f"log = '{FIRST.log}'") == expected(5)
    (counts,) = database.query("SELECT count(), uniqExact(log) FROM readings").rows
    assert counts == (300, 3)
    assert database.last_ship(other.log) == batch(other, 5)[0]
    send(database, other, 9)
    assert database.query("SELECT log, max(seq) FROM readings GROUP BY log ORDER BY log").rows == [
        (FIRST.log, 5),
        (other.log, 9),
        (elsewhere.log, 5),
    ]


def test_what_is_known_of_series_is_the_last_word(database: Database) -> None:
    ship, readings, events = batch(FIRST, 1)
    for unit, seen_ms in (("W", 2), ("kW", 3)):
        series = [Series("cave", "grid/power", SeriesFacts(unit, 1), T0 + seen_ms)]
        database.insert(ship, readings=readings, events=events, series=series)
        database.insert(ship, readings=readings, events=events, series=series)
    rows = database.query("SELECT site, series, unit, decimals FROM series FINAL").rows
    assert rows == [("cave", "grid/power", "kW", 1)]
    assert database.query("SELECT count() FROM series").rows[0][0] <= 2
    assert database.sole_site() == "cave"
    assert database.query("SELECT site, series FROM strings").rows == [("cave", "grid/state")]


@pytest.mark.parametrize("steps", [None, 1, 3, 5, 9])
def test_a_database_of_version_1_goes_on_with_its_rows(url: str, steps: int | None) -> None:
    """Also when the migration was cut off; and what was in doubt then is not doubled now."""
    run(url, *old_tables())
    send_old(url, FIRST, 1)
    send_old(url, FIRST, 3, cut_off=True)
    run(url, *schema.migration(1)[:steps] if steps else ())
    database = Database(url)
    doubtful = database.last_ship(FIRST.log)
    assert doubtful == batch(FIRST, 3)[0]
    assert database.has_rows_of(doubtful)
    send(database, FIRST, 3)
    send(database, FIRST, 5)
    send(database, FIRST, 5)
    send(database, FIRST._replace(log="d" * 32), 5)
    for name in schema.DEDUPLICATED:
        database._run(f"OPTIMIZE TABLE {name} FINAL")
    assert numbers(database) == expected(1, 3, 5, 5)
    assert numbers(database, "site = ''")[:4] == expected(1, 3)[:4]
    database.close()
    again = Database(url)
    assert again.query("SELECT max(version) FROM schema_version").rows == [(schema.VERSION,)]
    assert numbers(again) == expected(1, 3, 5, 5)
    again.close()


def test_a_database_of_version_2_gets_to_know_who_ships(url: str) -> None:
    Database(url).close()
    run(
        url,
        "DROP TABLE ships",
        "DROP TABLE shippers",
        "CREATE TABLE ships (log String, epoch UInt32, first UInt64, last UInt64, crc UInt32)"
        " ENGINE = ReplacingMergeTree ORDER BY (log, epoch, last, first)",
        f"INSERT INTO ships VALUES ('{FIRST.log}', 1, 5, 9, 7)",
        "TRUNCATE TABLE schema_version",
        "INSERT INTO schema_version (version) VALUES (2)",
    )
    run(url, schema.migration(2)[0])  # And the rest was cut off.
    database = Database(url)
    assert database.claim(FIRST.log) == Ship(FIRST.log, 1, 5, 9, 7)
    send(database, FIRST, 3)
    assert database.last_ship(FIRST.log) == batch(FIRST, 3)[0], "the newer claim counts"
    assert database.query("SELECT max(version) FROM schema_version").rows == [(schema.VERSION,)]
    database.close()


def test_a_half_made_schema_is_completed(url: str) -> None:
    made = [schema.version_statement(), *schema.statements()]
    for count in range(1, len(made), 3):
        directory = f"{url}{count}"
        version = [f"INSERT INTO schema_version (version) VALUES ({schema.VERSION})"] * (count > 1)
        run(directory, made[0], *version, *made[1:count])
        database = Database(directory)
        send(database, FIRST, 1)
        assert numbers(database) == expected(1)
        database.close()


def test_a_newer_database_is_left_alone(url: str) -> None:
    Database(url).close()
    run(url, f"INSERT INTO schema_version (version) VALUES ({schema.VERSION + 1})")
    with pytest.raises(ShipError, match="newer grug"):
        Database(url)


@pytest.mark.parametrize(
    "spoil",
    [
        "ALTER TABLE agg_1h MODIFY SETTING non_replicated_deduplication_window = 0",
        "CREATE TABLE mine (t DateTime, n UInt64) ENGINE = MergeTree ORDER BY t",
    ],
)
def test_any_target_without_a_window_is_refused(url: str, spoil: str) -> None:
    """Also one that its user has added."""
    Database(url).close()
    view = "CREATE MATERIALIZED VIEW v TO mine AS SELECT t, sum(n) AS n FROM agg_1m GROUP BY t"
    name, *more = ("mine", view) if "mine" in spoil else ("agg_1h",)
    run(url, spoil, *more)
    with pytest.raises(ShipError, match=f"table {name} would take repeated rows twice") as refused:
        Database(url)
    run(url, str(refused.value).partition("please run: ")[2])
    Database(url).close()


def test_a_missing_view_is_made_again(url: str) -> None:
    Database(url).close()
    run(url, "DROP VIEW agg_15m_view")
    database = Database(url)
    send(database, FIRST, 1)
    assert numbers(database) == expected(1)
    database.close()


def test_rows_can_end_with_age_and_aggregates_stay(database: Database) -> None:
    database._run("ALTER TABLE readings MODIFY TTL toDateTime(ts) + INTERVAL 30 DAY")
    send(database, FIRST, 1)
    database._run("OPTIMIZE TABLE readings FINAL")
    assert database.query("SELECT count() FROM readings").rows == [(0,)]
    assert numbers(database)[1:] == expected(1)[1:]


@pytest.mark.parametrize("cluster", ["", "house", "two words"])
def test_every_statement_is_understood(url: str, cluster: str) -> None:
    """The engine here has no cluster; it parses what is for one."""
    client = connect("chdb://")
    try:
        text = schema.script(cluster)
        for statement in text.rstrip().rstrip(";").split(";\n\n"):
            client.command(f"EXPLAIN AST {statement}")
            if cluster and statement.startswith("CREATE"):
                assert f"ON CLUSTER '{cluster}'" in statement
    finally:
        client.close()


def test_replicated_tables_and_their_targets_remember_tokens_for_years() -> None:
    for statement in schema.statements("house"):
        if "_local" in statement and "MergeTree" in statement:
            assert schema.window_problem("t", statement) == ""
            short = statement.replace(str(schema.WINDOW_S), "604800")
            assert "replicated_deduplication_window_seconds = " in schema.window_problem("t", short)
    assert "non_replicated" in schema.window_problem("t", "ENGINE = MergeTree ORDER BY a")


ONE_SERVER = """<clickhouse><tcp_port>9000</tcp_port><remote_servers><house><shard><replica>
<host>127.0.0.1</host><port>9000</port></replica></shard></house></remote_servers></clickhouse>"""
"""A cluster that the engine in this process takes itself for."""


def without_keeper(statement: str) -> str:
    """A cluster's statement for an engine that has no Keeper: tables are not replicated."""
    statement = statement.replace(" ON CLUSTER 'house'", "")
    statement = re.sub(r"Replicated(\w+)\('[^']*', '[^']*'(?:, )?(\w*)\)", r"\1(\2)", statement)
    statement = re.sub(r",\s*replicated_deduplication_window_seconds = \d+", "", statement)
    return statement.replace("replicated_dedup", "non_replicated_dedup")


def test_distributed_tables_take_each_batch_once(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statements for a cluster run, and what they make is used as one, but for replication."""
    config = tmp_path / "cluster.xml"
    config.write_text(ONE_SERVER, encoding="utf-8")
    monkeypatch.setitem(engine._EMBEDDED_OPTIONS, "config-file", config)
    texts = [each.strip() for each in schema.script("house").split(";\n")]
    run(url, *(without_keeper(text) for text in texts if text))
    database = Database(url)
    assert database._is_cluster
    assert database.claim(FIRST.log) is None
    send(database, FIRST, 1)
    send(database, FIRST, 1)
    send(database, FIRST._replace(site="hut"), 3)
    assert database.last_ship(FIRST.log) == batch(FIRST, 3)[0]
    database.close()
    again = Database(url)
    again.claim(FIRST.log)
    send(again, FIRST._replace(site="hut"), 3)
    assert numbers(again) == expected(1, 3)
    assert numbers(again, "site = 'hut'")[:4] == expected(3)[:4]
    again.close()
