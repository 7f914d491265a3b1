"""Files of history into the real engine: every line once, however often they are given."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from grug.cli import main
from grug.errors import ShipError, StorageError
from grug.storage.schema import AGGREGATES
from grug.transport import history
from grug.transport.asking import embedded_url
from grug.transport.clickhouse import Database, Ship
from grug.transport.history import import_file

pytestmark = pytest.mark.slow

T0 = 1_700_000_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(embedded_url(tmp_path))
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "LINES_PER_BATCH", 70)


def lines(count: int, first: int = 0) -> list[bytes]:
    """Messages as the forerunner wrote them: powers, and a state now and then."""
    said: list[list[object]] = []
    for index in range(first, first + count):
        if index % 50 == 7:
            said.append([round(T0 + index / 3, 2), "pv/state", f"state {index}"])
        else:
            said.append([round(T0 + index / 3, 2), f"pv/solis{index % 2}/power", f"{index / 10}"])
    return [json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in said]


def write(path: Path, content: list[bytes], cut_bytes: int = 0) -> Path:
    data = b"".join(content)
    packed = zstandard.ZstdCompressor(level=7).compress(data) if path.suffix == ".zst" else data
    path.write_bytes(packed[: len(packed) - cut_bytes])
    return path


def numbers(database: Database) -> list[tuple[float, ...]]:
    sql = "SELECT count(), round(sum(value), 3) FROM readings"
    for name, _, _ in AGGREGATES:
        sql += f" UNION ALL SELECT sum(n), round(sum(s), 3) FROM {name}"
    events = database.query("SELECT count(), uniqExact(text) FROM events").rows
    assert events[0][0] == events[0][1]
    return [*database.query(sql).rows, events[0]]


def expected(count: int) -> list[tuple[float, ...]]:
    values = [index / 10 for index in range(count) if index % 50 != 7]
    row = (len(values), pytest.approx(sum(values), abs=0.01))
    return [row] * (1 + len(AGGREGATES)) + [(count - len(values),) * 2]  # type: ignore[list-item]


def test_history_arrives_once_however_often_it_is_given(tmp_path: Path, database: Database) -> None:
    path = write(tmp_path / "1700000000.00.json.zst", lines(500))
    first, again = import_file(database, path), import_file(database, path)
    renamed = write(tmp_path / "copy.jsonl", lines(500))
    assert import_file(database, renamed).rows == 0, "known by its contents"
    assert (first.lines, first.rows, first.bad_lines, first.problem) == (500, 500, 0, "")
    assert (again.old_lines, again.rows) == (500, 0)
    assert numbers(database) == expected(500)


def test_file_that_has_grown_gives_only_what_is_new(tmp_path: Path, database: Database) -> None:
    whole = lines(400)
    for count in (1, 2, 69, 70, 71, 140, 399, 400):
        path = write(tmp_path / "a.json.zst", whole[:count])
        import_file(database, path)
        assert numbers(database) == expected(count)


def test_error_after_the_deed_doubles_nothing(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third call fails although the database has done it; the file grows in between."""
    real, calls = Database.insert, [0]

    def insert_and_fail(self: Database, ship: Ship, **rows: object) -> None:
        real(self, ship, **rows)  # type: ignore[arg-type]
        calls[0] += 1
        if calls[0] % 3:
            raise ShipError("the connection broke")

    monkeypatch.setattr(Database, "insert", insert_and_fail)
    for attempt in range(40):
        path = write(tmp_path / "a.json.zst", lines(min(500, 100 + 50 * attempt)))
        try:
            import_file(database, path)
        except ShipError:
            continue
        if attempt >= 8:
            break
    assert numbers(database) == expected(500)


def test_truncated_file_is_read_up_to_there_and_its_whole_later(
    tmp_path: Path, database: Database
) -> None:
    path = tmp_path / "a.json.zst"
    packer = zstandard.ZstdCompressor(level=7).compressobj()
    data = b""
    for line in lines(400):
        data += packer.compress(line) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    path.write_bytes(data[: len(data) // 2])
    half = import_file(database, path)
    assert 100 < half.lines < 300
    path.write_bytes(data)
    import_file(database, path)
    assert numbers(database) == expected(400)


def test_damaged_file_is_read_up_to_the_damage(tmp_path: Path, database: Database) -> None:
    path = write(tmp_path / "a.json.zst", lines(400))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = b"\xff" * (len(data) // 2)
    path.write_bytes(data)
    assert "damaged" in import_file(database, path).problem


def test_another_file_under_the_same_first_line_is_refused(
    tmp_path: Path, database: Database
) -> None:
    import_file(database, write(tmp_path / "a.json", lines(300)))
    with pytest.raises(StorageError, match="was longer"):
        import_file(database, write(tmp_path / "a.json", lines(200)))
    assert numbers(database) == expected(300)


def test_files_at_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write(tmp_path / "1.json.zst", lines(100))
    second = write(tmp_path / "2.json.zst", [*lines(200, first=100), b"nonsense\n"])
    command = f"grug log import {second} {first} --state {tmp_path} --strip pv/"
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "1.json.zst: 100 lines, 100 new rows",
        "2.json.zst: 201 lines, 200 new rows, 1 lines make no sense",
    ]
    database = Database(embedded_url(tmp_path))
    try:
        assert numbers(database) == expected(300)
        series = database.query("SELECT DISTINCT series FROM readings ORDER BY series").rows
    finally:
        database.close()
    assert series == [("solis0/power",), ("solis1/power",)]
