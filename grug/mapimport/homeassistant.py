"""Imports the ``modbus:`` section of a Home Assistant configuration, or a file with its sensors.

Addresses are wire addresses, value = raw * scale + offset. Source: the documentation of Home
Assistant's integration "Modbus". Templates that compute with the values are not imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from grug.codec.hints import did_you_mean
from grug.codec.registers import Access, DeviceFacts, Kind, WordOrder
from grug.mapimport.rows import Import, ImportedRow
from grug.mapimport.words import decimal, integer_kind, squeeze, unit_of, whole
from grug.mapimport.yaml_text import LineMap, load_yaml
from grug.model import Table

TABLES = {
    "holding": Table.HOLDING_REGISTER,
    "input": Table.INPUT_REGISTER,
    "coil": Table.COIL,
    "coils": Table.COIL,
    "holdings": Table.HOLDING_REGISTER,
    "discrete_input": Table.DISCRETE_INPUT,
}

KINDS = {
    "int16": Kind.S16,
    "uint16": Kind.U16,
    "int32": Kind.S32,
    "uint32": Kind.U32,
    "int64": Kind.S64,
    "uint64": Kind.U64,
    "float32": Kind.F32,
    "float64": Kind.F64,
    "string": Kind.TEXT,
}

SWAPS = {
    "none": WordOrder.ABCD,
    "byte": WordOrder.BADC,
    "word": WordOrder.CDAB,
    "word_byte": WordOrder.DCBA,
}

SECTIONS = ("sensors", "binary_sensors", "switches", "lights", "fans", "covers", "climates")


def import_home_assistant(text: str, source: str) -> Import:
    """Read all entities of all hubs."""
    result = Import(source)
    root = load_yaml(text, source)
    for hub in _hubs(root):
        _take_serial(hub, result)
        for section in SECTIONS:
            entities = hub.get(section) or []
            if not isinstance(entities, list):
                result.complain(f"{section}: not a list", getattr(hub, "line", 0))
                continue
            for entity in entities:
                if isinstance(entity, LineMap):
                    _Entity(result, section, entity).read()
                elif not (isinstance(entity, str) and entity.startswith("!")):
                    result.complain(f"{section}: {entity!r} is no entity")
    if not result.rows and not result.problems:
        result.complain("no modbus: section with sensors in it")
    return result


def _hubs(root: Any) -> Iterator[Mapping[str, Any]]:
    """Find hubs in a whole configuration, a package, or what is included under ``modbus:``."""
    if isinstance(root, list):
        hubs = [item for item in root if isinstance(item, LineMap)]
        if any("address" in item for item in hubs):
            yield {"sensors": hubs}
            return
        for item in hubs:
            yield from _hubs(item)
    elif isinstance(root, LineMap):
        if "modbus" in root:
            yield from _hubs(root["modbus"])
        elif any(section in root for section in SECTIONS):
            yield root
        else:  # A file of packages holds configurations by name.
            for value in root.values():
                if isinstance(value, LineMap):
                    yield from _hubs(value)


def _take_serial(hub: Mapping[str, Any], result: Import) -> None:
    baudrate, stopbits = whole(hub.get("baudrate")), whole(hub.get("stopbits"))
    parity, bytesize = hub.get("parity"), whole(hub.get("bytesize"))
    if baudrate and hub.get("type") == "serial":
        framing = f"{bytesize or 8}{parity if parity in ('N', 'E', 'O') else 'N'}{stopbits or 1}"
        result.facts = DeviceFacts(baudrate=baudrate, framing=framing)


class _Entity:
    """Reads one entity."""

    def __init__(self, result: Import, section: str, entity: LineMap) -> None:
        self.result = result
        self.section = section
        self.entity = entity
        self.line = entity.line
        self.doubts: list[str] = []
        self.problems_before = len(result.problems)

    def complain(self, text: str) -> None:
        self.result.complain(text, self.line)

    def read(self) -> None:
        entity = self.entity
        name = squeeze(str(entity.get("name") or entity.get("unique_id") or ""))
        if not name:
            self.complain("name: empty")
        address = whole(entity.get("address"))
        if address is None:
            self.complain(f"address: {entity.get('address')!r} is not a whole number")
        table = self._table()
        if self.section == "climates" and entity.get("target_temp_register") is not None:
            self.result.notes.append(f"{name}: only the measured temperature of the climate")
        kind, words = self._kind(table)
        unit_id = whole(entity.get("device_address", entity.get("slave")))
        scale = self._number("scale", Decimal(1))
        if scale == 0:
            self.complain("scale: 0 would make every value the same")
        offset = self._number("offset", Decimal(0))
        is_failed = len(self.result.problems) > self.problems_before
        if is_failed or address is None or table is None or kind is None:
            return
        is_scaled = kind not in (Kind.BOOL, Kind.TEXT)
        row = ImportedRow(
            name,
            table,
            address,
            kind,
            words=words,
            count=max(whole(entity.get("virtual_count", entity.get("slave_count"))) or 0, 0) + 1,
            order=self._order(),
            scale=scale if is_scaled else Decimal(1),
            offset=offset if is_scaled else Decimal(0),
            unit=unit_of(str(entity.get("unit_of_measurement") or "")),
            decimals=min(max(whole(entity.get("precision")) or 0, 0), 15),
            access=self._access(table),
            invalid=self._invalid(),
            unit_id=unit_id,
            line=self.line,
            doubts=tuple(self.doubts),
        )
        self.result.rows.append(row)

    def _table(self) -> Table | None:
        defaults = {"binary_sensors": "coil", "sensors": "holding", "climates": "holding"}
        key = "input_type" if self.section in defaults else "write_type"
        text = str(self.entity.get(key, defaults.get(self.section, "holding")))
        if text not in TABLES:
            self.complain(f"{key}: unknown {key} {text!r}{did_you_mean(text, TABLES)}")
        return TABLES.get(text)

    def _access(self, table: Table) -> Access:
        is_written = self.section not in ("sensors", "binary_sensors", "climates")
        if is_written and table in (Table.COIL, Table.HOLDING_REGISTER):
            return Access.GUARDED
        return Access.READ

    def _kind(self, table: Table | None) -> tuple[Kind | None, int]:
        if table is not None and table.is_bits:
            return Kind.BOOL, 0
        if self.section not in ("sensors", "climates"):
            return Kind.U16, 0
        text, count = str(self.entity.get("data_type", "int16")), whole(self.entity.get("count"))
        if text in ("int", "uint"):  # Before 2022 the length told them apart.
            kind = integer_kind(count or 1, signed=text == "int")
        elif text == "float":
            kind = Kind.F64 if count == 4 else Kind.F32
        else:
            kind = KINDS.get(text)
        if kind is None:
            reason = " has no kind of ours" if text in ("custom", "float16") else ""
            hint = "" if reason else did_you_mean(text, KINDS)
            self.complain(f"data_type: {text!r}{reason or ' is unknown' + hint}")
        elif kind is Kind.TEXT and not count:
            self.complain("count: the length of the text in words is needed")
        elif kind is not Kind.TEXT and count not in (None, 0, kind.words):
            self.complain(f"count: {count} words, but {text} has {kind.words}")
        return kind, (count or 0) if kind is Kind.TEXT else 0

    def _order(self) -> WordOrder:
        text = str(self.entity.get("swap", "none"))
        if text not in SWAPS:
            self.complain(f"swap: unknown swap {text!r}{did_you_mean(text, SWAPS)}")
        return SWAPS.get(text, WordOrder.ABCD)

    def _number(self, key: str, default: Decimal) -> Decimal:
        value = self.entity.get(key)
        number = default if value is None else decimal(value)
        if number is None:
            self.complain(f"{key}: {value!r} is not a number")
        return default if number is None else number

    def _invalid(self) -> tuple[int, ...]:
        value = self.entity.get("nan_value")
        if value is None:
            return ()
        number = whole(value)
        if number is None and isinstance(value, str):
            number = whole(f"0x{value.strip()}")
        if number is None:
            self.doubts.append(f"nan_value: {value!r} left out, it is not a whole number")
        return () if number is None else (number,)
