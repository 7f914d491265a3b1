"""Makes a map of imported rows, and parses it before anybody gets it.

What the parser of maps finds is told at the line of the source that it comes from, together with
what the importer found.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from grug.codec.csvmap import COLUMNS, parse_map
from grug.codec.registers import Access, DeviceFacts, Kind, RegisterMap, WordOrder
from grug.errors import MapError, Problem
from grug.mapimport.merge import merge_rows
from grug.mapimport.names import name_rows
from grug.mapimport.rows import Import, ImportedRow
from grug.mapimport.words import plain, squeeze

_FIRST_ROW_LINE = 2
"""Line 1 of the CSV is its header."""


@dataclass(frozen=True, slots=True)
class MadeMap:
    """A map as text, checked."""

    register_map: RegisterMap
    csv_text: str
    sidecar_text: str
    """Empty when none was asked for."""
    notes: tuple[str, ...]
    """What was taken for what, and left out on purpose."""
    doubts: tuple[Problem, ...]
    """Rows of the CSV that somebody should look at."""
    left_out: tuple[Problem, ...]
    """Rows of the source that are not in the map."""


@dataclass(slots=True)
class _Named:
    row: ImportedRow
    name: str
    alias: str


def make_map(
    model: str,
    imported: Import,
    *,
    unit_id: int | None = None,
    with_sidecar: bool = False,
    skip_bad: bool = False,
) -> MadeMap:
    """Make the map.

    Args:
        model: its name.
        imported: rows of any importer.
        unit_id: takes the rows of this unit alone, where the source knows several.
        with_sidecar: whether to write down the device's facts and the labels.
        skip_bad: leaves out what cannot be in a map, instead of refusing all of it.

    Raises:
        MapError: with all that is wrong.
    """
    problems = list(imported.problems)
    notes = list(imported.notes)
    left_out = list(imported.left_out)
    rows = _rows_of_unit(imported, unit_id, problems)
    rows, aliases, merge_notes = merge_rows(rows)
    notes += merge_notes
    named = _named(rows, aliases)
    is_tolerant = imported.is_tolerant or skip_bad
    facts = replace(
        imported.facts,
        source=f"imported from {imported.source.rpartition('/')[2]}",
    )
    register_map, named, bad = _checked(model, named, facts, with_sidecar, is_tolerant, imported)
    if is_tolerant:
        left_out += bad
    else:
        problems += bad
    if skip_bad and named:
        left_out += problems
        problems = []
    if not named and not problems:
        problems.append(Problem(imported.source, 0, "nothing in it can be in a map"))
    if problems or register_map is None:
        raise MapError(sorted(problems, key=lambda problem: problem.line))
    labels = sum(bool(each.row.bits or each.row.choices) for each in named)
    if labels and not with_sidecar:
        notes.append(f"{labels} registers have labels, which only --sidecar writes down")
    return MadeMap(
        register_map,
        _csv_text(named),
        _sidecar_text(model, named, facts) if with_sidecar else "",
        tuple(notes),
        tuple(_doubts(model, named)),
        tuple(left_out),
    )


def doubts_text(made: MadeMap, source: str) -> str:
    """A list for a person to go through beside the document."""
    model = made.register_map.model
    lines = [f"Doubts about {model}.csv, imported from {source}", ""]
    lines += ["What was taken for what:", *(f"  {note}" for note in made.notes), ""]
    lines += [f"Rows to look at ({len(made.doubts)}):", *(f"  {each}" for each in made.doubts), ""]
    lines += [f"Left out ({len(made.left_out)}):", *(f"  {each}" for each in made.left_out)]
    return "\n".join(lines) + "\n"


def _rows_of_unit(
    imported: Import, unit_id: int | None, problems: list[Problem]
) -> list[ImportedRow]:
    units = sorted({row.unit_id for row in imported.rows if row.unit_id is not None})
    if unit_id is None:
        if len(units) > 1:
            listed = ", ".join(map(str, units))
            text = f"registers of several units ({listed}); choose one by --unit"
            problems.append(Problem(imported.source, 0, text))
        return imported.rows
    if units and unit_id not in units:
        listed = ", ".join(map(str, units))
        text = f"no registers of unit {unit_id}; there are those of {listed}"
        problems.append(Problem(imported.source, 0, text))
    return [row for row in imported.rows if row.unit_id in (unit_id, None)]


def _named(rows: Sequence[ImportedRow], aliases: Mapping[int, int]) -> list[_Named]:
    names, name_doubts = name_rows(rows)
    by_source_name: dict[str, str] = {}
    for row, name in zip(rows, names, strict=True):
        by_source_name.setdefault(row.name, name)
    named = []
    for index, (row, name) in enumerate(zip(rows, names, strict=True)):
        doubt = ""
        if row.scale_by and (row.scale_by not in by_source_name or not row.kind.is_integer):
            doubt = f"its scale {row.scale_by} left out"
            row = replace(row, scale_by="")
        elif row.scale_by:
            row = replace(row, scale_by=by_source_name[row.scale_by])
        alias = names[aliases[index]] if index in aliases else ""
        named.append(_Named(row.doubting(name_doubts[index], doubt), name, alias))
    return named


def _checked(
    model: str,
    named: list[_Named],
    facts: DeviceFacts,
    with_sidecar: bool,
    is_tolerant: bool,
    imported: Import,
) -> tuple[RegisterMap | None, list[_Named], list[Problem]]:
    """Parse the map; where that is tolerated, again without the rows that are wrong.

    Returns:
        The map if there is one, the rows in it, and what is wrong with the others.
    """
    found: list[Problem] = []
    while named:
        sidecar = _sidecar_text(model, named, facts) if with_sidecar else ""
        try:
            return parse_map(model, _csv_text(named), sidecar, f"{model}.csv"), named, found
        except MapError as error:
            bad = set()
            for problem in error.problems:
                index = problem.line - _FIRST_ROW_LINE
                is_row = problem.file.endswith(".csv") and 0 <= index < len(named)
                row = named[index].row if is_row else None
                bad |= {index} if is_row else set()
                found.append(_at_source(problem, row, named, imported.source))
            if not is_tolerant or not bad:
                return None, named, found
            named = [each for index, each in enumerate(named) if index not in bad]
    return None, [], found


def _at_source(
    problem: Problem, row: ImportedRow | None, named: Sequence[_Named], source: str
) -> Problem:
    """Tell a problem of the map at the place of the source where it comes from."""
    if row is None:
        return problem

    def source_line(match: re.Match[str]) -> str:
        other = named[int(match[1]) - _FIRST_ROW_LINE].row
        return f"line {other.line}" if other.line else other.place

    text = re.sub(r"\bline (\d+)", source_line, problem.text)
    return Problem(source, row.line, f"{row.place}: {text}" if row.place else text)


def _csv_text(named: Sequence[_Named]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for each in named:
        writer.writerow(_cells(each))
    return file.getvalue()


def _cells(named: _Named) -> dict[str, str]:
    row = named.row
    scale = row.scale_by or ("" if row.scale == 1 else plain(row.scale))
    return {
        "name": named.name,
        "table": row.table.value,
        "address": str(row.address),
        "kind": row.kind.value,
        "words": str(row.words) if row.kind is Kind.TEXT else "",
        "count": str(row.count) if row.count != 1 else "",
        "order": row.order.value if row.order is not WordOrder.ABCD else "",
        "scale": scale,
        "offset": plain(row.offset) if row.offset else "",
        "unit": _clean(row.unit),
        "decimals": str(row.decimals) if row.decimals else "",
        "access": row.access.value if row.access is not Access.READ else "",
        "invalid": " ".join(_sentinel(number) for number in row.invalid),
        "min": "" if row.minimum is None else plain(row.minimum),
        "max": "" if row.maximum is None else plain(row.maximum),
        "alias": named.alias,
        "note": _clean(row.note),
    }


def _sentinel(number: int) -> str:
    return f"0x{number:X}" if number > 255 else str(number)


def _clean(text: str) -> str:
    """One line, without characters that nobody can see."""
    return "".join(character for character in squeeze(text) if character.isprintable())


def _sidecar_text(model: str, named: Sequence[_Named], facts: DeviceFacts) -> str:
    default = DeviceFacts()
    lines = [
        f"title = {_quoted(facts.title or model)}",
        f"manufacturer = {_quoted(facts.manufacturer)}",
        f"source = {_quoted(facts.source)}",
        'verified = "not checked"',
    ]
    if facts.words_max != default.words_max:
        lines.append(f"words_max = {facts.words_max}")
    if facts.gap_s != default.gap_s:
        lines.append(f"gap = {facts.gap_s:f}")
    if (facts.baudrate, facts.framing) != (default.baudrate, default.framing):
        lines += ["", "[serial]"]
        lines += [f"baudrate = {facts.baudrate}", f"framing = {_quoted(facts.framing)}"]
    for each in named:
        lines += _label_lines(each)
    return "\n".join(lines) + "\n"


def _label_lines(named: _Named) -> Iterator[str]:
    """The labels of one register; one that stands there twice is told apart by its number."""
    row = named.row
    if row.bits:
        yield from ("", f"[bits.{named.name}]")
        for bit in row.bits:
            label = _quoted(bit.label)
            low = f'{{ label = {label}, active = "low" }}'
            yield f"{bit.bit} = {low if bit.active_low else label}"
    elif row.choices:
        yield from ("", f"[enums.{named.name}]")
        smallest, largest = row.kind.raw_range
        used: set[str] = set()
        for choice in sorted(set(row.choices), key=lambda choice: choice.number):
            text = _clean(choice.label)
            text = f"{text} ({choice.number})" if text in used else text
            used.add(text)
            if smallest <= choice.number <= largest:
                yield f"{choice.number} = {_quoted(text)}"


def _quoted(text: str) -> str:
    return json.dumps(_clean(text), ensure_ascii=False)


def _doubts(model: str, named: Sequence[_Named]) -> Iterator[Problem]:
    for line, each in enumerate(named, _FIRST_ROW_LINE):
        place = each.row.place or (f"line {each.row.line}" if each.row.line else "")
        for doubt in each.row.doubts:
            text = f"{each.name}: {doubt}" + (f" ({place})" if place else "")
            yield Problem(f"{model}.csv", line, text)
