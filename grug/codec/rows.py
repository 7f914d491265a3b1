"""Reads one row of a map's CSV: its cells, and all that is wrong with them."""

from __future__ import annotations

import enum
import keyword
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from grug.codec.block import allowed_range
from grug.codec.hints import did_you_mean
from grug.codec.registers import Access, Kind, Register, Storage, WordOrder
from grug.model import Table

TABLE_NAMES = {
    **{table.value: table for table in Table},
    "discrete": Table.DISCRETE_INPUT,
    "holding": Table.HOLDING_REGISTER,
    "input": Table.INPUT_REGISTER,
}

ADDRESS_END = 65536
"""Source: MODBUS Application Protocol V1.1b3, 4.4: PDU addresses are 0..65535."""

CONFIRMATIONS = 3
"""Readings that confirm a counter's new beginning, where the map just says that it is a counter."""

_Choice = TypeVar("_Choice", bound=enum.StrEnum)


_KINDS = {kind.value: kind for kind in Kind}
_ORDERS = {order.value: order for order in WordOrder}
_ACCESSES = {access.value: access for access in Access}
_STORAGES = {storage.value: storage for storage in Storage}


class Row:
    """One row: takes its cells, and keeps the faults met on the way."""

    def __init__(self, line: int, cells: Mapping[str, str]) -> None:
        self.line = line
        self.cells = cells
        self.faults: list[str] = []
        self.name = cells.get("name", "")
        self.count = 1
        """More than one for an array."""
        self.scale_name = ""
        """The register that the scale column names, where it is no number."""
        self.register: Register | None = None
        """The register, or the first of an array; None when anything is wrong."""

    @property
    def element_names(self) -> tuple[str, ...]:
        """Names of the registers that this row stands for."""
        if self.count == 1:
            return (self.name,)
        return tuple(f"{self.name}_{number}" for number in range(1, self.count + 1))

    def read(self) -> None:
        """Make the register, and note what is wrong."""
        self._check_name()
        table = self._choice("table", TABLE_NAMES, None)
        kind = self._choice("kind", _KINDS, None)
        order = self._choice("order", _ORDERS, WordOrder.ABCD)
        access = self._choice("access", _ACCESSES, Access.READ)
        storage = self._choice("storage", _STORAGES, Storage.UNKNOWN)
        address = self._whole("address", 0, ADDRESS_END - 1, None)
        words = self._whole("words", 1, 125, 0)
        self.count = self._whole("count", 1, 1000, 1) or 1
        decimals = self._whole("decimals", 0, 15, 0)
        scale = self._scale()
        offset = self._decimal("offset", Decimal(0))
        step_max, rate_max = self._steps()
        if table is None or kind is None or address is None:
            return
        words = self._words_of(kind, table, address, words or 0)
        self._check_kind(kind, table, access, scale, offset)
        register = Register(
            name=self.name,
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
            step_max=step_max,
            rate_max=rate_max,
            confirmations=self._confirmations(),
            note=self.cells.get("note", ""),
            alias=self.cells.get("alias", ""),
        )
        self._check_limits(register)
        if not self.faults:
            self.register = register

    def _check_name(self) -> None:
        name = self.name
        if not name:
            self.faults.append("name: empty")
        elif not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
            self.faults.append(f"name: {name!r} is not a letter followed by letters, digits or _")

    def _scale(self) -> Decimal | None:
        """The scale, where it is a number; else note the name."""
        text = self.cells.get("scale", "")
        if text.isidentifier() and text.lower() not in ("nan", "inf", "infinity"):
            self.scale_name = text
            return Decimal(1)
        return self._decimal("scale", Decimal(1))

    def _steps(self) -> tuple[Decimal | None, Decimal | None]:
        """Largest step between two readings, and in a second, from ``50`` and ``50/s``."""
        step = rate = None
        for text in self.cells.get("max_step", "").split():
            number = self._number("max_step", text.removesuffix("/s"))
            if number is not None and number <= 0:
                self.faults.append(f"max_step: {text} is not above 0")
            elif text.endswith("/s"):
                rate = number
            else:
                step = number
        return step, rate

    def _confirmations(self) -> int:
        if self.cells.get("counter", "").lower() == "yes":
            return CONFIRMATIONS
        return self._whole("counter", 1, 100, 0) or 0

    def _choice(
        self, column: str, choices: Mapping[str, _Choice], default: _Choice | None
    ) -> _Choice | None:
        text = self.cells.get(column, "")
        if not text and default is not None:
            return default
        choice = choices.get(text.lower()) or choices.get(text.upper())
        if choice is not None:
            return choice
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
        number = self._number(column, text)
        return default if number is None else number

    def _number(self, column: str, text: str) -> Decimal | None:
        try:
            number = Decimal(text.replace(",", "."))
        except InvalidOperation:
            self.faults.append(f"{column}: {text!r} is not a number")
            return None
        # The bound keeps exact arithmetic small; no device's scale is near it.
        if not number.is_finite() or abs(number.adjusted()) > 30:
            self.faults.append(f"{column}: {text} is no sensible number")
            return None
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
        length = words * self.count
        if address + length > ADDRESS_END:
            self.faults.append(f"address: {address} + {length} words goes past {ADDRESS_END - 1}")
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
        if not kind.is_number and scale != 1:
            self.faults.append(f"scale: a {kind} has neither scale nor offset")
        elif self.scale_name and not kind.is_integer:
            self.faults.append(f"scale: a {kind} cannot be scaled by {self.scale_name}")
        if kind is Kind.CLOCK6:
            if offset not in (0, 1900, 2000):
                self.faults.append("offset: of a clock6 it is what years count from: 0, 1900, 2000")
        elif not kind.is_number and offset != 0:
            self.faults.append(f"offset: a {kind} has neither scale nor offset")
        if table in (Table.DISCRETE_INPUT, Table.INPUT_REGISTER) and access is not Access.READ:
            self.faults.append(f"access: nobody can write to table {table}; did you mean 'read'?")

    def _check_limits(self, register: Register) -> None:
        if register.is_watched and not register.kind.is_number:
            self.faults.append(f"max_step: a {register.kind} neither steps nor counts")
        if self.scale_name and register.offset != 0:
            self.faults.append(f"offset: not together with the scale of {self.scale_name}")
        minimum, maximum = register.minimum, register.maximum
        if minimum is None and maximum is None:
            return
        if not register.kind.is_number:
            self.faults.append(f"min: a {register.kind} has no range")
        elif not self.faults:
            low, high = allowed_range(register)
            if self.scale_name and minimum is not None and maximum is not None:
                low, high = float(minimum), float(maximum)
            if low > high:
                self.faults.append("min: the range between min and max holds no possible value")


def _whole_of(text: str) -> int | None:
    try:
        return int(text, 0) if text.lower().startswith(("0x", "-0x")) else int(text)
    except ValueError:
        return None


def _fit_sentinel(number: int, kind: Kind) -> int | None:
    """Give the raw value that a sentinel means; negative kinds may be given as bit patterns."""
    if kind.is_float or kind.is_bcd:
        return number if 0 <= number < 1 << 16 * kind.words else None
    if not kind.is_integer:
        return None
    low, high = kind.raw_range
    if low < 0 and high < number <= high - low:
        number -= 1 << 16 * kind.words
    return number if low <= number <= high else None
