"""The commands and their options."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import asyncclick as click

from grug.app.run import check_file, run_file
from grug.cli import (
    devices,
    fake,
    frames,
    history,
    identify,
    log,
    maps,
    offset,
    plan,
    replay,
    ship,
    sim,
    solis,
    sql,
    writes,
)
from grug.control.ladder import GRID_POWER_W_MAX
from grug.demo import fast as fast_demo
from grug.demo import live as live_demo
from grug.demo.settings import DEMO_TOKEN, DemoSettings

Job: TypeAlias = Callable[[], int]

LIVE_START_HOUR = 11.0
"""A demo in real time begins with the sun up."""


class Finite(click.FloatRange):
    """A number that is one: neither infinite nor NaN."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """See ``click.ParamType.convert``."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def _faults(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse faults that cannot be understood, before anything starts."""
    for value in values:
        try:
            live_demo.check_fault(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from error
    return values


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="grug")
def cli() -> None:
    """Steer a house's energy over Modbus."""


@cli.command()
@click.argument("house", type=click.Path(path_type=Path))
@click.option("--view/--no-view", default=None, help="Live view; by default on a terminal.")
def run(house: Path, view: bool | None) -> Job:
    """Run the house that HOUSE (house.toml) describes, until Ctrl-C or SIGTERM."""
    return partial(run_file, house, view=sys.stdout.isatty() if view is None else view)


@cli.command()
@click.argument("house", type=click.Path(path_type=Path))
def check(house: Path) -> Job:
    """Check HOUSE (house.toml) and say all that is wrong with it; exit status 2 if anything is."""
    return partial(check_file, house)


@cli.command(name="demo")
@click.option("--fast", is_flag=True, help="Virtual time: as fast as this machine can.")
@click.option("--hours", type=Finite(min=0.001), help="Stop after so many hours.")
@click.option("--seed", type=int, default=1, show_default=True, help="Weather, loads, everything.")
@click.option("--start-hour", type=Finite(0, 24), help="Hour of the day at the start.")
@click.option(
    "--fidelity",
    type=click.Choice(["wire", "message"]),
    default="wire",
    show_default=True,
    help="With --fast: every byte of every frame, or only the messages.",
)
@click.option(
    "--offset",
    type=Finite(-GRID_POWER_W_MAX, GRID_POWER_W_MAX),
    default=0.0,
    help="W; plus exports, minus absorbs.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    callback=_faults,
    help="Such as grid:silent@60+20: device grid is silent from second 60 for 20 s.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="With --fast: the summary as one JSON object."
)
@click.option("--view/--no-view", default=None, help="Live view; by default on a terminal.")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=Path("demo-state"),
    show_default=True,
    help="Directory of the demo's log and database.",
)
@click.option(
    "--serve",
    metavar="HOST:PORT",
    default="",
    help=f"In real time: let others fetch the log, as grug ship does, by --token {DEMO_TOKEN}.",
)
def demo_(
    fast: bool,
    hours: float | None,
    seed: int,
    start_hour: float | None,
    fidelity: str,
    offset: float,
    faults: tuple[str, ...],
    as_json: bool,
    view: bool | None,
    state: Path,
    serve: str,
) -> Job:
    """Run grug against a simulated house: two inverters, a car, clouds and kettles."""
    at_hour = (0.0 if fast else LIVE_START_HOUR) if start_hour is None else start_hour
    settings = DemoSettings(seed, at_hour, hours, offset, faults, fidelity, state, serve)
    if fast and serve:
        raise click.UsageError("--serve is for the demo in real time, without --fast")
    if fast:
        return partial(fast_demo.run_fast, settings, as_json=as_json)
    return partial(live_demo.run_live, settings, view=sys.stdout.isatty() if view is None else view)


@cli.command()
@click.argument("faults", nargs=-1, required=True)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=Path("demo-state"),
    show_default=True,
    help="Directory of the running demo.",
)
def fault(faults: tuple[str, ...], state: Path) -> Job:
    """Pull cables of the running demo: FAULTS such as grid:silent+20 or solis1:unplug+10."""
    return partial(live_demo.pull_cables, faults, state)


@cli.command(hidden=True)
@click.argument("house", type=click.Path(path_type=Path))
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--seed", type=int, default=1)
@click.option("--start-hour", type=float, default=12.0)
@click.option("--fault", "faults", multiple=True)
def house(
    house: Path, directory: Path, seed: int, start_hour: float, faults: tuple[str, ...]
) -> Job:
    """Run the simulated house of HOUSE behind pseudo-terminals in DIRECTORY (used by demo)."""
    return partial(live_demo.run_simulated_house, house, directory, seed, start_hour, faults)


cli.add_command(log.group)
log.group.add_command(history.import_)
log.group.add_command(frames.frames)
cli.add_command(maps.group)
cli.add_command(sim.group)
cli.add_command(fake.group)
cli.add_command(identify.command)
cli.add_command(offset.command)
cli.add_command(plan.command)
cli.add_command(replay.command)
cli.add_command(ship.ship)
cli.add_command(sql.command)
cli.add_command(solis.group)
cli.add_command(writes.command)
devices.add_to(cli)
