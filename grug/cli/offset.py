"""``grug offset``: ask the house that runs for an offset, or show what was asked."""

from __future__ import annotations

import datetime
import getpass
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import asyncclick as click

from grug.cli.house import ask_house
from grug.config.build import parse_duration
from grug.model import Aim

Job: TypeAlias = Callable[[], int]


EXAMPLES = """\b
grug offset house -2000 --for 2h               the batteries absorb 2 kW more
grug offset solis1 1500 --as battery --for 1h  its battery charges by 1.5 kW
grug offset house -200 --as grid --for 3h      the house exports 200 W
grug offset house 3000 --as export-max --for 8h
"""
"""The first line keeps the others as they are."""


@click.command(name="offset", epilog=EXAMPLES, context_settings={"ignore_unknown_options": True})
@click.argument("target", required=False)
@click.argument("watts", type=float, required=False)
@click.option("--for", "lasts", help="How long: 2h, 90min, 30s. 0s ends your earlier wish.")
@click.option(
    "--as",
    "aim",
    type=click.Choice([each.value.replace("_", "-") for each in Aim]),
    default=Aim.OFFSET.value,
    help="What WATTS are: an offset, the power at the grid (plus = import), into the batteries, or "
    "the most that any offset may make the house export or import.",
)
@click.option("--per-soc", type=float, default=0.0, help="Watts more for each percent of charge.")
@click.option("--why", default="", help="A word for the log.")
@click.option("--dry-run", is_flag=True, help="Only say what would be accepted.")
@click.option("--show", is_flag=True, help="What was asked, and what holds now.")
@click.option(
    "--state", type=click.Path(path_type=Path), help="State directory of the house that runs."
)
def command(
    target: str | None,
    watts: float | None,
    lasts: str | None,
    aim: str,
    per_soc: float,
    why: str,
    dry_run: bool,
    show: bool,
    state: Path | None,
) -> Job:
    """Make TARGET (house, or an inverter) export WATTS more; less than 0 makes it absorb."""
    if show:
        return partial(ask_and_print, {"command": "show"}, state)
    if target is None or watts is None or lasts is None:
        raise click.UsageError("say TARGET, WATTS and --for, or --show")
    if not (math.isfinite(watts) and math.isfinite(per_soc)):
        raise click.BadParameter("WATTS and --per-soc are finite numbers of watts")
    for_s = parse_duration(lasts)
    if for_s is None:
        raise click.BadParameter(f"{lasts!r} is no duration such as 2h, 90min or 30s")
    request = {"command": "offset", "target": target, "power_w": watts, "for_s": for_s}
    request |= {"aim": aim.replace("-", "_"), "per_soc_w": per_soc}
    request["dry_run"] = dry_run
    return partial(ask_and_print, request | {"who": f"cli/{getpass.getuser()}", "why": why}, state)


def ask_and_print(request: dict[str, Any], state: Path | None) -> int:
    """Send one command; exit status 2 when it is refused, 1 when nobody answers."""
    answer = ask_house(request, state)
    if answer is None:
        return 1
    if "refused" in answer:
        sys.stderr.write(f"refused: {answer['refused']}\n")
        return 2
    sys.stdout.write(_text(answer))
    return 0


def _text(answer: dict[str, Any]) -> str:
    wish = answer.get("accepted", answer.get("would_accept"))
    if wish is not None:
        would = "would be " if "would_accept" in answer else ""
        if not wish["for_s"]:
            return f"{would}ended: what {wish['who']} asked of {wish['target']}\n"
        limited = f", limited to {wish['limited_to_w']:g} W" if "limited_to_w" in wish else ""
        return f"{would}accepted: {_wish_text(wish)}{limited}\n"
    now = "none yet" if answer["offset_w"] is None else f"{answer['offset_w']:.0f} W"
    lines = [f"offset now: {now} ({answer['reason']})", *map(_wish_text, answer["wishes"])]
    return "\n".join(lines) + "\n"


def _wish_text(wish: dict[str, Any]) -> str:
    until = datetime.datetime.now().astimezone() + datetime.timedelta(seconds=wish["for_s"])
    why = f": {wish['why']}" if wish["why"] else ""
    aim = "" if wish["aim"] == Aim.OFFSET else f" {wish['aim'].replace('_', ' ')}"
    per_soc = f" + {wish['per_soc_w']:g} W per %" if wish["per_soc_w"] else ""
    power = f"{wish['target']}{aim} {wish['power_w']:g} W{per_soc}"
    return f"{power} until {until:%a %H:%M:%S} by {wish['who']}{why}"
