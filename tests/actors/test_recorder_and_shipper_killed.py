"""SIGKILL at random moments: nothing acknowledged is lost, and the database has every row once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import recorded_run

from grug.storage.schema import AGGREGATES
from grug.transport.asking import embedded_url
from grug.transport.clickhouse import Database
from grug.transport.logfiles import LogReader

ROUNDS = 8
BLOCKS_MAX = 20
"""Safe before a round's kill may come: all rounds together are far from the whole run's 600."""


def start(state: Path) -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, str(Path(recorded_run.__file__)), str(state)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, bufsize=0)


@pytest.mark.slow
def test_killed_at_random_moments_the_database_is_exact(tmp_path: Path) -> None:
    chance = random.Random(2)
    kills = 0
    acknowledged: set[int] = set()
    for number in range(ROUNDS):
        process = start(tmp_path)
        assert process.stdout is not None
        # However slow the machine, some rounds get as far as blocks of their own.
        lines = [process.stdout.readline() for _ in range(chance.randint(0, BLOCKS_MAX))]
        time.sleep(chance.uniform(0.0, 0.3 * number))
        kills += process.poll() is None
        process.kill()
        output = b"".join(lines) + process.communicate()[0]
        told = [int(line) for line in output.splitlines(keepends=True) if b"\n" in line]
        if told:  # The first says where numbers go on, perhaps after an empty file.
            acknowledged.update(range(told[0] + 1, told[-1] + 1))
        in_log = [block.frame.seq for block in LogReader(tmp_path / "log").read()]
        assert len(set(in_log)) == len(in_log)
        assert acknowledged <= {*in_log}
    process = start(tmp_path)
    process.communicate()
    assert process.returncode == 0
    assert kills >= ROUNDS // 2

    database = Database(embedded_url(tmp_path))
    try:
        (counts,) = database.query(
            "SELECT count(), uniqExact(series, ts), sumIf(value, series = 'grid/count'),"
            " (SELECT count() FROM events), uniqExact(epoch) FROM readings"
        ).rows
        samples = recorded_run.SAMPLES
        total = recorded_run.POLLS * (recorded_run.POLLS - 1) // 2
        assert counts[:4] == (samples, samples, total, recorded_run.EVENTS)
        assert counts[4] > 1
        for name, _, _ in AGGREGATES:
            (sums,) = database.query(
                f"SELECT sum(n), sumIf(s, series = 'grid/count') FROM {name}"
            ).rows
            assert sums == (samples, total)
    finally:
        database.close()
