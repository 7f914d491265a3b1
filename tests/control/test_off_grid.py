"""An inverter that feeds its own output alone: how that is known, and who does its work."""

from __future__ import annotations

import pytest

from grug.control.balance import InverterFacts
from grug.control.facts import FactsBook
from grug.control.images import GridOthers
from grug.control.offset import (
    GridReading,
    OffsetSettings,
    OffsetState,
    SteeredInverter,
    decide,
)
from grug.messages import Aim, Readings, SetOffset
from grug.model import Quality

PAIR = (
    SteeredInverter("solis1", "fake1", device="solis1"),
    SteeredInverter("solis2", "fake2", device="solis2"),
)
SETTINGS = OffsetSettings("grid", "total_power", PAIR)
OTHERS = GridOthers()


def read(book: FactsBook, register: str, value: float, *, is_good: bool = True) -> None:
    qualities = () if is_good else (Quality.MISSING,)
    book.take(Readings("solis1", 1.0, (register,), (value,), qualities))


@pytest.mark.parametrize(
    ("register", "off_grid", "on_grid"),
    [("energy_storage_mode", 0b100100, 0b100001), ("fault_status_1_grid", 0b1, 0b110)],
)
def test_either_register_says_so_and_each_takes_back_only_its_own_word(
    register: str, off_grid: int, on_grid: int
) -> None:
    book = FactsBook(PAIR)
    read(book, register, float(on_grid))
    assert not book.facts["solis1"].is_off_grid
    read(book, register, float(off_grid))
    assert book.facts["solis1"].is_off_grid
    other = {"energy_storage_mode", "fault_status_1_grid"} - {register}
    read(book, other.pop(), 0.0)
    assert book.facts["solis1"].is_off_grid
    read(book, register, float(on_grid), is_good=False)
    assert book.facts["solis1"].is_off_grid, "what was not read says nothing"
    read(book, register, float(on_grid))
    assert not book.facts["solis1"].is_off_grid


def told(facts: dict[str, InverterFacts], *wishes: SetOffset) -> tuple[list[float], str]:
    state = OffsetState(wishes=wishes)
    outcome = decide(SETTINGS, state, GridReading(1000.0, 5.0), OTHERS, 5.0, facts=facts)
    served = [image.values[image.names.index("active_power")] for image in outcome.images]
    return served, outcome.decided.reason


def test_it_is_told_nothing_and_the_other_does_all() -> None:
    served, reason = told({"solis1": InverterFacts(is_off_grid=True), "solis2": InverterFacts()})
    assert served == [0.0, 1000.0]
    assert "off grid: solis1" in reason
    served, reason = told({"solis1": InverterFacts(), "solis2": InverterFacts()})
    assert served == [500.0, 500.0]
    assert "off grid" not in reason


def test_when_all_are_off_grid_each_keeps_its_part() -> None:
    facts = InverterFacts(is_off_grid=True)
    served, reason = told({"solis1": facts, "solis2": facts})
    assert served == [500.0, 500.0]
    assert "off grid: solis1, solis2" in reason


def test_a_wish_for_the_batteries_counts_on_those_that_are_on_the_grid() -> None:
    wish = SetOffset(1500.0, 1e6, "cli", "", aim=Aim.BATTERY)
    alone = InverterFacts(pv_w=2000.0, ac_w=0.0, read_s=5.0, ac_s=5.0, is_off_grid=True)
    still = InverterFacts(pv_w=0.0, ac_w=0.0, read_s=5.0, ac_s=5.0)
    _, reason = told({"solis1": alone, "solis2": still}, wish)
    # The house takes 1000 W: 1500 W more from the grid charge the battery that can be steered.
    assert "offset -2500 W" in reason
