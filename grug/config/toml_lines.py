"""Where the keys of a TOML text are, so that a complaint can name its line.

``tomllib`` gives values without positions. This walks a text that ``tomllib`` has already accepted
and notes the line of every table header, key and array element. It never judges the text.
"""

from __future__ import annotations

import bisect
import re
import tomllib
from collections.abc import Mapping
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys from the top of the document; array elements by their 0-based index."""

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")'
    r"|'''.*?'{3,5}(?!')"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


class TomlLines:
    """Line numbers of one document."""

    def __init__(self, lines: Mapping[KeyPath, int]) -> None:
        self._lines = lines

    def __contains__(self, path: KeyPath) -> bool:
        """Whether the document says something at exactly this path."""
        return path in self._lines

    def line_of(self, path: KeyPath) -> int:
        """The 1-based line of a key, or of the nearest table around it; 0 when there is none."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 0)


def locate(text: str) -> TomlLines:
    """Find all keys of a valid TOML document.

    Args:
        text: a document that ``tomllib.loads`` accepts; anything else gives nonsense.
    """
    return TomlLines(_Walk(text).document())


def line_of_syntax_error(text: str, error: tomllib.TOMLDecodeError) -> int:
    """The 1-based line that ``tomllib`` stumbled over."""
    found = re.search(r"at line (\d+)", str(error))
    return int(found[1]) if found else max(1, text.rstrip().count("\n") + 1)


class _Walk:
    """One pass over a document."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._ends = [match.start() for match in re.finditer("\n", text)]
        self._lines: dict[KeyPath, int] = {}
        self._elements: dict[KeyPath, int] = {}
        """How many elements each array of tables has so far."""

    def document(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self._skip_space()
        while self._at < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._header(2)
            elif self._text.startswith("[", self._at):
                table = self._header(1)
            else:
                self._pair(table)
            self._skip_space()
        return self._lines

    def _skip_space(self) -> None:
        self._take(_SPACE)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None, "the document is valid TOML"
        self._at = match.end()
        return match[0]

    def _note(self, path: KeyPath) -> None:
        """Note the current line for a path, unless it was mentioned before."""
        self._lines.setdefault(path, bisect.bisect_left(self._ends, self._at) + 1)

    def _header(self, brackets: int) -> KeyPath:
        self._at += brackets
        self._skip_space()
        path: KeyPath = ()
        keys = self._keys()
        for depth, key in enumerate(keys, 1):
            path += (key,)
            self._note(path)
            if brackets == 2 and depth == len(keys):
                self._elements[path] = self._elements.get(path, 0) + 1
            if path in self._elements:  # A header speaks of the array's latest element.
                path += (self._elements[path] - 1,)
                self._note(path)
        if brackets == 1:  # An earlier header may have implied this table; its own line is better.
            self._lines.pop(path)
            self._note(path)
        self._skip_space()
        self._at += brackets
        return path

    def _keys(self) -> list[str]:
        keys = [self._key()]
        self._skip_space()
        while self._text.startswith(".", self._at):
            self._at += 1
            self._skip_space()
            keys.append(self._key())
            self._skip_space()
        return keys

    def _key(self) -> str:
        if self._text[self._at] not in "\"'":
            return self._take(_BARE_KEY)
        key: str = tomllib.loads(f"key = {self._take(_STRING)}")["key"]
        return key

    def _pair(self, table: KeyPath) -> None:
        start = self._at
        keys = self._keys()
        end, self._at = self._at, start
        for depth in range(len(keys)):
            self._note((*table, *keys[: depth + 1]))
        self._at = end + 1  # Behind the equals sign.
        self._skip_space()
        self._value((*table, *keys))

    def _value(self, path: KeyPath) -> None:
        first = self._text[self._at]
        if first in "\"'":
            self._take(_STRING)
        elif first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._take(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        while self._skip_to_item("]"):
            self._note((*path, index))
            self._value((*path, index))
            index += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while self._skip_to_item("}"):
            self._pair(path)

    def _skip_to_item(self, closing: str) -> bool:
        """Go to the next item of an array or inline table; False, and behind it, at its end."""
        self._skip_space()
        if self._text[self._at] == ",":
            self._at += 1
            self._skip_space()
        if self._text[self._at] == closing:
            self._at += 1
            return False
        return True
