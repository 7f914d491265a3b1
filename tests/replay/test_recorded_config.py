"""Configurations of recordings by other versions of grug, and of nobody else."""

from __future__ import annotations

import msgspec
import pytest

from grug.config.check import check_house
from grug.config.types import HouseConfig
from grug.demo.settings import example_house
from grug.errors import ConfigError
from grug.replay.recorded import recorded_config
from grug.transport.maps import load_map, map_models

TEXT = example_house().read_text(encoding="utf-8")
MAPS = {model: load_map(model) for model in map_models()}
HOUSE = check_house(TEXT, "house.toml", MAPS).house


def plain() -> dict:  # type: ignore[type-arg]
    return msgspec.json.decode(msgspec.json.encode(HOUSE))


def test_a_recording_of_this_version_is_read_as_it_is() -> None:
    assert recorded_config(msgspec.json.encode(HOUSE).decode()) == (HOUSE, [])


def test_keys_that_are_gone_are_left_out_and_named() -> None:
    config = plain()
    config["inverter"]["solis1"]["boost"] = {"power": 3}
    config["inverter"]["solis2"]["boost"] = None
    config["device"]["grid"]["poll"][0]["retries"] = 2
    config["lamps"] = [1]
    read, gone = recorded_config(msgspec.json.encode(config).decode())
    assert read == HOUSE
    assert sorted(gone) == [
        "device.grid.poll.0.retries",
        "inverter.solis1.boost",
        "inverter.solis2.boost",
        "lamps",
    ]


def test_a_value_of_another_kind_is_refused_all_the_same() -> None:
    config = plain()
    config["offset"]["slew"] = "quick"
    with pytest.raises(msgspec.ValidationError, match="slew"):
        recorded_config(msgspec.json.encode(config).decode())


def test_peoples_own_files_are_read_strictly() -> None:
    with pytest.raises(ConfigError, match="boost"):
        check_house(TEXT.replace("share = 1.0", "boost = 3\nshare = 1.0"), "house.toml", MAPS)
    assert HouseConfig.__struct_config__.forbid_unknown_fields
