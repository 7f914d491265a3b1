"""An inverter's switch and clock, looked after in the simulated house."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
from configs import small_house

from grug.app import parts
from grug.app.control import House
from grug.app.writing import open_gate
from grug.config.types import PowerSaveConfig, Seconds, WritesConfig
from grug.messages import Noted, WriteRecorded
from grug.runtime.clock import WallClock
from grug.sim.actors import SimActors
from grug.sim.devices import POWER_OFF, POWER_ON, SolisUnit
from grug.sim.seeded import run_seeded
from grug.sim.wiring import SimulatedHouse

pytestmark = pytest.mark.slow
ORIGIN_S = 1.8e9
SAVING = PowerSaveConfig(off_after=Seconds(300.0), on_after=Seconds(60.0), rest=Seconds(600.0))


class Kept:
    """A house whose first inverter is looked after."""

    def __init__(self, start_hour: float, per_year: int) -> None:
        config = msgspec.structs.replace(small_house(), writes=WritesConfig(per_year=per_year))
        kept = msgspec.structs.replace(
            config.inverter["solis1"], keep_clock=True, power_save=SAVING
        )
        config = msgspec.structs.replace(config, inverter=config.inverter | {"solis1": kept})
        self.house = House(config)
        self.maps = parts.load_maps(config)
        self.simulated = SimulatedHouse(config, 1, start_hour=start_hour)
        unit = self.simulated.units["solis1"]
        assert isinstance(unit, SolisUnit)
        self.unit = unit
        self.battery = unit.inverter.battery
        self.told = self.house.feed.subscribe("test", Noted, WriteRecorded)

    def soc(self, soc_pct: float) -> None:
        self.battery.stored_wh = self.battery.capacity_wh * soc_pct / 100.0

    def writes(self, register: str) -> list[WriteRecorded]:
        told = [each for each in self.told.drain() if isinstance(each, WriteRecorded)]
        return [each for each in told if each.register == register]


@asynccontextmanager
async def kept(start_hour: float, per_year: int = 500) -> AsyncIterator[Kept]:
    it = Kept(start_hour, per_year)
    actors = SimActors(it.simulated, it.house.feed)
    gate = open_gate(it.house, it.maps, actors.buses, wall=WallClock(ORIGIN_S))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(actors.run)
        for part in (gate.part, *parts.controllers(it.house, it.maps, gate)):
            nursery.start_soon(part.start)
        yield it
        nursery.cancel_scope.cancel()


def test_an_empty_battery_at_night_switches_it_off_and_charge_brings_it_back() -> None:
    async def check() -> None:
        async with kept(start_hour=23.0) as it:
            it.soc(5.0)
            await trio.sleep(240)
            assert it.unit.inverter.is_on
            await trio.sleep(300)
            assert not it.unit.inverter.is_on
            it.soc(40.0)
            await trio.sleep(1200)
            assert it.unit.inverter.is_on
            values = [record.new for record in it.writes("power_on_off")]
            assert values == [POWER_OFF, POWER_ON]

    run_seeded(check, seed=1)


def test_what_grug_switched_off_comes_back_though_the_budget_is_spent() -> None:
    """Two switchings a night are more than 500 a year: the last must not be the one to off."""

    async def check() -> None:
        async with kept(start_hour=23.0, per_year=1) as it:
            it.soc(5.0)
            await trio.sleep(600)
            assert not it.unit.inverter.is_on
            it.soc(40.0)
            await trio.sleep(1200)
            assert it.unit.inverter.is_on
            it.soc(5.0)
            await trio.sleep(3000)
            assert it.unit.inverter.is_on

    run_seeded(check, seed=1)


def test_by_day_it_stays_on_however_empty_the_battery_is() -> None:
    async def check() -> None:
        async with kept(start_hour=12.0) as it:
            for _ in range(20):
                it.soc(3.0)
                await trio.sleep(60)
            assert it.unit.inverter.is_on
            assert not it.writes("power_on_off")

    run_seeded(check, seed=1)


def test_a_silent_inverter_is_not_switched() -> None:
    async def check() -> None:
        async with kept(start_hour=23.0) as it:
            it.soc(5.0)
            it.simulated.apply("solis1:silent+3000")
            await trio.sleep(1500)
            assert it.unit.inverter.is_on
            assert not it.writes("power_on_off")

    run_seeded(check, seed=1)


def test_a_clock_that_was_never_set_is_set_to_local_time_once() -> None:
    async def check() -> None:
        async with kept(start_hour=12.0) as it:
            await trio.sleep(3 * 3600)
            (record,) = it.writes("real_time_clock")
            shown = dt.datetime.fromisoformat(str(it.unit.image.get("real_time_clock")))
            assert record.state == "applied"
            assert abs(shown.year - 2027) <= 1

    run_seeded(check, seed=1)
