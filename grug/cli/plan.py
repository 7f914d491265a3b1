"""``grug plan``: what a house's lines will be asked, when, and how near that is to the best."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import asyncclick as click

from grug.app.load import load_house
from grug.app.parts import load_maps
from grug.cli.plan_picture import draw
from grug.config.planned import PlannedLine, PlannedUnit, planned_lines

Job: TypeAlias = Callable[[], int]


@click.command(name="plan")
@click.argument("house", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="All of it as one JSON object.")
@click.option(
    "--svg", type=click.Path(path_type=Path, dir_okay=False), help="Draw the lines' time as well."
)
def command(house: Path, as_json: bool, svg: Path | None) -> Job:
    """Plan the polls of HOUSE (house.toml): requests, times, and the least that is possible.

    Exit status 1 when something would be late. Times are an estimate from the wire's arithmetic
    and each device's turnaround, as far as the file knows it; nothing is opened or asked.
    """
    return partial(plan_file, house, as_json=as_json, svg=svg)


def plan_file(path: Path, *, as_json: bool, svg: Path | None) -> int:
    """Print the plan of a house; 1 when readings would be late."""
    house = load_house(path).house
    lines = planned_lines(house, load_maps(house))
    if as_json:
        told = {"house": str(path), "lines": [_as_json(line) for line in lines]}
        sys.stdout.write(json.dumps(told, indent=1) + "\n")
    else:
        texts = ["\n".join(_as_text(line)) + "\n" for line in lines]
        sys.stdout.write("\n".join(texts) or f"nothing is polled in {path}\n")
    if svg is not None:
        svg.write_text(draw(lines), encoding="utf-8")
    return 1 if any(line.schedule.late for line in lines) else 0


def _as_text(line: PlannedLine) -> Iterator[str]:
    plan = line.schedule
    yield (
        f"line {line.line}, {line.baudrate} baud {line.framing}: {plan.utilisation:.1%} busy;"
        f" every value by itself would take {plan.one_by_one / plan.used:.1f} times as long"
    )
    yield (
        f"  time taken, with units' own silences: {plan.used:.1%}; lower bound {line.bound:.1%}"
        f" (x {plan.used / line.bound:.3f}); one by one {plan.one_by_one:.1%}"
    )
    for unit in line.units:
        yield from _unit_text(unit)
    for late in plan.late:
        yield f"  LATE: {late.unit}, {late.group}: {late.late} of {late.of} readings"
    how = "in each cycle" if plan.is_whole else "in the first"
    yield f"  {'nothing' if not plan.late else 'the above'} is late {how} of {plan.cycle_s:g} s"
    if line.is_feasible_anyhow:
        yield "  feasible for any phases, even if each group is read by itself (Jeffay's condition)"
    elif plan.late:
        yield "  nothing proves that another order could not be in time, nor that one could"


def _unit_text(unit: PlannedUnit) -> Iterator[str]:
    waits = f"{unit.turnaround_ms:.3g} ms turnaround"
    if unit.own_silence_ms:
        waits += f", {unit.own_silence_ms:.0f} ms silence"
    yield ""
    yield f"  {unit.device} (unit {unit.unit}, {unit.map}, {waits})"
    yield (
        f"    {unit.reads_per_s:.2f} reads/s for {unit.values_per_s:.1f} values/s;"
        f" {unit.words_per_s:.0f} registers/s, {unit.wanted_per_s:.0f} of them wanted"
    )
    yield (
        f"    {unit.used:.1%} of the time, lower bound {unit.bound:.1%},"
        f" one by one {unit.one_by_one:.1%}: {unit.speed_up:.1f} times faster"
    )
    rows = [("reads/s", "table", "registers", "read", "wanted", "ms", "for")]
    for read in unit.reads:
        last = read.address + read.registers - 1
        rows.append(
            (
                f"{read.per_s:.2f}",
                read.table.replace("_register", "").replace("_", " "),
                f"{read.address}-{last}" if read.registers > 1 else f"{read.address}",
                f"{read.registers}",
                f"{read.wanted}",
                f"{read.ms:.1f}",
                " + ".join(read.brings),
            )
        )
    yield from _columns(rows)


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for *cells, last in rows:
        texts = (
            cell.ljust(width) if at == 1 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=False))
        )
        yield f"      {'  '.join(texts)}  {last}"


def _as_json(line: PlannedLine) -> dict[str, Any]:
    plan = line.schedule
    return {
        "line": line.line,
        "baudrate": line.baudrate,
        "framing": line.framing,
        "cycle_s": plan.cycle_s,
        "cycle_is_whole": plan.is_whole,
        "utilisation": plan.utilisation,
        "used": plan.used,
        "lower_bound": line.bound,
        "one_by_one": plan.one_by_one,
        "speed_up": line.speed_up,
        "feasible_for_any_phases": line.is_feasible_anyhow,
        "late": [each._asdict() for each in plan.late],
        "units": [
            {**unit._asdict(), "reads": [read._asdict() for read in unit.reads]}
            for unit in line.units
        ],
        "timeline": [
            {
                "device": read.unit,
                "table": read.transaction.span.table,
                "address": read.transaction.span.address,
                "count": read.transaction.span.count,
                "started_s": round(read.started_s, 6),
                "ended_s": round(read.ended_s, 6),
                "brings": read.groups,
            }
            for read in plan.reads
        ],
    }
