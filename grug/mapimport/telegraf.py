"""Imports the ``inputs.modbus`` sections of a Telegraf configuration, in any of its three styles.

Source: the README of Telegraf's plugin inputs.modbus. Addresses are wire addresses and
value = raw * scale. Tags, measurements and computing processors are not imported.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from grug.codec.hints import did_you_mean
from grug.codec.registers import DeviceFacts, Kind, WordOrder
from grug.mapimport.lines import LineFinder
from grug.mapimport.rows import Import, ImportedRow
from grug.mapimport.words import decimal, decimals_of, integer_kind, squeeze, whole
from grug.model import Table

ARRAYS = {
    "discrete_inputs": Table.DISCRETE_INPUT,
    "coils": Table.COIL,
    "holding_registers": Table.HOLDING_REGISTER,
    "input_registers": Table.INPUT_REGISTER,
}

REGISTERS = {
    "coil": Table.COIL,
    "discrete": Table.DISCRETE_INPUT,
    "holding": Table.HOLDING_REGISTER,
    "input": Table.INPUT_REGISTER,
}

KINDS = {
    "BIT": Kind.U16,
    "INT16": Kind.S16,
    "UINT16": Kind.U16,
    "INT32": Kind.S32,
    "UINT32": Kind.U32,
    "INT64": Kind.S64,
    "UINT64": Kind.U64,
    "FLOAT32": Kind.F32,
    "FLOAT64": Kind.F64,
    "FLOAT32-IEEE": Kind.F32,
    "FLOAT64-IEEE": Kind.F64,
    "STRING": Kind.TEXT,
}

ORDERS = {
    "": WordOrder.ABCD,
    "AB": WordOrder.ABCD,
    "ABCD": WordOrder.ABCD,
    "ABCDEFGH": WordOrder.ABCD,
    "BA": WordOrder.BADC,
    "DCBA": WordOrder.DCBA,
    "HGFEDCBA": WordOrder.DCBA,
    "BADC": WordOrder.BADC,
    "BADCFEHG": WordOrder.BADC,
    "CDAB": WordOrder.CDAB,
    "GHEFCDAB": WordOrder.CDAB,
}


def import_telegraf(text: str, source: str) -> Import:
    """Read all fields of all ``inputs.modbus``."""
    result = Import(source)
    try:
        root = tomllib.loads(text, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:  # Numbers may be too long.
        result.complain(f"no valid TOML: {error}")
        return result
    finder = LineFinder(text)
    for plugin in _tables(_table(root, "inputs").get("modbus")):
        _take_facts(plugin, result)
        default_order = ""
        unit_id = whole(plugin.get("slave_id"))
        for key, table in ARRAYS.items():
            for number, field in enumerate(_tables(plugin.get(key)), 1):
                place = f"{key} {number}"
                _Field(result, finder, field, place, unit_id).read_listed(table)
        for style in ("request", "metric"):
            for number, request in enumerate(_tables(plugin.get(style)), 1):
                request_unit = whole(request.get("slave_id"))
                default_order = str(request.get("byte_order", ""))
                for index, field in enumerate(_tables(request.get("fields")), 1):
                    place = f"{style} {number}, field {index}"
                    reader = _Field(result, finder, field, place, request_unit)
                    register = field.get("register", request.get("register", "holding"))
                    reader.read_addressed(str(register), default_order)
    if not result.rows and not result.problems:
        result.complain("no [[inputs.modbus]] with fields in it")
    return result


def _table(root: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = root.get(key)
    return value if isinstance(value, dict) else {}


def _tables(value: object) -> Iterator[Mapping[str, Any]]:
    items = value if isinstance(value, list) else [value]
    return (item for item in items if isinstance(item, dict))


def _take_facts(plugin: Mapping[str, Any], result: Import) -> None:
    baudrate = whole(plugin.get("baud_rate"))
    if baudrate:
        parity, data_bits = str(plugin.get("parity", "N"))[:1], whole(plugin.get("data_bits")) or 8
        framing = f"{data_bits}{parity}{whole(plugin.get('stop_bits')) or 1}"
        title = squeeze(str(plugin.get("name", "")))
        result.facts = DeviceFacts(title=title, baudrate=baudrate, framing=framing)


class _Field:
    """Reads one field."""

    def __init__(
        self,
        result: Import,
        finder: LineFinder,
        field: Mapping[str, Any],
        place: str,
        unit_id: int | None,
    ) -> None:
        self.result = result
        self.field = field
        self.name = squeeze(str(field.get("name", "")))
        self.line = finder.line_of(str(field.get("name", "")))
        self.place = place
        self.unit_id = unit_id
        self.doubts: list[str] = []

    def complain(self, text: str) -> None:
        self.result.complain(text, self.line, self.place)

    def read_listed(self, table: Table) -> None:
        """The oldest style: the words of a value are listed, each by its address."""
        listed = self.field.get("address")
        addresses = (
            [whole(item) for item in listed] if isinstance(listed, list) else [whole(listed)]
        )
        first = addresses[0] if addresses else None
        numbers = [address for address in addresses if address is not None]
        if first is None or numbers != list(range(first, first + len(addresses))):
            self.complain(f"address: {listed!r} are not addresses that follow each other")
            return
        kind = Kind.BOOL if table.is_bits else self._listed_kind(len(numbers))
        self._add(table, first, kind, len(numbers), str(self.field.get("byte_order", "")))

    def _listed_kind(self, words: int) -> Kind | None:
        text = str(self.field.get("data_type", "")).upper()
        # Here FLOAT32 is an old name of UFIXED: a whole number that scale makes a fraction of.
        if text in ("FIXED", "UFIXED", "FLOAT32"):
            if text == "FLOAT32":
                self.doubts.append("FLOAT32 is a scaled whole number here; f32 is FLOAT32-IEEE")
            return integer_kind(words, signed=text == "FIXED")
        return self._kind(text)

    def read_addressed(self, register: str, default_order: str) -> None:
        """The styles ``request`` and ``metric``: one address a field."""
        table = REGISTERS.get(register)
        if table is None:
            self.complain(
                f"register: unknown register {register!r}{did_you_mean(register, REGISTERS)}"
            )
            return
        if self.field.get("omit") is True:
            return
        address = whole(self.field.get("address"))
        if address is None:
            self.complain(f"address: {self.field.get('address')!r} is not a whole number")
            return
        kind = Kind.BOOL if table.is_bits else self._kind(str(self.field.get("type", "")).upper())
        words = whole(self.field.get("length")) or 0
        order = str(self.field.get("byte_order", default_order))
        self._add(table, address, kind, words if kind is Kind.TEXT else 0, order)

    def _kind(self, text: str) -> Kind | None:
        if text in KINDS:
            return KINDS[text]
        what = "has no kind of ours" if text.endswith(("8L", "8H", "T16")) else "is unknown"
        hint = did_you_mean(text, KINDS) if what == "is unknown" else ""
        self.complain(f"type: {text!r} {what}{hint}" if text else "type: missing")
        return None

    def _add(self, table: Table, address: int, kind: Kind | None, words: int, order: str) -> None:
        before = len(self.result.problems)
        if not self.name:
            self.complain("name: empty")
        if order.upper() not in ORDERS:
            self.complain(f"byte_order: unknown order {order!r}{did_you_mean(order, ORDERS)}")
        scale = decimal(self.field.get("scale", 1))
        if not scale:  # 0.0 is how configurations say "as it is".
            self.doubts += ["scale: 0 taken as 1"] if scale == 0 else []
            if scale is None:
                self.complain(f"scale: {self.field.get('scale')!r} is not a number")
            scale = Decimal(1)
        if kind is not None and kind not in (Kind.TEXT, Kind.BOOL) and words not in (0, kind.words):
            self.complain(f"address: {words} words, but {kind} has {kind.words}")
        if kind is None or len(self.result.problems) > before:
            return
        is_bit = "BIT" in (self.field.get("type"), self.field.get("data_type"))
        is_scaled = kind not in (Kind.BOOL, Kind.TEXT) and not is_bit
        row = ImportedRow(
            self.name,
            table,
            address,
            kind,
            words=words if kind is Kind.TEXT else 0,
            order=ORDERS[order.upper()],
            scale=scale if is_scaled else Decimal(1),
            decimals=decimals_of(scale) if is_scaled else 0,
            bit=(whole(self.field.get("bit")) or 0) if is_bit else None,
            unit_id=self.unit_id,
            line=self.line,
            place=self.place,
            doubts=tuple(self.doubts),
        )
        self.result.rows.append(row)
