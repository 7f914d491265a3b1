"""Reads a register map: a CSV with one register a row, and a TOML sidecar about the device.

People edit these in spreadsheets and text editors, so the reader forgives what cannot be
misunderstood (stray spaces, decimal commas, semicolons between cells, hexadecimal addresses, short
names of tables) and reports everything else at once, with line, column and what was probably meant.
Nothing is returned unless all of it is right.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace

from grug.codec.hints import did_you_mean
from grug.codec.mapcheck import label_faults, overlaps
from grug.codec.registers import Kind, Register, RegisterMap
from grug.codec.rows import Row
from grug.codec.served import serving_faults
from grug.codec.sidecar import line_of_key, parse_sidecar
from grug.errors import MapError, Problem

COLUMNS = (
    "name",
    "table",
    "address",
    "kind",
    "words",
    "count",
    "order",
    "scale",
    "offset",
    "unit",
    "decimals",
    "access",
    "storage",
    "invalid",
    "min",
    "max",
    "max_step",
    "counter",
    "alias",
    "note",
)
"""All columns; any order, and only the first four below are required."""

REQUIRED = ("name", "table", "address", "kind")


def parse_map(model: str, csv_text: str, sidecar_text: str, file_name: str) -> RegisterMap:
    """Read a map.

    Args:
        model: name of the map.
        csv_text: the registers.
        sidecar_text: TOML about the device; empty text gives the defaults.
        file_name: of the CSV, for messages; the sidecar is called the same with ``.toml``.

    Raises:
        MapError: with all that is wrong in both.
    """
    problems: list[Problem] = []
    sidecar_name = file_name.removesuffix(".csv") + ".toml"
    sidecar, sidecar_problems = parse_sidecar(sidecar_text, sidecar_name)
    rows = list(_rows_of(csv_text, file_name, problems))
    entries = list(_entries_of(rows, file_name, problems))
    problems += overlaps(entries, file_name)
    registers: dict[str, Register] = {}
    words_max = sidecar.facts.words_max
    for line, register in entries:
        registers.setdefault(register.name, register)
        if register.words > words_max and not register.table.is_bits:
            text = f"{register.name} has {register.words} words, more than words_max in the sidecar"
            problems.append(Problem(file_name, line, text))
    problems += sidecar_problems
    arrays = {row.name: row.element_names for row in rows if row.count > 1}
    if not problems:  # Of a map that could not be read whole, this would be guesswork.
        sidecar_lines = sidecar_text.splitlines()
        for key, text in label_faults(registers, arrays, sidecar):
            problems.append(Problem(sidecar_name, line_of_key(sidecar_lines, key), text))
        for key, text in serving_faults(RegisterMap(model, registers, sidecar.facts)):
            problems.append(Problem(sidecar_name, line_of_key(sidecar_lines, key), text))
    for table in sidecar.facts.mirrored:
        if any(register.table is table for register in registers.values()):
            text = f"mirrors: the map has registers of its own in {table}"
            problems.append(Problem(sidecar_name, 0, text))
    if problems:
        raise MapError(problems)
    for labelled, bits in sidecar.bits.items():
        for name in arrays.get(labelled, (labelled,)):
            registers[name] = replace(registers[name], bits=bits)
    for labelled, choices in sidecar.choices.items():
        for name in arrays.get(labelled, (labelled,)):
            registers[name] = replace(registers[name], choices=choices)
    return RegisterMap(model, registers, sidecar.facts, arrays)


def _entries_of(
    rows: Sequence[Row], file_name: str, problems: list[Problem]
) -> Iterator[tuple[int, Register]]:
    """Give the registers of the good rows with their lines, knit together."""
    by_name: dict[str, Register | None] = {}
    for row in rows:
        for name in row.element_names:
            by_name.setdefault(name, row.register)
    for row in rows:
        register = row.register
        if row.scale_name:
            factor = by_name.get(row.scale_name)
            if row.scale_name not in by_name:
                hint = did_you_mean(row.scale_name, by_name)
                text = f"scale: {row.scale_name!r} is neither a number nor a register{hint}"
                problems.append(Problem(file_name, row.line, text))
            elif factor is not None and not _is_factor(factor):
                text = f"scale: {row.scale_name} is no unscaled s16, so it cannot scale others"
                problems.append(Problem(file_name, row.line, text))
            elif register is not None:
                register = replace(register, scale_by=factor)
        if register is None:
            continue
        for index, name in enumerate(row.element_names):
            address = register.address + index * register.words
            yield row.line, replace(register, name=name, address=address)


def _is_factor(register: Register) -> bool:
    return register.kind is Kind.S16 and not register.is_scaled and register.scale_by is None


def _cells_of(
    csv_text: str, file_name: str, problems: list[Problem]
) -> Iterator[tuple[int, list[str]]]:
    """Give the cells of the lines that are no remarks, with the numbers of these lines."""
    lines = csv_text.removeprefix("\ufeff").splitlines(keepends=True)
    header_line = next((line for line in lines if line.strip() and not _is_comment(line)), "")
    # Spreadsheets that write decimal commas separate their cells by semicolons.
    delimiter = ";" if header_line.count(";") > header_line.count(",") else ","
    text = io.StringIO("".join(lines), newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    end = 0
    try:
        for cells in reader:
            line, end = end + 1, reader.line_num
            if any(cell.strip() for cell in cells) and not _is_comment(cells[0]):
                yield line, cells
    except csv.Error as error:  # A quote that never ends, or one in the middle of a quoted cell.
        problems.append(Problem(file_name, end + 1, f"no proper CSV from here on: {error}"))


def _rows_of(csv_text: str, file_name: str, problems: list[Problem]) -> Iterator[Row]:
    """Give the rows, noting what is wrong with them."""
    columns: list[str] | None = None
    for line, cells in _cells_of(csv_text, file_name, problems):
        if columns is None:
            columns = [cell.strip().lower() for cell in cells]
            header_problems = [Problem(file_name, line, text) for text in _header_faults(columns)]
            problems += header_problems
            if header_problems:
                return
            continue
        row = Row(line, dict(zip(columns, (cell.strip() for cell in cells), strict=False)))
        if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
            row.faults.append(f"{len(cells)} cells for {len(columns)} columns (a comma too many?)")
        row.read()
        problems += [Problem(file_name, line, fault) for fault in row.faults]
        yield row
    if columns is None and not problems:
        problems.append(Problem(file_name, 0, f"no header; it begins {','.join(COLUMNS[:4])}"))


def _is_comment(text: str) -> bool:
    return text.lstrip().startswith("#")


def _header_faults(columns: list[str]) -> Iterator[str]:
    for column in columns:
        if column and column not in COLUMNS:
            yield f"unknown column {column!r}{did_you_mean(column, COLUMNS)}"
    for column in sorted({column for column in columns if column and columns.count(column) > 1}):
        yield f"column {column} is there {columns.count(column)} times"
    for column in REQUIRED:
        if column not in columns:
            yield f"column {column} is missing"
