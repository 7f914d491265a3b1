"""Imports SunSpec information models in their JSON form (``model_103.json``).

A model does not know where it is: devices chain their models from 40000 on. The address at which
the model begins (that of its ``ID``) has to be told. Source: SunSpec Device Information Model
Specification, and the models that the SunSpec Alliance publishes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from grug.codec.registers import Access, Bit, Choice, DeviceFacts, Kind
from grug.mapimport.jsontext import list_of, load_json
from grug.mapimport.lines import LineFinder
from grug.mapimport.rows import Import, ImportedRow
from grug.mapimport.words import decimals_of, squeeze, unit_of, whole
from grug.model import Table

COMMON_MODEL_ADDRESS = 40002
"""Behind the two words "SunS" at 40000."""
NEXT_MODEL_ADDRESS = 40070
"""Behind a common model of 66 words, as most devices have it; some have 65."""

_TYPES: dict[str, tuple[Kind, int | None]] = {
    "int16": (Kind.S16, 0x8000),
    "uint16": (Kind.U16, 0xFFFF),
    "count": (Kind.U16, 0),
    "acc16": (Kind.U16, 0),
    "enum16": (Kind.U16, 0xFFFF),
    "bitfield16": (Kind.U16, 0xFFFF),
    "raw16": (Kind.U16, None),
    "sunssf": (Kind.S16, 0x8000),
    "int32": (Kind.S32, 0x80000000),
    "uint32": (Kind.U32, 0xFFFFFFFF),
    "acc32": (Kind.U32, 0),
    "enum32": (Kind.U32, 0xFFFFFFFF),
    "bitfield32": (Kind.U32, 0xFFFFFFFF),
    "ipaddr": (Kind.U32, 0),
    "int64": (Kind.S64, 0x8000000000000000),
    "uint64": (Kind.U64, 0xFFFFFFFFFFFFFFFF),
    "acc64": (Kind.U64, 0),
    "bitfield64": (Kind.U64, 0xFFFFFFFFFFFFFFFF),
    "eui48": (Kind.U64, 0xFFFFFFFFFFFFFFFF),
    "float32": (Kind.F32, 0x7FC00000),
    "float64": (Kind.F64, 0x7FF8000000000000),
    "string": (Kind.TEXT, None),
    "ipv6addr": (Kind.U64, None),
}
"""Kind and the raw value that says "not implemented"."""


def import_sunspec(text: str, source: str, base: int | None = None) -> Import:
    """Read all points of a model.

    Args:
        text: JSON of the model.
        source: file name, for messages.
        base: wire address of the model's ID; None takes where most devices have it.
    """
    result = Import(source)
    root = load_json(text, source)
    group = root.get("group") if isinstance(root, dict) else None
    if not isinstance(group, dict):
        result.complain("no group of points: not a SunSpec model")
        return result
    model = whole(root.get("id"))
    if base is None:
        base = COMMON_MODEL_ADDRESS if model == 1 else NEXT_MODEL_ADDRESS
        result.notes.append(
            f"the model is taken to begin at {base}; give --base when the device has it elsewhere"
        )
    title = squeeze(str(group.get("label") or group.get("name") or ""))
    result.facts = DeviceFacts(title=f"SunSpec model {model}: {title}")
    _Group(result, LineFinder(text)).read(group, base, "")
    return result


class _Group:
    """Walks through groups and points, counting addresses."""

    def __init__(self, result: Import, finder: LineFinder) -> None:
        self.result = result
        self.finder = finder
        self.factors: dict[str, str] = {}
        """Rows that hold powers of ten, by the name of their point; inner groups come last."""

    def read(self, group: Mapping[str, Any], address: int, prefix: str) -> int:
        """Read a group that begins at ``address``; gives the address after it."""
        points = [point for point in list_of(group.get("points")) if isinstance(point, dict)]
        exponents = _constant_exponents(points)
        for point in points:
            if point.get("type") == "sunssf":
                own_name = squeeze(str(point.get("name", "")))
                self.factors[own_name] = prefix + own_name
        for point in points:
            address = self._point(point, address, prefix, exponents)
        for inner in list_of(group.get("groups")):
            if not isinstance(inner, dict):
                continue
            count = inner.get("count", 1)
            label = squeeze(str(inner.get("label") or inner.get("name") or ""))
            if count != 1:
                self.result.notes.append(
                    f"group {label} repeats {count} times; only the first was taken,"
                    " and nothing behind it has a known address"
                )
            address = self.read(inner, address, f"{prefix}{label} ")
            if count != 1:
                break
        return address

    def _point(
        self, point: Mapping[str, Any], address: int, prefix: str, exponents: Mapping[str, int]
    ) -> int:
        own_name, type_name = squeeze(str(point.get("name", ""))), str(point.get("type", ""))
        line = self.finder.line_of(str(point.get("name", "")))
        size = whole(point.get("size")) or 0
        if size < 1:
            self.result.complain(f"{own_name}: size: {point.get('size')!r}", line)
            return address + 1
        if type_name == "pad":
            return address + size
        if type_name not in _TYPES:
            self.result.complain(f"{own_name}: type: {type_name!r} has no kind of ours", line)
            return address + size
        kind, sentinel = _TYPES[type_name]
        count = 1 if kind is Kind.TEXT else max(size // kind.words, 1)
        if kind is not Kind.TEXT and kind.words * count != size:
            self.result.complain(
                f"{own_name}: {size} words, but {type_name} has {kind.words}", line
            )
            return address + size
        label = squeeze(str(point.get("label") or own_name))
        scale, scale_by, doubt = _scale_of(point, exponents)
        row = ImportedRow(
            prefix + (own_name if type_name == "sunssf" else label),
            Table.HOLDING_REGISTER,
            address,
            kind,
            words=size if kind is Kind.TEXT else 0,
            count=count,
            scale=scale,
            scale_by=self.factors.get(scale_by, scale_by),
            unit=unit_of(str(point.get("units") or "")),
            decimals=decimals_of(scale),
            access=Access.GUARDED if point.get("access") == "RW" else Access.READ,
            invalid=() if sentinel is None else (sentinel,),
            note=own_name if label == own_name else f"{own_name} in SunSpec",
            bits=_bits(point, type_name, 16 * size),
            choices=_choices(point, type_name),
            line=line,
        )
        self.result.rows.append(row.doubting(doubt))
        return address + size


def _constant_exponents(points: Sequence[Mapping[str, Any]]) -> Mapping[str, int]:
    """Scale factors whose value the model itself fixes."""
    return {
        str(point.get("name")): value
        for point in points
        if point.get("type") == "sunssf" and (value := whole(point.get("value"))) is not None
    }


def _scale_of(point: Mapping[str, Any], exponents: Mapping[str, int]) -> tuple[Decimal, str, str]:
    """Give the scale, or the point that holds its power of ten, and a doubt."""
    factor = point.get("sf")
    if factor is None:
        return Decimal(1), "", ""
    exponent = whole(factor)
    if exponent is None:
        exponent = exponents.get(str(factor))
    if exponent is None:
        return Decimal(1), squeeze(str(factor)), ""
    if not -10 <= exponent <= 10:
        return Decimal(1), "", f"scale factor {exponent} is outside -10..10; left out"
    return Decimal(10) ** exponent, "", ""


def _bits(point: Mapping[str, Any], type_name: str, count: int) -> tuple[Bit, ...]:
    symbols = list_of(point.get("symbols"))
    if not type_name.startswith("bitfield"):
        return ()
    bits = {}
    for symbol in symbols:
        bit = whole(symbol.get("value")) if isinstance(symbol, dict) else None
        if bit is not None and 0 <= bit < count:
            bits[bit] = Bit(bit, squeeze(str(symbol.get("label") or symbol.get("name"))))
    return tuple(bits[bit] for bit in sorted(bits))


def _choices(point: Mapping[str, Any], type_name: str) -> tuple[Choice, ...]:
    symbols = list_of(point.get("symbols"))
    if not type_name.startswith("enum"):
        return ()
    choices = {}
    for symbol in symbols:
        number = whole(symbol.get("value")) if isinstance(symbol, dict) else None
        if number is not None:
            label = squeeze(str(symbol.get("label") or symbol.get("name")))
            choices[number] = Choice(number, label)
    return tuple(choices[number] for number in sorted(choices))
