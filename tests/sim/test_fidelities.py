"""The app's own controllers over the simulated house: both fidelities tell the same story."""

from __future__ import annotations

import msgspec
import pytest
import trio
from configs import small_house

from grug.app import parts
from grug.app.control import House
from grug.app.writing import open_gate
from grug.config.types import HouseConfig, OffsetConfig
from grug.messages import FakeMeterChanged, Message
from grug.sim.actors import SimActors
from grug.sim.seeded import run_seeded
from grug.sim.wiring import SimulatedHouse

FIDELITIES = ["wire", "message"]


async def live(
    config: HouseConfig, fidelity: str, seconds: float, fault: str = "", hour: float = 10.0
) -> tuple[dict[str, float], list[Message]]:
    """Run the app over the house; returns the truth at the end, and the fake meters' changes."""
    house, simulated = House(config), SimulatedHouse(config, 1, start_hour=hour)
    if fault:
        simulated.apply(fault)
    maps = parts.load_maps(config)
    changes = house.feed.subscribe("test", FakeMeterChanged)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(simulated.run)
        if fidelity == "wire":
            openers = {name: simulated.opener(name) for name in config.line}
            sources = parts.wire_sources(house, maps, openers)
            for part in sources.parts:
                nursery.start_soon(part.start)
            buses = sources.buses
        else:
            actors = SimActors(simulated, house.feed)
            nursery.start_soon(actors.run)
            buses = actors.buses
        gate = open_gate(house, maps, buses)
        for part in [gate.part, *parts.controllers(house, maps, gate)]:
            nursery.start_soon(part.start)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    return simulated.truth(), changes.drain()


@pytest.mark.slow
@pytest.mark.parametrize("offset_w", [0.0, -2000.0])
def test_both_fidelities_agree_on_energies_and_states(offset_w: float) -> None:
    config = msgspec.structs.replace(small_house(), offset=OffsetConfig(power=offset_w))
    by_wire, by_message = (
        run_seeded(live, config, fidelity, 300.0, seed=1)[0] for fidelity in FIDELITIES
    )
    for name, value in by_wire.items():
        tolerance = 2.0 if name.endswith("_wh") else 0.2 if name.endswith("_pct") else 50.0
        assert by_message[name] == pytest.approx(value, abs=tolerance), name
    assert by_wire["grid_power_w"] == pytest.approx(-offset_w, abs=100.0)


@pytest.mark.slow
@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_one_seed_gives_one_truth(fidelity: str) -> None:
    runs = [run_seeded(live, small_house(), fidelity, 60.0, seed=3) for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.slow
@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("fault", ["grid:silent@20+10", "grid:unplug@20+10", "grid:garbage@20+10"])
def test_fake_meters_are_silent_while_the_grid_meter_is_lost(fidelity: str, fault: str) -> None:
    _, changes = run_seeded(live, small_house(), fidelity, 60.0, fault, seed=1)
    first = [
        message
        for message in changes
        if isinstance(message, FakeMeterChanged) and message.fakemeter == "fake1"
    ]
    assert [message.is_live for message in first] == [True, False, True]
    assert 20.0 < first[1].changed_s < 22.5, "within the age limit of 1.5 s"
    assert 29.9 < first[2].changed_s < 40.0
