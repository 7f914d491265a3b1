"""docs/fakemeter.md: who follows it to add a profile has one that is served."""

from __future__ import annotations

import re
from pathlib import Path

from grug.app import parts
from grug.app.load import load_house, own_maps
from grug.codec.served import ServedImage
from grug.control.images import IMAGE_NAMES
from grug.model import Table

ROOT = Path(__file__).parent.parent.parent


def test_profile_that_is_added_as_described_serves_what_it_says(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "fakemeter.md").read_text()
    added = text[text.index("To add one") :]
    (tmp_path / "maps").mkdir()
    for kind, suffix in (("csv", "csv"), ("toml", "toml")):
        block = re.search(rf"```{kind}\n(.*?)```", added, re.DOTALL)
        assert block is not None
        (tmp_path / "maps" / f"my_meter.{suffix}").write_text(block[1])
    house = tmp_path / "house.toml"
    example = (ROOT / "examples" / "house.toml").read_text()
    house.write_text(example.replace('profile = "acrel_1_phase"', 'profile = "my_meter"'))
    profile = parts.load_maps(load_house(house).house, own_maps(house))["my_meter"]

    image = ServedImage(profile)
    told = dict.fromkeys(IMAGE_NAMES, 0.0) | {"active_power": -1500.0, "voltage": 230.0}
    image.take(tuple(told), tuple(told.values()))
    words = image.registers.read(Table.INPUT_REGISTER, 0, 42)
    assert words is not None
    total, phase_1, fed_in = (
        int.from_bytes(words[2 * at : 2 * at + 4], "big", signed=True) for at in (18, 20, 40)
    )
    assert (total, phase_1, fed_in) == (-15000, -5000, 15000)
    assert words[:2] == (2300).to_bytes(2, "big")
    assert image.registers.read(Table.HOLDING_REGISTER, 11, 1) == b"\0\x70"
