"""Reads addresses as documents print them, and tells what they are on the wire.

Documents count from 0 or from 1, in decimal or hexadecimal, or print references: 40001 is the first
holding register, 30001 the first input register. Some print wire addresses that look like
references: Solis' 33029 is 33029 on the wire. Nobody can tell from one number, so all of a document
are looked at, and what was decided is said. Source of references: MODBUS over Serial Line and the
manuals of many devices; the protocol itself has only wire addresses.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from grug.model import Table

FIRST_REFERENCES_MAX = 100
"""References of a document begin near 40001; wire addresses that look like them hardly do."""

_RANGE = re.compile(r"\s*(?:-|–|—|~|～|/|\+|\bto\b|\.\.+|\s)\s*", re.IGNORECASE)
_PREFIXED = re.compile(r"([0134])x(\d{4,6})", re.IGNORECASE)
_TABLES = {
    0: Table.COIL,
    1: Table.DISCRETE_INPUT,
    3: Table.INPUT_REGISTER,
    4: Table.HOLDING_REGISTER,
}


class Convention(enum.StrEnum):
    """How the addresses of a document are to be understood."""

    AUTO = "auto"
    WIRE = "wire"
    """0-based, as they go over the wire."""
    REFERENCE = "reference"
    """40001 is holding register 0, 30001 input register 0."""
    ONE_BASED = "one-based"
    """Register 1 is 0 on the wire."""


@dataclass(frozen=True, slots=True)
class Printed:
    """An address or a range as it was printed."""

    first: int
    last: int
    is_hex: bool = False
    prefix: int | None = None
    """The 4 of ``4x0001``."""

    @property
    def words(self) -> int:
        """Length of the range."""
        return self.last - self.first + 1

    @property
    def group(self) -> int | None:
        """The 3 or 4 (0 and 1 with a prefix alone) with which it may be a reference."""
        if self.prefix is not None:
            return self.prefix
        if self.is_hex:
            return None
        for digits in (10000, 100000):
            group = self.first // digits
            if group in (3, 4) and self.first % digits >= 1:
                return group
        return None

    @property
    def offset(self) -> int:
        """The 0-based address, if it is a reference."""
        if self.prefix is not None:
            return self.first - 1
        return self.first % (100000 if self.first >= 100000 else 10000) - 1


def parse_printed(text: str, *, is_hex: bool = False) -> Printed | None:
    """Read ``40001-40002``, ``0x0100``, ``100H``, ``4x0001``, ``0 (0x0000)``; None when it is none.

    Args:
        text: of the cell.
        is_hex: whether numbers without a mark are hexadecimal in this column.
    """
    text = re.sub(r"\([^)]*\)", " ", text).strip().strip("*.:")
    match = _PREFIXED.fullmatch(text)
    # "0x0100" is a hexadecimal number; "0x00001" is coil 1.
    if match and (match[1] != "0" or len(match[2]) > 4):
        return Printed(int(match[2]), int(match[2]), prefix=int(match[1]))
    if text[-1:] in ("+", "-", "~", "/"):  # "100 +" is a heading: from there on.
        return None
    parts = [part for part in _RANGE.split(text) if part]
    if not 1 <= len(parts) <= 2:
        return None
    first = _number(parts[0], is_hex)
    if first is None:
        return None
    marked = is_hex or parts[0].lower().startswith("0x") or parts[0].lower().endswith("h")
    last = first if len(parts) == 1 else _number(parts[1], marked)
    if last is None:
        return None
    if last < first and len(parts[1]) < len(parts[0]):  # "40001-2" leaves out what is the same.
        last = _number(parts[0][: -len(parts[1])] + parts[1], marked) or last
    return Printed(first, last, marked) if last >= first else None


def _number(text: str, is_hex: bool) -> int | None:
    text = text.lower()
    has_mark = text.startswith("0x") or text.endswith("h")
    digits = text.removeprefix("0x").removesuffix("h")
    try:
        number = int(digits, 16 if is_hex or has_mark else 10)
    except ValueError:
        return None
    return number if digits.isalnum() and number < 10**6 else None


def looks_hexadecimal(cells: Iterable[str]) -> bool:
    """Whether a column without any marks is hexadecimal: all are such digits, some are letters."""
    found = [cell.strip() for cell in cells if cell.strip()]
    hexes = [cell for cell in found if re.fullmatch(r"[0-9A-Fa-f]{2,4}", cell)]
    with_letters = [cell for cell in hexes if re.search(r"[A-Fa-f]", cell)]
    return bool(with_letters) and 10 * len(hexes) >= 8 * len(found)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the addresses of a document are."""

    references: frozenset[int] = frozenset()
    """Groups, of 0, 1, 3 and 4, that are references."""
    is_one_based: bool = False
    notes: tuple[str, ...] = ()

    def wire(self, printed: Printed) -> tuple[int, Table | None]:
        """The wire address, and the table that a reference tells."""
        group = printed.group
        is_reference = group in self.references or printed.first >= 100000 or printed.prefix
        if group is not None and (is_reference or printed.prefix is not None):
            return printed.offset, _TABLES[group]
        return printed.first - self.is_one_based, None


def judge(printed: Sequence[tuple[Printed, int | None]], convention: Convention) -> Verdict:
    """Decide what the addresses of a document are.

    Args:
        printed: all of them, each with the wire address that the document gives beside it, if any.
        convention: what the user says.
    """
    if convention is Convention.ONE_BASED:
        return Verdict(is_one_based=True)
    if convention is Convention.REFERENCE:
        return Verdict(frozenset(_TABLES))
    if convention is Convention.WIRE:
        return Verdict()
    references, notes = set(), []
    for group in (3, 4):
        members = [(each, wire) for each, wire in printed if each.group == group]
        members = [(each, wire) for each, wire in members if each.first < 100000]
        if not members:
            continue
        first = min(each.first for each, _ in members)
        last = max(each.last for each, _ in members)
        told = [wire == each.offset for each, wire in members if wire is not None]
        starts_low = first - (10000 * group + 1) < FIRST_REFERENCES_MAX
        is_reference = 2 * sum(told) > len(told) if told else starts_low
        if is_reference:
            references.add(group)
            notes.append(
                f"{first}..{last} are taken as references: {first} is {_TABLES[group]}"
                f" {first - 10000 * group - 1} on the wire"
                + ("" if told else "; --addresses wire takes them as they stand")
            )
        else:
            notes.append(
                f"{first}..{last} are taken as wire addresses"
                + ("" if told else "; --addresses reference takes off the leading digit")
            )
    return Verdict(frozenset(references), notes=tuple(notes))
