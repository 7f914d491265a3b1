"""Finds the lines of things in files whose parsers do not tell them (TOML and JSON)."""

from __future__ import annotations


class LineFinder:
    """Finds quoted texts in the order in which they are asked for, then from the start."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def line_of(self, quoted: str) -> int:
        """1-based line of the next place that has this text in quotes; 0 when there is none."""
        if not quoted:
            return 0
        found = -1
        for quote in ('"', "'"):
            needle = f"{quote}{quoted}{quote}"
            found = self._text.find(needle, self._position)
            if found < 0:
                found = self._text.find(needle)
            if found >= 0:
                break
        if found < 0:
            return 0
        self._position = found + 1
        return self._text.count("\n", 0, found) + 1
