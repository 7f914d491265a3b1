"""``grug sim``: what the simulated house is good for besides the demo."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import asyncclick as click

from grug.demo import evaluate as evaluation
from grug.demo import identify as identification
from grug.sim.scenarios import SCENARIOS

Job: TypeAlias = Callable[[], int]


@click.group(name="sim")
def group() -> None:
    """The simulated house."""


@group.command()
@click.option("--hours", type=click.FloatRange(min=0.1), default=0.5, show_default=True)
@click.option("--seeds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--first-seed", type=click.IntRange(1), default=1, show_default=True)
@click.option(
    "--scenario",
    "names",
    multiple=True,
    type=click.Choice([scenario.name.replace(" ", "-") for scenario in SCENARIOS]),
    help="Only this; may be given again.",
)
@click.option(
    "--law",
    "laws",
    multiple=True,
    type=click.Choice(evaluation.LAWS),
    help="Only this way to steer; may be given again.",
)
@click.option("--json", "as_json", is_flag=True, help="The table as one JSON array.")
def evaluate(
    hours: float,
    seeds: int,
    first_seed: int,
    names: tuple[str, ...],
    laws: tuple[str, ...],
    as_json: bool,
) -> Job:
    """Steer the simulated house through its scenarios, and say how well that went."""
    return partial(
        evaluation.evaluate,
        names,
        laws or evaluation.LAWS,
        range(first_seed, first_seed + seeds),
        hours,
        as_json=as_json,
    )


@group.command(name="identify-plant")
@click.option(
    "--scenario",
    "name",
    type=click.Choice([scenario.name.replace(" ", "-") for scenario in SCENARIOS]),
    default="clear",
    show_default=True,
)
@click.option("--seed", type=click.IntRange(1), default=1, show_default=True)
@click.option("--minutes", type=click.FloatRange(1.0, 60.0), default=4.0, show_default=True)
def identify_plant(name: str, seed: int, minutes: float) -> Job:
    """Take small steps of offset, and propose what house.toml should say of the inverters."""
    return partial(identification.identify, name, seed, minutes)
