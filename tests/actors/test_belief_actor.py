"""Belief check on the simulated house: inverters that understand their meter wrongly are found."""

from __future__ import annotations

from collections import deque

import pytest
import trio
import trio.testing

from grug.actors import belief
from grug.app import parts
from grug.app.control import House
from grug.app.load import load_house
from grug.app.writing import open_gate
from grug.config.types import HouseConfig
from grug.control.belief import BeliefSettings
from grug.demo.settings import example_house
from grug.messages import BeliefEstimated, Noted, SetOffset
from grug.model import Value
from grug.sim.actors import SimActors
from grug.sim.seeded import run_seeded
from grug.sim.units import Source
from grug.sim.wiring import SimulatedHouse

DEVICES = {"solis1": "solis1", "solis2": "solis2"}


async def live(seconds: float, wrong: str) -> tuple[dict[str, BeliefEstimated], list[str]]:
    """The example house, steered; the second inverter understands its meter in another way.

    Returns:
        The last estimate of each inverter, and the alarms.
    """
    config: HouseConfig = load_house(example_house()).house
    house, simulated = House(config), SimulatedHouse(config, 1, start_hour=11.0)
    maps = parts.load_maps(config)
    unit = simulated.units["solis2"]
    told = unit.sources["meter_total_active_power"]
    ways = {
        "well": told,
        "reversed": lambda: -float(told()),
        "tenth": lambda: 0.1 * float(told()),
        "elsewhere": lambda: 100.0,
        "late": _late(told),
    }
    unit.sources["meter_total_active_power"] = ways[wrong]
    estimates = house.feed.subscribe("test", BeliefEstimated, Noted, bound=10_000)
    async with trio.open_nursery() as nursery:
        actors = SimActors(simulated, house.feed)
        nursery.start_soon(actors.run)
        nursery.start_soon(simulated.run)
        gate = open_gate(house, maps, actors.buses)
        for part in [gate.part, *parts.controllers(house, maps, gate)]:
            nursery.start_soon(part.start)
        settings = BeliefSettings(alarm_after=3)  # Less patient than a house.
        nursery.start_soon(lambda: belief.run(house.feed, devices=DEVICES, settings=settings))
        for number in range(round(seconds / 15)):
            wish_w, until_s = 1000.0 * (-1) ** number, trio.current_time() + 15.0
            house.feed.publish(SetOffset(wish_w, until_s, "test", "a swing"))
            await trio.sleep(15.0)
        nursery.cancel_scope.cancel()
    heard = estimates.drain()
    latest = {each.inverter: each for each in heard if isinstance(each, BeliefEstimated)}
    alarms = [each.text for each in heard if isinstance(each, Noted) and each.source == "belief"]
    return latest, alarms


def _late(told: Source, polls: int = 6) -> Source:
    """The same, so many polls of a second later."""
    past: deque[Value] = deque(maxlen=polls + 1)

    def tell() -> Value:
        past.append(told())
        return past[0]

    return tell


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "verdict", "advice"),
    [
        ("well", "agrees", ""),
        ("reversed", "reversed", "meter placement"),
        ("tenth", "scaled", "wrong profile"),
        ("elsewhere", "unrelated", "cable"),
        ("late", "late", "swings"),
    ],
)
def test_inverter_that_understands_its_meter_wrongly_is_found_and_the_other_is_not(
    wrong: str, verdict: str, advice: str
) -> None:
    latest, alarms = run_seeded(live, 180.0, wrong, seed=1)
    assert latest["solis1"].verdict == "agrees", latest["solis1"]
    assert latest["solis2"].verdict == verdict, latest["solis2"]
    if verdict == "agrees":
        assert latest["solis2"].scale == pytest.approx(1.0, abs=0.05)
        assert not alarms
    else:
        (alarm,) = alarms
        assert "solis2 does not believe its fake meter" in alarm
        assert advice in alarm
