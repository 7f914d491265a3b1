"""Guesses what the columns of a table in a document are, by their titles or by what is in them."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grug.mapimport.tables import Cells
from grug.mapimport.words import KNOWN_UNIT, kind_of, squeeze

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
    TABLE = "table"
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
    (Role.NAME, r"\bname\b|bezeichnung|^parameters?$|^variable|^signal|^designation|^measure"),
    (Role.NAME, r"^item$"),
    (Role.FUNCTION, r"funktion|function|^f\.? ?c\.?$|\bcommand\b"),
    (Role.COUNT, r"length|l(?:ae|ä)nge|\bsize\b|quantity|\bqty|^words?$|^byte ?s?$|^bits$|^count$"),
    (Role.COUNT, r"^(?:no\.?|number|#|count|anzahl)(?: of)? |^registers$|^n$|\bregs\b$"),
    (Role.END, r"\bend\b.*(?:addr|reg)|(?:addr|reg).*\bend\b|last (?:addr|reg)"),
    (Role.ADDRESS_HEX, r"\bhex\b"),
    (Role.TABLE, r"\breg(?:ister|\.)? ?typ|^(?:table|object)(?: type)?$"),
    (Role.KIND, r"typ|format|encoding"),
    (Role.ACCESS, r"^r ?/? ?w$|access|zugriff|read ?/ ?write|attribut|permission|^mode$|\br/w\b"),
    (Role.ADDRESS, r"\badd?r|adresse|register|^reg\b|reference|offset|^dec(?:imal)?$|^start"),
    (Role.ADDRESS, r"^modbus$"),
    (Role.DIVISOR, r"\bgain\b|divi[sd]|coefficient"),
    (Role.SCALE, r"scal|factor|faktor|resolution|multipl|ratio|accuracy|magnif|\blsb\b|precision"),
    (Role.UNIT, r"\bunits?\b|\buom\b|einheit"),
    (Role.NAME, r"parameter|content|meaning|definition|\bdata$|quantit|field|point|^value$"),
    (Role.NAME, r"description|beschreibung|function|funktion"),
    (Role.NOTE, r"remark|note|comment|range|default|explanation|detail|value|min|max|bemerkung"),
    (Role.NOTE, r"bereich|erl(?:ae|ä)uterung|wert|content|meaning|description|parameter"),
)
"""Titles and what they say, best first; of two columns for one role the better title has it."""

_ADDRESS = re.compile(
    r"(?:0x[0-9a-f]{1,4}|[0-9a-f]{1,4}h|\d{1,6}|[0134]x\d{4,5}|(?=\w*\d)[0-9a-f]{4})"
    r"(?:\s*(?:-|–|~|/|\+|to|\.\.)\s*(?:0x[0-9a-f]{1,4}|[0-9a-f]{1,4}h|\d{1,6}))?",
    re.IGNORECASE,
)
_ACCESS = re.compile(
    r"r|w|ro|wo|rw|r ?/ ?w|read(?:[ -]?only)?|read ?/ ?write|write(?:[ -]?only)?", re.IGNORECASE
)
_TABLE = re.compile(r"(?:holding|input|coil|discrete)s?(?: (?:input|reg(?:ister|\.)?))?s?", re.I)


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
        for height in (1, 2, 3, 4):
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
    columns = [_cells_below(rows, -1, column) for column in range(width)]
    for role in (Role.ADDRESS, Role.ACCESS, Role.TABLE, Role.KIND, Role.UNIT):
        for column, cells in enumerate(columns):
            is_free = roles[column] is None and role not in roles
            if is_free and len(cells) >= _ROWS_TO_GUESS_FROM and _mostly(_LOOKS[role], cells):
                roles[column] = role
    free = [
        column
        for column in range(width)
        if roles[column] is None and columns[column] and _mostly(_is_wordy, columns[column])
    ]
    if Role.ADDRESS not in roles or not free:
        return None
    for column in free:
        roles[column] = Role.NOTE
    roles[max(free, key=lambda column: _namelike(columns[column]))] = Role.NAME
    return Columns(tuple(roles), ("",) * width, is_guessed=True)


def _namelike(cells: Sequence[str]) -> float:
    """How much a column looks like names: short, and each another."""
    length = sum(map(len, cells)) / len(cells)
    return len(set(cells)) / len(cells) - abs(length - 18) / 100


def is_address(text: str) -> bool:
    """Whether a cell can be an address or a range of them."""
    return _ADDRESS.fullmatch(text.strip()) is not None


def _score(columns: Columns) -> tuple[int, int, int]:
    """How many roles are told apart, and columns understood; fewer rows for it are better."""
    known = {role for role in columns.roles if role not in (None, Role.NOTE)}
    understood = sum(role is not None for role in columns.roles)
    return len(known), understood, -len(columns.header_rows)


def _by_titles(rows: Sequence[Cells], header_rows: tuple[int, ...]) -> Columns | None:
    if any(is_address(squeeze(cell)) for row in header_rows for cell in rows[row]):
        return None
    width = len(rows[header_rows[0]])
    titles = [_title_parts(rows, header_rows, column) for column in range(width)]
    columns = [_cells_below(rows, header_rows[-1], column) for column in range(width)]
    found = [_role_of(parts, cells) for parts, cells in zip(titles, columns, strict=True)]
    roles: list[Role | None] = [None] * width
    for column in sorted(range(width), key=lambda column: (found[column][0], column)):
        role, cells = found[column][1], columns[column]
        if role in roles and role is not Role.NOTE:
            role = _second_role(role, _joined(titles[column]), cells)
        roles[column] = role
    for role in (Role.ACCESS, Role.TABLE):  # They are known by their cells, whatever their title.
        for column, cells in enumerate(columns):
            is_free = roles[column] in (None, Role.NOTE) and role not in roles
            if is_free and len(cells) >= _ROWS_TO_GUESS_FROM and _mostly(_LOOKS[role], cells):
                roles[column] = role
    joined = tuple(_joined(parts) for parts in titles)
    return _completed(Columns(tuple(roles), joined, header_rows))


def _title_parts(rows: Sequence[Cells], header_rows: tuple[int, ...], column: int) -> list[str]:
    """The title of a column from top to bottom."""
    parts = []
    for row in header_rows:
        cells, left = rows[row], column
        # A title over several columns stands in the first of them.
        while left > 0 and left < len(cells) and cells[left] is None and row != header_rows[-1]:
            left -= 1
        parts.append(squeeze(cells[left]) if left < len(cells) else "")
    return parts


def _joined(parts: Sequence[str]) -> str:
    """Put the parts of a title together; words that were broken are whole again."""
    return re.sub(r"(?<=[a-z])- (?=[a-z])", "", " ".join(dict.fromkeys(filter(None, parts))))


def _cells_below(rows: Sequence[Cells], header_row: int, column: int) -> list[str]:
    cells = [row[column] for row in rows[header_row + 1 :] if column < len(row)]
    return [text for text in map(squeeze, cells) if text not in ("", "-", "--")]


def _second_role(role: Role | None, title: str, cells: Sequence[str]) -> Role | None:
    """What a second column is whose title says the same as a better one."""
    if role is Role.ADDRESS:
        is_hex = "hex" in title.lower() or any(re.search(r"0x|[0-9]h$", cell) for cell in cells)
        return Role.ADDRESS_HEX if is_hex else None
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


def _role_of(parts: Sequence[str], cells: Sequence[str]) -> tuple[int, Role | None]:
    """What a title says, unless the cells say otherwise, and its place in the list of titles."""
    for title in dict.fromkeys((parts[-1], _joined(parts))):
        title = title.lower().strip(" :")
        if not title or len(title) > 60:
            continue
        for rank, (role, pattern) in enumerate(_TITLES):
            if re.search(pattern, title) and not _contradicted(role, cells):
                return rank, role
    return len(_TITLES), None


def _contradicted(role: Role, cells: Sequence[str]) -> bool:
    """Whether the cells cannot be what the title says."""
    if len(cells) < _ROWS_TO_GUESS_FROM:
        return False
    if role in (Role.ADDRESS, Role.ADDRESS_HEX, Role.TABLE):
        return 4 * sum(map(_LOOKS[role], cells)) < len(cells)
    if role is Role.NAME:
        return not _mostly(_is_wordy, cells)
    if role is Role.KIND:
        return _mostly(_LOOKS[Role.ACCESS], cells)
    if role in (Role.FUNCTION, Role.COUNT):
        return not _mostly(lambda cell: re.search(r"^\D{0,6}\d", cell) is not None, cells)
    return False


def _mostly(test: Callable[[str], bool], cells: Sequence[str]) -> bool:
    return 2 * sum(map(test, cells)) > len(cells)


def _is_wordy(text: str) -> bool:
    return re.search(r"[^\W\d_]{2}", text) is not None


_LOOKS: dict[Role, Callable[[str], bool]] = {
    Role.ADDRESS: is_address,
    Role.ADDRESS_HEX: is_address,
    Role.ACCESS: lambda text: _ACCESS.fullmatch(text) is not None,
    Role.TABLE: lambda text: _TABLE.fullmatch(text) is not None,
    Role.KIND: lambda text: kind_of(text) is not None and len(text) < 20,
    Role.UNIT: lambda text: KNOWN_UNIT.fullmatch(text) is not None,
}
"""How the cells of a column look that can be known without its title."""
