"""Finds a table that has no lines: rows and columns by where the words of a page stand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from grug.mapimport.columns import titled_columns

_ROW_TOLERANCE = 3.0
_GAP_OF_CELLS = 7.0
"""Points between words from which on they are of two cells; a space at 10 points has 3."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word on a page; points from its left and upper edge."""

    text: str
    left: float
    right: float
    top: float


@dataclass(slots=True)
class _Cell:
    text: str
    left: float
    right: float


def table_of_words(words: Iterable[Word]) -> list[tuple[str, ...]]:
    """Make the table that begins with the first line that reads like titles of its columns.

    Returns:
        Rows of cells, the titles first; nothing when no line does.
    """
    lines = [_cells_of(line) for line in _lines_of(words)]
    for index, header in enumerate(lines):
        texts = tuple(cell.text for cell in header)
        if len(header) >= 2 and titled_columns([texts]) is not None:
            return [texts, *(_placed(line, header) for line in lines[index + 1 :])]
    return []


def _lines_of(words: Iterable[Word]) -> list[list[Word]]:
    lines: list[list[Word]] = []
    for word in sorted(words, key=lambda word: (word.top, word.left)):
        if lines and abs(word.top - lines[-1][0].top) <= _ROW_TOLERANCE:
            lines[-1].append(word)
        else:
            lines.append([word])
    return lines


def _cells_of(line: list[Word]) -> list[_Cell]:
    cells: list[_Cell] = []
    for word in sorted(line, key=lambda word: word.left):
        if cells and word.left - cells[-1].right < _GAP_OF_CELLS:
            cells[-1].text += f" {word.text}"
            cells[-1].right = word.right
        else:
            cells.append(_Cell(word.text, word.left, word.right))
    return cells


def _placed(line: Sequence[_Cell], header: Sequence[_Cell]) -> tuple[str, ...]:
    """Put each cell under the title that it overlaps most, or else the nearest."""
    row = [""] * len(header)
    for cell in line:

        def closeness(column: int, cell: _Cell = cell) -> float:
            title = header[column]
            return min(cell.right, title.right) - max(cell.left, title.left)

        column = max(range(len(header)), key=closeness)
        row[column] = f"{row[column]} {cell.text}".strip()
    return tuple(row)
