"""``grug identify-plant``: small steps of offset on the house that runs, and what they tell of it.

Nothing but offsets is asked for, each with an expiry, over the command socket like anybody's. They
are ended whatever happens; if this process is killed they end by themselves within seconds.
"""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import asyncclick as click
import msgspec
import trio

from grug.cli.house import socket_of
from grug.cli.identify_report import keys_of, plain_of, problem_of_house, report, write_keys
from grug.control.identify import Fit, fit
from grug.control.margin import Margin, margin_of
from grug.control.powers import Powers
from grug.control.trial import (
    START,
    STEP_W_MAX,
    Ask,
    Done,
    Record,
    TrialSettings,
    advance,
    seconds_of,
)
from grug.transport.desk import ask_desk

Job: TypeAlias = Callable[[], int]
Asker: TypeAlias = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

LOOK_S = 0.1
"""Between two looks: a house decides some five times a second."""
ANSWER_S_MAX = 2.0
END_S_MAX = 5.0
"""So long it is tried to end our wish; then its expiry does."""
ENDS_MAX = 10
INTERRUPTED = "interrupted"
WHY = "small steps to see how inverters answer"


@click.command(name="identify-plant")
@click.argument("inverters", nargs=-1, metavar="[INVERTER]...")
@click.option(
    "--state", type=click.Path(path_type=Path), help="State directory of the house that runs."
)
@click.option(
    "--step",
    "step_w",
    type=click.FloatRange(100.0, STEP_W_MAX),
    default=400.0,
    show_default=True,
    help="W of offset, to both sides.",
)
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@click.option(
    "--write",
    "house",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="HOUSE",
    help="Put the keys into this house.toml, with a backup beside it.",
)
def command(
    inverters: tuple[str, ...],
    state: Path | None,
    step_w: float,
    as_json: bool,
    house: Path | None,
) -> Job:
    """Take small steps of offset on the house that runs, and find out how its inverters answer.

    Prints gain, dead time and lag of each INVERTER (all of them by default), how sure they are,
    how wrong they might be, and the keys for house.toml. Exit status 1 when it was not done or
    nothing can be said of an inverter, 2 when the house must not be disturbed.
    """
    return partial(identify, inverters, state, step_w, as_json=as_json, house=house)


def identify(
    inverters: tuple[str, ...],
    state: Path | None,
    step_w: float,
    *,
    as_json: bool,
    house: Path | None,
) -> int:
    """Do all of it."""
    problem = "" if house is None else problem_of_house(house, inverters)
    if problem:  # Found before the house is disturbed for minutes.
        sys.stderr.write(f"{problem}\n")
        return 2
    path = socket_of(state)
    if path is None:
        return 1
    ask = partial(_ask, path)
    settings = TrialSettings(tuple(dict.fromkeys(inverters)), step_w)
    who = f"identify-plant/{getpass.getuser()}/{os.getpid()}"
    record, problem = trio.run(until_signal, ask, settings, who)
    if problem:
        sys.stderr.write(f"{problem}; nothing was found\n")
        return 130 if problem == INTERRUPTED else 2
    fits = {name: fit(record.seen(name)) for name in record.inverters(settings.inverters)}
    good = {name: found.plant for name, found in fits.items() if not found.problem}
    margin = margin_of(good) if good else None
    return tell(fits, margin, as_json=as_json, house=house)


def tell(
    fits: Mapping[str, Fit], margin: Margin | None, *, as_json: bool, house: Path | None
) -> int:
    """Print what was found, and write it where that was asked for."""
    text = json.dumps(plain_of(fits, margin)) + "\n" if as_json else report(fits, margin)
    sys.stdout.write(text)
    status = 1 if any(found.problem for found in fits.values()) else 0
    keys = {name: keys_of(found) for name, found in fits.items() if not found.problem}
    if house is not None and keys:
        problem = write_keys(house, keys)
        if problem:
            sys.stderr.write(f"{house} is as it was: {problem}\n")
            return 2
    return status


async def _ask(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    line = json.dumps(request).encode()
    answer: dict[str, Any] = json.loads(await ask_desk(path, line, answer_s_max=ANSWER_S_MAX))
    return answer


async def until_signal(ask: Asker, settings: TrialSettings, who: str) -> tuple[Record, str]:
    """Take the steps; Ctrl-C and SIGTERM end them in good order."""
    found: tuple[Record, str] = (Record(), INTERRUPTED)

    async def stop_on_signals(scope: trio.CancelScope) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
            async for _ in received:
                scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_on_signals, nursery.cancel_scope)
        found = await take_trial(ask, settings, who, sys.stderr.write)
        nursery.cancel_scope.cancel()
    return found


async def take_trial(
    ask: Asker, settings: TrialSettings, who: str, say: Callable[[str], object]
) -> tuple[Record, str]:
    """Take all steps, and see what the house does meanwhile.

    Args:
        ask: sends one command to the house and returns its answer.
        settings: how; without inverters, all that the house has.
        who: whose name the wishes have.
        say: for progress.

    Returns:
        What was seen, and why it ended early (empty when it did not).
    """
    record, trial, last = Record(), START, ""
    try:
        while True:
            powers = await _look(ask)
            if isinstance(powers, str):
                return record, powers
            if not settings.inverters:
                names = tuple(each.name for each in powers.inverters)
                settings = dataclasses.replace(settings, inverters=names)
            is_first = trial == START
            record.take(powers)
            trial, act = advance(settings, trial, powers, who)
            if isinstance(act, Done):
                return record, act.problem
            if is_first:
                say(f"this takes {seconds_of(settings) / 60.0:.1f} minutes, and more if it waits\n")
            if isinstance(act, Ask):
                last = act.target
                # Never left half way: what ends it must not be heard before it.
                with trio.CancelScope(shield=True):
                    problem = await _wish(ask, act, who)
                if problem:
                    return record, problem
                if act.for_s:
                    say(f"{act.target}: {act.power_w:+.0f} W, the grid is at {powers.grid_w} W\n")
            await trio.sleep(LOOK_S)
    finally:
        if last:
            with trio.move_on_after(END_S_MAX, shield=True):
                await _end(ask, last, who)
                say(f"{last}: our offset is ended\n")


async def _look(ask: Asker) -> Powers | str:
    """The house now, or why it is not seen."""
    try:
        answer = await ask({"command": "powers"})
        if "refused" in answer:
            return f"the house has no such inverters to steer: {answer['refused']}"
        return msgspec.convert(answer["powers"], Powers)
    except (OSError, ValueError) as error:
        return f"the house does not answer: {error}"


async def _wish(ask: Asker, act: Ask, who: str) -> str:
    """Ask for an offset; why that was not accepted, or an empty text."""
    request = {"command": "offset", "target": act.target, "power_w": act.power_w}
    try:
        answer = await ask(request | {"for_s": act.for_s, "who": who, "why": WHY})
    except (OSError, ValueError) as error:
        return f"the house does not answer: {error}"
    if "limited_to_w" in answer.get("accepted", {}) and act.for_s:
        return f"the house allows no more than {answer['accepted']['limited_to_w']:.0f} W"
    return str(answer.get("refused", ""))


async def _end(ask: Asker, target: str, who: str) -> None:
    """End our wish; a house that is busy is asked again."""
    for _ in range(ENDS_MAX):
        if not await _wish(ask, Ask(target, 0.0, 0.0), who):
            return
        await trio.sleep(LOOK_S)
