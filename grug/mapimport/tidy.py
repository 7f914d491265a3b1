"""Tidies a table as it came out of a document, before anybody asks what its columns are."""

from __future__ import annotations

import re
from collections.abc import Sequence

from grug.mapimport.columns import is_address
from grug.mapimport.tables import Cells
from grug.mapimport.words import squeeze

_BROKEN_WORD = re.compile(r"(?<=[a-z])-\s*\n\s*(?=[a-z])|(?<=[A-Z])-\s*\n\s*(?=[A-Z])")


def tidy(rows: Sequence[Cells]) -> tuple[Cells, ...]:
    """Join words that were broken at the end of a line, and drop columns that hold nothing.

    Lines that are drawn twice, a little apart, make columns in which only a title stands, if
    anything. The title belongs to the nearest column beside it that has none.
    """
    width = max((len(row) for row in rows), default=0)
    joined = [[_joined(cell) for cell in row] + [""] * (width - len(row)) for row in rows]
    data = [row for row in joined if _is_data(row)]
    if not data:
        return tuple(tuple(row) for row in joined)
    kept = [column for column in range(width) if any(row[column] for row in data)]
    tidied = []
    for row in joined:
        cells = [row[column] for column in kept]
        for column in range(width):
            text = row[column]
            if text and column not in kept:
                _place(cells, text, kept, column)
        tidied.append(tuple(cells))
    return tuple(tidied)


def _joined(cell: str | None) -> str | None:
    return None if cell is None else squeeze(_BROKEN_WORD.sub("", cell))


def _is_data(row: Sequence[str | None]) -> bool:
    texts = [text for text in row if text]
    return len(texts) > 1 and any(is_address(text) for text in texts)


def _place(cells: list[str | None], text: str, kept: Sequence[int], column: int) -> None:
    """Put a title into the nearest kept column without one: to the left, else to the right."""
    left = [index for index, each in enumerate(kept) if each < column]
    right = [index for index, each in enumerate(kept) if each > column]
    for index in (*left[-1:], *right[:1]):
        if not cells[index]:
            cells[index] = text
            return
