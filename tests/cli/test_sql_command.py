"""``grug sql`` over a log: the same answer as from the database that has it."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
import trio
from log_writing import T0, write_log

from grug.actors import shipper
from grug.cli import main
from grug.errors import StorageError
from grug.runtime.feed import Feed
from grug.storage.schema import AGGREGATES
from grug.storage.show import TimeRange, show_time
from grug.transport.asking import embedded_url
from grug.transport.clickhouse import SharedDatabase
from grug.transport.logfiles import Synced
from grug.transport.logsql import ask_log

pytestmark = pytest.mark.slow

QUESTIONS = [
    "SELECT series, count(), round(sum(value), 3), min(ts), max(ts) FROM readings GROUP BY series"
    " ORDER BY series",
    "SELECT ts, text, epoch, seq FROM events ORDER BY ts",
    "SELECT * FROM series FINAL ORDER BY series",
    *(f"SELECT series, t, sum(n), round(sum(s), 3) FROM {a.name} GROUP BY 1, 2 ORDER BY 1, 2"
      for a in AGGREGATES),
]  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Two starts of a house."""
    for start in range(2):
        write_log(tmp_path / "log", 60, first_s=start * 600)
    return tmp_path


def grug(command: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["grug", *shlex.split(command)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_log_and_database_give_the_same_answers(state: Path) -> None:
    from_log = [ask_log(state / "log", question, TimeRange()) for question in QUESTIONS]

    async def ship() -> list[object]:
        synced, shared = Synced(), SharedDatabase(embedded_url(state))
        synced.mark(1 << 60)
        synced.end()
        await shipper.run(log_directory=state / "log", database=shared, synced=synced, feed=Feed())
        answers = [await shared.call(lambda db, q=q: db.query(q)) for q in QUESTIONS]
        await shared.close()
        return answers

    assert from_log == trio.run(ship)
    assert all(answer.rows for answer in from_log)


def test_a_range_is_what_the_log_has_of_it(state: Path) -> None:
    times = TimeRange(T0 + 95_500, T0 + 105_500)
    (row,) = ask_log(
        state / "log",
        "SELECT count(), min(ts), max(ts), (SELECT count() FROM events) FROM readings",
        times,
    ).rows
    assert row[0] == 20
    assert row[3] == 1
    assert (row[2] - row[1]).total_seconds() == 9


def test_more_than_fits_is_refused_with_what_to_do(state: Path) -> None:
    with pytest.raises(StorageError, match=r"2,400 samples .* --since") as refused:
        ask_log(state / "log", "SELECT 1", TimeRange(), samples_max=2399)
    assert "grug ship" in str(refused.value)
    half = TimeRange(since_ms=T0 + 600_000)
    assert ask_log(state / "log", "SELECT 1 AS a", half, samples_max=2399).names == ("a",)


def test_at_the_command_line(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    question = "select series, count() as n from readings group by series order by series"
    for directory in (state, state / "log"):
        assert grug(f"sql --log {directory} --format json '{question}'", monkeypatch) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert lines == [
            {"series": "grid/power", "n": 1200},
            {"series": "grid/voltage", "n": 1200},
        ]
    since = show_time(T0 + 1_100_000)
    assert grug(f"sql --log {state} --since {since} --format csv '{question}'", monkeypatch) == 0
    assert capsys.readouterr().out == "series,n\ngrid/power,100\ngrid/voltage,100\n"


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("sql --log {} 'drop table readings'", 1, "only single statements that read"),
        ("sql --log {} 'select nonsense from readings'", 1, "nonsense"),
        ("sql --log {} --since soon 'select 1'", 1, "not a time"),
        ("sql --log {}/none 'select 1'", 1, "no log in"),
        ("sql --log {} --state {} 'select 1'", 2, "either --log or --state"),
        ("sql --since 2h 'select 1'", 2, "go with --log"),
    ],
)
def test_what_cannot_be_answered_is_said(
    command: str,
    status: int,
    said: str,
    state: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert grug(command.format(state, state), monkeypatch) == status
    assert said in capsys.readouterr().err
