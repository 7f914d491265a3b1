"""Compares two maps, register by register: by name, and where names differ by address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from grug.codec.registers import Register, RegisterMap
from grug.mapimport.words import plain
from grug.model import Span

_FIELDS = (
    *("table", "address", "kind", "words", "order", "scale", "offset", "scale_by", "unit"),
    *("decimals", "access", "storage", "invalid", "minimum", "maximum", "bits", "choices"),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One register that is not the same in both maps."""

    first: Register | None
    second: Register | None
    changes: tuple[str, ...] = ()
    """What differs, as ``scale 0.1 -> 0.01``."""

    def __str__(self) -> str:
        """One line: ``-`` and ``+`` are in one map alone, ``=`` has another name, ``~`` differs."""
        changes = ": " + "; ".join(self.changes) if self.changes else ""
        if self.first is None or self.second is None:
            sign, register = ("-", self.first) if self.first else ("+", self.second)
            return f"{sign} {_describe(register)}" if register else ""
        if self.first.name != self.second.name:
            where = f"{self.first.table} {self.first.address}"
            return f"= {where} is {self.first.name} -> {self.second.name}{changes}"
        return f"~ {self.first.name}{changes}"


def diff_maps(first: RegisterMap, second: RegisterMap) -> Iterator[Difference]:
    """Give what differs, in the order of the first map, then what only the second has."""
    by_span: dict[Span, Register] = {}
    for register in second.registers.values():
        if register.name not in first.registers:
            by_span.setdefault(register.span, register)
    renamed = set()
    for register in first.registers.values():
        other = second.registers.get(register.name)
        if other is None:
            other = by_span.pop(register.span, None)
            renamed.add(other.name if other else "")
        if other is None:
            yield Difference(register, None)
            continue
        changes = tuple(_changes(register, other))
        if changes or register.name != other.name:
            yield Difference(register, other, changes)
    for register in second.registers.values():
        if register.name not in first.registers and register.name not in renamed:
            yield Difference(None, register)


def _changes(first: Register, second: Register) -> Iterator[str]:
    for field in _FIELDS:
        before, after = getattr(first, field), getattr(second, field)
        if before != after:
            yield f"{field} {_shown(before)} -> {_shown(after)}"


def _shown(value: object) -> str:
    match value:
        case Decimal():
            return plain(value)
        case Register():
            return value.name
        case frozenset() | tuple():
            return f"{len(value)} of them" if value else "none"
        case None | "":
            return "none"
    return str(value)


def _describe(register: Register) -> str:
    scale = f" x{plain(register.scale)}" if register.scale != 1 else ""
    unit = f" {register.unit}" if register.unit else ""
    return f"{register.name} ({register.table} {register.address} {register.kind}{scale}{unit})"
