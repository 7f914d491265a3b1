"""Setting single keys of a house.toml, and leaving every other character as it is. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from grug.config.toml_lines import locate

_NUMBER_OR_TEXT = r"(\"[^\"\n]*\"|'[^'\n]*'|[^#\s]+)"


class EditError(ValueError):
    """The file says it in a way that is not edited here; the text says which."""


def with_keys(text: str, table: tuple[str, ...], keys: Mapping[str, float | str]) -> str:
    """Set keys of one table that has a header of its own.

    Args:
        text: a whole TOML document.
        table: path of the table, such as ``("inverter", "solis1")``.
        keys: their values; a key that is there already keeps its place and its comment.

    Raises:
        EditError: the document or the table is written in another way, or is not there.
    """
    name = ".".join(table)
    try:
        before = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise EditError(f"this is no TOML: {error}") from error
    where = locate(text)
    header_line = where.line_of(table)
    lines = text.splitlines(keepends=True)
    if table not in where or not _is_header(lines[header_line - 1], table):
        raise EditError(f"there is no line [{name}]")
    end = "\r\n" if lines[header_line - 1].endswith("\r\n") else "\n"
    new = []
    for key, value in keys.items():
        if (*table, key) in where:
            _replace(lines, where.line_of((*table, key)) - 1, key, value)
        else:
            new.append(f"{key} = {_shown(value)}{end}")
    if not lines[header_line - 1].endswith("\n"):
        lines[header_line - 1] += end
    lines[header_line:header_line] = new
    after = "".join(lines)
    if _loaded(after) != _changed(before, table, keys):
        raise EditError(f"the keys of [{name}] are written in an unusual way")
    return after


def _is_header(line: str, table: tuple[str, ...]) -> bool:
    """Whether a line opens this table, and nothing else."""
    found = re.match(r"\s*\[([^\[\]]+)\]\s*(#.*)?$", line.rstrip("\r\n"))
    if found is None:
        return False
    opened = _loaded(f"[{found[1]}]")
    for part in table:
        if not isinstance(opened, dict) or list(opened) != [part]:
            return False
        opened = opened[part]
    return bool(opened == {})


def _replace(lines: list[str], index: int, key: str, value: float | str) -> None:
    """Put another value in its place, with what stands around it."""
    pattern = rf"^(\s*(?:{re.escape(key)}|\"{re.escape(key)}\"|'{re.escape(key)}')\s*=\s*)"
    found = re.match(pattern + _NUMBER_OR_TEXT, lines[index])
    if found is None:
        raise EditError(f"line {index + 1} sets {key} in an unusual way")
    lines[index] = found[1] + _shown(value) + lines[index][found.end() :]


def _shown(value: float | str) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value!r}"


def _loaded(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _changed(
    document: dict[str, Any], table: tuple[str, ...], keys: Mapping[str, float | str]
) -> dict[str, Any]:
    """The document as it shall be."""
    if not table:
        return document | dict(keys)
    return document | {table[0]: _changed(document[table[0]], table[1:], keys)}
