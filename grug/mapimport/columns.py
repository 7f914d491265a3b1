"""Guesses what the columns of a table in a document are, by their titles or by what is in them."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass

from grug.mapimport.tables import Cells
from grug.mapimport.words import kind_of, squeeze

HEADER_ROWS_MAX = 3
_ROWS_TO_GUESS_FROM = 3


class Role(enum.StrEnum):
    """What a column holds."""

    ADDRESS = "address"
    ADDRESS_HEX = "hex address"
    ADDRESS_HIGH = "high byte of the address"
    ADDRESS_LOW = "low byte of the address"
    END = "last address"
    COUNT = "words"
    FUNCTION = "function"
    ACCESS = "access"
    KIND = "type"
    SCALE = "scale"
    DIVISOR = "divisor"
    UNIT = "unit"
    NAME = "name"
    NOTE = "note"


_TITLES: tuple[tuple[Role, str], ...] = (
    (Role.ADDRESS_HIGH, r"\bhi(?:gh)?(?: byte)?$"),
    (Role.ADDRESS_LOW, r"\blo(?:w)?(?: byte)?$"),
    (Role.FUNCTION, r"function|^f\.? ?c\.?$|\bcommand\b"),
    (Role.COUNT, r"length|\bsize\b|quantity|\bqty|^(?:no\.?|number|#|count) of|^words?$|^count$"),
    (Role.COUNT, r"^registers$|^n$|\bregs\b$"),
    (Role.END, r"\bend\b.*(?:addr|reg)|(?:addr|reg).*\bend\b|last (?:addr|reg)"),
    (Role.ADDRESS_HEX, r"\bhex\b"),
    (Role.NAME, r"\bname\b|^parameters?$|^variable|^signal|^designation|^measure|^item$"),
    (Role.KIND, r"type|format|encoding"),
    (Role.ACCESS, r"^r ?/? ?w$|access|read ?/ ?write|attribute|permission|^mode$|property|\br/w\b"),
    (Role.ADDRESS, r"addr|register|^reg\b|reference|offset|^dec(?:imal)?$|^start|modbus"),
    (Role.DIVISOR, r"\bgain\b|divi[sd]|coefficient"),
    (Role.SCALE, r"scal|factor|resolution|multipl|ratio|accuracy|magnif|\blsb\b|precision"),
    (Role.UNIT, r"\bunits?\b|\buom\b"),
    (Role.NAME, r"parameter|content|meaning|definition|description|\bdata$|quantit|field|point"),
    (Role.NOTE, r"remark|note|comment|range|default|explanation|detail|value|min|max"),
)
"""Titles in the order in which they are tried; the first that fits decides."""

_ADDRESS = re.compile(
    r"(?:0x[0-9a-f]{1,4}|[0-9a-f]{1,4}h|\d{1,6}|[0134]x\d{4,5}|(?=\w*\d)[0-9a-f]{4})"
    r"(?:\s*(?:-|–|~|/|to|\.\.)\s*(?:0x[0-9a-f]{1,4}|[0-9a-f]{1,4}h|\d{1,6}))?",
    re.IGNORECASE,
)
_ACCESS = re.compile(r"r|w|ro|wo|rw|r/w|r / w|read(?: only)?|read/write|write(?: only)?", re.I)


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of a table are taken for."""

    roles: tuple[Role | None, ...]
    titles: tuple[str, ...]
    header_rows: tuple[int, ...] = ()
    """Where the titles stand."""
    is_guessed: bool = False
    """By what is in them, without titles."""

    def index(self, role: Role) -> int | None:
        """The column with this role."""
        return self.roles.index(role) if role in self.roles else None

    def describe(self) -> str:
        """Say what was taken for what."""
        return ", ".join(
            f"{title or f'column {number}'!s} -> {role or 'nothing'}"
            for number, (title, role) in enumerate(zip(self.titles, self.roles, strict=True), 1)
        )


def titled_columns(rows: Sequence[Cells]) -> Columns | None:
    """Find the titles among the first rows; None when there are none of a table of registers."""
    best: Columns | None = None
    for first in range(min(HEADER_ROWS_MAX, len(rows))):
        for height in (1, 2):
            lines = range(first, min(first + height, len(rows)))
            found = _by_titles(rows, tuple(lines))
            if found is not None and (best is None or _score(found) > _score(best)):
                best = found
    return best


def guessed_columns(rows: Sequence[Cells]) -> Columns | None:
    """Guess from the cells: addresses, data types and access look like nothing else."""
    width = max((len(row) for row in rows), default=0)
    if len(rows) < _ROWS_TO_GUESS_FROM or width < 2:
        return None
    roles: list[Role | None] = [None] * width
    columns = [[squeeze(row[c]) for row in rows if c < len(row) and row[c]] for c in range(width)]
    tests = (
        (Role.ADDRESS, is_address),
        (Role.ACCESS, lambda text: _ACCESS.fullmatch(text) is not None),
        (Role.KIND, lambda text: kind_of(text) is not None and len(text) < 20),
    )
    for role, test in tests:
        for column, cells in enumerate(columns):
            is_good = len(cells) >= _ROWS_TO_GUESS_FROM and roles[column] is None
            if is_good and 2 * sum(map(test, cells)) > len(cells) and role not in roles:
                roles[column] = role
    free = [column for column in range(width) if roles[column] is None and columns[column]]
    if Role.ADDRESS not in roles or not free:
        return None
    longest = max(free, key=lambda column: sum(map(len, columns[column])) / len(columns[column]))
    roles[longest] = Role.NAME
    return Columns(tuple(roles), ("",) * width, is_guessed=True)


def is_address(text: str) -> bool:
    """Whether a cell can be an address or a range of them."""
    return _ADDRESS.fullmatch(text.strip()) is not None


def _score(columns: Columns) -> tuple[int, int]:
    """How many roles are told apart; fewer rows for it are better."""
    known = {role for role in columns.roles if role not in (None, Role.NOTE)}
    return len(known), -len(columns.header_rows)


def _by_titles(rows: Sequence[Cells], header_rows: tuple[int, ...]) -> Columns | None:
    tops = rows[header_rows[0]]
    if any(is_address(squeeze(cell)) for row in header_rows for cell in rows[row]):
        return None
    titles = []
    for column in range(len(tops)):
        parts = []
        for row in header_rows:
            cell = rows[row][column] if column < len(rows[row]) else ""
            # A title over several columns stands in the first of them.
            left = column
            while cell is None and left > 0 and row != header_rows[-1]:
                left -= 1
                cell = rows[row][left]
            parts.append(squeeze(cell))
        titles.append(parts)
    roles: list[Role | None] = []
    for parts in titles:
        role = _role_of(parts[-1]) or _role_of(" ".join(part for part in parts if part))
        if role is not None and role in roles and role is not Role.NOTE:
            role = _second_role(role)
        roles.append(role)
    joined = tuple(" ".join(dict.fromkeys(part for part in parts if part)) for parts in titles)
    return _completed(Columns(tuple(roles), joined, header_rows))


def _second_role(role: Role) -> Role | None:
    """What a second column is whose title says the same as one before."""
    if role is Role.ADDRESS:
        return Role.ADDRESS_HEX
    return Role.NOTE if role is Role.NAME else None


def _completed(columns: Columns) -> Columns | None:
    """Accept columns with which registers can be told; a hexadecimal address alone is one."""
    roles = list(columns.roles)
    has_bytes = Role.ADDRESS_HIGH in roles and Role.ADDRESS_LOW in roles
    if Role.ADDRESS not in roles and Role.ADDRESS_HEX in roles:
        roles[roles.index(Role.ADDRESS_HEX)] = Role.ADDRESS
    if Role.NAME not in roles and Role.NOTE in roles:
        roles[roles.index(Role.NOTE)] = Role.NAME
    if Role.NAME not in roles or not (Role.ADDRESS in roles or has_bytes):
        return None
    return Columns(tuple(roles), columns.titles, columns.header_rows, columns.is_guessed)


def _role_of(title: str) -> Role | None:
    title = title.lower().strip(" :")
    if not title or len(title) > 60:
        return None
    return next((role for role, pattern in _TITLES if re.search(pattern, title)), None)
