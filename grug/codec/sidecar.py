"""Reads the TOML beside a map's CSV: what holds for the device as a whole, and labels of bits.

::

    title = "Eastron SDM630"
    manufacturer = "Eastron"
    source = "where the registers were found"
    verified = "how they were checked"
    words_max = 80                  # most words in one read
    gap = 0.1                       # least silence before a request, in s
    holes = "learned"               # or "never": addresses between registers are not read over
    mirrors = ["holding_register"]  # tables that show the input registers too
    write_function = "shortest"     # or "multiple": function 16 even for one word
    identify = "serial_number"      # the register that tells the model

    [serial]                        # as it leaves the factory
    baudrate = 9600
    framing = "8N1"
    unit = 1

    [bits.operating_status]         # of a register that is a bit field
    0 = "Normal operation"
    8 = { label = "Load fault", active = "low" }
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from grug.codec.hints import did_you_mean
from grug.codec.registers import Bit, DeviceFacts
from grug.errors import Problem
from grug.model import Table

_TEXTS = ("title", "manufacturer", "source", "verified", "identify")
_WORD_TABLES = (Table.HOLDING_REGISTER.value, Table.INPUT_REGISTER.value)
_HOLES = ("learned", "never")
_WRITE_FUNCTIONS = ("shortest", "multiple")
_FRAMING = re.compile(r"[78][NEO][12]")


class _Reader:
    """Takes values out of the parsed TOML and keeps the problems met on the way."""

    def __init__(self, text: str, file_name: str) -> None:
        self.lines = text.splitlines()
        self.file_name = file_name
        self.problems: list[Problem] = []

    def complain(self, key: str, text: str) -> None:
        """Note a problem at the first line that sets the key."""
        self.problems.append(Problem(self.file_name, line_of_key(self.lines, key), text))

    def take(
        self,
        table: dict[str, Any],
        key: str,
        default: Any,
        is_good: Callable[[Any], bool],
        want: str,
    ) -> Any:
        """Remove a key and give its value, or the default when there is none or it is wrong."""
        value = table.pop(key, default)
        if is_good(value):
            return value
        hint = did_you_mean(value, want.split(" or ")) if isinstance(value, str) else ""
        self.complain(key, f"{key}: {value!r} is not {want}{hint}")
        return default


def line_of_key(lines: list[str], key: str) -> int:
    """1-based line that sets a TOML key or opens a table of that name; 0 when there is none."""
    opens = re.compile(rf"\s*(?:{re.escape(key)}\s*=|\[(?:\w+\.)*{re.escape(key)}\])")
    return next((number for number, line in enumerate(lines, 1) if opens.match(line)), 0)


def parse_sidecar(
    text: str, file_name: str
) -> tuple[DeviceFacts, Mapping[str, tuple[Bit, ...]], list[Problem]]:
    """Read a sidecar; empty text gives the defaults.

    Returns:
        The facts, the labels of bits by register name, and all that is wrong.
    """
    reader = _Reader(text, file_name)
    try:
        root = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"at line (\d+)", str(error))
        line = int(where[1]) if where else len(reader.lines)  # Else it is "at end of document".
        return DeviceFacts(), {}, [Problem(file_name, line, f"not valid TOML: {error}")]
    facts = _facts_of(root, reader)
    bits = _bits_of(root.pop("bits", {}), reader)
    known = (*_TEXTS, "words_max", "gap", "holes", "mirrors", "write_function", "serial", "bits")
    for key in root:
        reader.complain(key, f"unknown key {key!r}{did_you_mean(key, known)}")
    return facts, bits, reader.problems


def _facts_of(root: dict[str, Any], reader: _Reader) -> DeviceFacts:
    def text_of(key: str) -> str:
        value: str = reader.take(root, key, "", lambda value: isinstance(value, str), "a text")
        return " ".join(value.split())

    def choice_of(key: str, choices: tuple[str, ...]) -> Any:
        return reader.take(root, key, choices[0], lambda v: v in choices, " or ".join(choices))

    texts = {key: text_of(key) for key in _TEXTS}
    mirrors = reader.take(
        root,
        "mirrors",
        [],
        lambda value: isinstance(value, list) and all(item in _WORD_TABLES for item in value),
        f"a list of {' or '.join(_WORD_TABLES)}",
    )
    serial = reader.take(root, "serial", {}, lambda value: isinstance(value, dict), "a table")
    facts = DeviceFacts(
        **texts,
        words_max=reader.take(root, "words_max", 125, _is_whole(1, 125), "a number from 1 to 125"),
        gap_s=float(reader.take(root, "gap", 0.0, _is_seconds, "seconds from 0 to 10")),
        holes=choice_of("holes", _HOLES),
        write_function=choice_of("write_function", _WRITE_FUNCTIONS),
        mirrored=tuple(Table(table) for table in mirrors),
        baudrate=reader.take(serial, "baudrate", 9600, _is_whole(300, 921600), "a speed in baud"),
        framing=reader.take(serial, "framing", "8N1", _is_framing, "something like 8N1"),
        unit_id=reader.take(serial, "unit", 1, _is_whole(1, 247), "a number from 1 to 247"),
    )
    for key in serial:
        hint = did_you_mean(key, ("baudrate", "framing", "unit"))
        reader.complain(key, f"unknown key {key!r} in [serial]{hint}")
    return facts


def _bits_of(tables: Any, reader: _Reader) -> dict[str, tuple[Bit, ...]]:
    if not isinstance(tables, dict):
        reader.complain("bits", "bits: one table per register is needed, as [bits.<register>]")
        return {}
    labels: dict[str, tuple[Bit, ...]] = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            reader.complain(name, f"bits.{name}: a table of bit = label is needed")
            continue
        bits = [_bit_of(name, key, entry, reader) for key, entry in table.items()]
        labels[name] = tuple(sorted((bit for bit in bits if bit), key=lambda bit: bit.bit))
    return labels


def _bit_of(name: str, key: str, entry: Any, reader: _Reader) -> Bit | None:
    if isinstance(entry, str):
        entry = {"label": entry}
    is_good = (
        key.isdecimal()
        and int(key) < 64
        and isinstance(entry, dict)
        and isinstance(entry.get("label"), str)
        and entry.keys() <= {"label", "active"}
        and entry.get("active", "high") in ("high", "low")
    )
    if not is_good:
        want = '3 = "label" or 3 = { label = "label", active = "low" }'
        reader.complain(name, f"bits.{name}.{key}: not of the form {want}")
        return None
    return Bit(int(key), entry["label"], entry.get("active") == "low")


def _is_whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 10


def _is_framing(value: Any) -> bool:
    return isinstance(value, str) and _FRAMING.fullmatch(value) is not None
