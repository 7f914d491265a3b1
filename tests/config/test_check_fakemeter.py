"""What a house may say of a fake meter's profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from grug.config.check import parse_house
from grug.errors import ConfigError
from grug.transport.maps import load_map, map_models

EXAMPLE = (Path(__file__).parent.parent.parent / "examples" / "house.toml").read_text()
MAPS = {model: load_map(model) for model in map_models()}


def house(more: str, profile: str = "eastron_sdm630") -> str:
    old = '[fakemeter.fake_solis2]\nline = "solis2_meter"\nunit = 2\nprofile = "acrel_1_phase"'
    assert EXAMPLE.count(old) == 1
    return EXAMPLE.replace(old, f"{old.replace('acrel_1_phase', profile)}\n{more}")


def test_a_three_phase_meter_with_its_identity_is_a_good_profile() -> None:
    more = (
        'phases = [2]\nturnaround = "2ms"\nunknown = "silent"\n'
        "identity = { meter_code = 0x70, serial_number = 12345678 }"
    )
    meter = parse_house(house(more), "house.toml", MAPS).fakemeter["fake_solis2"]
    assert (meter.phases, meter.turnaround, meter.unknown) == ((2,), 0.002, "silent")
    assert meter.identity == {"meter_code": 112.0, "serial_number": 12345678.0}


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("phases = [0]", "some of 1, 2 and 3"),
        ("phases = [1, 1]", "each once"),
        ("turnaround = 1", "must be in 0..0.1 s"),
        ('unknown = "zero"', "did you mean 'zeros'?"),
        ("identity = { meter_cod = 1 }", "did you mean 'meter_code'?"),
        ("identity = { meter_code = 70000 }", "meter_code"),
        ("identity = { total_power = 1 }", "cannot stay the same"),
        ("identity = 7", "must hold keys"),
    ],
)
def test_what_is_wrong_is_said_at_its_line(more: str, text: str) -> None:
    with pytest.raises(ConfigError, match=r"house\.toml:\d+: ") as raised:
        parse_house(house(more), "house.toml", MAPS)
    assert text in str(raised.value)
