"""The ledger's file: what survives a kill, a torn tail, a second writer, and an unreadable file."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import trio

from grug.codec.registers import Access, DeviceFacts, Kind, Register, RegisterMap
from grug.control.writes import WriteRules
from grug.errors import StorageError
from grug.messages import (
    ReadRegisters,
    RegistersRead,
    SetRegisters,
    WriteDone,
    WriteRegisters,
)
from grug.model import Table, WriteState
from grug.runtime.calls import BusReply, BusRequest
from grug.runtime.clock import WallClock
from grug.runtime.gate import Gate
from grug.runtime.gate_unit import GateUnit
from grug.storage.ledger import LedgerEntry
from grug.transport import ledgerfile
from grug.transport.ledgerfile import LEDGER, LedgerFile, read_ledger

NOW_MS = 1_800_000_000_000
YEAR_MS = 365 * 86_400_000


def entry(name: str, utc_ms: int = NOW_MS) -> LedgerEntry:
    return LedgerEntry(
        name,
        utc_ms,
        "port#1",
        "solis1",
        "limit",
        "me",
        "test",
        5.0,
        WriteState.APPLIED,
        wears=True,
    )


async def test_entries_are_there_after_a_restart(tmp_path: Path) -> None:
    ledger = LedgerFile(tmp_path / "state", NOW_MS)
    for name in "abc":
        await ledger.add(entry(name), is_durable=True)
    again = LedgerFile(tmp_path / "state", NOW_MS)
    assert [each.id for each in again.entries()] == ["a", "b", "c"]


async def test_a_torn_tail_does_not_spoil_the_next_line(tmp_path: Path) -> None:
    ledger = LedgerFile(tmp_path, NOW_MS)
    await ledger.add(entry("a"), is_durable=True)
    await ledger.add(entry("b"), is_durable=True)
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole[:-9])
    await LedgerFile(tmp_path, NOW_MS).add(entry("c"), is_durable=False)
    entries, bad = read_ledger(ledger.path)
    assert [each.id for each in entries] == ["a", "c"]
    assert bad == 1


async def test_each_adder_is_told_what_the_other_has_added(tmp_path: Path) -> None:
    house, command = LedgerFile(tmp_path, NOW_MS), LedgerFile(tmp_path, NOW_MS)
    assert [each.id for each in await house.add(entry("a"), is_durable=True)] == []
    assert [each.id for each in await command.add(entry("b"), is_durable=True)] == ["a"]
    assert [each.id for each in await command.add(entry("c"), is_durable=True)] == []
    assert [each.id for each in await house.add(entry("d"), is_durable=True)] == ["b", "c"]


async def test_a_house_and_a_command_side_by_side_do_not_beat_the_budget(tmp_path: Path) -> None:
    """Both decide at the same moment, each not knowing of the other."""
    sent: list[int] = []

    async def ask(request: BusRequest) -> BusReply:
        await trio.sleep(0.01)
        if isinstance(request, ReadRegisters):
            held = struct.pack(">H", sent[-1] if sent else 0)
            return RegistersRead((held,) * len(request.spans), trio.current_time())
        assert isinstance(request, WriteRegisters)
        sent.extend(struct.unpack(">H", request.block))
        return WriteDone("line", request, trio.current_time())

    span = Register("limit", Table.HOLDING_REGISTER, 1, Kind.U16, access=Access.FREE)
    known = RegisterMap("pump", {"limit": span}, DeviceFacts(unit_id=7))
    rules = WriteRules(0.0, 3, 3)

    def gate() -> Gate:
        units = [GateUnit("pump", "tcp://pump#7", 7, known, ask)]
        ledger = LedgerFile(tmp_path, NOW_MS)
        wall = WallClock(NOW_MS / 1000)
        return Gate(units, rules=rules, ledger=ledger, wall=wall, publish=lambda record: None)

    async with trio.open_nursery() as nursery:
        for number, one in enumerate((gate(), gate(), gate())):
            for turn in range(4):
                values = (("limit", 10 * number + turn + 1),)
                deadline_s = trio.current_time() + 30.0
                wish = SetRegisters("pump", values, deadline_s, "me", "why", verifies=False)
                nursery.start_soon(one.set, wish)
    assert len(sent) == 3


async def test_two_processes_may_append_to_one_ledger(tmp_path: Path) -> None:
    one, other = LedgerFile(tmp_path, NOW_MS), LedgerFile(tmp_path, NOW_MS)
    for number in range(6):
        await (one, other)[number % 2].add(entry(str(number)), is_durable=False)
    assert [each.id for each in read_ledger(one.path)[0]] == list("012345")


async def test_what_is_older_than_a_year_is_left_out(tmp_path: Path) -> None:
    ledger = LedgerFile(tmp_path, NOW_MS)
    await ledger.add(entry("old", NOW_MS - YEAR_MS - 1), is_durable=True)
    await ledger.add(entry("new"), is_durable=True)
    assert [each.id for each in LedgerFile(tmp_path, NOW_MS).entries()] == ["new"]
    assert len(ledger.path.read_bytes().splitlines()) == 1


async def test_a_ledger_made_shorter_still_belongs_to_the_house(tmp_path: Path) -> None:
    ledger = LedgerFile(tmp_path, NOW_MS)
    await ledger.add(entry("old", NOW_MS - YEAR_MS - 1), is_durable=True)
    await ledger.add(entry("new"), is_durable=True)
    ledger.path.chmod(0o640)
    owner = (1000, 1000) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(ledger.path, *owner)
    LedgerFile(tmp_path, NOW_MS)
    now = ledger.path.stat()
    assert len(ledger.path.read_bytes().splitlines()) == 1
    assert (now.st_uid, now.st_gid, now.st_mode & 0o777) == (*owner, 0o640)


async def test_a_house_that_runs_for_years_keeps_its_ledger_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgerfile, "TRIM_EVERY", 50)
    ledger, month_ms = LedgerFile(tmp_path, NOW_MS), 30 * 86_400_000
    other = LedgerFile(tmp_path, NOW_MS)
    await other.add(entry("worn"), is_durable=True)
    for number in range(300):
        routine = msgspec.structs.replace(
            entry(str(number), NOW_MS + number * month_ms // 10), wears=False
        )
        await ledger.add(routine, is_durable=False)
    await other.add(entry("other", NOW_MS + 30 * month_ms), is_durable=True)
    lines = ledger.path.read_bytes().splitlines()
    assert 10 <= len(lines) <= 70
    kept = [each.id for each in read_ledger(ledger.path)[0]]
    assert kept[-2:] == ["299", "other"]


async def test_a_ledger_that_cannot_be_read_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / LEDGER).mkdir()
    ledger = LedgerFile(tmp_path, NOW_MS)
    assert LEDGER in ledger.problem
    assert ledger.entries() == []
    with pytest.raises(StorageError):
        await ledger.add(entry("a"), is_durable=True)


WRITER = """
import sys, trio
from pathlib import Path
from test_ledgerfile import NOW_MS, entry
from grug.transport.ledgerfile import LedgerFile

async def write():
    ledger = LedgerFile(Path(sys.argv[1]), NOW_MS)
    for number in range(100_000):
        await ledger.add(entry(str(number)), is_durable=True)
        print(number, flush=True)

trio.run(write)
"""


@pytest.mark.slow
def test_every_durable_entry_survives_a_kill(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 50:
                process.send_signal(signal.SIGKILL)
                break
        said = [50, *map(int, process.stdout)]
    entries = LedgerFile(tmp_path, NOW_MS).entries()
    assert [each.id for each in entries] == [str(number) for number in range(len(entries))]
    assert len(entries) > max(said)


def test_the_event_loop_goes_on_while_the_disk_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(descriptor: int) -> None:
        """As slow as it takes, on a machine however busy."""
        for _ in range(2000):
            if turns > 5:
                return
            time.sleep(0.001)

    monkeypatch.setattr("os.fsync", slow)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await trio.sleep(0.001)
            turns += 1

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(turn)
            await LedgerFile(tmp_path, NOW_MS).add(entry("a"), is_durable=True)
            nursery.cancel_scope.cancel()

    trio.run(run)
    assert turns > 5
