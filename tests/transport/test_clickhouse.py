"""Which statements may come from outside, and what is said when nobody can answer."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from grug.errors import ShipError
from grug.transport.asking import (
    ONLY_READS,
    ask_database,
    embedded_url,
    find_database,
    is_read_only,
    socket_path,
)


@pytest.mark.parametrize(
    "sql",
    ["select 1", " SELECT 1;\n", "(select 1)", "with 1 as x select x", "show tables", "desc t"],
)
def test_what_reads_is_answered(sql: str) -> None:
    assert is_read_only(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "drop table readings",
        "insert into readings select 1",
        "select 1; drop table readings",
        "select 1 into outfile '/tmp/x'",
        "selection",
        "set readonly = 0",
    ],
)
def test_what_may_write_is_refused(sql: str, tmp_path: Path) -> None:
    assert not is_read_only(sql)
    with pytest.raises(ShipError, match=ONLY_READS):
        ask_database(tmp_path, sql)


def test_database_written_last_is_found(tmp_path: Path) -> None:
    states = [tmp_path / name for name in ("old", "new", "none")]
    assert find_database(states) is None
    for age, state in enumerate(reversed(states[:2])):
        (state / "db").mkdir(parents=True)
        os.utime(state / "db", (1000 - age, 1000 - age))
    assert find_database(states) == tmp_path / "new"


def test_address_of_the_embedded_database_is_absolute(tmp_path: Path) -> None:
    assert embedded_url(tmp_path / "a" / ".." / "b") == f"chdb://{tmp_path}/b/db"


def test_process_that_hangs_up_is_an_error(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path(tmp_path)))
        listener.listen(1)
        with pytest.raises(ShipError, match="no answer"):
            ask_database(tmp_path, "select 1", timeout_s=0.01)
