"""``grug read``, ``write``, ``decode`` and ``ports``: a device or some words, without a house."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import asyncclick as click
import trio

from grug.cli.states import open_ledger, own_state
from grug.codec.guess import guesses_of, words_of
from grug.codec.registers import Access, Kind, Register
from grug.device.device import Device
from grug.device.line import REPLY_TIMEOUT_S, DeviceLine, Port, find_map, open_line
from grug.device.ports import SerialPort, list_ports
from grug.device.readings import Reading
from grug.errors import (
    BusError,
    EncodeError,
    NoReplyError,
    RemoteProtocolError,
    UnitOfflineError,
    UnknownRegisterError,
)
from grug.messages import WriteRecorded
from grug.model import Quality, Value
from grug.runtime.joined import JoinedWrite
from grug.runtime.steps import show_value, shown

Job: TypeAlias = Callable[[], int]

FRAMINGS = ("8N1", "8E1", "8O1", "8N2", "7E1", "7O1")

_SWITCHES = {"on": True, "true": True, "yes": True, "1": True}
_SWITCHES |= {"off": False, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Target:
    """Which device, and how to reach it; what is None comes from the map."""

    port: Port
    model: str
    unit: int | None = None
    baudrate: int | None = None
    framing: str | None = None
    timeout_s: float = REPLY_TIMEOUT_S
    state: Path | None = None
    """Where the ledger of writes is; None keeps it in memory."""

    def prepare(self) -> tuple[DeviceLine, Device]:
        """The line, not yet open, and the device on it.

        Raises:
            MapError: there is no such map, or it is wrong.
        """
        register_map = find_map(self.model)
        line = open_line(
            self.port,
            baudrate=self.baudrate or register_map.facts.baudrate,
            framing=self.framing or register_map.facts.framing,
            reply_timeout_s=self.timeout_s,
            ledger=None if self.state is None else open_ledger(self.state),
        )
        return line, line.device(register_map, self.unit)

    def advice(self, error: BusError) -> str:
        """What a person can look at when a device did not answer."""
        facts = find_map(self.model).facts
        speed = f"{self.baudrate or facts.baudrate} baud, {self.framing or facts.framing}"
        if isinstance(error, NoReplyError | UnitOfflineError):
            return (
                f"Asked at {speed}. Compare that and the unit id with the device's menu; see"
                " whether A and B are swapped, and whether another program asks on the line."
            )
        if isinstance(error, RemoteProtocolError):
            return (
                f"Asked at {speed}. Something answers, but not understandably: the baudrate or"
                " framing may be another, two units may have this id, or the line needs a resistor."
            )
        return ""


def _target_options(command: Callable[..., Job]) -> Callable[..., Job]:
    """The argument and options that say which device."""
    for decorate in (
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(min=0.01),
            default=REPLY_TIMEOUT_S,
            show_default=True,
            help="Seconds that the device may take to begin its reply.",
        ),
        click.option("--framing", type=click.Choice(FRAMINGS, case_sensitive=False)),
        click.option("--baudrate", type=click.IntRange(min=300), help="By default the map's."),
        click.option("--unit", type=click.IntRange(1, 247), help="By default the map's."),
        click.option(
            "--map", "model", required=True, metavar="MODEL|FILE", help="Its name, or a .csv file."
        ),
        click.argument("port"),
    ):
        command = decorate(command)
    return command


def in_trio(job: Callable[..., Any], target: Target, *arguments: Any) -> int:
    """Run one command on a device; exit status 1 when the device or the line fails."""
    try:
        status: int = trio.run(job, target, *arguments)
        return status
    except* BusError as group:
        error = group.exceptions[0]
        assert isinstance(error, BusError), "a device raises no groups"
        advice = target.advice(error)
        sys.stderr.write(f"{error}\n" + (f"{advice}\n" if advice else ""))
        status = 1
    except* KeyboardInterrupt:  # It may come while several reads are under way, and so in a group.
        status = 130
    return status


# grug read


@click.command()
@_target_options
@click.argument("names", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def read(names: tuple[str, ...], as_json: bool, **options: Any) -> Job:
    """Read registers of the device on PORT by NAME; without names all that are safe to read."""
    return partial(in_trio, read_device, Target(**options), names, as_json)


async def read_device(target: Target, names: Sequence[str], as_json: bool) -> int:
    """Read and print.

    Returns:
        1 when a register that was asked for by name could not be read, else 0.

    Raises:
        GrugError: a map or a name is wrong.
        BusError: nothing could be read.
    """
    line, device = target.prepare()
    device.check(names)
    async with line:
        readings = await device.readings(*(names or device.readable))
    if as_json:
        shown = {name: _as_json(reading) for name, reading in readings.items()}
        sys.stdout.write(json.dumps(shown, indent=1) + "\n")
    else:
        _write_columns([[name, str(reading)] for name, reading in readings.items()])
    is_missing = any(reading.quality is Quality.MISSING for reading in readings.values())
    return 1 if names and is_missing else 0


def _as_json(reading: Reading) -> dict[str, object]:
    shown: dict[str, object] = {"value": reading.value, "quality": reading.quality.value}
    if reading.register.unit:
        shown["unit"] = reading.register.unit
    if reading.labels:
        shown["labels"] = reading.labels
    if reading.problem:
        shown["problem"] = reading.problem
    return shown


# grug write


@click.command()
@_target_options
@click.argument("assignments", nargs=-1, required=True, metavar="NAME=VALUE...")
@click.option("--why", required=True, help="The reason; it is part of every write.")
@click.option(
    "--force", is_flag=True, help="Write guarded registers, too, and beyond interval and budget."
)
@click.option("--ordered", is_flag=True, help="Keep the order given.")
@click.option("--verify/--no-verify", default=True, help="Read back afterwards; the default.")
@click.option("--dry-run", is_flag=True, help="Only show what would be sent.")
@click.option(
    "--state", type=click.Path(path_type=Path), help="Directory of the ledger that counts writes."
)
def write(
    assignments: tuple[str, ...],
    why: str,
    force: bool,
    ordered: bool,
    verify: bool,
    dry_run: bool,
    state: Path | None,
    **options: Any,
) -> Job:
    """Write registers of the device on PORT; VALUE is in the register's unit, or a label.

    One bit of a bit field is NAME:LABEL=on or off; its other bits stay as they are.
    """
    orders = WriteOrders(assignments, why, force, ordered, verify, dry_run)
    target = Target(**options, state=state or own_state())
    return partial(in_trio, write_device, target, orders)


@dataclass(frozen=True, slots=True)
class WriteOrders:
    """What ``grug write`` is to do."""

    assignments: tuple[str, ...]
    why: str
    force: bool = False
    ordered: bool = False
    verify: bool = True
    dry_run: bool = False


async def write_device(target: Target, orders: WriteOrders) -> int:
    """Check everything, then write, and say what became of it.

    Raises:
        GrugError: a map, name or value is wrong, or a register is not to be written; nothing has
            been sent.
        BusError: the device refused or did not answer.
    """
    line, device = target.prepare()
    of_bits = [each for each in orders.assignments if ":" in each.partition("=")[0]]
    whole = [each for each in orders.assignments if each not in of_bits]
    values = parse_assignments(device, whole, force=orders.force)
    bits = parse_bits(device, of_bits, force=orders.force)
    if orders.dry_run:
        writes = device.plan_writes(values, why=orders.why, ordered=orders.ordered)
        _write_columns([_shown_write(write, values) for write in writes])
        sys.stdout.write("".join(f"{name}: {_shown_bits(bits[name])}\n" for name in bits))
        sys.stdout.write("nothing was sent\n")
        return 0
    records: list[WriteRecorded] = []
    why, who, force, verify = orders.why, "grug write", orders.force, orders.verify
    async with line:
        if values:
            records += await device.write(
                values, why=why, who=who, ordered=orders.ordered, verify=verify, force=force
            )
        for name, each in bits.items():
            records += await device.write_bits(
                name, each, why=why, who=who, verify=verify, force=force
            )
    texts = {name: show_value(device.map[name], value) for name, value in values.items()}
    texts |= {name: _shown_bits(each) for name, each in bits.items()}
    for record in records:
        sys.stdout.write(f"{record.register} = {texts[record.register]}{_fate(device, record)}\n")
    return 0


def _fate(device: Device, record: WriteRecorded) -> str:
    """What became of a register, in brackets."""
    facts = []
    if record.old is not None:
        register = device.map[record.register]
        facts.append(f"was {shown(register, record.old)}")
    if record.reason:
        facts.append(record.reason)
    return f" ({'; '.join(facts)})" if facts else ""


def parse_bits(
    device: Device, assignments: Sequence[str], *, force: bool = False
) -> dict[str, dict[str, bool]]:
    """Turn ``NAME:LABEL=on`` into bits by register and label, all problems at once.

    Raises:
        EncodeError: what is wrong with which.
    """
    bits: dict[str, dict[str, bool]] = {}
    problems: list[str] = []
    for assignment in assignments:
        place, _, text = assignment.partition("=")
        name, _, label = (part.strip() for part in place.partition(":"))
        try:
            device.check((name,))
            if name not in device.map.registers or not device.map[name].bits:
                raise EncodeError(f"{name} has no bits with labels")
            if device.map[name].access is Access.GUARDED and not force:
                raise EncodeError(_why_guarded(device.map[name]))
            holds = _SWITCHES.get(text.strip().lower())
            if holds is None:
                raise EncodeError(f"{place}: {text!r} is neither on nor off")
            device.plan_bits(name, {label: holds}, why="check")
            if bits.setdefault(name, {}).setdefault(label, holds) is not holds:
                raise EncodeError(f"{place} is given twice")
        except (EncodeError, UnknownRegisterError) as error:
            problems.append(str(error))
    if problems:
        raise EncodeError("\n".join(problems))
    return bits


def _shown_bits(bits: Mapping[str, bool]) -> str:
    return ", ".join(f"{label} {'on' if holds else 'off'}" for label, holds in bits.items())


def parse_assignments(
    device: Device, assignments: Sequence[str], *, force: bool = False
) -> dict[str, Value]:
    """Turn ``NAME=VALUE`` into values, all problems at once.

    Raises:
        EncodeError: what is wrong with which.
    """
    values: dict[str, Value] = {}
    problems: list[str] = []
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        try:
            device.check((name,))
            if name not in device.map.registers:
                raise EncodeError(f"{name} is an array: write its registers one by one")
            register = device.map[name]
            if not equals:
                raise EncodeError(f"{name}: a value is needed, as in {name}=1")
            if name in values:
                raise EncodeError(f"{name} is given twice")
            if register.access is Access.GUARDED and not force:
                raise EncodeError(_why_guarded(register))
            values[name] = parse_value(register, text.strip())
            if register.scale_by is None:  # Else it can only be encoded when that has been read.
                device.plan_writes({name: values[name]}, why="check")
        except (EncodeError, UnknownRegisterError) as error:
            problems.append(str(error))
    if problems:
        raise EncodeError("\n".join(problems))
    return values


def parse_value(register: Register, text: str) -> Value:
    """Understand a value as a person types it.

    Args:
        register: that it is meant for.
        text: a number (``0x`` for hexadecimal), on or off, labels joined by ``+``, or text.

    Raises:
        EncodeError: it is none of what the register takes.
    """
    if register.kind is Kind.BOOL:
        if text.lower() not in _SWITCHES:
            raise EncodeError(f"{register.name}: {text!r} is neither on nor off")
        return _SWITCHES[text.lower()]
    if not register.kind.is_number:
        return text
    for number in (partial(int, base=0), float):
        try:
            value: Value = number(text)
        except ValueError:
            continue
        return value
    if register.bits or register.choices:
        return register.number_of(*(label.strip() for label in text.split("+")))
    raise EncodeError(f"{register.name}: {text!r} is no number")


def _why_guarded(register: Register) -> str:
    note = f" ({register.note})" if register.note else ""
    wears = "" if register.storage.value == "ram" else "; writing it often may wear out its memory"
    return f"{register.name} is guarded{note}{wears}: say --force if you mean it"


def _shown_write(write: JoinedWrite, values: Mapping[str, Value]) -> list[str]:
    span = write.span
    shown = ", ".join(
        f"{each.name} = {show_value(each, values[each.name])}" for each in write.registers
    )
    width = 1 if span.table.is_bits else 2
    last = f"..{span.end - 1}" if span.count > 1 else ""
    return [f"{span.table} {span.address}{last}", write.request.block.hex(" ", width), shown]


# grug decode


@click.command()
@click.argument("words", nargs=-1, required=True)
def decode(words: tuple[str, ...]) -> Job:
    """Show what WORDS may mean, as every kind in every order; a star marks what is plausible.

    Words are decimal (17254) or hexadecimal (0x4366, 4366h, or bare if one of them looks like it).
    """
    try:
        return partial(show_guesses, words_of(words))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="WORDS") from error


def show_guesses(words: Sequence[int]) -> int:
    """Print every way to read the words."""
    _write_columns(
        [
            ["hexadecimal", *(f"{word:04x}" for word in words)],
            ["decimal", *map(str, words)],
            ["bits 15..0", *(f"{word:016b}" for word in words)],
        ]
    )
    sys.stdout.write("\n")
    _write_columns(
        [
            [
                "*" if guess.is_plausible else " ",
                guess.kind.value,
                guess.order.value,
                "  ".join(_shown_guess(value) for value in guess.values),
                guess.note,
            ]
            for guess in guesses_of(words)
        ]
    )
    return 0


def _shown_guess(value: Value | None) -> str:
    if value is None:
        return "-"
    return repr(value) if isinstance(value, str) else str(value)


# grug ports


@click.command()
def ports() -> Job:
    """List serial adapters: the name that stays, chip, driver, latency, and who uses them."""
    return partial(show_ports, list_ports)


def show_ports(find: Callable[[], Sequence[SerialPort]]) -> int:
    """Print them."""
    found = find()
    for port in found:
        facts = [
            port.path if port.by_id else _nameless(port),
            port.chip,
            port.driver and f"driver {port.driver}",
            "" if port.latency_ms is None else f"latency {port.latency_ms} ms",
            f"in use by {', '.join(port.users)}" if port.users else _nobody(),
        ]
        lines = "".join(f"    {fact}\n" for fact in facts if fact)
        sys.stdout.write(f"{port.name}\n{lines}")
    if not found:
        sys.stdout.write("there is no serial adapter\n")
    return 0


def _nameless(port: SerialPort) -> str:
    may_change = port.path.startswith(("/dev/ttyUSB", "/dev/ttyACM"))
    return "may be another adapter after the next plug" if may_change else ""


def _nobody() -> str:
    return "free" if os.geteuid() == 0 else "free, as far as one may see without being root"


# All of them


def add_to(group: click.Group) -> None:
    """Add these commands to grug's."""
    for command in (read, write, decode, ports):
        group.add_command(command)


def _write_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with their columns aligned."""
    count = max((len(row) for row in rows), default=0)
    widths = [
        max((len(row[at]) for row in rows if at < len(row)), default=0) for at in range(count)
    ]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
