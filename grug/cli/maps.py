"""``grug map``: import maps from other formats, check, show and compare them."""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import asyncclick as click
from rich.console import Console
from rich.table import Table as RichTable

from grug.codec.csvmap import parse_map
from grug.codec.registers import Kind, Register, RegisterMap
from grug.errors import MapError, Problem
from grug.mapimport.addresses import Convention
from grug.mapimport.datasheet import import_tables
from grug.mapimport.diff import diff_maps
from grug.mapimport.guess import Format, Reading, import_text
from grug.mapimport.locate import column_of
from grug.mapimport.rows import Import
from grug.mapimport.words import plain
from grug.mapimport.writer import MadeMap, doubts_text, make_map
from grug.model import Table
from grug.transport.mapfiles import decode_text, read_source, write_together
from grug.transport.maps import load_map, map_models
from grug.transport.pdf import is_pdf, read_tables

Job: TypeAlias = Callable[[], int]

TABLES = {
    "coil": Table.COIL,
    "discrete": Table.DISCRETE_INPUT,
    "holding": Table.HOLDING_REGISTER,
    "input": Table.INPUT_REGISTER,
}

_SHOWN_DOUBTS_MAX = 10
"""Of a long list the file tells the rest."""

_maps_option = click.option(
    "--maps",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory with maps of your own; they come before those of grug.",
)


@click.group(name="map")
def group() -> None:
    """Import, check, show and compare register maps."""


@group.command(name="import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "style",
    type=click.Choice([each.value for each in Format]),
    help="Of SOURCE; by default what is in it tells.",
)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="The map to write, maps/MODEL.csv."
)
@click.option("--sidecar", is_flag=True, help="Write MODEL.toml too: the device, labels of values.")
@click.option("--unit", type=click.IntRange(0, 255), help="Take the registers of this unit alone.")
@click.option("--base", type=click.IntRange(0, 65535), help="Where a SunSpec model begins.")
@click.option(
    "--addresses",
    type=click.Choice([each.value for each in Convention]),
    default="auto",
    show_default=True,
    help="How a document counts them.",
)
@click.option(
    "--table", type=click.Choice(sorted(TABLES)), help="Where a document does not say it."
)
@click.option("--kind", type=click.Choice([each.value for each in Kind]), help="The same.")
@click.option("--pages", metavar="FIRST-LAST", help="Of a PDF, such as 12-30.")
@click.option("--skip-bad", is_flag=True, help="Leave out what cannot be imported, and list it.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
def import_(
    source: Path,
    style: str | None,
    output: Path | None,
    sidecar: bool,
    unit: int | None,
    base: int | None,
    addresses: str,
    table: str | None,
    kind: str | None,
    pages: str | None,
    skip_bad: bool,
    force: bool,
) -> Job:
    """Make a map of SOURCE: CSV, YAML, TOML or JSON of other programs, or a datasheet in PDF.

    Without --output the map goes to standard output. What was taken for what, and what is doubtful,
    is told on standard error and written to MODEL.doubts.txt beside the map.
    """
    if output is not None and output.suffix != ".csv":
        raise click.BadParameter("a map is a .csv file", param_hint="--output")
    reading = Reading(
        base, Convention(addresses), TABLES[table] if table else None, Kind(kind) if kind else None
    )
    chosen = Format(style) if style else None
    page_range = _page_range(pages)

    def job() -> int:
        imported = _read(source, chosen, reading, page_range)
        model = output.stem if output else source.stem
        with_sidecar = sidecar and output is not None
        made = make_map(model, imported, unit_id=unit, with_sidecar=with_sidecar, skip_bad=skip_bad)
        return _write(made, source, output, force=force)

    return job


@group.command(name="list")
@_maps_option
def list_(directory: Path | None) -> Job:
    """List all maps, with the devices they are for."""
    return partial(_list, directory)


@group.command()
@click.argument("model")
@click.option("--registers", "pattern", default="*", help="Names to show, such as '*power*'.")
@_maps_option
def show(model: str, pattern: str, directory: Path | None) -> Job:
    """Show the map MODEL: the name of one, or a .csv file."""
    return partial(_show, model, pattern, directory)


@group.command()
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
def check(files: tuple[Path, ...]) -> Job:
    """Check maps and say all that is wrong with them; exit status 2 if anything is."""
    return partial(_check, files)


@group.command()
@click.argument("first")
@click.argument("second")
@_maps_option
def diff(first: str, second: str, directory: Path | None) -> Job:
    """Compare two maps by name and by address; exit status 1 when they differ."""
    return partial(_diff, first, second, directory)


def _page_range(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, _, last = text.partition("-")
    if first.isdecimal() and (last or first).isdecimal() and 1 <= int(first) <= int(last or first):
        return int(first), int(last or first)
    raise click.BadParameter("give a page, or first and last as 12-30", param_hint="--pages")


def _read(
    source: Path, style: Format | None, reading: Reading, pages: tuple[int, int] | None
) -> Import:
    data = read_source(source)
    if style is Format.PDF or (style is None and is_pdf(data)):
        tables = read_tables(source, pages)
        return import_tables(tables, str(source), reading.convention, reading.table, reading.kind)
    return import_text(decode_text(data), str(source), style, reading)


def _write(made: MadeMap, source: Path, output: Path | None, *, force: bool) -> int:
    say = sys.stderr.write
    if output is None:
        sys.stdout.write(made.csv_text)
    else:
        texts = {output: made.csv_text}
        if made.sidecar_text:
            texts[output.with_suffix(".toml")] = made.sidecar_text
        has_doubts = bool(made.doubts or made.left_out)
        doubts_path = output.with_suffix(".doubts.txt")
        if has_doubts:
            texts[doubts_path] = doubts_text(made, str(source))
        write_together(texts, replace=force)
        if not has_doubts and force:
            doubts_path.unlink(missing_ok=True)  # Those of an earlier import are settled.
    for note in made.notes:
        say(f"{note}\n")
    for title, problems in (("doubtful", made.doubts), ("left out", made.left_out)):
        for problem in problems[:_SHOWN_DOUBTS_MAX]:
            say(f"{title}: {problem}\n")
        if len(problems) > _SHOWN_DOUBTS_MAX:
            say(f"{title}: {len(problems) - _SHOWN_DOUBTS_MAX} more\n")
    where = f" in {output}" if output else ""
    count = len(made.register_map.registers)
    say(f"{count} registers{where}, {len(made.doubts)} doubts, {len(made.left_out)} left out\n")
    return 0


def _list(directory: Path | None) -> int:
    rows = []
    failed = 0
    for model in map_models(directory):
        try:
            register_map = load_map(model, directory)
        except MapError as error:
            sys.stderr.write(f"{error}\n")
            failed = 2
            continue
        rows.append((model, str(len(register_map.registers)), register_map.facts.title))
    _print_table(("map", "registers", "device"), rows)
    return failed


def _load(name: str, directory: Path | None) -> RegisterMap:
    """Load a map by name, or by the path of its CSV."""
    path = Path(name)
    if path.suffix != ".csv":
        return load_map(name, directory)
    register_map, problems, _ = _parse_file(path)
    if register_map is None:
        raise MapError(problems)
    return register_map


def _parse_file(
    path: Path,
) -> tuple[RegisterMap | None, Sequence[Problem], dict[str, Sequence[str]]]:
    """Give the map or what is wrong with it, and the lines of its files."""
    sidecar = path.with_suffix(".toml")
    try:
        csv_text = decode_text(read_source(path))
        sidecar_text = decode_text(read_source(sidecar)) if sidecar.is_file() else ""
    except MapError as error:
        return None, error.problems, {}
    lines: dict[str, Sequence[str]] = {
        str(path): csv_text.splitlines(),
        str(sidecar): sidecar_text.splitlines(),
    }
    try:
        return parse_map(path.stem, csv_text, sidecar_text, str(path)), (), lines
    except MapError as error:
        return None, error.problems, lines


def _check(files: Sequence[Path]) -> int:
    status = 0
    for path in files:
        register_map, problems, lines = _parse_file(path)
        for file, line, text in problems:
            column = column_of(Problem(file, line, text), lines.get(file, ()))
            place = f"{file}:{line}:{column}" if line else file
            sys.stderr.write(f"{place}: {text}\n")
            status = 2
        if register_map is not None:
            sys.stdout.write(f"{path}: {len(register_map.registers)} registers, all good\n")
    return status


def _show(name: str, pattern: str, directory: Path | None) -> int:
    register_map = _load(name, directory)
    facts = register_map.facts
    chosen = [
        register
        for register in register_map.registers.values()
        if fnmatch.fnmatch(register.name, pattern)
    ]
    for label, text in (
        ("device", facts.title),
        ("manufacturer", facts.manufacturer),
        ("source", facts.source),
        ("verified", facts.verified),
        ("serial", f"{facts.baudrate} baud {facts.framing}, unit {facts.unit_id}"),
        ("limits", f"{facts.words_max} words a read, gap {facts.gap_s:g} s, holes {facts.holes}"),
    ):
        if text:
            sys.stdout.write(f"{label}: {text}\n")
    titles = ("register", "table", "address", "kind", "scale", "unit", "access", "says")
    _print_table(titles, [_shown(register) for register in chosen])
    return 0


def _shown(register: Register) -> tuple[str, ...]:
    kind = register.kind.value
    if register.words != register.kind.words:
        kind += f"[{register.words}]"
    if register.order != "ABCD":
        kind += f" {register.order}"
    scale = plain(register.scale)
    if register.scale_by is not None:
        scale = f"10^{register.scale_by.name}"
    if register.offset:
        scale += f" {register.offset:+f}"
    labels = [f"bit {bit.bit}: {bit.label}" for bit in register.bits]
    labels += [f"{choice.number}: {choice.label}" for choice in register.choices]
    return (
        register.name,
        register.table.value,
        str(register.address),
        kind,
        scale,
        register.unit,
        register.access.value,
        "; ".join(labels) or register.note,
    )


def _diff(first: str, second: str, directory: Path | None) -> int:
    differences = list(diff_maps(_load(first, directory), _load(second, directory)))
    for difference in differences:
        sys.stdout.write(f"{difference}\n")
    return 1 if differences else 0


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for people; columns of plain text when it goes to a file or another program."""
    if sys.stdout.isatty():
        table = RichTable(*titles)
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    widths = [max(len(row[column]) for row in [titles, *rows]) for column in range(len(titles))]
    for row in [titles, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
