"""``grug solis`` and ``grug writes`` as a person types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeAlias

import pytest
import trio
import trio.testing

from grug.cli import solis as solis_commands
from grug.cli.devices import Target
from grug.cli.solis import Order
from grug.cli.writes import show
from grug.codec.image import RegisterImage
from grug.control import solis
from grug.device.server import ServedUnit
from grug.errors import NotAllowedError
from grug.model import WriteState
from grug.sim.line import SimLine
from grug.storage.ledger import LedgerEntry, encode_entry
from grug.transport.ledgerfile import LEDGER
from grug.transport.maps import load_map

Capture: TypeAlias = pytest.CaptureFixture[str]
Clock: TypeAlias = trio.testing.MockClock
MAP = load_map("solis_s5_eh1p")
MODE = "energy_storage_mode_setting"
NOW_MS = 1_800_000_000_000


def inverter() -> tuple[RegisterImage, Target]:
    image = RegisterImage(MAP)
    line = SimLine("com", {"solis": ServedUnit(1, image)})
    return image, Target(line.open, "solis_s5_eh1p")


async def test_a_change_keeps_the_other_bits(autojump_clock: Clock, capsys: Capture) -> None:
    image, target = inverter()
    image.set(MODE, 0b10_1001)
    order = Order("solis1", "port", None, "test")
    await solis_commands._apply_directly(target, order, solis.mode("backup"))
    assert image.get(MODE) == 0b11_1001
    assert "41 (Self use, Battery wakeup enable, Allow charge from grid) -> 57" in (
        capsys.readouterr().out
    )


async def test_a_dry_run_changes_nothing(autojump_clock: Clock, capsys: Capture) -> None:
    image, target = inverter()
    order = Order("solis1", "port", None, "test", dry_run=True)
    await solis_commands._apply_directly(target, order, solis.charge_limit(40.0))
    assert image.get("battery_charge_current_maximum_setting") == 0
    assert "0.0 A -> 40.0 A: would be sent" in capsys.readouterr().out


async def test_a_slot_is_written_in_order(autojump_clock: Clock) -> None:
    image, target = inverter()
    order = Order("solis1", "port", None, "test")
    change = solis.slot(1, charge="23:30-05:30", charge_current_a=20.0)
    await solis_commands._apply_directly(target, order, change)
    names = ("start_hour", "start_minute", "end_hour", "end_minute")
    assert [image.get(f"timed_charge_{name}") for name in names] == [23, 30, 5, 30]
    assert image.get("timed_charge_current") == 20.0


async def test_a_second_write_has_to_wait(autojump_clock: Clock) -> None:
    image, target = inverter()
    line, device = target.prepare()
    async with line:
        await device.change(solis.charge_limit(40.0).values, why="test")
        with pytest.raises(NotAllowedError, match="the least interval is 10 s"):
            await device.change(solis.charge_limit(50.0).values, why="test")
        await device.change(solis.charge_limit(60.0).values, why="test", force=True)
    assert image.get("battery_charge_current_maximum_setting") == 60.0


@pytest.mark.parametrize("is_dry", [False, True])
async def test_ten_times_the_current_that_was_meant_is_refused(
    is_dry: bool, autojump_clock: Clock
) -> None:
    image, target = inverter()
    line, device = target.prepare()
    async with line:
        with pytest.raises(NotAllowedError, match=r"outside 0\.\.125 A"):
            await device.change(solis.charge_limit(500.0).values, why="test", dry_run=is_dry)
    assert image.get("battery_charge_current_maximum_setting") == 0


def entry(number: int, **more: object) -> LedgerEntry:
    values = {"state": WriteState.APPLIED, "wears": True, "per_year": 5, **more}
    return LedgerEntry(str(number), NOW_MS, "p#1", "solis1", "limit", "me", "cold", 5.0, **values)


def listed(directory: Path, **more: object) -> int:
    options = {"now_ms": NOW_MS, "last": 30, "budget": False, "as_json": False, **more}
    wanted = options.pop("wanted", lambda entry: True)
    return show(directory, wanted, **options)  # type: ignore[arg-type]


def test_the_ledger_is_listed_with_what_is_left(tmp_path: Path, capsys: Capture) -> None:
    entries = [entry(1, unit_of="A", old=4.0), entry(2, state=WriteState.REVERTED, reason="why")]
    (tmp_path / LEDGER).write_bytes(b"".join(map(encode_entry, entries)) + b"torn{")
    assert listed(tmp_path) == 0
    said = capsys.readouterr().out
    assert "4 A" in said
    assert "reverted" in said
    assert "1 damaged lines were skipped" in said
    assert listed(tmp_path, budget=True) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["solis1", "limit", "2", "5", "3"]
    wanted = lambda entry: entry.state is WriteState.REVERTED  # noqa: E731
    assert listed(tmp_path, as_json=True, wanted=wanted) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [each["id"] for each in shown["writes"]] == ["2"]
    assert shown["budgets"][0]["left"] == 3


def test_no_ledger_is_said(tmp_path: Path, capsys: Capture) -> None:
    assert listed(tmp_path) == 1
    assert "nothing was written yet" in capsys.readouterr().err
