"""A table as it was found in a document: cells of text, before anybody knows what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Cells: TypeAlias = tuple[str | None, ...]
"""One row; None where a cell of another row or column covers the place, ``""`` where it is
empty."""


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A table of a document."""

    page: int
    """1-based."""
    number: int
    """On its page, 1-based."""
    rows: tuple[Cells, ...]
    context: str = ""
    """What stands above the table, on the same page."""
    lines: tuple[int, ...] = ()
    """Of the source, where it has lines: one for each row."""

    @property
    def place(self) -> str:
        """For messages."""
        return "the table" if self.lines else f"page {self.page}, table {self.number}"

    def line_of(self, row: int) -> int:
        """1-based line of a 0-based row; 0 where there are none."""
        return self.lines[row] if row < len(self.lines) else 0
