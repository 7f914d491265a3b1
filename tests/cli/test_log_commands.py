"""``grug log`` as its user types it: what it prints and how it ends, also beside a writer."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import clickhouse_connect
import pytest
from log_writing import TestLog, write_log

from grug.cli import main
from grug.storage.segment import FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES

BLOCKS = 60


class Outcome(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str


Type: TypeAlias = Callable[[str], Outcome]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Two starts of a house, ten minutes each."""
    write_log(tmp_path / "log", BLOCKS)
    write_log(tmp_path / "log", BLOCKS, first_s=600)
    return tmp_path


@pytest.fixture(name="type_")
def _type(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, state: Path) -> Type:
    def type_(command: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", [*shlex.split(command), "--state", str(state)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Outcome(int(ended.value.code or 0), *capsys.readouterr())

    return type_


def test_ls_lists_segments_with_what_is_in_them(type_: Type) -> None:
    done = type_("grug log ls")
    titles, *rows = [line.split() for line in done.out.splitlines()]
    shown = [dict(zip(titles, row, strict=True)) for row in rows]
    assert [row["epoch"] for row in shown] == ["1", "2"]
    assert [row["samples"] for row in shown] == ["1200", "1200"]
    assert [row["events"] for row in shown] == ["6", "6"]
    assert shown[1]["from"] == "2023-11-14T22:23:20.000Z"
    assert "2400 samples" in done.err
    assert done.status == 0


def test_tail_shows_the_last_of_a_series_across_segments(type_: Type) -> None:
    lines = type_("grug log tail -n 601 'grid/p*'").out.splitlines()
    assert len(lines) == 601
    assert lines[-1].startswith("2023-11-14T22:33:19.000Z  grid/power = ")
    assert lines[0].startswith("2023-11-14T22:23:19.000Z")
    assert type_("grug log tail -n 0").out == ""


def test_tail_shows_events_in_words(type_: Type) -> None:
    lines = type_("grug log tail --events -n 7").out.splitlines()
    assert [line.split()[-1] for line in lines] == [str(at) for at in range(500, 1200, 100)]


def test_cat_of_a_range_has_its_beginning_and_not_its_end(type_: Type) -> None:
    done = type_("grug log cat grid/power --since 2023-11-14T22:23:15 --until 2023-11-14T22:23:25")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["ts"][17:19] for row in rows] == [str(second) for second in range(15, 25)]
    assert rows[0] == {
        "ts": "2023-11-14T22:23:15.000Z",
        "series": "grid/power",
        "value": "59.5",
    }


def test_cat_of_the_last_minutes_as_json_lines(type_: Type) -> None:
    rows = [
        json.loads(line)
        for line in type_("grug log cat --since 59s --format json").out.splitlines()
    ]
    assert len(rows) == 120
    assert rows[-1] == {"ts": "2023-11-14T22:33:19.000Z", "series": "grid/voltage", "value": 232}
    events = type_("grug log cat --events --since 5m --format json").out
    assert [json.loads(line)["text"] for line in events.splitlines()] == [
        "second 900",
        "second 1000",
        "second 1100",
    ]


def test_a_time_that_is_none_is_refused(type_: Type) -> None:
    done = type_("grug log cat --since yesterday")
    assert done.status == 1
    assert "yesterday" in done.err


def test_verify_says_that_all_is_good(type_: Type) -> None:
    done = type_("grug log verify")
    assert (done.status, done.out.split()[-2:]) == (0, ["all", "good"])


def test_verify_names_damage_and_what_it_cost(type_: Type, state: Path) -> None:
    first, second = sorted((state / "log").glob("*.grug"))
    data = bytearray(first.read_bytes())
    data[data.find(b"GBLK", len(data) // 2) + FRAME_HEADER_BYTES] ^= 4
    first.write_bytes(data)
    second.write_bytes(second.read_bytes()[:-1])
    done = type_("grug log verify")
    assert done.status == 1
    assert "1 damages" not in done.out
    assert "lost" in done.out.splitlines()[0]
    assert "not finished" in done.out.splitlines()[1]
    assert "2 damages, 1 blocks lost" in done.out


def test_verify_misses_a_segment_that_somebody_deleted(type_: Type, state: Path) -> None:
    with TestLog(state / "log") as log:
        for hour in range(1, 4):
            log.write(3, first_s=hour * 4000)
    sorted((state / "log").glob("*.grug"))[3].unlink()
    done = type_("grug log verify")
    assert done.status == 1
    assert "5 blocks are missing" in done.out


@pytest.mark.slow
def test_exports_have_the_same_rows_whatever_the_format(type_: Type, state: Path) -> None:
    for name in ("all.csv", "all.jsonl", "all.parquet"):
        done = type_(f"grug log export {state / name} 'grid/*' --since 1000s")
        assert done.status == 0, done.err
    with (state / "all.csv").open() as file:
        from_csv = [(row["ts"], row["series"], float(row["value"])) for row in csv.DictReader(file)]
    text = (state / "all.jsonl").read_text()
    from_json = [tuple(json.loads(line).values()) for line in text.splitlines()]
    assert from_json == from_csv
    engine = clickhouse_connect.get_client(dsn="chdb://")
    try:
        from_parquet = engine.query(
            "SELECT formatDateTime(ts, '%Y-%m-%dT%H:%i:%S.000Z', 'UTC'), series, value"
            f" FROM file('{state / 'all.parquet'}') ORDER BY ts, series"
        ).result_rows
    finally:
        engine.close()
    assert from_parquet == sorted(from_csv, key=lambda row: row[:2])
    assert len(from_csv) == 2002
    assert not list(state.glob("all.parquet.*")), "nothing is left lying about"


def test_export_of_an_unknown_kind_is_refused(type_: Type) -> None:
    assert type_("grug log export all.xlsx").status == 2
    assert type_("grug log export all.parquet --events").status == 2


def test_no_log_is_said(type_: Type, state: Path) -> None:
    for path in (state / "log").iterdir():
        path.unlink()
    done = type_("grug log ls")
    assert done.status == 1
    assert "no log in" in done.err


def test_reading_beside_a_writer_harms_neither(type_: Type, state: Path) -> None:
    with TestLog(state / "log") as log:
        log.write(2, first_s=2000)
        with sorted((state / "log").glob("*.grug"))[-1].open("ab") as half:
            half.write(b"GBLK and not yet more")
        assert type_("grug log verify").status == 0, "half a block is being written"
        assert type_("grug log tail -n 1 grid/power").out.startswith("2023-11-14T22:46:59")
    assert type_("grug log verify").status == 1, "half a block stayed"
    with TestLog(state / "log") as again:
        assert again.writer.epoch == 4


@pytest.mark.slow
def test_follow_shows_what_a_running_house_writes(state: Path) -> None:
    command = [sys.executable, "-m", "grug", "log", "tail", "-n", "1", "-f", "grid/power"]
    with subprocess.Popen(
        [*command, "--state", str(state)], stdout=subprocess.PIPE, text=True, env={**os.environ}
    ) as tail:
        assert tail.stdout is not None
        assert tail.stdout.readline().startswith("2023-11-14T22:33:19")
        with TestLog(state / "log") as log:
            log.write(1, first_s=3000)
        lines = [tail.stdout.readline() for _ in range(10)]
        tail.send_signal(signal.SIGINT)
        assert tail.wait(20) == 130
    assert [line[17:19] for line in lines] == [str(second) for second in range(20, 30)]


def test_segment_headers_are_as_long_as_documented() -> None:
    assert (SEGMENT_HEADER_BYTES, FRAME_HEADER_BYTES) == (64, 56)
