"""Imports the CSV of grug's predecessor: ``function,addr,addr_end,type,unit,name,...``.

``function`` is the one that reads the register, 1 to 4; 1 and 3 can be written too. ``addr`` is the
wire address; ``addr_end`` the last word. ``unit`` packs what one count means: ``0,1V``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from grug.codec.hints import did_you_mean
from grug.codec.registers import Access, Bit, Kind
from grug.mapimport.csvtext import csv_rows
from grug.mapimport.rows import Import, ImportedRow
from grug.mapimport.words import kind_of, scale_and_unit, squeeze, whole
from grug.model import Table

REQUIRED = ("function", "addr", "type", "name")

TABLES = {
    1: Table.COIL,
    2: Table.DISCRETE_INPUT,
    3: Table.HOLDING_REGISTER,
    4: Table.INPUT_REGISTER,
}

WRITE_FUNCTIONS = {
    5: Table.COIL,
    6: Table.HOLDING_REGISTER,
    15: Table.COIL,
    16: Table.HOLDING_REGISTER,
}
"""Some rows name the function that writes, where nothing is known of reading."""

_TYPES = ("bool", "u16", "s16", "u32", "s32", "u64", "s64", "float", "double")
_BIT_LINE = re.compile(r"\s*BIT\s*(\d{1,2})[\s:.-]+(.+?)\s*", re.IGNORECASE)
_BIT_STATES = re.compile(r"\s*0\s*[-—–:=]\s*(\w+)[\s,;]*1\s*[-—–:=]\s*(\w+)\s*$")
_NOTE_LENGTH_MAX = 200


def import_seed(text: str, source: str) -> Import:
    """Read all rows; reserved ones and lines of comment are left out."""
    result = Import(source)
    columns: list[str] | None = None
    reserved = 0
    try:
        for line, cells in csv_rows(text):
            stripped = [cell.strip() for cell in cells]
            if columns is None:
                columns = [cell.lower() for cell in stripped]
                missing = [column for column in REQUIRED if column not in columns]
                if missing:
                    result.complain(f"columns missing: {', '.join(missing)}", line)
                    return result
                continue
            row = dict(zip(columns, stripped, strict=False))
            if not any(row.get(column) for column in ("type", "name", "unit")):
                continue  # A remark, in whatever column its author put it.
            if squeeze(row.get("name")).lower().startswith("reserved"):
                reserved += 1
                continue
            _Reader(result, line, row).read()
    except ValueError as error:
        result.complain(str(error))
    if columns is None:
        result.complain("no header; it begins function,addr,addr_end,type,unit,name")
    if reserved:
        result.notes.append(f"{reserved} reserved rows left out")
    return result


@dataclass(slots=True)
class _Reader:
    """Reads one row."""

    result: Import
    line: int
    cells: Mapping[str, str]

    def complain(self, text: str) -> None:
        self.result.complain(text, self.line)

    def read(self) -> None:
        before = len(self.result.problems)
        function = whole(self.cells.get("function")) or 0
        table = TABLES.get(function) or WRITE_FUNCTIONS.get(function)
        doubt = f"function {function} writes; whether it can be read is not said"
        if table is None:
            text = self.cells.get("function", "")
            self.complain(f"function: {text!r} reads no register; it is 1, 2, 3 or 4")
        address = self._whole("addr")
        kind, count = self._kind_and_count(address, is_bit=table is not None and table.is_bits)
        name = squeeze(self.cells.get("name_for_id") or self.cells.get("name"))
        if not name:
            self.complain("name: empty")
        scale, unit = scale_and_unit(self.cells.get("unit", ""))
        if scale == 0:
            self.complain("unit: a scale of 0 would make every value the same")
        if table is None or address is None or kind is None or len(self.result.problems) > before:
            return
        row = ImportedRow(
            name,
            table,
            address,
            kind,
            scale=Decimal(1) if scale is None or kind is Kind.BOOL else scale,
            unit=unit,
            access=Access.GUARDED
            if table in (Table.COIL, Table.HOLDING_REGISTER)
            else (Access.READ),
            note=self._note(name),
            line=self.line,
        ).doubting(doubt if function in WRITE_FUNCTIONS else "")
        self.result.rows.append(self._finished(row, count))

    def _finished(self, row: ImportedRow, count: int) -> ImportedRow:
        """Add labels, digits, length and doubts."""
        digits = self.cells.get("decimals", "")
        decimals = whole(digits) if digits else 0
        if decimals is None or not 0 <= decimals <= 15:
            row = row.doubting(f"decimals: {digits} digits left out")
            decimals = 0
        bits, doubt = self._bits(row)
        note = "" if bits else row.note
        row = replace(row, decimals=decimals, bits=bits, note=note).doubting(doubt)
        description = self.cells.get("description", "").lower()
        if count > 1 and row.kind is Kind.U16 and "ascii" in description:
            row = replace(row, kind=Kind.TEXT, words=count, scale=Decimal(1), unit="")
            return row.doubting(f"{count} words taken as text, for the description says ASCII")
        if count > 1:
            row = row.doubting(f"an array of {count} values; one number perhaps, or text")
        return replace(row, count=count)

    def _kind_and_count(self, address: int | None, *, is_bit: bool) -> tuple[Kind | None, int]:
        """The kind of one value, and how many of them there are."""
        text = self.cells.get("type", "")
        kind = kind_of(text) if text else None
        if kind is None:
            self.complain(f"type: unknown type {text!r}{did_you_mean(text, _TYPES)}")
        length = self._whole("length") if self.cells.get("length") else None
        end = self._whole("addr_end") if self.cells.get("addr_end") else None
        if kind is None or address is None:
            return kind, 1
        if is_bit:
            kind = Kind.BOOL
        words = end - address + 1 if end is not None else length or kind.words
        if words < 1 or words % kind.words:
            self.complain(f"addr_end: {words} words hold no whole number of {kind}")
            return None, 1
        return kind, words // kind.words

    def _whole(self, column: str) -> int | None:
        text = self.cells.get(column, "")
        number = whole(text)
        if number is None:
            self.complain(
                f"{column}: {text!r} is not a whole number" if text else f"{column}: empty"
            )
        elif not 0 <= number <= 65535:
            self.complain(f"{column}: {text} is outside 0..65535")
            return None
        return number

    def _note(self, name: str) -> str:
        full_name = squeeze(self.cells.get("name"))
        description = squeeze(self.cells.get("description"))[:_NOTE_LENGTH_MAX]
        if full_name.lower() == name.lower():
            return description
        return f"{full_name}: {description}" if description else full_name

    def _bits(self, row: ImportedRow) -> tuple[tuple[Bit, ...], str]:
        """Labels that the description of a bit field lists, one a line."""
        if self.cells.get("usertype", "").lower() != "bitfield" or row.scale != 1:
            return (), ""
        labels: dict[int, Bit] = {}
        doubt = ""
        for line in self.cells.get("description", "").splitlines():
            match = _BIT_LINE.fullmatch(line)
            if match is None or int(match[1]) >= 16 * row.length:
                continue
            states = _BIT_STATES.search(match[2])
            label = match[2][: states.start()].strip() if states else match[2]
            if not label or label.lower().startswith("reserved"):
                continue
            is_low = states is not None and states[1].lower() in ("yes", "fault", "on")
            if int(match[1]) in labels:
                doubt = f"bit {match[1]} has two labels"
            labels.setdefault(int(match[1]), Bit(int(match[1]), label, is_low))
        return tuple(labels[bit] for bit in sorted(labels)), doubt
