"""``grug solis``: what a person tells a Solis inverter, in the words of its menu."""

from __future__ import annotations

import datetime
import getpass
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import asyncclick as click

from grug.cli.devices import Target, in_trio
from grug.cli.house import ask_house
from grug.cli.states import own_state
from grug.control import solis
from grug.control.solis import Change, SolisError
from grug.device.line import find_map
from grug.messages import WriteRecorded
from grug.model import Value
from grug.runtime.steps import shown

Job: TypeAlias = Callable[[], int]

MODEL = "solis_s5_eh1p"
WOULD_BE_SENT = "would be sent"
"""The gate's reason in a dry run."""


@click.group(name="solis")
def group() -> None:
    """Set up Solis inverters by their registers; see docs/writes.md.

    DEVICE is a device of the house that runs. With --port it is asked directly, without a house,
    and DEVICE is only what it is called here.
    """


@dataclass(frozen=True, slots=True)
class Order:
    """Which inverter, and how to write to it."""

    device: str
    port: str | None
    unit: int | None
    why: str = ""
    force: bool = False
    dry_run: bool = False
    state: Path | None = None

    def target(self) -> Target:
        """The inverter, when it is asked without a house."""
        assert self.port is not None, "there is no house then"
        return Target(self.port, MODEL, self.unit, state=self.state or own_state())


def _reading(command: Callable[..., Job]) -> Callable[..., Job]:
    """Argument and options of commands that only look."""
    for decorate in (
        click.option("--state", type=click.Path(path_type=Path), help="State directory."),
        click.option("--unit", type=click.IntRange(1, 247), help="With --port: its unit id."),
        click.option("--port", help="Ask it on this port, without a house that runs."),
        click.argument("device"),
    ):
        command = decorate(command)
    return command


def _writing(command: Callable[..., Job]) -> Callable[..., Job]:
    """Argument and options of commands that change something."""
    for decorate in (
        click.option("--dry-run", is_flag=True, help="Only say what would be written."),
        click.option("--force", is_flag=True, help="Beyond the least interval and the budget."),
        click.option("--why", required=True, help="The reason, for the ledger of writes."),
    ):
        command = decorate(command)
    return _reading(command)


def _job(make: Callable[[], Change], **options: Any) -> Job:
    """The job that makes a change, once it is seen to make sense."""
    try:
        change = make()
    except SolisError as error:
        raise click.UsageError(str(error)) from error
    return partial(apply_change, Order(**options), change)


@group.command(name="charge-limit")
@_writing
@click.argument("amperes", type=float)
def charge_limit(amperes: float, **options: Any) -> Job:
    """Charge the battery with at most AMPERES."""
    return _job(partial(solis.charge_limit, amperes), **options)


@group.command(name="discharge-limit")
@_writing
@click.argument("amperes", type=float)
def discharge_limit(amperes: float, **options: Any) -> Job:
    """Discharge the battery with at most AMPERES."""
    return _job(partial(solis.discharge_limit, amperes), **options)


@group.command(name="mode")
@_writing
@click.argument("name", required=False, type=click.Choice(list(solis.MODES)))
@click.option("--timed/--untimed", default=None, help="Whether the slots of time count.")
@click.option("--grid-charge/--no-grid-charge", default=None, help="Charge from the grid or not.")
def mode(name: str | None, timed: bool | None, grid_charge: bool | None, **options: Any) -> Job:
    """Choose the storage mode; its other bits stay as they are."""
    return _job(partial(solis.mode, name, timed=timed, grid_charge=grid_charge), **options)


@group.command(name="slot")
@_writing
@click.argument("number", type=click.IntRange(1, 3))
@click.option("--charge", metavar="23:30-05:30|off", help="When to charge.")
@click.option("--discharge", metavar="17:00-21:00|off", help="When to discharge.")
@click.option("--charge-current", type=float, help="A, in all slots.")
@click.option("--discharge-current", type=float, help="A, in all slots.")
def slot(
    number: int,
    charge: str | None,
    discharge: str | None,
    charge_current: float | None,
    discharge_current: float | None,
    **options: Any,
) -> Job:
    """Set slot NUMBER of the times in which the battery is charged or discharged."""
    make = partial(
        solis.slot,
        number,
        charge=charge,
        discharge=discharge,
        charge_current_a=charge_current,
        discharge_current_a=discharge_current,
    )
    return _job(make, **options)


@group.command(name="power")
@_writing
@click.argument("switch", type=click.Choice(["on", "off"]))
def power(switch: str, **options: Any) -> Job:
    """Switch the inverter on or off; off takes its backup output away."""
    return _job(partial(solis.power, switch == "on"), **options)


@group.command(name="backup")
@_writing
@click.argument("switch", type=click.Choice(["on", "off"]))
def backup(switch: str, **options: Any) -> Job:
    """Switch the backup output on or off."""
    return _job(partial(solis.backup, switch == "on"), **options)


@group.command(name="meter")
@_writing
@click.argument("kind", type=click.Choice(list(solis.METERS)))
@click.option("--at", "place", type=click.Choice(list(solis.PLACES)), default="grid")
def meter(kind: str, place: str, **options: Any) -> Job:
    """Say which meter KIND is at its meter port, and at which side of the house."""
    return _job(partial(solis.meter, kind, place), **options)


@group.command(name="clock")
@_writing
@click.option("--max-drift", type=float, default=solis.DRIFT_S_MAX, show_default=True, help="s")
def clock(max_drift: float, **options: Any) -> Job:
    """Set the clock to this machine's local time, if it is wrong by more than --max-drift."""
    return partial(set_clock, Order(**options), max_drift)


@group.command(name="show")
@_reading
def show(**options: Any) -> Job:
    """Show what is set, and whether the firmware has the dispatch registers."""
    return partial(show_settings, Order(**options))


# What they do


def apply_change(order: Order, change: Change) -> int:
    """Write, and say what became of it; exit status 2 when it was refused, 1 when nobody answers.

    Raises:
        GrugError: without a house: why it was not written.
    """
    sys.stdout.write(f"{order.device}: {change.text}\n")
    if order.port is not None:
        return in_trio(_apply_directly, order.target(), order, change)
    answer = ask_house(
        {
            "command": "write",
            "device": order.device,
            "values": dict(change.values),
            "masks": dict(change.masks),
            "who": f"cli/{getpass.getuser()}",
            "why": order.why,
            "ordered": change.is_ordered,
            "force": order.force,
            "dry_run": order.dry_run,
        },
        order.state,
    )
    if answer is None:
        return 1
    for record in answer.get("records", ()):
        _say(record["register"], record["old"], record["new"], record["state"], record["reason"])
    if "refused" in answer:
        sys.stderr.write(f"refused: {answer['refused']}\n")
        return 2
    return 0


async def _apply_directly(target: Target, order: Order, change: Change) -> int:
    line, device = target.prepare()
    async with line:
        records = await device.change(
            change.values,
            change.masks,
            why=order.why,
            who=f"cli/{getpass.getuser()}",
            ordered=change.is_ordered,
            force=order.force,
            dry_run=order.dry_run,
        )
    for record in records:
        _say_record(record)
    return 0


def _say_record(record: WriteRecorded) -> None:
    _say(record.register, record.old, record.new, record.state.value, record.reason)


def _say(name: str, old: Value | None, new: Value, state: str, reason: str) -> None:
    register = find_map(MODEL).registers[name]
    was = "" if old is None else f"{shown(register, old)} -> "
    because = f" ({reason})" if reason else ""
    # What would only be sent is pending for a program; to a person that sounds as if it were sent.
    fate = reason if reason == WOULD_BE_SENT else f"{state}{because}"
    sys.stdout.write(f"  {name}: {was}{shown(register, new)}: {fate}\n")


def read_values(order: Order, names: Sequence[str]) -> dict[str, Value | None] | None:
    """What registers hold; None when nobody answers, which has been said then."""
    if order.port is None:
        request = {"command": "read", "device": order.device, "registers": list(names)}
        answer = ask_house(request | {"who": f"cli/{getpass.getuser()}"}, order.state)
        if answer is not None and "refused" in answer:
            sys.stderr.write(f"refused: {answer['refused']}\n")
            return None
        return None if answer is None else answer["values"]
    found: dict[str, Value | None] = {}

    async def read(target: Target) -> int:
        line, device = target.prepare()
        async with line:
            readings = await device.readings(*names)
        found.update({name: reading.value for name, reading in readings.items()})
        return 0

    return found if in_trio(read, order.target()) == 0 else None


def set_clock(order: Order, max_drift_s: float) -> int:
    """Look at the clock, and set it only if that is worth a write."""
    values = read_values(order, ("real_time_clock",))
    if values is None:
        return 1
    now = datetime.datetime.now()
    try:
        drift_s = solis.drift_s(values["real_time_clock"] or "nothing", now)
    except SolisError as error:
        sys.stdout.write(f"{order.device}: {error}\n")
    else:
        ahead = "ahead" if drift_s >= 0 else "behind"
        sys.stdout.write(f"{order.device}: its clock is {abs(drift_s):.0f} s {ahead}\n")
        if abs(drift_s) <= max_drift_s:
            sys.stdout.write(f"that is within {max_drift_s:g} s, so nothing was written\n")
            return 0
    return apply_change(order, solis.clock(datetime.datetime.now()))


def show_settings(order: Order) -> int:
    """Print what is set."""
    register_map = find_map(MODEL)
    slots = [
        name
        for name in register_map.registers
        if name.startswith("timed_") and "current" not in name
    ]
    values = read_values(order, (*solis.SETTINGS, *slots, solis.PROBE))
    if values is None:
        return 1
    for name in solis.SETTINGS:
        value = values[name]
        text = "not there" if value is None else shown(register_map[name], value)
        sys.stdout.write(f"{name}: {text}\n")
    for number in solis.SLOTS:
        for what in ("charge", "discharge"):
            sys.stdout.write(f"slot {number}, {what}: {_slot_text(values, number, what)}\n")
    has_dispatch = values[solis.PROBE] == solis.DISPATCH_EXISTS
    sys.stdout.write(f"dispatch registers: {'there' if has_dispatch else 'not there'}\n")
    return 0


def _slot_text(values: dict[str, Value | None], number: int, what: str) -> str:
    suffix = "" if number == 1 else f"_{number}"
    times = []
    for end in ("start", "end"):
        hour = values[f"timed_{what}_{end}_hour{suffix}"]
        minute = values[f"timed_{what}_{end}_minute{suffix}"]
        if hour is None or minute is None:
            return "not there"
        times.append(f"{int(hour):02d}:{int(minute):02d}")
    return "off" if times[0] == times[1] else "-".join(times)
