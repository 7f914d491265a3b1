"""Houses in which an inverter keeps its own meter, from house.toml to the registers on the wire."""

from __future__ import annotations

import pytest
import trio

from grug.app import parts
from grug.app.control import House, run_house
from grug.app.writing import open_gate
from grug.config.check import check_house
from grug.errors import ConfigError
from grug.messages import ActorFailed, Noted
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


async def _grid_w(text: str) -> float:
    """Mean power at the grid after a minute, from the file to the bytes on simulated wires."""
    config = check_house(text, "house.toml", MAPS).house
    maps = parts.load_maps(config)
    house = House(config, maps)
    said = house.feed.subscribe("test", ActorFailed, Noted)
    simulated = SimulatedHouse(config, 1, start_hour=11.0)
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
        before = simulated.truth()
        await trio.sleep(60)
        after = simulated.truth()
        house.stop_asked.set()
    assert [each for each in said.drain() if isinstance(each, ActorFailed)] == []
    net_wh = after["import_wh"] - before["import_wh"] - after["export_wh"] + before["export_wh"]
    return net_wh * 60.0


@pytest.mark.slow
@pytest.mark.parametrize("text", [ALONE, ALONE + BESIDE])
def test_an_inverter_with_a_meter_of_its_own_is_told_by_registers(text: str) -> None:
    assert run_seeded(_grid_w, text, seed=1) == pytest.approx(1500.0, abs=200.0)


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
