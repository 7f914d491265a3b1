"""Makes a register of the cells that one row of a document has for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from grug.codec.registers import Access, Kind
from grug.mapimport.addresses import Printed
from grug.mapimport.columns import Role
from grug.mapimport.rows import Import, ImportedRow
from grug.mapimport.words import (
    KNOWN_UNIT,
    decimals_of,
    integer_kind,
    kind_of,
    plain,
    scale_and_unit,
    squeeze,
    unit_of,
)
from grug.model import Table

_FUNCTIONS = {
    1: Table.COIL,
    2: Table.DISCRETE_INPUT,
    3: Table.HOLDING_REGISTER,
    4: Table.INPUT_REGISTER,
}
_NAMED = {
    "coil": Table.COIL,
    "disc": Table.DISCRETE_INPUT,
    "hold": Table.HOLDING_REGISTER,
    "inpu": Table.INPUT_REGISTER,
}
_NOTHING = ("", "-", "--", "/", "n/a", "na", "none", "1")
_UNIT_IN_NAME = re.compile(r"\s*[\[(]([^\[\]()]{1,8})[\])]\s*$")
_TEXT_LENGTH = re.compile(r"(\d{1,3})")
_LENGTH = re.compile(r"(\d{1,4})[\s-]*(bit|byt|wor|)", re.IGNORECASE)
_TEXT_WORDS_MAX = 64
_NOTE_LENGTH_MAX = 200


@dataclass(slots=True)
class Entry:
    """What a document says of one register."""

    printed: Printed
    wire: int | None
    """The wire address that stands beside the printed one."""
    line: int
    place: str
    cells: Mapping[Role, str]
    hint: Table | None = None
    """The table that a heading spoke of."""
    note: str = ""
    is_span_stated: bool = False
    """Whether the document gives first and last address."""
    units_per_word: int = 1
    """Of the column with the length: 2 when it counts bytes, 16 when bits."""
    doubts: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As it stands in the document, without the unit behind it."""
        name = self.cells.get(Role.NAME, "")
        match = _UNIT_IN_NAME.search(name)
        is_unit = match is not None and KNOWN_UNIT.fullmatch(match[1])
        return name[: match.start()] if match and is_unit else name

    @property
    def function_table(self) -> Table | None:
        """The table that its column names, or that the function code reads."""
        named = self.cells.get(Role.TABLE, "").lower()[:4]
        if named in _NAMED:
            return _NAMED[named]
        codes = re.findall(r"(?:0x)?0?([1-4])\b", self.cells.get(Role.FUNCTION, ""))
        tables = {_FUNCTIONS[int(code)] for code in codes}
        return tables.pop() if len(tables) == 1 else None

    @property
    def is_writable(self) -> bool:
        """Whether the document says that it can be written."""
        codes = re.findall(r"\d+", self.cells.get(Role.FUNCTION, ""))
        says_so = "w" in self.cells.get(Role.ACCESS, "").lower()
        return says_so or any(int(code) in (5, 6, 15, 16) for code in codes if len(code) < 4)

    @property
    def words(self) -> int:
        """Length that the document states; 0 when it does not."""
        if self.is_span_stated:
            return self.printed.words
        match = _LENGTH.match(self.cells.get(Role.COUNT, ""))
        if match is None:
            return 0
        per_word = {"bit": 16, "byt": 2, "wor": 1}.get(match[2].lower(), self.units_per_word)
        return int(match[1]) // per_word


@dataclass(frozen=True, slots=True)
class Place:
    """Where a register is."""

    table: Table
    address: int
    gap: int
    """Addresses to the next one of the document; 0 or less when that tells nothing."""


def row_of(
    entry: Entry, place: Place, default_kind: Kind | None, result: Import
) -> ImportedRow | None:
    """Make the register; None when nobody can tell what it is, which is noted.

    Args:
        entry: what the document says.
        place: where it is.
        default_kind: for registers whose type the document does not say.
        result: takes what is left out.
    """
    table, address = place.table, place.address

    def leave_out(text: str) -> None:
        result.complain(text, entry.line, entry.place)

    if not 0 <= address <= 65535:
        leave_out(f"address: {address} is outside 0..65535")
        return None
    kind, words, count = _kind(entry, place, default_kind)
    if kind is None:
        text = entry.cells.get(Role.KIND, "")
        leave_out(f"type: {text!r} of {entry.name!r} has no kind of ours")
        return None
    name = entry.name
    if not name:
        name = f"register {address}"
        entry.doubts.append("it has no name")
    scale, unit = _scale_and_unit(entry)
    if scale == 0:
        leave_out(f"scale: 0 of {name!r} would make every value the same")
        return None
    is_scaled = kind.is_number
    can_write = table in (Table.COIL, Table.HOLDING_REGISTER)
    return ImportedRow(
        name,
        table,
        address,
        kind,
        words=words if kind is Kind.TEXT else 0,
        count=count,
        scale=scale if is_scaled else Decimal(1),
        unit=unit,
        decimals=decimals_of(scale) if is_scaled else 0,
        access=Access.GUARDED if entry.is_writable and can_write else Access.READ,
        note=entry.note[:_NOTE_LENGTH_MAX],
        line=entry.line,
        place=entry.place,
        doubts=tuple(entry.doubts),
    )


def _kind(entry: Entry, place: Place, default: Kind | None) -> tuple[Kind | None, int, int]:
    """Give the kind, the length of a text in words, and how many values there are."""
    if place.table.is_bits:
        return Kind.BOOL, 0, 1
    text, words = entry.cells.get(Role.KIND, ""), entry.words
    if text in ("", "-"):
        is_fitting = default is not None and default.words and words in (0, default.words)
        return (default, 0, 1) if is_fitting else _kind_by_length(entry, words, place.gap)
    kind = kind_of(text, words)
    if kind is Kind.TEXT:
        if not words and (match := _TEXT_LENGTH.search(text)):
            words = (int(match[1]) + 1) // 2
            entry.doubts.append(f"{text!r} taken as text of {words} words")
        if not words and 1 < place.gap <= _TEXT_WORDS_MAX:
            words = place.gap
            entry.doubts.append(f"the length of the text is not stated; {words} words to the next")
        return (kind, words, 1) if words else (None, 0, 1)
    if kind is None or words in (0, kind.words):
        return kind, 0, 1
    wider = integer_kind(words, signed=kind in (Kind.S16, Kind.S32, Kind.S64))
    if kind.is_integer and wider is not None and words > kind.words:
        entry.doubts.append(f"{text} in {words} words; {wider} taken")
        return wider, 0, 1
    if words > kind.words and words % kind.words == 0:
        entry.doubts.append(f"{text} in {words} words: an array was taken; text perhaps")
        return kind, 0, words // kind.words
    entry.doubts.append(f"{text} is not {words} words long; {kind} taken")
    return kind, 0, 1


def _kind_by_length(entry: Entry, words: int, gap: int) -> tuple[Kind | None, int, int]:
    """Nothing says the type: take a whole number without sign, and doubt it."""
    if not words:
        words = 2 if gap == 2 else 1
        reason = "the next address is 2 on" if words == 2 else "nothing says more"
    else:
        reason = f"it has {words} words"
    kind = integer_kind(words, signed=False)
    if kind is None:
        entry.doubts.append(f"no type is stated; {words} words taken as an array; text perhaps")
        return Kind.U16, 0, words
    entry.doubts.append(f"no type is stated; {kind} taken, for {reason}")
    return kind, 0, 1


def _scale_and_unit(entry: Entry) -> tuple[Decimal, str]:
    """From the columns of unit, scale and divisor, and a unit behind the name."""
    scale, unit = scale_and_unit(entry.cells.get(Role.UNIT, ""))
    match = _UNIT_IN_NAME.search(entry.cells.get(Role.NAME, ""))
    if not unit and match and KNOWN_UNIT.fullmatch(match[1]):
        unit = unit_of(match[1])
    text = entry.cells.get(Role.SCALE, "")
    if text.lower() not in _NOTHING:
        scale, more_unit = _scale_of(entry, text, scale)
        unit = unit or more_unit
    text = entry.cells.get(Role.DIVISOR, "")
    if text.lower() not in _NOTHING:
        divisor, _ = scale_and_unit(text)
        if divisor:
            scale = 1 / divisor
            if divisor < 1:
                entry.doubts.append(f"{text} divides, as its column says; it multiplies perhaps")
        else:
            entry.doubts.append(f"divisor {text!r} not understood")
    return Decimal(1) if scale is None else scale, unit


def _scale_of(entry: Entry, text: str, default: Decimal | None) -> tuple[Decimal | None, str]:
    """Read ``0.1``, ``x0.1``, ``/10``, ``1/10 V``; what multiplies by more than 1 is doubtful."""
    divided = re.fullmatch(r"[/÷]\s*(.+)", text)
    scale, unit = scale_and_unit(divided[1] if divided else text)
    if scale is None or (divided and not scale):
        entry.doubts.append(f"scale {text!r} not understood")
        return default, ""
    if divided:
        return 1 / scale, unit
    if scale > 1:
        entry.doubts.append(f"scale {plain(scale)} multiplies here; perhaps it should divide")
    if scale < 0:
        entry.doubts.append(f"scale {plain(scale)} is negative; perhaps a power of ten")
    return scale, unit if not squeeze(unit).startswith("(") else ""
