"""From the raw tables of house.toml to its types, gathering every problem on the way.

Nothing here raises on bad input: what cannot be used becomes a placeholder, its path is remembered
as broken, and whoever asked refuses the whole file in the end. So one look shows all mistakes.
"""

from __future__ import annotations

import enum
import math
import re
import types
import typing
from collections.abc import Iterable
from typing import Any

import msgspec

from grug.codec.hints import did_you_mean
from grug.config.toml_lines import KeyPath, TomlLines
from grug.config.types import Seconds, Struct
from grug.errors import Problem
from grug.model import Priority

ALIASES = {
    "baud": "baudrate",
    "baud_rate": "baudrate",
    "speed": "baudrate",
    "device": "port",
    "path": "port",
    "comset": "framing",
    "mode": "framing",
    "bytesize": "framing",
    "parity": "framing",
    "stopbits": "framing",
    "response_timeout": "timeout",
    "wait": "timeout",
    "latency": "turnaround",
    "response_time": "turnaround",
    "delay": "gap",
    "connectdelay": "settle",
    "slave": "unit",
    "slave_id": "unit",
    "device_id": "unit",
    "unit_id": "unit",
    "id": "unit",
    "address": "unit",
    "interval": "every",
    "period": "every",
    "scan_interval": "every",
    "model": "map",
    "names": "registers",
    "max_current": "limit",
    "current": "limit",
    "meter": "device",
    "url": "to",
    "dsn": "to",
}
"""What other programs call things. They are not accepted here, so that one file reads like another,
but whoever writes them is told ours."""

PRIORITIES = {
    "control": Priority.CONTROL,
    "normal": Priority.NORMAL,
    "background": Priority.BACKGROUND,
}
"""Priorities that a poll may have, by the names that the file uses; writes alone have a higher."""

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|h)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_DURATION_FORMS = "seconds as a number, or a text such as '200ms', '10s', '5min', '2h'"


class Report:
    """Problems and warnings of one file, in the order found."""

    def __init__(self, file_name: str, lines: TomlLines) -> None:
        self._file_name = file_name
        self._lines = lines
        self._broken: set[KeyPath] = set()
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def refuse(self, path: KeyPath, text: str) -> None:
        """Note a problem at a path; the path's value must not be used."""
        self._broken.add(path)
        self.problems.append(Problem(self._file_name, self._lines.line_of(path), text))

    def warn(self, path: KeyPath, text: str) -> None:
        """Note something that works, but that a person should know."""
        self.warnings.append(Problem(self._file_name, self._lines.line_of(path), text))

    def is_usable(self, *path: str | int) -> bool:
        """Whether nothing was refused at this path or around it."""
        return not any(path[:depth] in self._broken for depth in range(1, len(path) + 1))

    def line_of(self, path: KeyPath) -> int:
        """The line of a path, to point at from another line's problem."""
        return self._lines.line_of(path)


def quoted(name: str) -> str:
    """A name or text of the file, in quotes."""
    return f"'{name}'"


def parse_duration(raw: object) -> float | None:
    """A duration in seconds from what the file says; None when it says no duration."""
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return float(raw) if math.isfinite(raw) else None
    if isinstance(raw, str) and (match := _DURATION.fullmatch(raw.strip())):
        return float(match[1]) * _UNIT_S[match[2]]
    return None


def build(kind: Any, raw: object, path: KeyPath, report: Report) -> Any:
    """Turn a raw TOML value into a value of a type from grug.config.

    Args:
        kind: a Struct, ``dict[str, X]``, ``tuple[X, ...]``, ``X | None``, ``Seconds``,
            ``Priority``, a ``StrEnum``, a ``Literal`` of texts, ``str``, ``bool``, ``int`` or
            ``float``.
        raw: what tomllib made of it.
        path: where it is in the file.
        report: gets what is wrong.

    Returns:
        The value, or a placeholder of the type where the report says that it is broken.
    """
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
        return build(kind, raw, path, report)
    if origin is typing.Literal:
        return _build_choice(typing.get_args(kind), raw, path, report)
    if origin is dict:
        return _build_dict(typing.get_args(kind)[1], raw, path, report)
    if origin is tuple:
        return _build_tuple(typing.get_args(kind)[0], raw, path, report)
    if isinstance(kind, type) and issubclass(kind, Struct):
        return _build_struct(kind, raw, path, report)
    return _build_scalar(kind, raw, path, report)


def _build_struct(kind: type[Struct], raw: object, path: KeyPath, report: Report) -> Struct:
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    if not isinstance(raw, dict):
        report.refuse(path, f"{_place(path)} must be a table, not {_said(raw)}")
        raw = {}
    for key in raw:
        if key not in fields:
            report.refuse((*path, key), _unknown_key(key, path, fields))
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in raw:
            values[name] = build(field.type, raw[name], (*path, name), report)
        elif field.required:
            if report.is_usable(*path):
                what = f"{_place(path)} lacks {quoted(name)}"
                report.refuse((*path, name), what if path else f"there is no [{name}.NAME]")
            values[name] = _placeholder(field.type)
    return kind(**values)


def _build_choice(choices: tuple[str, ...], raw: object, path: KeyPath, report: Report) -> str:
    if isinstance(raw, str) and raw in choices:
        return raw
    hint = did_you_mean(raw, choices) if isinstance(raw, str) else ""
    wanted = ", ".join(map(quoted, choices))
    report.refuse(path, f"{_key(path)} must be one of {wanted}, not {_said(raw)}{hint}")
    return choices[0]


def _build_dict(kind: Any, raw: object, path: KeyPath, report: Report) -> dict[str, Any]:
    if not isinstance(raw, dict):
        what = "named tables" if isinstance(kind, type) and issubclass(kind, Struct) else "keys"
        report.refuse(path, f"{_place(path)} must hold {what}, such as [{path[-1]}.a]")
        return {}
    return {name: build(kind, value, (*path, name), report) for name, value in raw.items()}


def _build_tuple(kind: Any, raw: object, path: KeyPath, report: Report) -> tuple[Any, ...]:
    if not isinstance(raw, list):
        what = f"[{_place(path)}]" if issubclass(kind, Struct) else "a list"
        report.refuse(path, f"{quoted(str(path[-1]))} must be {what}, not {_said(raw)}")
        return ()
    return tuple(build(kind, value, (*path, i), report) for i, value in enumerate(raw))


def _build_scalar(kind: Any, raw: object, path: KeyPath, report: Report) -> Any:
    """One value that is no table and no list."""
    wanted = ""
    if kind is Seconds:
        if (duration_s := parse_duration(raw)) is not None:
            return Seconds(duration_s)
        wanted = f"a duration ({_DURATION_FORMS})"
    elif kind is Priority:
        if isinstance(raw, str) and raw in PRIORITIES:
            return PRIORITIES[raw]
        wanted = f"one of {', '.join(map(quoted, PRIORITIES))}"
    elif isinstance(kind, type) and issubclass(kind, enum.StrEnum):
        if isinstance(raw, str) and raw in set(kind):
            return kind(raw)
        near = did_you_mean(raw, map(str, kind)) if isinstance(raw, str) else ""
        report.refuse(path, f"{_key(path)} must be one of {', '.join(map(quoted, kind))}{near}")
        return _placeholder(kind)
    elif kind is bool:
        if isinstance(raw, bool):
            return raw
        wanted = "true or false"
    elif kind is float:
        if isinstance(raw, int | float) and not isinstance(raw, bool) and math.isfinite(raw):
            return float(raw)
        wanted = "a number"
    elif kind is int:
        if isinstance(raw, int) and not isinstance(raw, bool):
            return raw
        wanted = "a whole number"
    else:
        assert kind is str, f"no way to read {kind}"
        if isinstance(raw, str):
            return raw
        wanted = "a text in quotes"
    report.refuse(path, f"{_key(path)} must be {wanted}, not {_said(raw)}")
    return _placeholder(kind)


def _placeholder(kind: Any) -> Any:
    """Something of the type, for a value that was refused or is missing."""
    origin = typing.get_origin(kind) or kind
    if origin is Priority:
        return Priority.NORMAL
    if isinstance(origin, type) and issubclass(origin, enum.Enum):
        return next(iter(origin))
    return Seconds(0.0) if origin is Seconds else origin()


def _unknown_key(key: str, path: KeyPath, known: Iterable[str]) -> str:
    names = set(known)
    where = f" in {_place(path)}" if path else ""
    what = f"unknown key {quoted(key)}" if path else f"unknown table or key {quoted(key)}"
    if ALIASES.get(key) in names:
        return f"{what}{where}; did you mean {quoted(ALIASES[key])}?"
    return f"{what}{where}{did_you_mean(key, names)}"


def _place(path: KeyPath) -> str:
    """How the file heads the table at this path."""
    keys = ".".join(str(key) for key in path if isinstance(key, str))
    return f"[[{keys}]]" if path and isinstance(path[-1], int) else f"[{keys}]"


def _key(path: KeyPath) -> str:
    """The key at a path, or the list that an element is of."""
    if isinstance(path[-1], int):
        return f"element {path[-1] + 1} of {quoted(str(path[-2]))}"
    return quoted(path[-1])


def _said(raw: object) -> str:
    """What the file says instead, briefly."""
    match raw:
        case bool():
            return str(raw).lower()
        case str():
            return quoted(raw if len(raw) <= 40 else f"{raw[:37]}...")
        case int() | float():
            return str(raw)
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return f"the date or time {raw}"
