"""The app's own controllers over the simulated house, in virtual time, looked at from outside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import msgspec
import trio

from grug.app import parts
from grug.app.control import House as App
from grug.app.control import run_house
from grug.app.writing import open_gate
from grug.config.types import HouseConfig
from grug.demo.evaluate import evaluation_house
from grug.messages import Decided
from grug.runtime.clock import WallClock
from grug.runtime.supervisor import Part
from grug.sim.actors import SimActors
from grug.sim.evaluate import SAMPLE_S
from grug.sim.house import House, HouseSetup
from grug.sim.household import LoadSetup
from grug.sim.inverter import InverterSetup
from grug.sim.seeded import run_seeded, sleep_until
from grug.sim.wiring import SimulatedHouse


@dataclass
class Steered:
    """A house that is being steered."""

    simulated: SimulatedHouse
    app: App
    grid_w: list[float] = field(default_factory=list)
    """At each look, plus = import."""
    batteries_w: list[tuple[float, ...]] = field(default_factory=list)
    """The same of every battery, plus = charging."""
    decided: list[Decided] = field(default_factory=list)

    @property
    def house(self) -> House:
        """The physics."""
        return self.simulated.house

    async def go_on(self, seconds: float) -> None:
        """Look at it every ``SAMPLE_S`` for so long; what was seen before is forgotten."""
        self.grid_w.clear()
        self.batteries_w.clear()
        self.decided.clear()
        source = self.app.feed.subscribe("test", Decided, bound=100_000)
        start_s = trio.current_time()
        for look in range(round(seconds / SAMPLE_S)):
            # Between two instants of the physics, so that looking changes nothing.
            await sleep_until(start_s + (look + 1.5) * SAMPLE_S)
            self.grid_w.append(self.house.grid_w)
            powers_w = [inverter.battery.power_w for inverter in self.house.inverters]
            self.batteries_w.append(tuple(powers_w))
            self.decided += [each for each in source.drain() if isinstance(each, Decided)]
        source.close()

    def longest_around_s(self, bound_w: float) -> float:
        """For how long without a break more than this went from one battery into another."""
        worst_s = lasts_s = 0.0
        for powers_w in self.batteries_w:
            into_w = sum(power_w for power_w in powers_w if power_w > 0.0)
            out_w = -sum(power_w for power_w in powers_w if power_w < 0.0)
            lasts_s = lasts_s + SAMPLE_S if min(into_w, out_w) > bound_w else 0.0
            worst_s = max(worst_s, lasts_s)
        return worst_s

    def socs_pct(self) -> list[float]:
        """States of charge."""
        return [inverter.battery.soc_pct for inverter in self.house.inverters]


def pair_of(first: InverterSetup, second: InverterSetup, **others: object) -> HouseSetup:
    """Two inverters and a load; at night unless another hour is given."""
    setup = {"chargers": (), "load": LoadSetup(base_w=1000.0, is_constant=True), "start_hour": 0.0}
    return HouseSetup(inverters=(first, second), **(setup | others))


def with_shares(first: float, second: float) -> HouseConfig:
    """The house of ``grug sim evaluate``, its inverters with these shares."""
    config = evaluation_house()
    one, other = config.inverter
    inverter = {
        one: msgspec.structs.replace(config.inverter[one], share=first),
        other: msgspec.structs.replace(config.inverter[other], share=second),
    }
    return msgspec.structs.replace(config, inverter=inverter)


def steer_house(
    setup: HouseSetup,
    check: Callable[[Steered], Awaitable[None]],
    *,
    seed: int = 1,
    config: HouseConfig | None = None,
) -> None:
    """Run ``check`` beside the running house, in virtual time."""
    run_seeded(partial(_steer, setup, check, seed, config or evaluation_house()), seed=seed)


async def _steer(
    setup: HouseSetup,
    check: Callable[[Steered], Awaitable[None]],
    seed: int,
    config: HouseConfig,
) -> None:
    app = App(config)
    maps = parts.load_maps(config)
    simulated = SimulatedHouse(config, seed, setup=setup)
    actors = SimActors(simulated, app.feed)
    gate = open_gate(app, maps, actors.buses, wall=WallClock(0.0))
    sources = [
        Part("simulated actors", actors.run),
        Part("simulated house", simulated.run),
        gate.part,
    ]

    async def watch() -> None:
        await check(Steered(simulated, app))
        app.stop_asked.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        controllers = parts.controllers(app, maps, gate)
        await run_house(app, sources=sources, controllers=controllers, data=None)
        nursery.cancel_scope.cancel()
