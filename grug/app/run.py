"""Runs a house for real: serial ports, the system's clock, until a signal."""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import trio

from grug.actors import watchdog
from grug.app import parts
from grug.app.about import about_series
from grug.app.control import DataSide, House, run_house, stop_on_signals
from grug.app.data import DataSettings, starter
from grug.app.load import load_house, own_maps
from grug.app.writing import open_gate
from grug.codec.registers import RegisterMap
from grug.config.types import HouseConfig
from grug.runtime.clock import MonotonicClock, WallClock, local_zone
from grug.runtime.supervisor import Part
from grug.transport.priority import come_first


def run_file(path: Path, *, view: bool) -> int:
    """``grug run``: the house of one file; what works but surprises is said first."""
    checked = load_house(path)
    for warning in checked.warnings:
        sys.stderr.write(f"{warning}\n")
    maps = parts.load_maps(checked.house, own_maps(path))
    return run_real(
        checked.house,
        maps,
        DataSettings(checked.house, about=about_series(checked.house, maps), view=view),
    )


def check_file(path: Path) -> int:
    """``grug check``: says that a file is good, and how busy its lines will be."""
    checked = load_house(path)
    for warning in checked.warnings:
        sys.stderr.write(f"{warning}\n")
    for line, load in checked.loads.items():
        sys.stdout.write(f"line {line}: polls take about {load * 100:.0f} % of its time\n")
    sys.stdout.write(f"{path} is good\n")
    return 0


def run_real(
    config: HouseConfig,
    maps: Mapping[str, RegisterMap],
    data: DataSettings,
    hours: float | None = None,
) -> int:
    """Run until SIGINT or SIGTERM, or for so many hours."""
    trio.run(_run, config, maps, data, hours, clock=MonotonicClock())
    return 0


async def _run(
    config: HouseConfig,
    maps: Mapping[str, RegisterMap],
    data: DataSettings,
    hours: float | None,
) -> None:
    house = House(config, maps)
    tap = parts.tap_of(config)
    openers = parts.tapped(config, parts.real_openers(config), tap)
    verdicts = parts.verdicts_of(config)
    sources = parts.wire_sources(house, maps, openers, verdicts)
    gate = open_gate(house, maps, sources.buses, keeps=True)
    lines = list(sources.buses)
    around = [
        Part("watchdog", partial(watchdog.run, house.feed, lines=lines), is_vital=False),
        Part("verdicts", verdicts.keep, is_vital=False),
    ]
    _settle_memory()
    come_first()
    asking = [*parts.desk(house, maps, gate), *parts.schedule(house, WallClock(), local_zone())]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_on_signals, house)
        if hours is not None:
            nursery.start_soon(_stop_after, house, hours)
        await run_house(
            house,
            sources=[*around, *asking, *sources.parts, gate.part],
            controllers=parts.controllers(house, maps, gate),
            data=DataSide(starter(data), tap=tap),
        )
        nursery.cancel_scope.cancel()


def _settle_memory() -> None:
    """Take what is here for good out of the garbage collector's sight.

    Code, maps and configuration are some 40000 objects: looking through them takes 20 ms, in which
    an inverter would wait for its answer.
    """
    gc.collect()
    gc.freeze()


async def _stop_after(house: House, hours: float) -> None:
    await trio.sleep(hours * 3600)
    house.stop_asked.set()
