"""Makes registers of the tables of a document: a datasheet, or what was pasted from one.

Such tables are made for people. So everything that was guessed is a doubt of its row, what cannot
be understood is left out and listed, and what the columns and addresses were taken for is said.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from grug.codec.registers import Kind
from grug.errors import Problem
from grug.mapimport.addresses import (
    Convention,
    Printed,
    Verdict,
    judge,
    looks_hexadecimal,
    parse_printed,
)
from grug.mapimport.columns import Columns, Role, guessed_columns, titled_columns
from grug.mapimport.meaning import Entry, Place, row_of
from grug.mapimport.rows import Import
from grug.mapimport.tables import Cells, FoundTable
from grug.mapimport.tidy import tidy
from grug.mapimport.words import squeeze
from grug.model import Table

_TABLE_WORDS: tuple[tuple[Table, str], ...] = (
    (
        Table.INPUT_REGISTER,
        r"(?<!discrete )input reg|\b3x\b|function(?: code)?:? *(?:0x)?0?4\b|\bfc *0?4\b",
    ),
    (Table.HOLDING_REGISTER, r"holding|\b4x\b|function(?: code)?:? *(?:0x)?0?3\b|\bfc *0?3\b"),
    (Table.DISCRETE_INPUT, r"discrete|\b1x\b|function(?: code)?:? *(?:0x)?0?2\b|\bfc *0?2\b"),
    (Table.COIL, r"\bcoils?\b|\b0x reg|function(?: code)?:? *(?:0x)?0?1\b|\bfc *0?1\b"),
)

_CARRIED = (Role.KIND, Role.UNIT, Role.SCALE, Role.DIVISOR, Role.ACCESS, Role.FUNCTION)
"""A cell that spans several rows says the same of all of them, in these columns."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a person says for registers of which the document does not say it."""

    table: Table | None = None
    kind: Kind | None = None


def import_tables(
    tables: Sequence[FoundTable],
    source: str,
    convention: Convention = Convention.AUTO,
    table: Table | None = None,
    kind: Kind | None = None,
) -> Import:
    """Read all tables that look like registers.

    Args:
        tables: of the document, in its order.
        source: file name, for messages.
        convention: how addresses are to be understood.
        table: of registers for which the document does not tell it.
        kind: of registers for which the document does not tell it.
    """
    result = Import(source, is_tolerant=True)
    entries: list[Entry] = []
    before: Columns | None = None
    hint: Table | None = None
    for untidy in tables:
        found = replace(untidy, rows=tidy(untidy.rows))
        columns = _columns_of(found, before)
        hint = _table_named(found.context) or hint
        if columns is None:
            titles = " | ".join(squeeze(cell) for cell in (found.rows or ((),))[0] if squeeze(cell))
            result.notes.append(f"{found.place}: no table of registers ({titles[:80]})")
            continue
        reader = _TableReader(found, columns, hint, result)
        entries += reader.read()
        hint = reader.hint
        before = columns
        how = columns.describe()
        if columns.is_guessed:
            how = f"guessed from what is in them: {how}"
        result.notes.append(f"{found.place}: {len(reader.entries)} registers; columns: {how}")
    defaults = Defaults(table, kind)
    _add_rows(entries, convention, defaults, result)
    if not result.rows:
        result.problems.append(_nothing(source, tables))
    return result


def _nothing(source: str, tables: Sequence[FoundTable]) -> Problem:
    what = f"{len(tables)} tables, but none of registers" if tables else "no tables"
    return Problem(source, 0, f"the document has {what} that can be read")


def _columns_of(found: FoundTable, before: Columns | None) -> Columns | None:
    """Titles decide; a table without any goes on where the one before it ended."""
    columns = titled_columns(found.rows)
    if columns is not None:
        return columns
    width = max((len(row) for row in found.rows), default=0)
    if before is not None and len(before.roles) == width:
        return Columns(before.roles, before.titles)
    return guessed_columns(found.rows)


def _table_named(text: str) -> Table | None:
    """The table that a text speaks of, when it speaks of one alone."""
    named = {table for table, words in _TABLE_WORDS if re.search(words, text, re.IGNORECASE)}
    return named.pop() if len(named) == 1 else None


@dataclass(slots=True)
class _TableReader:
    """Reads the rows of one table."""

    found: FoundTable
    columns: Columns
    hint: Table | None
    result: Import
    entries: list[Entry] = field(default_factory=list)
    carried: dict[Role, str] = field(default_factory=dict)

    def read(self) -> list[Entry]:
        """Take every row for a register, more of the one before, a heading or titles again."""
        titles = " ".join(self.columns.titles)
        self.hint = _table_named(titles) or self.hint
        is_hex = self._has_hex_addresses()
        header = {self._texts(self.found.rows[row]) for row in self.columns.header_rows}
        for number, cells in enumerate(self.found.rows, 1):
            texts = self._texts(cells)
            if not any(texts) or texts in header or " ".join(filter(None, texts)) == titles:
                continue
            if self.columns.header_rows and number - 1 < self.columns.header_rows[0]:
                self.hint = _table_named(" ".join(texts)) or self.hint
                continue
            self._take(number, cells, is_hex)
        return self.entries

    def _texts(self, cells: Cells) -> tuple[str, ...]:
        return tuple(squeeze(cell) for cell in cells)

    def _has_hex_addresses(self) -> bool:
        column = self.columns.index(Role.ADDRESS)
        if column is None:
            return False
        cells = [squeeze(row[column]) for row in self.found.rows if column < len(row)]
        titled = "hex" in self.columns.titles[column].lower()
        data = [cell for cell in cells if cell and cell not in self.columns.titles]
        return titled or looks_hexadecimal(data)

    def _take(self, number: int, cells: Cells, is_hex: bool) -> None:
        by_role = dict(self._by_role(cells))
        line = self.found.line_of(number - 1)
        place = "" if line else f"{self.found.place}, row {number}"
        address = squeeze(by_role.get(Role.ADDRESS))
        printed = parse_printed(address, is_hex=is_hex) if address else None
        wire = self._wire_beside(by_role)
        if printed is None and wire is not None and not address:
            printed = Printed(wire, wire, is_hex=True)
        if printed is None:
            self._take_without_address(cells, by_role, address, (line, place))
            return
        name, last = by_role.get(Role.NAME), self.entries[-1] if self.entries else None
        follows = last is not None and printed.first == last.printed.last + 1
        if name is None and last is not None and follows and printed.words == 1:
            # One name beside several addresses: one value of several words.
            first = last.printed
            last.printed = Printed(first.first, printed.last, first.is_hex, first.prefix)
            last.is_span_stated = True
            return
        self.entries.append(self._entry(printed, wire, by_role, (line, place)))

    def _by_role(self, cells: Cells) -> Iterator[tuple[Role, str | None]]:
        """Give the cells by role; those that a cell above covers say what that one says."""
        notes = []
        for column, role in enumerate(self.columns.roles):
            cell = cells[column] if column < len(cells) else ""
            if role is Role.NOTE:
                notes.append(squeeze(cell))
            elif role is not None:
                if cell is None and role in _CARRIED:
                    cell = self.carried.get(role)
                elif role in _CARRIED:
                    self.carried[role] = squeeze(cell)
                yield role, cell
        yield Role.NOTE, "; ".join(note for note in notes if note not in ("", "-", "--"))

    def _wire_beside(self, cells: Mapping[Role, str | None]) -> int | None:
        """The wire address that stands beside a reference: hexadecimal, whole or in two bytes."""
        high, low = squeeze(cells.get(Role.ADDRESS_HIGH)), squeeze(cells.get(Role.ADDRESS_LOW))
        text = f"{high}{low:0>2}" if high and low else squeeze(cells.get(Role.ADDRESS_HEX))
        printed = parse_printed(text, is_hex=True) if text else None
        return printed.first if printed else None

    def _take_without_address(
        self, cells: Cells, by_role: Mapping[Role, str | None], address: str, at: tuple[int, str]
    ) -> None:
        texts = [text for text in self._texts(cells) if text]
        is_alone = len(texts) == 1 and (cells[0] or None in cells)
        if is_alone or self._texts(cells) == ("",) * len(cells):  # A heading over the next rows.
            self.hint = _table_named(texts[0]) or self.hint
        elif address:
            self.result.complain(f"address: {address!r} is none ({' | '.join(texts)[:80]})", *at)
        elif self.entries:
            more = squeeze(" ".join(texts))
            self.entries[-1].note = f"{self.entries[-1].note} {more}".strip()

    def _entry(
        self,
        printed: Printed,
        wire: int | None,
        cells: Mapping[Role, str | None],
        at: tuple[int, str],
    ) -> Entry:
        end = parse_printed(squeeze(cells.get(Role.END)), is_hex=printed.is_hex)
        if end is not None and end.first >= printed.first:
            printed = Printed(printed.first, end.first, printed.is_hex, printed.prefix)
        count_column = self.columns.index(Role.COUNT)
        count_title = "" if count_column is None else self.columns.titles[count_column].lower()
        per_word = 2 if "byte" in count_title else 16 if "bit" in count_title else 1
        return Entry(
            printed,
            wire,
            *at,
            {role: squeeze(cell) for role, cell in cells.items()},
            hint=self.hint,
            note=squeeze(cells.get(Role.NOTE)),
            is_span_stated=printed.words > 1,
            units_per_word=per_word,
        )


def _add_rows(
    entries: Sequence[Entry], convention: Convention, defaults: Defaults, result: Import
) -> None:
    verdict: Verdict = judge([(entry.printed, entry.wire) for entry in entries], convention)
    result.notes += verdict.notes
    guessed: Counter[Table] = Counter()
    reserved = 0
    for entry, following in zip(entries, [*entries[1:], None], strict=False):
        if re.match(r"(?:reserved?|not used|unused|spare)\b", entry.name, re.IGNORECASE):
            reserved += 1
            continue
        address, told = verdict.wire(entry.printed)
        if entry.wire is not None and convention is Convention.AUTO:
            first = entry.printed.first
            if entry.wire not in (address, first - 1, first % 10000 - 1):
                entry.doubts.append(f"the address beside {first} was taken")
            address = entry.wire
        table = entry.function_table or told or entry.hint or defaults.table
        if table is None:
            # Vendors whose wire addresses look like references tell the tables by them, too.
            is_input = entry.printed.group == 3
            table = Table.INPUT_REGISTER if is_input else Table.HOLDING_REGISTER
            guessed[table] += 1
        gap = following.printed.first - entry.printed.first if following else 0
        row = row_of(entry, Place(table, address, gap), defaults.kind, result)
        if row is not None:
            result.rows.append(row)
    if reserved:
        result.notes.append(f"{reserved} reserved rows left out")
    for table, count in guessed.items():
        what = f"{count} registers are taken for {table}s, for nothing says where they are"
        result.notes.append(f"{what}; --table says it")
