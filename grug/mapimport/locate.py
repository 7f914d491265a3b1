"""Finds the column of a map's CSV that a problem speaks of, so that editors can jump there."""

from __future__ import annotations

import re
from collections.abc import Sequence

from grug.errors import Problem

_CELL = re.compile(r'\s*(?:"(?:[^"]|"")*"?[^,;]*|[^,;]*)')


def column_of(problem: Problem, lines: Sequence[str]) -> int:
    """1-based column where the cell begins that the problem is about; 1 when it is the whole row.

    Args:
        problem: as the parser of maps tells it; its text begins with the name of the column.
        lines: of the file.
    """
    if not 1 <= problem.line <= len(lines):
        return 1
    line = lines[problem.line - 1]
    name = problem.text.partition(":")[0]
    if problem.file.endswith(".csv"):
        header = next((text for text in lines if text.strip() and text.strip()[0] != "#"), "")
        titles = [header[start:end].strip().strip('"').lower() for start, end in _cells(header)]
        if name in titles:
            cells = _cells(line)
            index = titles.index(name)
            start = cells[index][0] if index < len(cells) else len(line)
            return 1 + start + _blanks(line[start:])
    return 1 + _blanks(line)


def _cells(line: str) -> list[tuple[int, int]]:
    """Where the cells of a line begin and end; of a cell with several lines, as far as this one."""
    cells, position = [], 0
    while True:
        match = _CELL.match(line, position)
        end = match.end() if match else len(line)
        cells.append((position, end))
        if end >= len(line):
            return cells
        position = end + 1


def _blanks(text: str) -> int:
    return len(text) - len(text.lstrip()) if text.strip() else 0
