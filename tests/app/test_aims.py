"""Aims in the simulated house: batteries and grid come to what was asked for, and stay there."""

from __future__ import annotations

import datetime as dt
import statistics

import msgspec
import pytest
import trio

from grug.app import parts
from grug.app.control import House, run_house
from grug.app.writing import open_gate
from grug.config.types import HouseConfig, ScheduleConfig
from grug.demo.settings import DemoSettings, demo_house
from grug.messages import SetOffset
from grug.model import Aim
from grug.runtime.clock import WallClock
from grug.runtime.supervisor import Part
from grug.sim.actors import SimActors
from grug.sim.seeded import run_seeded
from grug.sim.wiring import SimulatedHouse

START_HOUR = 2.0
"""By night: no sun in it."""
WARM_UP_S = 90.0


class Course:
    """Powers of a run, once a second."""

    def __init__(self) -> None:
        self.grid_w: list[float] = []
        self.charging_w: list[tuple[float, ...]] = []

    def battery_w(self, index: int) -> float:
        return statistics.mean(each[index] for each in self.charging_w)


async def _run(config: HouseConfig, wishes: tuple[SetOffset, ...], seconds: int) -> Course:
    house, course = House(config), Course()
    maps = parts.load_maps(config)
    simulated = SimulatedHouse(config, 7, start_hour=START_HOUR)
    actors = SimActors(simulated, house.feed)
    gate = open_gate(house, maps, actors.buses)
    night = dt.datetime(2026, 11, 22, int(START_HOUR), tzinfo=dt.UTC)
    wall = WallClock(night.timestamp() - trio.current_time())

    async def watch() -> None:
        await trio.sleep(1.0)
        for wish in wishes:
            house.feed.publish(wish)
        await trio.sleep(WARM_UP_S)
        for _ in range(seconds):
            await trio.sleep(1.0)
            course.grid_w.append(simulated.house.grid_w)
            course.charging_w.append(
                tuple(inverter.battery.power_w for inverter in simulated.house.inverters)
            )
        house.stop_asked.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        sources = [Part("simulated actors", actors.run), Part("simulated house", simulated.run)]
        sources.append(gate.part)
        sources += parts.schedule(house, wall, dt.UTC, lambda: True)
        await run_house(
            house,
            sources=sources,
            controllers=parts.controllers(house, maps, gate),
            data=None,
        )
        nursery.cancel_scope.cancel()
    return course


def course_of(
    *wishes: SetOffset, schedule: dict[str, ScheduleConfig] | None = None, seconds: int = 120
) -> Course:
    settings = DemoSettings()
    config = demo_house(settings, settings.state)
    config = msgspec.structs.replace(config, schedule=schedule or {})
    return run_seeded(_run, config, wishes, seconds, seed=7)


def ask(power_w: float, aim: Aim, target: str = "", per_soc_w: float = 0.0) -> SetOffset:
    return SetOffset(power_w, 1e9, "test", "", target, aim, per_soc_w)


@pytest.mark.slow
def test_batteries_charge_with_what_was_asked_whatever_the_house_takes() -> None:
    course = course_of(ask(2000.0, Aim.BATTERY))
    assert course.battery_w(0) + course.battery_w(1) == pytest.approx(2000.0, abs=100.0)
    assert statistics.mean(course.grid_w) > 2000.0  # The house's load comes on top.


@pytest.mark.slow
def test_one_battery_charges_and_the_other_does_not_feed_it() -> None:
    course = course_of(ask(1200.0, Aim.BATTERY, "solis1"))
    plain = course_of()
    assert course.battery_w(0) == pytest.approx(1200.0, abs=150.0)
    assert course.battery_w(1) == pytest.approx(plain.battery_w(1), abs=150.0)


@pytest.mark.slow
def test_grid_aim_holds_at_the_meter() -> None:
    course = course_of(ask(-700.0, Aim.GRID))
    assert statistics.median(course.grid_w) == pytest.approx(-700.0, abs=40.0)


@pytest.mark.slow
def test_schedule_charges_by_night_and_a_person_comes_first() -> None:
    night = ScheduleConfig(start="22:30", end="06:00", power=800.0, aim=Aim.GRID)
    course = course_of(schedule={"night": night})
    assert statistics.median(course.grid_w) == pytest.approx(800.0, abs=40.0)
    course = course_of(ask(-300.0, Aim.GRID), schedule={"night": night})
    assert statistics.median(course.grid_w) == pytest.approx(-300.0, abs=40.0)


@pytest.mark.slow
def test_bound_keeps_the_grid_below_what_an_aim_asks_for() -> None:
    course = course_of(ask(3000.0, Aim.BATTERY), ask(1500.0, Aim.IMPORT_MAX))
    assert statistics.median(course.grid_w) == pytest.approx(1500.0, abs=60.0)
