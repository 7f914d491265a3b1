"""The demo in virtual time: as fast as the machine can, and the same for the same seed."""

from __future__ import annotations

import datetime as dt
import sys
import time
from typing import Any

import msgspec
import trio

from grug.app import parts
from grug.app.about import about_series
from grug.app.control import DataSide, House, run_house
from grug.app.data import DataSettings, starter
from grug.app.writing import open_gate
from grug.demo.record import open_record, sole_demo
from grug.demo.settings import FAST_DAY, DemoSettings, demo_house
from grug.demo.summary import Tally, summary_text
from grug.runtime.clock import WallClock
from grug.runtime.supervisor import Part
from grug.sim.actors import SimActors
from grug.sim.seeded import run_seeded
from grug.sim.wiring import SimulatedHouse

HOURS = 24.0
"""Length of a fast run when none is asked for."""
BATCH_S = 1.0
"""Virtual seconds of messages per batch to the data process."""


def run_fast(settings: DemoSettings, *, as_json: bool) -> int:
    """Run, and print the summary."""
    started_s = time.perf_counter()
    with sole_demo(settings.state):
        summary = run_seeded(simulate, settings, seed=settings.seed)
    elapsed_s = time.perf_counter() - started_s
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(summary)).decode() + "\n")
    else:
        sys.stdout.write(summary_text(summary))
    hours = summary["hours"]
    times = hours * 3600 / elapsed_s
    sys.stderr.write(f"{hours:g} h in {elapsed_s:.1f} s: {times:.0f} times real time\n")
    return 0


async def simulate(settings: DemoSettings) -> dict[str, Any]:
    """One run in virtual time; returns its summary."""
    hours = HOURS if settings.hours is None else settings.hours
    record = open_record(settings)
    config = demo_house(settings, record.directory)
    maps = parts.load_maps(config)
    house = House(config, maps)
    simulated = SimulatedHouse(config, settings.seed, start_hour=settings.start_hour)
    for fault in settings.faults:
        simulated.apply(fault)
    tally = Tally(house.feed)
    tap = None
    if settings.fidelity == "wire":
        tap = parts.tap_of(config)
        simulated_openers = {name: simulated.opener(name) for name in config.line}
        openers = parts.tapped(config, simulated_openers, tap)
        sources = parts.wire_sources(house, maps, openers)
    else:
        sources = _message_sources(house, simulated)
    origin_s = FAST_DAY.timestamp() + settings.start_hour * 3600 - trio.current_time()
    data = DataSettings(
        config,
        wall_origin_s=origin_s,
        resume=record.is_resumed,
        about=about_series(config, maps),
    )

    gate = open_gate(house, maps, sources.buses, wall=WallClock(data.wall_origin_s))

    async def stop_in_time() -> None:
        await trio.sleep(hours * 3600)
        house.stop_asked.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_in_time)
        await run_house(
            house,
            sources=[
                *sources.parts,
                *parts.schedule(house, WallClock(origin_s), dt.UTC, lambda: True),
                gate.part,
                Part("simulated house", simulated.run),
                Part("tally", tally.run, is_vital=False),
            ],
            controllers=parts.controllers(house, maps, gate),
            data=DataSide(starter(data), batch_s=BATCH_S, ship_at_end=True, tap=tap),
        )
    return tally.summary(simulated.truth(), hours)


def _message_sources(house: House, simulated: SimulatedHouse) -> parts.Sources:
    actors = SimActors(simulated, house.feed)
    return parts.Sources([Part("simulated actors", actors.run)], actors.buses)
