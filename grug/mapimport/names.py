"""Gives every row a name that can be typed, and that no other has."""

from __future__ import annotations

import keyword
from collections import Counter
from collections.abc import Sequence

from grug.mapimport.rows import ImportedRow
from grug.mapimport.words import identifier
from grug.model import Table

_WRITABLE = (Table.COIL, Table.HOLDING_REGISTER)


def name_rows(rows: Sequence[ImportedRow]) -> tuple[list[str], list[str]]:
    """Make identifiers.

    A setting that is called like a reading gets ``_setting`` behind it; other rows of the same name
    are numbered.

    Returns:
        The names, and a doubt for each row, empty where its name is its own.
    """
    wanted = [_wanted(row) for row in rows]
    doubts = [
        "" if identifier(row.name) else f"no name can be made of {row.name!r}" for row in rows
    ]
    readings = {name for name, row in zip(wanted, rows, strict=True) if row.table not in _WRITABLE}
    for index, row in enumerate(rows):
        if row.table in _WRITABLE and wanted[index] in readings:
            wanted[index] += "_setting"
    counts = Counter(wanted)
    taken: set[str] = set()
    names = []
    for index, row in enumerate(rows):
        name, number = wanted[index], 1
        while taken & _elements(name, row) or (number > 1 and name in counts):
            number += 1
            name = f"{wanted[index]}_{number}"
        if number > 1:
            doubts[index] = f"there are {counts[wanted[index]]} rows of this name; this is {name}"
        taken |= _elements(name, row)
        names.append(name)
    return names, doubts


def _wanted(row: ImportedRow) -> str:
    name = identifier(row.name) or f"{row.table.value.split('_')[0]}_{row.address}"
    return f"r_{name}" if keyword.iskeyword(name) else name


def _elements(name: str, row: ImportedRow) -> set[str]:
    """All names that a row takes: an array has one for each of its values."""
    if row.count == 1:
        return {name}
    return {name, *(f"{name}_{number}" for number in range(1, min(row.count, 1000) + 1))}
