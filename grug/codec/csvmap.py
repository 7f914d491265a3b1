"""Reads a register map: a CSV with one register a row, and a TOML sidecar about the device.

People edit these in spreadsheets and text editors, so the reader forgives what cannot be
misunderstood (stray spaces, decimal commas, semicolons between cells, hexadecimal addresses, short
names of tables) and reports everything else at once, with line, column and what was probably meant.
Nothing is returned unless all of it is right.
"""

from __future__ import annotations

import csv
import enum
import io
import keyword
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from grug.codec.block import allowed_range
from grug.codec.hints import did_you_mean
from grug.codec.registers import Access, Bit, Kind, Register, RegisterMap, Storage, WordOrder
from grug.codec.sidecar import line_of_key, parse_sidecar
from grug.errors import MapError, Problem
from grug.model import Table

COLUMNS = (
    "name",
    "table",
    "address",
    "kind",
    "words",
    "order",
    "scale",
    "offset",
    "unit",
    "decimals",
    "access",
    "storage",
    "invalid",
    "min",
    "max",
    "note",
)
"""All columns; any order, and only the first four below are required."""

REQUIRED = ("name", "table", "address", "kind")

TABLE_NAMES = {
    **{table.value: table for table in Table},
    "discrete": Table.DISCRETE_INPUT,
    "holding": Table.HOLDING_REGISTER,
    "input": Table.INPUT_REGISTER,
}

_ADDRESS_END = 65536
"""Source: MODBUS Application Protocol V1.1b3, 4.4: PDU addresses are 0..65535."""

_Choice = TypeVar("_Choice", bound=enum.StrEnum)


def parse_map(model: str, csv_text: str, sidecar_text: str, file_name: str) -> RegisterMap:
    """Read a map.

    Args:
        model: name of the map.
        csv_text: the registers.
        sidecar_text: TOML about the device; empty text gives the defaults.
        file_name: of the CSV, for messages; the sidecar is called the same with ``.toml``.

    Raises:
        MapError: with all that is wrong in both.
    """
    problems: list[Problem] = []
    sidecar_name = file_name.removesuffix(".csv") + ".toml"
    facts, bits, sidecar_problems = parse_sidecar(sidecar_text, sidecar_name)
    rows = list(_registers_of(csv_text, file_name, problems))
    problems += _clashes(rows, file_name)
    registers: dict[str, Register] = {}
    for line, register in rows:
        registers.setdefault(register.name, register)
        if register.words > facts.words_max and not register.table.is_bits:
            text = f"{register.name} has {register.words} words, more than words_max in the sidecar"
            problems.append(Problem(file_name, line, text))
    problems += sidecar_problems
    if not problems:  # Of a map that could not be read whole, this would be guesswork.
        sidecar_lines = sidecar_text.splitlines()
        for key, text in _label_faults(registers, bits, facts.identify):
            problems.append(Problem(sidecar_name, line_of_key(sidecar_lines, key), text))
    for table in facts.mirrored:
        if any(register.table is table for register in registers.values()):
            text = f"mirrors: the map has registers of its own in {table}"
            problems.append(Problem(sidecar_name, 0, text))
    if problems:
        raise MapError(problems)
    for name, labels in bits.items():
        registers[name] = replace(registers[name], bits=labels)
    return RegisterMap(model, registers, facts)


def _registers_of(
    csv_text: str, file_name: str, problems: list[Problem]
) -> Iterator[tuple[int, Register]]:
    """Give the good rows with their lines, noting what is wrong with the others."""
    lines = csv_text.removeprefix("\ufeff").splitlines(keepends=True)
    header_line = next((line for line in lines if line.strip() and not _is_comment(line)), "")
    # Spreadsheets that write decimal commas separate their cells by semicolons.
    delimiter = ";" if header_line.count(";") > header_line.count(",") else ","
    reader = csv.reader(io.StringIO("".join(lines), newline=""), delimiter=delimiter)
    columns: list[str] | None = None
    end = 0
    for cells in reader:
        line, end = end + 1, reader.line_num
        if not any(cell.strip() for cell in cells) or _is_comment(cells[0]):
            continue
        if columns is None:
            columns = [cell.strip().lower() for cell in cells]
            header_problems = [Problem(file_name, line, text) for text in _header_faults(columns)]
            problems += header_problems
            if header_problems:
                return
            continue
        row = _Row(dict(zip(columns, (cell.strip() for cell in cells), strict=False)))
        if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
            row.faults.append(f"{len(cells)} cells for {len(columns)} columns (a comma too many?)")
        register = row.register()
        problems += [Problem(file_name, line, fault) for fault in row.faults]
        if register is not None:
            yield line, register
    if columns is None:
        problems.append(Problem(file_name, 0, f"no header; it begins {','.join(COLUMNS[:4])}"))


def _is_comment(text: str) -> bool:
    return text.lstrip().startswith("#")


def _header_faults(columns: list[str]) -> Iterator[str]:
    for column in columns:
        if column and column not in COLUMNS:
            yield f"unknown column {column!r}{did_you_mean(column, COLUMNS)}"
    for column in sorted({column for column in columns if column and columns.count(column) > 1}):
        yield f"column {column} is there {columns.count(column)} times"
    for column in REQUIRED:
        if column not in columns:
            yield f"column {column} is missing"


class _Row:
    """One row: takes its cells, and keeps the faults met on the way."""

    def __init__(self, cells: Mapping[str, str]) -> None:
        self.cells = cells
        self.faults: list[str] = []

    def register(self) -> Register | None:
        """Make the register, or None when anything is wrong."""
        name = self._name()
        table = self._choice("table", TABLE_NAMES, None)
        kind = self._choice("kind", {kind.value: kind for kind in Kind}, None)
        order = self._choice("order", {order.value: order for order in WordOrder}, WordOrder.ABCD)
        access = self._choice("access", {access.value: access for access in Access}, Access.READ)
        storages = {storage.value: storage for storage in Storage}
        storage = self._choice("storage", storages, Storage.UNKNOWN)
        address = self._whole("address", 0, _ADDRESS_END - 1, None)
        words = self._whole("words", 1, 125, 0)
        decimals = self._whole("decimals", 0, 15, 0)
        scale = self._decimal("scale", Decimal(1))
        offset = self._decimal("offset", Decimal(0))
        if table is None or kind is None or address is None:
            return None
        words = self._words_of(kind, table, address, words or 0)
        self._check_kind(kind, table, access, scale, offset)
        register = Register(
            name=name,
            table=table,
            address=address,
            kind=kind,
            words=words,
            order=order or WordOrder.ABCD,
            scale=scale or Decimal(1),
            offset=offset or Decimal(0),
            unit=self.cells.get("unit", ""),
            decimals=decimals or 0,
            access=access or Access.READ,
            storage=storage or Storage.UNKNOWN,
            invalid=self._invalid(kind),
            minimum=self._decimal("min", None),
            maximum=self._decimal("max", None),
            note=self.cells.get("note", ""),
        )
        self._check_limits(register)
        return None if self.faults else register

    def _name(self) -> str:
        name = self.cells.get("name", "")
        if not name:
            self.faults.append("name: empty")
        elif not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
            self.faults.append(f"name: {name!r} is not a letter followed by letters, digits or _")
        return name

    def _choice(
        self, column: str, choices: Mapping[str, _Choice], default: _Choice | None
    ) -> _Choice | None:
        text = self.cells.get(column, "")
        if not text and default is not None:
            return default
        by_lower = {key.lower(): choice for key, choice in choices.items()}
        if text.lower() in by_lower:
            return by_lower[text.lower()]
        hint = did_you_mean(text, choices)
        self.faults.append(
            f"{column}: unknown {column} {text!r}{hint}" if text else f"{column}: empty"
        )
        return None

    def _whole(self, column: str, low: int, high: int, default: int | None) -> int | None:
        text = self.cells.get(column, "")
        if not text and default is not None:
            return default
        number = _whole_of(text)
        if number is None:
            self.faults.append(f"{column}: {text!r} is not a whole number")
        elif not low <= number <= high:
            self.faults.append(f"{column}: {text} is outside {low}..{high}")
            return None
        return number

    def _decimal(self, column: str, default: Decimal | None) -> Decimal | None:
        text = self.cells.get(column, "")
        if not text:
            return default
        try:
            number = Decimal(text.replace(",", "."))
        except InvalidOperation:
            self.faults.append(f"{column}: {text!r} is not a number")
            return default
        # The bound keeps exact arithmetic small; no device's scale is near it.
        if not number.is_finite() or abs(number.adjusted()) > 30:
            self.faults.append(f"{column}: {text} is no sensible number")
            return default
        return number

    def _invalid(self, kind: Kind) -> frozenset[int]:
        sentinels = set()
        for text in self.cells.get("invalid", "").replace(";", " ").replace(",", " ").split():
            number = _whole_of(text)
            if number is None:
                self.faults.append(f"invalid: {text!r} is not a whole number")
            elif (fitted := _fit_sentinel(number, kind)) is None:
                self.faults.append(f"invalid: {text} is no raw value of kind {kind}")
            else:
                sentinels.add(fitted)
        return frozenset(sentinels)

    def _words_of(self, kind: Kind, table: Table, address: int, words: int) -> int:
        if kind is Kind.TEXT and not words:
            self.faults.append("words: the length of a text in words is needed")
        elif kind is not Kind.TEXT and words not in (0, kind.words):
            self.faults.append(f"words: {words} is not the length of {kind}, which is {kind.words}")
            words = kind.words
        words = words or kind.words
        if address + words > _ADDRESS_END:
            self.faults.append(f"address: {address} + {words} words goes past {_ADDRESS_END - 1}")
        return words

    def _check_kind(
        self,
        kind: Kind,
        table: Table,
        access: Access | None,
        scale: Decimal | None,
        offset: Decimal | None,
    ) -> None:
        if table.is_bits and kind is not Kind.BOOL:
            self.faults.append(f"kind: {kind} does not fit a {table}; did you mean 'bool'?")
        if scale == 0:
            self.faults.append("scale: 0 would make every value the same")
        if kind in (Kind.BOOL, Kind.TEXT) and (scale != 1 or offset != 0):
            self.faults.append(f"scale: a {kind} has neither scale nor offset")
        if table in (Table.DISCRETE_INPUT, Table.INPUT_REGISTER) and access is not Access.READ:
            self.faults.append(f"access: nobody can write to table {table}; did you mean 'read'?")

    def _check_limits(self, register: Register) -> None:
        minimum, maximum = register.minimum, register.maximum
        if minimum is None and maximum is None:
            return
        if register.kind in (Kind.BOOL, Kind.TEXT):
            self.faults.append(f"min: a {register.kind} has no range")
        elif not self.faults:
            low, high = allowed_range(register)
            if low > high:
                self.faults.append("min: the range between min and max holds no possible value")


def _whole_of(text: str) -> int | None:
    try:
        return int(text, 0) if text.lower().startswith(("0x", "-0x")) else int(text)
    except ValueError:
        return None


def _fit_sentinel(number: int, kind: Kind) -> int | None:
    """Give the raw value that a sentinel means; negative kinds may be given as bit patterns."""
    if kind.is_float:
        return number if 0 <= number < 1 << 16 * kind.words else None
    if not kind.is_integer:
        return None
    low, high = kind.raw_range
    if low < 0 and high < number <= high - low:
        number -= 1 << 16 * kind.words
    return number if low <= number <= high else None


def _clashes(rows: Iterable[tuple[int, Register]], file_name: str) -> Iterator[Problem]:
    """Find names and addresses that are used twice."""
    lines: dict[str, int] = {}
    owners: dict[tuple[Table, int], tuple[int, str]] = {}
    for line, register in rows:
        first = lines.setdefault(register.name, line)
        if first != line:
            yield Problem(file_name, line, f"name: {register.name} is already on line {first}")
        span = register.span
        for address in range(span.address, span.end):
            other_line, other = owners.setdefault((span.table, address), (line, register.name))
            if other_line != line:
                text = f"address: {register.name} overlaps {other} (line {other_line}) at {address}"
                yield Problem(file_name, line, text)
                break


def _label_faults(
    registers: Mapping[str, Register],
    bits: Mapping[str, tuple[Bit, ...]],
    identify: str,
) -> Iterator[tuple[str, str]]:
    """Find what the sidecar says of registers that are not there, or not bit fields."""
    if identify and identify not in registers:
        hint = did_you_mean(identify, registers)
        yield "identify", f"identify: the map has no register {identify!r}{hint}"
    for name, labels in bits.items():
        register = registers.get(name)
        if register is None:
            yield name, f"bits: the map has no register {name!r}{did_you_mean(name, registers)}"
        elif not register.kind.is_integer or register.is_scaled:
            yield name, f"bits: {name} is no unscaled integer"
        elif any(bit.bit >= 16 * register.words for bit in labels):
            yield name, f"bits: {name} has only {16 * register.words} bits"
