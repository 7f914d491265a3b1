"""What units refuse survives a restart, and a bad file does no harm."""

from __future__ import annotations

from pathlib import Path

from grug.model import Span, Table
from grug.planner.units import Verdicts
from grug.transport.verdicts import VerdictFile

HOLDING = Table.HOLDING_REGISTER
SOME = Verdicts((Span(HOLDING, 1, 2), Span(Table.COIL, 9, 1), Span(HOLDING, 7, 0)))


def test_verdicts_are_there_again_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state" / "verdicts.json"
    VerdictFile(path).save("meter com/1", SOME)
    VerdictFile(path).save("meter com/2", Verdicts())
    assert VerdictFile(path).load("meter com/1") == SOME
    assert VerdictFile(path).load("meter com/2") == VerdictFile(path).load("new") == Verdicts()
    assert [each.name for each in path.parent.iterdir()] == ["verdicts.json"]


def test_a_file_that_is_no_such_file_counts_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"
    for content in (b"", b"{", b'{"meter": 5}', b'{"meter": [[["coil", "x", 1]]]}', b"\xff"):
        path.write_bytes(content)
        assert VerdictFile(path).load("meter") == Verdicts()


def test_where_nothing_can_be_written_it_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file, no directory")
    verdicts = VerdictFile(tmp_path / "state" / "verdicts.json")
    verdicts.save("meter", SOME)
    assert verdicts.load("meter") == SOME
