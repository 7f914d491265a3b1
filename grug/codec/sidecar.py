"""Reads the TOML beside a map's CSV: what holds for the device as a whole, and labels of values.

::

    title = "Eastron SDM630"
    manufacturer = "Eastron"
    source = "where the registers were found"
    verified = "how they were checked"
    words_max = 80                  # most words in one read
    bits_max = 2000                 # most bits in one read
    write_words_max = 123           # most words in one write
    gap = 0.1                       # least silence before a request, in s
    holes = "learned"               # or "never": addresses between registers are not read over
    mirrors = ["holding_register"]  # tables that show the input registers too
    write_function = "shortest"     # or "multiple": function 16 even for one word
    functions = [22, 23]            # it can write some bits of a register; write and read at once
    identify = "model"              # the register that tells the model; or, with what it reads:
    identify = { register = "model", values = [101, 103] }

    identity = ["serial_number"]    # registers that tell a unit, and its firmware, from another

    [barriers]                      # addresses, or first and last, never read on the way to others
    holding_register = [0x4103, [0x4105, 0x4108]]

    [serial]                        # as it leaves the factory
    baudrate = 9600
    framing = "8N1"
    unit = 1

    [fakemeter]                     # how grug serves it in a meter's place; docs/fakemeter.md
    unknown = "exception"           # or "zeros", "silent": a read that touches no register
    identity = { meter_code = 0x70 }            # registers that always read the same
    shows = { total_power = "active_power" }    # registers by the quantity that they show

    [bits.operating_status]         # of a register that is a bit field
    0 = "Normal operation"
    8 = { label = "Load fault", active = "low" }

    [enums.charge_state]            # of a register that is an enumeration
    0 = "Idle"
    0xAA55 = "Charging"
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from grug.codec.hints import did_you_mean
from grug.codec.registers import Bit, Choice, DeviceFacts, ServedFacts
from grug.errors import Problem
from grug.model import Table

_TEXTS = ("title", "manufacturer", "source", "verified")
_KEYS = (
    *_TEXTS,
    *("words_max", "bits_max", "write_words_max", "gap", "holes", "mirrors", "write_function"),
    *("functions", "identify", "identity", "barriers", "serial", "fakemeter", "bits", "enums"),
)
_WORD_TABLES = (Table.HOLDING_REGISTER.value, Table.INPUT_REGISTER.value)
_HOLES = ("learned", "never")
_WRITE_FUNCTIONS = ("shortest", "multiple")
_FUNCTIONS = (22, 23)
_UNKNOWN = ("exception", "zeros", "silent")
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


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a sidecar says."""

    facts: DeviceFacts
    bits: Mapping[str, tuple[Bit, ...]]
    """By register or array."""
    choices: Mapping[str, tuple[Choice, ...]]


def parse_sidecar(text: str, file_name: str) -> tuple[Sidecar, list[Problem]]:
    """Read a sidecar; empty text gives the defaults.

    Returns:
        What it says, and all that is wrong with it.
    """
    reader = _Reader(text, file_name)
    try:
        root = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"at line (\d+)", str(error))
        line = int(where[1]) if where else len(reader.lines)  # Else it is "at end of document".
        problem = Problem(file_name, line, f"not valid TOML: {error}")
        return Sidecar(DeviceFacts(), {}, {}), [problem]
    facts = _facts_of(root, reader)
    bits = {
        name: tuple(bit for each in table if (bit := _bit_of(name, *each, reader)))
        for name, table in _tables_of("bits", root.pop("bits", {}), reader)
    }
    choices = {
        name: tuple(choice for each in table if (choice := _choice_of(name, *each, reader)))
        for name, table in _tables_of("enums", root.pop("enums", {}), reader)
    }
    for key in root:
        reader.complain(key, f"unknown key {key!r}{did_you_mean(key, _KEYS)}")
    bits = {name: tuple(sorted(each, key=lambda bit: bit.bit)) for name, each in bits.items()}
    return Sidecar(facts, bits, choices), reader.problems


def _facts_of(root: dict[str, Any], reader: _Reader) -> DeviceFacts:
    def text_of(key: str) -> str:
        value: str = reader.take(root, key, "", lambda value: isinstance(value, str), "a text")
        return " ".join(value.split())

    def choice_of(key: str, choices: tuple[str, ...]) -> Any:
        return reader.take(root, key, choices[0], lambda v: v in choices, " or ".join(choices))

    def whole_of(key: str, most: int) -> int:
        want = f"a number from 1 to {most}"
        value: int = reader.take(root, key, most, _is_whole(1, most), want)
        return value

    title, manufacturer, source, verified = (text_of(key) for key in _TEXTS)
    identify, identify_values = _identify_of(root.pop("identify", ""), reader)
    mirrors = reader.take(
        root,
        "mirrors",
        [],
        lambda value: isinstance(value, list) and all(item in _WORD_TABLES for item in value),
        f"a list of {' or '.join(_WORD_TABLES)}",
    )
    serial = reader.take(root, "serial", {}, lambda value: isinstance(value, dict), "a table")
    facts = DeviceFacts(
        title=title,
        manufacturer=manufacturer,
        source=source,
        verified=verified,
        words_max=whole_of("words_max", 125),
        bits_max=whole_of("bits_max", 2000),
        write_words_max=whole_of("write_words_max", 123),
        gap_s=float(reader.take(root, "gap", 0.0, _is_seconds, "seconds from 0 to 10")),
        holes=choice_of("holes", _HOLES),
        barriers=_barriers_of(root.pop("barriers", {}), reader),
        mirrored=tuple(Table(table) for table in mirrors),
        write_function=choice_of("write_function", _WRITE_FUNCTIONS),
        functions=frozenset(reader.take(root, "functions", [], _are_functions, "a list of 22, 23")),
        identify=identify,
        identify_values=identify_values,
        identity=tuple(reader.take(root, "identity", [], _are_names, "a list of register names")),
        baudrate=reader.take(serial, "baudrate", 9600, _is_whole(300, 921600), "a speed in baud"),
        framing=reader.take(serial, "framing", "8N1", _is_framing, "something like 8N1"),
        unit_id=reader.take(serial, "unit", 1, _is_whole(1, 247), "a number from 1 to 247"),
        served=_served_of(root.pop("fakemeter", {}), reader),
    )
    for key in serial:
        hint = did_you_mean(key, ("baudrate", "framing", "unit"))
        reader.complain(key, f"unknown key {key!r} in [serial]{hint}")
    return facts


def _served_of(table: Any, reader: _Reader) -> ServedFacts:
    if not isinstance(table, dict):
        reader.complain("fakemeter", "fakemeter: a table is needed, under [fakemeter]")
        return ServedFacts()
    want = " or ".join(_UNKNOWN)
    facts = ServedFacts(
        unknown=reader.take(table, "unknown", _UNKNOWN[0], lambda value: value in _UNKNOWN, want),
        identity=reader.take(
            table, "identity", {}, _is_table_of(int, float), "a table of register = number"
        ),
        shows=reader.take(table, "shows", {}, _is_table_of(str), "a table of register = quantity"),
    )
    for key in table:
        hint = did_you_mean(key, ("unknown", "identity", "shows"))
        reader.complain(key, f"unknown key {key!r} in [fakemeter]{hint}")
    return facts


def _is_table_of(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, dict) and all(type(each) in kinds for each in value.values())
    )


def _identify_of(entry: Any, reader: _Reader) -> tuple[str, tuple[int | str, ...]]:
    if isinstance(entry, str):
        entry = {"register": entry}
    if isinstance(entry, dict) and entry.keys() <= {"register", "values"}:
        register, values = entry.get("register"), entry.get("values", [])
        is_list = isinstance(values, list) and all(type(each) in (int, str) for each in values)
        if isinstance(register, str) and is_list:
            return register, tuple(values)
    want = '"register" or { register = "register", values = [101] }'
    reader.complain("identify", f"identify: not of the form {want}")
    return "", ()


def _barriers_of(tables: Any, reader: _Reader) -> frozenset[tuple[Table, int]]:
    names = {table.value: table for table in Table}
    if not isinstance(tables, dict):
        reader.complain("barriers", "barriers: a list per table is needed, under [barriers]")
        return frozenset()
    barriers: set[tuple[Table, int]] = set()
    for name, entries in tables.items():
        if name not in names:
            hint = did_you_mean(name, names)
            reader.complain(name, f"barriers: there is no table {name!r}{hint}")
            continue
        for entry in entries if isinstance(entries, list) else [entries]:
            ends = entry if isinstance(entry, list) else [entry, entry]
            if len(ends) != 2 or not all(_is_whole(0, 65535)(end) for end in ends):
                text = f"{entry!r} is neither an address nor [first, last]"
                reader.complain(name, f"barriers.{name}: {text}")
                continue
            barriers.update((names[name], address) for address in range(ends[0], ends[1] + 1))
    return frozenset(barriers)


def _tables_of(
    key: str, tables: Any, reader: _Reader
) -> Iterator[tuple[str, Iterable[tuple[str, Any]]]]:
    """Give the tables of labels by register, noting what is none."""
    if not isinstance(tables, dict):
        reader.complain(key, f"{key}: one table per register is needed, as [{key}.<register>]")
        return
    for name, table in tables.items():
        if isinstance(table, dict):
            yield name, table.items()
        else:
            reader.complain(name, f"{key}.{name}: a table of number = label is needed")


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


def _choice_of(name: str, key: str, entry: Any, reader: _Reader) -> Choice | None:
    try:
        number = int(key, 16) if key.lower().startswith("0x") else int(key)
    except ValueError:
        number = None
    if number is None or not isinstance(entry, str):
        reader.complain(name, f'enums.{name}.{key}: not of the form 3 = "label"')
        return None
    return Choice(number, entry)


def _is_whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 10


def _are_functions(value: Any) -> bool:
    return isinstance(value, list) and all(
        type(each) is int and each in _FUNCTIONS for each in value
    )


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_framing(value: Any) -> bool:
    return isinstance(value, str) and _FRAMING.fullmatch(value) is not None
