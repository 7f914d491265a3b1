"""A database that took a batch for known and lacks it in some tables gets it, everywhere once.

Killed between noting a token and making the part visible, a server has a line in a table's
``deduplication_logs`` and no part. The tests make just that of a closed database, and also what it
has when it is killed before a table's turn: neither.
"""

from __future__ import annotations

import itertools
import math
import random
import shutil
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from test_schema import FIRST, T0, batch, expected, numbers, send

from grug.errors import ShipError
from grug.storage import schema
from grug.storage.block import Column
from grug.storage.native import Rows, SampleBlock, readings_rows
from grug.transport.asking import embedded_url
from grug.transport.clickhouse import Database, Ship
from grug.transport.mend import Mended

pytestmark = pytest.mark.slow

TABLES = schema.DEDUPLICATED
MONTH_END_MS = 1_701_388_800_000
"""2023-12-01."""


def places(database: Database) -> dict[str, Path]:
    """Where each table has its parts."""
    rows = database.query(
        "SELECT name, data_paths[1] FROM system.tables"
        " WHERE database = currentDatabase() AND length(data_paths) > 0"
    ).rows
    return {name: Path(path) for name, path in rows}


def parts(place: Path) -> set[Path]:
    return set(place.glob("2*_*"))


def forget(place: Path, before: set[Path], lines: int, *, token: bool) -> None:
    """Take away the parts of the last insert, and its token unless that had been noted."""
    for part in parts(place) - before:
        shutil.rmtree(part)
    if not token:
        (log,) = place.glob("deduplication_logs/*.txt")
        log.write_text("".join(log.read_text().splitlines(keepends=True)[:lines]))


def killed_in(tmp_path: Path, states: dict[str, str]) -> Database:
    """A database with two batches, the second of them as each table's state says."""
    database = Database(embedded_url(tmp_path))
    send(database, FIRST, 1)
    where = places(database)
    before = {name: parts(where[name]) for name in states}
    send(database, FIRST, 3)
    database.close()
    for name, state in states.items():
        if state != "there":
            forget(where[name], before[name], 1, token=state == "token")
    return Database(embedded_url(tmp_path))


def send_again(database: Database, ship: Ship, readings: Rows, events: Rows) -> list[Mended]:
    database.insert(ship, readings=readings, events=events)
    return database.mend(ship, readings=readings, events=events)


def is_clean(database: Database) -> bool:
    return not database.query("SHOW TABLES LIKE 'mend%'").rows


@pytest.mark.parametrize("table", TABLES)
def test_whichever_table_lacks_the_batch_gets_it(tmp_path: Path, table: str) -> None:
    database = killed_in(tmp_path, {table: "token"})
    database.insert(*(again := batch(FIRST, 3))[:1], readings=again[1], events=again[2])
    assert numbers(database) != expected(1, 3), "the engine lets a part be lost"
    mended = send_again(database, *again)
    assert [each.table for each in mended] == [table]
    assert numbers(database) == expected(1, 3)
    assert send_again(database, *again) == []
    assert is_clean(database)
    database.close()


@pytest.mark.parametrize("seed", range(8))
def test_any_tables_in_any_state(tmp_path: Path, seed: int) -> None:
    """Each has the batch, its token alone, or nothing of it."""
    every = [*itertools.product(("there", "token", "nothing"), repeat=len(TABLES))]
    states = dict(zip(TABLES, random.Random(seed).choice(every), strict=True))
    database = killed_in(tmp_path, states)
    mended = send_again(database, *batch(FIRST, 3))
    assert {each.table for each in mended} == {n for n, state in states.items() if state == "token"}
    assert numbers(database) == expected(1, 3)
    send(database, FIRST, 5)
    assert numbers(database) == expected(1, 3, 5)
    database.close()


@pytest.mark.parametrize("is_done", [False, True])
def test_broken_off_at_any_step_it_is_mended_at_the_next(
    tmp_path: Path, is_done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks before or after each statement in turn, until one time it holds."""
    database = killed_in(tmp_path, dict.fromkeys(TABLES, "token"))
    real_run, real_insert = Database._run, Database._insert
    left = [0]

    def step(work: Any, arguments: Iterable[Any]) -> None:
        left[0] -= 1
        if is_done or left[0] >= 0:
            work(*arguments)
        if left[0] < 0:
            raise ShipError("the connection broke")

    monkeypatch.setattr(Database, "_run", lambda *arguments: step(real_run, arguments))
    monkeypatch.setattr(Database, "_insert", lambda *arguments: step(real_insert, arguments))
    again = batch(FIRST, 3)
    for steps in range(2, 60, 3):
        left[0] = steps
        try:
            send_again(database, *again)
        except ShipError:
            continue
        break
    assert 8 < steps < 50
    assert numbers(database) == expected(1, 3)
    assert is_clean(database)
    database.close()


def test_late_move_of_an_earlier_try_finds_nothing(tmp_path: Path) -> None:
    """A statement whose connection was lost may come to its turn after a later try has mended."""
    database = killed_in(tmp_path, {"readings": "token"})
    ran: list[str] = []
    run = database._run
    database._run = lambda *statements: (ran.extend(statements), run(*statements))[1]  # type: ignore[method-assign]
    send_again(database, *batch(FIRST, 3))
    (late,) = [statement for statement in ran if "MOVE" in statement]
    with pytest.raises(ShipError):
        run(late)
    assert numbers(database) == expected(1, 3)
    database.close()


def test_a_batch_over_two_months_that_lacks_one_of_them(tmp_path: Path) -> None:
    """Each month is a part of its own with a token of its own."""
    times = [MONTH_END_MS + (index - 50) * 1000 for index in range(100)]
    block = SampleBlock(1, ["grid/power"], [Column(0, times, 0, list(range(100)))])
    readings, none = readings_rows(FIRST, [block]), Rows(0, (), b"")
    ship = Ship(FIRST.log, FIRST.epoch, 1, 1, 7)
    database = Database(embedded_url(tmp_path))
    database.announce(ship)
    database.insert(ship, readings=readings, events=none)
    where = places(database)
    database.close()
    for name in ("readings", "agg_15m"):
        for part in where[name].glob("202312_*"):
            shutil.rmtree(part)
    database = Database(embedded_url(tmp_path))
    mended = send_again(database, ship, readings, none)
    assert mended == [Mended("readings", 50), Mended("agg_15m", 1)]
    assert numbers(database)[:4] == [(100, 4950.0)] * 4
    database.close()


def test_rows_that_have_ended_with_age_are_not_missed_in_the_aggregates(tmp_path: Path) -> None:
    database = Database(embedded_url(tmp_path))
    database._run("ALTER TABLE readings MODIFY TTL toDateTime(ts) + INTERVAL 30 DAY")
    send(database, FIRST, 1)
    database._run("OPTIMIZE TABLE readings FINAL")
    send_again(database, *batch(FIRST, 1))
    assert numbers(database)[1:] == expected(1)[1:]
    database.close()


def rows_at(seq: int, values: dict[int, float], series: str = "grid/power") -> Rows:
    """Readings by time; of a kind that keeps any number."""
    bits = [struct.unpack("<q", struct.pack("<d", value))[0] for value in values.values()]
    columns = [Column(0, list(values), -1, bits)]
    return readings_rows(FIRST, [SampleBlock(seq, [series], columns)])


def test_only_intervals_that_the_batch_touches_are_compared(tmp_path: Path) -> None:
    """One sample whose clock was wrong makes a batch span years; others' minutes are not its."""
    database = Database(embedded_url(tmp_path))
    send(database, FIRST, 1)
    database._run("ALTER TABLE agg_1m DELETE WHERE 1 SETTINGS mutations_sync = 2")
    none = Rows(0, (), b"")
    ship = Ship(FIRST.log, FIRST.epoch, 9, 9, 9)
    for series in ("grid/power", "grid/other"):
        readings = rows_at(ship.first, {T0 - 86_400_000 * 365: 1.0, T0 + 86_400_000: 2.0}, series)
        database.insert(ship, readings=readings, events=none)
        assert database.mend(ship, readings=readings, events=none) == []
        ship = ship._replace(first=ship.last + 1, last=ship.last + 1)
    assert database.query("SELECT sum(n) FROM agg_1m").rows == [(4,)]
    database.close()


@pytest.mark.parametrize("table", TABLES)
def test_a_profile_that_joins_with_null_is_no_hindrance(tmp_path: Path, table: str) -> None:
    database = killed_in(tmp_path, {table: "token"})
    database._run("SET join_use_nulls = 1")
    assert database.query("SELECT getSetting('join_use_nulls')").rows == [(True,)]
    assert [each.table for each in send_again(database, *batch(FIRST, 3))] == [table]
    assert numbers(database) == expected(1, 3)
    database.close()


def test_an_infinite_sum_stays_infinite(tmp_path: Path) -> None:
    """The aggregate had the infinite value already; it lacks one that is finite."""
    database = Database(embedded_url(tmp_path))
    none = Rows(0, (), b"")
    first, second = (Ship(FIRST.log, FIRST.epoch, seq, seq, seq) for seq in (1, 2))
    database.insert(first, readings=rows_at(1, {T0: math.inf, T0 + 1: 1.0}), events=none)
    place = places(database)["agg_1m"]
    readings = rows_at(2, {T0 + 2: 5.0})
    before = parts(place)
    database.insert(second, readings=readings, events=none)
    database.close()
    forget(place, before, 1, token=True)
    database = Database(embedded_url(tmp_path))
    assert send_again(database, second, readings, none) == [Mended("agg_1m", 1)]
    sums = database.query("SELECT sum(n), sum(s), min(mn), max(mx) FROM agg_1m").rows
    assert sums == [(3, math.inf, 1.0, math.inf)]
    database.close()


def test_tables_of_a_try_that_was_broken_off_go_with_the_batch(tmp_path: Path) -> None:
    database = killed_in(tmp_path, {"readings": "token"})
    ship, readings, events = batch(FIRST, 3)
    database.insert(ship, readings=readings, events=events)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "_insert", lambda *_: pytest.fail("the connection broke"))
        with pytest.raises(pytest.fail.Exception):
            database.mend(ship, readings=readings, events=events)
    assert not is_clean(database)
    database._run("CREATE TABLE mend_of_the_owner (x UInt8) ENGINE = MergeTree ORDER BY x")
    assert database.give_up(ship)
    assert database.query("SHOW TABLES LIKE 'mend%'").rows == [("mend_of_the_owner",)]
    database.close()
