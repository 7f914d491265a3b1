"""Houses in which an inverter keeps its own meter, from house.toml to the registers on the wire."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import trio

from grug.app import parts
from grug.app.control import House, run_house
from grug.app.writing import open_gate
from grug.config.check import check_house
from grug.errors import ConfigError
from grug.messages import ActorFailed, FakeMeterCounted, Noted
from grug.runtime.clock import WallClock
from grug.runtime.supervisor import Part
from grug.sim.seeded import run_seeded
from grug.sim.wiring import SimulatedHouse
from grug.transport.maps import load_map, map_models

MAPS = {model: load_map(model) for model in map_models()}

ALONE = """
[line.grid]
port = "/dev/serial/by-id/usb-grid"
baudrate = 19200
[line.com1]
port = "/dev/serial/by-id/usb-com1"

[device.grid]
line = "grid"
unit = 1
map = "eastron_sdm630"
[[device.grid.poll]]
every = 0.2
priority = "control"
registers = ["total_power"]

[device.sun]
line = "com1"
unit = 1
map = "solis_s5_eh1p"
[[device.sun.poll]]
every = 2
registers = ["pv_power", "bms_battery_soc"]

[grid]
device = "grid"

[inverter.sun]
device = "sun"
control = "dispatch"

[offset]
power = -1500
"""
BESIDE = """
[line.com2]
port = "/dev/serial/by-id/usb-com2"
[line.meter2]
port = "/dev/serial/by-id/usb-meter2"

[device.moon]
line = "com2"
unit = 2
map = "solis_s5_eh1p"
[[device.moon.poll]]
every = 2
registers = ["pv_power", "bms_battery_soc"]

[fakemeter.fake]
line = "meter2"
unit = 2
profile = "acrel_1_phase"

[inverter.moon]
device = "moon"
fakemeter = "fake"
"""


SECOND = """
[[device.sun.poll]]
every = 0.5
registers = ["meter_total_active_power"]
"""


def with_second(every_s: float = 0.5, name: str = "sun") -> str:
    """A house whose grid meter has an inverter's own meter as its second."""
    second = f'[grid]\nsecond = "{name}/meter_total_active_power"'
    text = (ALONE + BESIDE).replace("[grid]", second) + SECOND.replace("0.5", str(every_s))
    return text + SECOND.replace("sun", "moon")


@pytest.mark.parametrize(
    ("every_s", "name", "words"),
    [
        (2.0, "sun", "read each 2 s, what 'sun' passes on of its meter may be 4 s old"),
        (0.5, "moon", "'moon' knows of the grid is what grug tells it by fake meter 'fake'"),
        (0.5, "sun", ""),
    ],
)
def test_an_inverter_is_the_second_meter_only_where_grug_is_not_its_first(
    every_s: float, name: str, words: str
) -> None:
    text = with_second(every_s, name)
    if words:
        with pytest.raises(ConfigError, match=words):
            check_house(text, "house.toml", MAPS)
    else:
        check_house(text, "house.toml", MAPS)


class Minute(NamedTuple):
    """The house's second minute."""

    grid_w: float
    stale: int
    """Questions that a fake meter had no answer to."""


async def _second_minute(text: str, *faults: str) -> Minute:
    """A house from the file to the bytes on simulated wires."""
    config = check_house(text, "house.toml", MAPS).house
    maps = parts.load_maps(config)
    house = House(config, maps)
    said = house.feed.subscribe("test", ActorFailed, Noted)
    counted = house.feed.subscribe("test", FakeMeterCounted)
    simulated = SimulatedHouse(config, 1, start_hour=11.0)
    for fault in faults:
        simulated.apply(fault)
    openers = {name: simulated.opener(name) for name in config.line}
    sources = parts.wire_sources(house, maps, openers)
    gate = open_gate(house, maps, sources.buses, wall=WallClock(0.0))
    inputs = [*sources.parts, gate.part, Part("simulated house", simulated.run)]
    async with trio.open_nursery() as nursery:
        controllers = parts.controllers(house, maps, gate)
        nursery.start_soon(
            lambda: run_house(house, sources=inputs, controllers=controllers, data=None)
        )
        await trio.sleep(60)
        before, first = simulated.truth(), counted.drain()
        await trio.sleep(60)
        after, second = simulated.truth(), counted.drain()
        house.stop_asked.set()
    assert [each for each in said.drain() if isinstance(each, ActorFailed)] == []
    net_wh = after["import_wh"] - before["import_wh"] - after["export_wh"] + before["export_wh"]
    stale = second[-1].silent_stale - first[-1].silent_stale if second else 0
    return Minute(net_wh * 60.0, stale)


@pytest.mark.slow
def test_while_the_grid_meter_is_lost_the_meter_of_another_inverter_is_believed() -> None:
    lost = "grid:silent@70+40"
    without = run_seeded(_second_minute, ALONE + BESIDE, lost, seed=1)
    believed = run_seeded(_second_minute, with_second(), lost, seed=1)
    # Some: where the power at the grid stays the very same for a second nobody knows its age.
    assert believed.stale < without.stale / 4


@pytest.mark.slow
@pytest.mark.parametrize("text", [ALONE, ALONE + BESIDE])
def test_an_inverter_with_a_meter_of_its_own_is_told_by_registers(text: str) -> None:
    assert run_seeded(_second_minute, text, seed=1).grid_w == pytest.approx(1500.0, abs=200.0)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('control = "dispatch"', "", "only 'dispatch' does without"),
        ('control = "dispatch"', 'control = "both"', "only 'dispatch' does without"),
        ("every = 0.2", "every = 5", "has to be every 1 s"),
        ('[grid]\ndevice = "grid"', "", "inverters need [grid]"),
    ],
)
def test_what_an_inverter_without_a_fake_meter_needs(old: str, new: str, words: str) -> None:
    assert old in ALONE
    with pytest.raises(ConfigError) as caught:
        check_house(ALONE.replace(old, new), "house.toml", MAPS)
    assert words in str(caught.value)
