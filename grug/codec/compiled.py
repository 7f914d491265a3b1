"""Writes one Python function that decodes one layout of registers, and compiles it.

The function unpacks everything, works out every value in one expression, and checks everything in
one more; a loop over the registers with their scales, kinds and limits would take several times as
long. For three registers it looks like this::

    def decode(blocks):
        block = join(blocks)
        r0, r1, r2, = unpack0(block)
        singles = shorten((r2, ))
        f2, = singles
        values = (r0 / 10, (r1 * 113) / 100, f2, )
        if isfinite(sum(singles)) and r0 != 65535 and 0 <= r1 <= 4000:
            return values, ()
        return settle(values, ((0, r0 != 65535, r0, bad0), (1, 0 <= r1 <= 4000, r1, bad1), …))

Only facts of the map are written into it: numbers, and names of this module's own making.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from typing import Any, TypeAlias

from grug.codec import forms
from grug.codec.decimals import Ratio, ratio_of, scaled_float, shorten_all, shortest_f32
from grug.codec.layout import FORMATS, Blocks
from grug.codec.registers import EXPONENTS, Kind, Register
from grug.model import Quality, Span, Value

Decoded: TypeAlias = tuple[tuple[Value, ...], tuple[Quality, ...]]


def compile_decoder(
    registers: Sequence[Register], runs: Sequence[Span]
) -> Callable[[Sequence[bytes]], Decoded]:
    """Make the function that decodes these registers from the blocks of these runs.

    Raises:
        ValueError: a register, or one that scales it, is not whole within one of the runs.
    """
    return _Writer(registers, runs).write()


class _Writer:
    """Collects the lines of one function, and the objects that they name."""

    def __init__(self, registers: Sequence[Register], runs: Sequence[Span]) -> None:
        self._blocks = Blocks(runs)
        self._registers = list(registers)
        self._wanted = len(registers)
        self._slots = {each.name: slot for slot, each in enumerate(registers)}
        for register in registers:
            factor = register.scale_by
            if factor is not None and factor.name not in self._slots:
                self._slots[factor.name] = len(self._registers)
                self._registers.append(factor)  # Not wanted itself, but needed.
        self._names: dict[str, Any] = {"join": self._blocks.join, "swap": self._blocks.swap}
        self._lines: list[str] = []
        self._values: list[str] = []
        self._checks: list[str] = []
        """All that has to hold for all values to be good."""
        self._verdicts: list[str] = []
        """Slot, whether the value is good, and what to give if it is not; for the rare case."""

    def write(self) -> Callable[[Sequence[bytes]], Decoded]:
        """Write it all down and have it compiled."""
        self._unpack()
        self._shorten()
        for slot, register in enumerate(self._registers[: self._wanted]):
            self._values.append(self._value_of(slot, register))
            self._check(slot, register)
        source = "\n    ".join(
            [
                "def decode(blocks):",
                "block = join(blocks)",
                *self._lines,
                f"values = ({''.join(f'{value}, ' for value in self._values)})",
                f"if {' and '.join(self._checks) or 'True'}:",
                "    return values, ()",
                f"return settle(values, ({''.join(f'({each}), ' for each in self._verdicts)}))",
            ]
        )
        self._names |= {"isfinite": math.isfinite, "shorten": shorten_all, "settle": _settle}
        exec(compile(source, "<decoder>", "exec"), self._names)
        decoder: Callable[[Sequence[bytes]], Decoded] = self._names["decode"]
        return decoder

    def _name(self, prefix: str, slot: int, thing: object) -> str:
        """Give the function an object to use."""
        self._names[f"{prefix}{slot}"] = thing
        return f"{prefix}{slot}"

    def _unpack(self) -> None:
        layers = self._blocks.layers_of(self._registers)
        if any(layer.is_swapped for layer in layers):
            self._lines.append("swapped = swap(block)")
        for index, layer in enumerate(layers):
            unpack = self._name("unpack", index, layer.layout.unpack)
            targets = "".join(f"r{slot}, " for slot in layer.slots)
            source = "swapped" if layer.is_swapped else "block"
            self._lines.append(f"{targets}= {unpack}({source})")

    def _shorten(self) -> None:
        """All float32 values go through one loop together."""
        slots = [i for i, each in enumerate(self._registers) if each.kind is Kind.F32]
        if not slots:
            return
        self._lines.append(f"singles = shorten(({''.join(f'r{slot}, ' for slot in slots)}))")
        self._lines.append(f"{''.join(f'f{slot}, ' for slot in slots)}= singles")
        self._checks.append("isfinite(sum(singles))")

    def _value_of(self, slot: int, register: Register) -> str:
        """Write the expression of a value; a step of its own where Python code has to be called."""
        raw, kind = f"r{slot}", register.kind
        if kind.is_float:
            single = f"f{slot}" if kind is Kind.F32 else raw
            if not register.is_scaled:
                return single
            scale = partial(scaled_float, scale=register.scale, offset=register.offset)
            return self._call(slot, scale, single)
        if kind is Kind.BOOL:
            return raw if register.table.is_bits else f"{raw} != 0"
        if kind.is_integer:
            if register.scale_by is not None:
                exponent = f"r{self._slots[register.scale_by.name]}"
                return self._call(slot, _by_exponent, f"{raw}, {exponent}")
            return _scaled(raw, register)
        if kind.is_bcd and register.is_scaled:
            ratio = ratio_of(register.scale, register.offset)
            return self._call(slot, partial(_scaled_bcd, ratio), raw)
        converters: dict[Kind, Callable[[Any], Value | None]] = {
            Kind.TEXT: forms.text_of,
            Kind.BCD16: forms.bcd_of,
            Kind.BCD32: forms.bcd_of,
            Kind.CLOCK6: partial(forms.clock6_of, century=int(register.offset)),
            Kind.CLOCK3: forms.clock3_of,
            Kind.UNIX32: forms.unix_of,
        }
        return self._call(slot, converters[kind], raw)

    def _call(self, slot: int, function: Callable[..., Any], arguments: str) -> str:
        self._lines.append(f"w{slot} = {self._name('convert', slot, function)}({arguments})")
        return f"w{slot}"

    def _check(self, slot: int, register: Register) -> None:
        """Write what has to hold for a value to be good."""
        value, kind = self._values[slot], register.kind
        checks = []
        if register.invalid:
            sentinels = sentinels_of(register)
            if len(sentinels) == 1 and not kind.is_float:
                checks.append(f"r{slot} != {min(sentinels)}")
            else:
                checks.append(f"r{slot} not in {self._name('sentinels', slot, sentinels)}")
        if kind.is_bytes or kind.is_bcd or register.scale_by is not None:
            checks.append(f"{value} is not None")
        if register.minimum is not None or register.maximum is not None:
            checks.append(self._limits(slot, register, value))
        self._checks += checks if kind is not Kind.F64 else [*checks, f"isfinite({value})"]
        if kind.is_float:
            checks.append(f"isfinite({value})")
        if checks:
            bad = self._name("bad", slot, _BAD.get(kind, lambda raw: raw))
            self._verdicts.append(f"{slot}, {' and '.join(checks)}, r{slot}, {bad}")

    def _limits(self, slot: int, register: Register, value: str) -> str:
        """Compare raw numbers where there are some: they are whole, and so are their limits."""
        low, high = register.minimum, register.maximum
        if register.kind.is_integer and register.scale_by is None:
            ends = raw_limits(register)
            return f"{ends[0]} <= r{slot} <= {ends[1]}"
        floats = (-math.inf if low is None else low, math.inf if high is None else high)
        names = [
            self._name(prefix, slot, float(end))
            for prefix, end in zip(("low", "high"), floats, strict=True)
        ]
        return f"{names[0]} <= {value} <= {names[1]}"


def sentinels_of(register: Register) -> frozenset[Any]:
    """Give the register's sentinels as the numbers that unpacking gives."""
    if not register.kind.is_float:
        return register.invalid
    length = 2 * register.words
    unpack = struct.Struct(">" + FORMATS[register.kind]).unpack
    return frozenset(unpack(pattern.to_bytes(length, "big"))[0] for pattern in register.invalid)


def raw_limits(register: Register) -> tuple[int, int]:
    """Smallest and largest raw number of a whole-number kind that its range allows."""
    low, high = register.kind.raw_range
    scale, offset = Fraction(register.scale), Fraction(register.offset)
    for limit, is_upper in ((register.minimum, False), (register.maximum, True)):
        if limit is None:
            continue
        raw = (Fraction(limit) - offset) / scale
        if is_upper is (scale > 0):
            high = min(high, math.floor(raw))
        else:
            low = max(low, math.ceil(raw))
    return low, high


def _scaled(raw: str, register: Register) -> str:
    numerator, offset, denominator = ratio_of(register.scale, register.offset)
    text = raw if numerator == 1 else f"{raw} * {numerator}"
    if offset:
        text = f"{text} + {offset}"
    if denominator == 1:
        return text
    return f"{text} / {denominator}" if text == raw else f"({text}) / {denominator}"


def _scaled_bcd(ratio: Ratio, raw: int) -> float | None:
    number = forms.bcd_of(raw)
    if number is None:
        return None
    numerator, offset, denominator = ratio
    return (number * numerator + offset) / denominator


def _by_exponent(raw: int, exponent: int) -> float | None:
    power = _POWERS.get(exponent)
    if power is None:
        return None
    return raw * power if exponent >= 0 else raw / power


_POWERS: dict[int, int] = {exponent: 10 ** abs(exponent) for exponent in EXPONENTS}

_BAD: dict[Kind, Callable[[Any], Value]] = {
    Kind.TEXT: forms.readable,
    Kind.CLOCK6: lambda raw: raw.hex(" ", 2),
    Kind.CLOCK3: lambda raw: raw.hex(" ", 2),
    Kind.F32: shortest_f32,
}
"""How the raw value of what is not good is given; the number itself where nothing else is said."""


def _settle(
    values: tuple[Value, ...], verdicts: tuple[tuple[int, bool, Any, Callable[[Any], Value]], ...]
) -> Decoded:
    """Mark what is not good, and give its raw value."""
    settled = list(values)
    qualities = [Quality.GOOD] * len(values)
    is_good = True
    for slot, holds, raw, bad in verdicts:
        if not holds:
            is_good = False
            qualities[slot] = Quality.BAD
            settled[slot] = bad(raw)
    return tuple(settled), () if is_good else tuple(qualities)
