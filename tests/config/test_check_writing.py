"""What house.toml says of writing: inverters told by registers, power save, budgets."""

from __future__ import annotations

from pathlib import Path

import pytest

from grug.config.check import check_house
from grug.errors import ConfigError
from grug.transport.maps import load_map, map_models

EXAMPLE = (Path(__file__).parent.parent.parent / "examples" / "house.toml").read_text()
MAPS = {model: load_map(model) for model in map_models()}
SHARE = "share = 1.0                  # its part"


def with_inverter(more: str) -> str:
    """The example, with more about its first inverter."""
    assert EXAMPLE.count(SHARE) == 1
    return EXAMPLE.replace(SHARE, f"{more}\n{SHARE}")


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check_house(text, "house.toml", MAPS)
    return str(caught.value).splitlines()


def test_an_inverter_may_be_told_by_registers_and_looked_after() -> None:
    text = with_inverter('control = "both"\nfailsafe = "5min"\nkeep_clock = true')
    text += "\n[inverter.solis1.power_save]\nsoc_off = 8\n\n[writes]\nper_year = 100\n"
    house = check_house(text, "house.toml", MAPS).house
    inverter = house.inverter["solis1"]
    assert (inverter.control, inverter.failsafe, inverter.keep_clock) == ("both", 300.0, True)
    assert inverter.power_save is not None
    assert (inverter.power_save.soc_off, inverter.power_save.soc_on) == (8.0, 15.0)
    assert house.inverter["solis2"].control == "mitm"
    assert house.writes.per_year == 100


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('control = "dispach"', "did you mean 'dispatch'"),
        ('failsafe = "90s"', "must be whole minutes, 1 to 30"),
        ('failsafe = "2h"', "must be whole minutes, 1 to 30"),
        ("power_save = { soc_off = 20 }", "must be more than 'soc_off' of 20 %"),
        ("power_save = { pv_on = 10 }", "must be more than 'pv_off' of 60 V"),
        ("power_save = { rest = 60 }", "must be 300 s or more: switching wears"),
        ("power_save = { soc_of = 20 }", "did you mean 'soc_off'"),
    ],
)
def test_what_cannot_be_is_refused(more: str, words: str) -> None:
    (complaint,) = complaints(with_inverter(more))
    assert words in complaint


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("per_year = 100000", "must be in 0..20000"),
        ("device_per_year = -1", "must be in 0..20000"),
        ("interval = -1", "cannot be negative"),
        ("settle = 0", "must be longer than 0 s"),
        ("settle = 9", "5 at most"),
    ],
)
def test_budgets_have_bounds(more: str, words: str) -> None:
    (complaint,) = complaints(f"{EXAMPLE}\n[writes]\n{more}\n")
    assert words in complaint


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('control = "dispatch"', "has no dispatch registers: only 'mitm' works"),
        ("keep_clock = true", "has no register 'real_time_clock'"),
        ("power_save = {}", "has no register 'power_on_off'"),
    ],
)
def test_an_inverter_without_the_registers_is_refused(more: str, words: str) -> None:
    text = with_inverter(more).replace('device = "solis1"', 'device = "solis1_ac"', 1)
    assert any(words in complaint for complaint in complaints(text))
