"""``grug ship`` at the command line: what it prints, and what it refuses before it starts."""

from __future__ import annotations

import shlex
import sys

import pytest

from grug.cli import main
from grug.storage.schema import TABLES


def grug(command: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["grug", *shlex.split(command)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_schema_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert grug("ship --print-schema", monkeypatch) == 0
    plain = capsys.readouterr().out
    for table in TABLES:
        assert f" {table} " in plain
    assert "ON CLUSTER" not in plain
    assert grug("ship --print-schema --cluster house", monkeypatch) == 0
    spread = capsys.readouterr().out
    assert spread.count("ENGINE = Distributed('house', currentDatabase(), ") == 5
    assert spread.count("CREATE") + spread.count("ALTER") == spread.count("ON CLUSTER 'house'")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("ship", "missing: --from, --to, --token"),
        ("ship --from http://pi:1 --to chdb:", "missing: --token"),
        ("ship --from http://pi:1 --to chdb: --token x --cluster c", "goes with --print-schema"),
        ("ship --to chdb: --print-schema", "ships nothing"),
    ],
)
def test_what_does_not_fit_is_refused(
    command: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GRUG_TOKEN", raising=False)
    assert grug(command, monkeypatch) == 2
    assert said in capsys.readouterr().err
