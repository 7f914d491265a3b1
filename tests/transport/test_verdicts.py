"""What units refuse survives a restart, grows old, and a bad file does no harm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing

from grug.model import Span, Table
from grug.planner.verdicts import VERDICT_S_MAX, Verdict
from grug.transport.verdicts import VerdictFile

HOLDING = Table.HOLDING_REGISTER
SUSPECTS = (Span(HOLDING, 1, 2), Span(Table.COIL, 9, 1), Span(HOLDING, 7, 0))
SOME = tuple(Verdict(suspect, 0.0) for suspect in SUSPECTS)
NOW_S = 1.8e9


def at(path: Path, now_s: float = NOW_S) -> VerdictFile:
    return VerdictFile(path, lambda: now_s)


async def save(path: Path, identity: str, verdicts: tuple[Verdict, ...], now_s: float) -> None:
    """What a house leaves behind that learned this."""
    store = at(path, now_s)
    store.save(identity, verdicts)
    await store.write()


async def test_verdicts_are_there_again_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state" / "verdicts.json"
    await save(path, "meter com/1", SOME, NOW_S)
    await save(path, "meter com/2", (), NOW_S)
    assert at(path).load("meter com/1") == SOME
    assert at(path).load("meter com/2") == at(path).load("new") == ()
    assert [each.name for each in path.parent.iterdir()] == ["verdicts.json"]


async def test_they_are_as_old_as_they_are_whatever_was_saved_since(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"
    await save(path, "meter", (Verdict(SUSPECTS[0], 100.0), Verdict(SUSPECTS[1], 0.0)), NOW_S)
    later = at(path, NOW_S + 50).load("meter")
    assert [age_s for _, age_s in later] == pytest.approx([150.0, 50.0])
    await save(path, "meter", later, NOW_S + 50)
    assert [age_s for _, age_s in at(path, NOW_S + 60).load("meter")] == pytest.approx([160, 60])


async def test_a_clock_set_back_makes_none_younger_than_new(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"
    await save(path, "meter", SOME, NOW_S)
    assert at(path, 100.0).load("meter") == SOME


async def test_units_that_were_here_once_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"
    await save(path, "gone", SOME, NOW_S)
    await save(path, "new", SOME, NOW_S + VERDICT_S_MAX + 1)
    assert b"gone" not in path.read_bytes()


def test_a_file_that_is_no_such_file_counts_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"
    contents = (b"", b"{", b'{"meter": 5}', b'{"meter": [[["coil", "x", 1], 3]]}', b"\xff")
    for content in (*contents, b'{"meter": [[["coil", 5, 1]]]}'):  # The last is of an older grug.
        path.write_bytes(content)
        assert at(path).load("meter") == ()


async def test_where_nothing_can_be_written_it_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file, no directory")
    verdicts = at(tmp_path / "state" / "verdicts.json")
    verdicts.save("meter", SOME)
    await verdicts.write()
    assert verdicts.load("meter") == SOME


async def test_a_disk_that_takes_nothing_keeps_nobody_waiting(tmp_path: Path) -> None:
    """The process that learns is the one that an inverter waits for."""
    path = tmp_path / "verdicts.json"
    stuck = path.with_suffix(".new")
    os.mkfifo(stuck)  # Whoever opens it for writing waits until somebody reads.
    verdicts = at(path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(verdicts.keep)
        for count in range(1, 4):
            verdicts.save("meter", SOME[:count])
            await trio.testing.wait_all_tasks_blocked()
        assert not path.exists()
        assert verdicts.load("meter") == SOME
        with trio.fail_after(10):
            reader = await trio.to_thread.run_sync(stuck.open, "rb")
            with reader:
                assert await trio.to_thread.run_sync(reader.read) != b""
        nursery.cancel_scope.cancel()
