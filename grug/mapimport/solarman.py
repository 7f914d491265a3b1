"""Imports inverter definitions of ha-solarman and home_assistant_solarman.

Source: both projects' documentation and definitions. Registers are wire addresses, listed with the
lowest word first; the offset is subtracted before the scale is applied. Sensors that are computed
from several registers are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from grug.codec.registers import Access, Choice, Kind, WordOrder
from grug.mapimport.rows import Import, ImportedRow
from grug.mapimport.words import (
    decimal,
    decimals_of,
    integer_kind,
    squeeze,
    unit_of,
    whole,
)
from grug.mapimport.yaml_text import LineMap, load_yaml
from grug.model import Table

FUNCTIONS = {
    1: Table.COIL,
    2: Table.DISCRETE_INPUT,
    3: Table.HOLDING_REGISTER,
    4: Table.INPUT_REGISTER,
}

_SIGNED_RULES = (2, 4)
_NUMBER_RULES = (1, 2, 3, 4)
_RULE_NAMES = {6: "bits", 7: "a version", 8: "a date and time", 9: "a time"}
_WRITTEN = ("number", "select", "switch", "button", "time", "datetime")


def import_solarman(text: str, source: str) -> Import:
    """Read all items of all groups."""
    result = Import(source)
    root = load_yaml(text, source)
    groups = root.get("parameters") if isinstance(root, LineMap) else None
    if not isinstance(groups, list):
        result.complain("no list of parameters")
        return result
    functions = _Functions(root)
    computed = 0
    for group in groups:
        items = group.get("items") if isinstance(group, LineMap) else None
        for item in items if isinstance(items, list) else []:
            if not isinstance(item, LineMap):
                result.complain(f"{item!r} is no item", getattr(group, "line", 0))
            elif "registers" in item:
                _read_item(item, functions, result)
            else:
                computed += 1
    if computed:
        result.notes.append(f"{computed} items that are computed, not read, left out")
    return result


class _Functions:
    """Which function reads an address: what the item says, a range of requests, the default."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        default = root.get("default")
        self._default = whole(default.get("code")) if isinstance(default, LineMap) else None
        self._ranges: list[tuple[int, int, int]] = []
        requests = root.get("requests")
        for request in requests if isinstance(requests, list) else []:
            if isinstance(request, LineMap):
                start, end = whole(request.get("start")), whole(request.get("end"))
                code = whole(request.get("code", request.get("mb_functioncode")))
                if start is not None and end is not None and code is not None:
                    self._ranges.append((start, end, code))

    def code_for(self, item: Mapping[str, Any], address: int) -> int:
        own = item.get("code")
        own = whole(own.get("read")) if isinstance(own, dict) else whole(own)
        if own is not None:
            return own
        for start, end, code in self._ranges:
            if start <= address <= end:
                return code
        return self._default if self._default is not None else 3


def _read_item(item: LineMap, functions: _Functions, result: Import) -> None:
    before = len(result.problems)
    name = squeeze(str(item.get("name", "")))
    listed, doubts = _addresses(item)
    rule = whole(item.get("rule")) or 1
    if not name:
        result.complain("name: empty", item.line)
    if not listed:
        result.complain(f"registers: {item.get('registers')!r} are no addresses", item.line)
        return
    first, rising = min(listed), sorted(listed)
    table = FUNCTIONS.get(functions.code_for(item, first))
    kind, length, count = _kind(rule, len(listed), doubts)
    why = f"rule {rule} is unknown"
    if rising != list(range(first, first + len(listed))) or listed not in (rising, rising[::-1]):
        kind, why = None, f"registers {listed} do not follow each other"
    if kind is None:
        result.complain(f"{name}: {why}", item.line)
    if table is None:
        result.complain("code: the function is none that reads (1 to 4)", item.line)
    scale, offset = _scale_and_offset(item, doubts)
    if not scale or offset is None:
        result.complain("scale, divide or offset: not a number, or 0", item.line)
    if len(result.problems) > before or not (table and kind and scale) or offset is None:
        return
    if "mask" in item or "bit" in item:
        doubts.append("the item is only some bits of this register")
    is_number = rule in _NUMBER_RULES and not table.is_bits
    is_low_first = is_number and kind.words > 1 and listed == rising
    is_written = str(item.get("platform", "")) in _WRITTEN or "configurable" in item
    can_write = table in (Table.COIL, Table.HOLDING_REGISTER)
    row = ImportedRow(
        name,
        table,
        first,
        Kind.BOOL if table.is_bits else kind,
        words=length,
        count=count,
        order=WordOrder.CDAB if is_low_first else WordOrder.ABCD,
        scale=scale if is_number else Decimal(1),
        # The offset is subtracted before the scale is applied; ours is added after it.
        offset=-offset * scale if is_number else Decimal(0),
        unit=unit_of(str(item.get("uom") or "")),
        decimals=decimals_of(scale) if is_number else 0,
        access=Access.GUARDED if is_written and can_write else Access.READ,
        choices=_choices(item) if is_number and count == scale == 1 and offset == 0 else (),
        line=item.line,
        doubts=tuple(doubts),
    )
    result.rows.append(row)


def _scale_and_offset(item: LineMap, doubts: list[str]) -> tuple[Decimal | None, Decimal | None]:
    """Of alternatives for several models, the first."""
    scale = item.get("scale", 1)
    if isinstance(scale, list) and scale:
        doubts.append(f"the first of {len(scale)} scales was taken")
        scale = scale[0]
    number, divisor = decimal(scale), decimal(item.get("divide", 1))
    offset = decimal(item.get("offset", 0))
    return (number / divisor if number is not None and divisor else None), offset


def _addresses(item: LineMap) -> tuple[list[int], list[str]]:
    """The addresses, lowest word first; where there are several sets, the first."""
    listed = item.get("registers")
    doubts: list[str] = []
    if isinstance(listed, list) and listed and isinstance(listed[0], list):
        doubts.append(f"the first of {len(listed)} sets of registers was taken")
        listed = listed[0]
    numbers = [whole(entry) for entry in listed] if isinstance(listed, list) else [None]
    return [
        number for number in numbers if number is not None
    ] if None not in numbers else [], doubts


def _kind(rule: int, words: int, doubts: list[str]) -> tuple[Kind | None, int, int]:
    """Give kind, length of a text, and how many values there are; no kind for unknown rules."""
    if rule == 5:
        return Kind.TEXT, words, 1
    if rule == 8 and words in (3, 6):
        return (Kind.CLOCK3 if words == 3 else Kind.CLOCK6), 0, 1
    if rule in _NUMBER_RULES:
        if words == 1 and rule in (3, 4):
            doubts.append("the rule is for two words, but only one is listed")
        kind = integer_kind(words, signed=rule in _SIGNED_RULES)
        if kind is not None:
            return kind, 0, 1
    elif rule not in _RULE_NAMES:
        return None, 0, 1
    what = _RULE_NAMES.get(rule, f"a number of {words} words")
    doubts.append(f"it is {what}; imported as the raw words")
    return Kind.U16, 0, words


def _choices(item: Mapping[str, Any]) -> tuple[Choice, ...]:
    """What the numbers of a list of choices mean; entries for several numbers count for each."""
    lookup = item.get("lookup")
    choices: dict[int, Choice] = {}
    for entry in lookup if isinstance(lookup, list) else []:
        keys = entry.get("key") if isinstance(entry, dict) else None
        label = squeeze(str(entry.get("value", ""))) if isinstance(entry, dict) else ""
        for key in keys if isinstance(keys, list) else [keys]:
            number = whole(key)
            if number is not None and label:
                choices.setdefault(number, Choice(number, label))
    return tuple(choices.values())
