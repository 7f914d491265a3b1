"""The demo as a user runs it: regulated, repeatable, killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from grug.demo.fast import simulate
from grug.demo.settings import DEMO_TOKEN, DemoSettings, demo_house
from grug.sim.seeded import run_seeded

GRUG = (sys.executable, "-m", "grug")
WAIT_S_MAX = 120.0


def grug(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GRUG, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=WAIT_S_MAX,
        check=False,
    )


def rows(cwd: Path, sql: str) -> list[dict[str, Any]]:
    answer = grug("sql", sql, "--format", "json", cwd=cwd)
    assert answer.returncode == 0, answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]


def counts(cwd: Path) -> dict[str, Any]:
    """Rows in all, rows that differ, those that are numbers, and what the hourly view counted."""
    (counted,) = rows(
        cwd,
        "select count() as n, uniqExact(series, ts) as distinct,"
        " countIf(isFinite(value)) as finite,"
        " (select sum(n) from agg_1h) as aggregated from readings",
    )
    return counted


def test_a_demo_serves_its_log_when_asked_to(tmp_path: Path) -> None:
    log = demo_house(DemoSettings(serve="127.0.0.1:8765"), tmp_path).log
    assert (log.serve, log.token) == ("127.0.0.1:8765", DEMO_TOKEN)
    assert demo_house(DemoSettings(), tmp_path).log.serve == ""


@pytest.mark.slow
def test_virtual_time_serves_nobody(tmp_path: Path) -> None:
    refused = grug("demo", "--fast", "--serve", "127.0.0.1:8765", cwd=tmp_path)
    assert refused.returncode == 2
    assert "real time" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize("fidelity", ["wire", "message"])
def test_two_runs_with_one_seed_are_the_same_and_another_seed_is_not(
    fidelity: str, tmp_path: Path
) -> None:
    def run(seed: int, state: str) -> dict[str, Any]:
        settings = DemoSettings(
            seed, start_hour=11.0, hours=0.05, fidelity=fidelity, state=tmp_path / state
        )
        return run_seeded(simulate, settings, seed=seed)

    first = run(1, "first")
    assert run(1, "second") == first
    assert run(1, "first") == first, "a run over its own record says the same"
    assert run(2, "third") != first


@pytest.mark.slow
def test_the_house_is_regulated_and_an_offset_is_absorbed_by_the_batteries(tmp_path: Path) -> None:
    def run(offset_w: float) -> dict[str, Any]:
        settings = DemoSettings(
            start_hour=11.0, hours=0.5, offset_w=offset_w, fidelity="message", state=tmp_path
        )
        return run_seeded(simulate, settings, seed=1)

    balanced, absorbing = run(0.0), run(-2000.0)
    assert balanced["steering"]["mean_abs_grid_power_w"] < 60
    absorbed_wh = absorbing["energy"]["battery_in_wh"] - balanced["energy"]["battery_in_wh"]
    absorbed_wh += balanced["energy"]["battery_out_wh"] - absorbing["energy"]["battery_out_wh"]
    assert absorbed_wh == pytest.approx(1000, rel=0.1), "2 kW for half an hour"
    imported_wh = absorbing["energy"]["import_wh"] - balanced["energy"]["import_wh"]
    assert imported_wh == pytest.approx(1000, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("fidelity", ["wire", "message"])
def test_a_lost_meter_silences_the_fake_meters_and_its_return_ends_that(
    fidelity: str, tmp_path: Path
) -> None:
    settings = DemoSettings(
        start_hour=11.0,
        hours=0.05,
        faults=("grid:silent@60+20",),
        fidelity=fidelity,
        state=tmp_path / "demo-state",
    )
    summary = run_seeded(simulate, settings, seed=1)
    assert summary["events"]["fakemeter_silences"] == 2
    for counted in summary["fakemeters"].values():
        assert 60 < counted["silent_stale"] < 100, "4 queries a second for some 20 s"
    changes = rows(
        tmp_path,
        "select text, dateDiff('millisecond', toDateTime64('2026-06-21 11:00:00', 3, 'UTC'), ts) ms"
        " from events where kind = 'fakemeter' and source = 'fakemeter/fake_solis1' order by ts",
    )
    silent_ms = next(int(each["ms"]) for each in changes if each["text"].startswith("silent"))
    assert 61_000 < silent_ms < 62_600, "within the age limit, noticed by the next count"
    assert changes[-1]["text"].startswith("live")


@pytest.mark.slow
def test_a_killed_run_resumes_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    run = ("demo", "--fast", "--hours", "3", "--fidelity", "message", "--json")
    for runtime_s in (1.5, 4.0):
        with subprocess.Popen(
            [*GRUG, *run], cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True
        ) as child:
            time.sleep(runtime_s)  # Real processes are killed in real time.
            os.killpg(child.pid, signal.SIGKILL)
    again = grug(*run, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    counted = counts(tmp_path)
    assert counted["n"] == counted["distinct"]
    assert counted["finite"] == counted["aggregated"], "the views leave out what is no number"

    whole = tmp_path / "whole"
    whole.mkdir()
    undisturbed = grug(*run, cwd=whole)
    assert counts(whole) == counted
    assert json.loads(undisturbed.stdout) == json.loads(again.stdout)


@pytest.mark.slow
def test_the_demo_in_real_time_survives_its_data_process_and_answers_queries(
    tmp_path: Path,
) -> None:
    assert grug("fault", "grid:silent+4", cwd=tmp_path).returncode == 1, "no demo runs yet"
    command = [*GRUG, "demo", "--no-view"]
    with running(command, tmp_path) as demo:
        wait_for_line(demo, "fake_solis1: live")
        (data_pid,) = data_processes(demo.pid)
        os.kill(data_pid, signal.SIGKILL)
        pulled = grug("fault", "grid:silent+4", "grit:silent", cwd=tmp_path)
        assert pulled.returncode == 2
        assert "grid:silent+4: ok" in pulled.stdout
        assert "'grit' is not in this house" in pulled.stdout
        wait_for_line(demo, "fake_solis1: silent")
        wait_for_line(demo, "fake_solis1: live")
        assert data_processes(demo.pid) != [data_pid]
        wait_for_rows(tmp_path, "grid/total_power", 30)
        os.kill(demo.pid, signal.SIGINT)
        demo.communicate(timeout=WAIT_S_MAX)
    assert demo.returncode == 0
    totals = counts(tmp_path)
    assert totals["n"] == totals["distinct"]


@contextmanager
def running(command: list[str], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """A command that is ended with all its children, also when the test fails."""
    with subprocess.Popen(
        command, cwd=cwd, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    assert any(text in line for line in process.stderr), f"it ended without saying {text!r}"


def wait_for_rows(cwd: Path, series: str, count: int) -> None:
    """Ask the running demo until its database has so many rows of a series."""
    sql = f"select count() as n from readings where series = '{series}'"
    deadline_s = time.monotonic() + WAIT_S_MAX
    while rows(cwd, sql)[0]["n"] < count:
        assert time.monotonic() < deadline_s, "rows did not come"
        time.sleep(1)


def data_processes(parent: int) -> list[int]:
    """Process ids of the data processes of a demo."""
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                fields = (directory / "stat").read_text().rsplit(")", 1)[1].split()
                command = (directory / "cmdline").read_bytes()
            except OSError:  # It has ended meanwhile.
                continue
            if int(fields[1]) == parent and b"grug.app.data" in command:
                found.append(int(directory.name))
    return found


@pytest.mark.slow
def test_a_second_demo_in_the_same_directory_is_refused_and_spoils_nothing(tmp_path: Path) -> None:
    command = [*GRUG, "demo", "--fast", "--hours", "24", "--fidelity", "message"]
    with running(command, tmp_path):
        deadline_s = time.monotonic() + WAIT_S_MAX
        while not (tmp_path / "demo-state" / "fast" / "log").exists():
            assert time.monotonic() < deadline_s, "the first demo did not begin"
            time.sleep(0.1)
        second = grug("demo", "--fast", "--hours", "0.01", "--seed", "6", cwd=tmp_path)
        assert second.returncode == 2
        assert second.stderr.count("\n") == 1
        assert "another demo runs" in second.stderr
        assert (tmp_path / "demo-state" / "fast" / "log").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--offset", "nan"], "finite"),
        (["--fault", "nonsense"], "is no fault"),
        (["--fault", "grit:silent"], "'grit' is not in this house"),
        (["--hours", "nan"], "finite"),
        (["--state", "/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(
    options: list[str], says: str, tmp_path: Path
) -> None:
    refused = grug("demo", "--fast", *options, cwd=tmp_path)
    assert refused.returncode in (1, 2)
    assert says in refused.stderr
    assert "Traceback" not in refused.stderr
