"""Blocks of words to values, in one compiled step; and values to words.

A block is what ``RegistersRead`` carries: big-endian words as on the wire, or one byte per bit of a
bit table. Access rights are checked by ``encode_for_write``, not by ``encode``, because simulated
units and fake meters fill registers that nobody may write.
"""

from __future__ import annotations

import math
import operator
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

from grug.codec import forms
from grug.codec.compiled import compile_decoder, sentinels_of
from grug.codec.decimals import ratio_of, raw_of
from grug.codec.layout import FORMATS, byte_order
from grug.codec.registers import Kind, Register
from grug.errors import EncodeError
from grug.model import Quality, Span, Value


def runs_of(registers: Iterable[Register], words_max: int) -> tuple[Span, ...]:
    """Join adjacent registers into the fewest runs.

    Args:
        registers: any number, any order, any tables.
        words_max: longest run in words; a run of bits may be 16 times as long.

    Returns:
        Runs sorted by table and address. Nothing but registers is in them, and the registers that
        scale them; no value is split. A register that is longer than ``words_max`` is a run of its
        own.
    """
    runs: list[Span] = []
    spans = set()
    for register in registers:
        spans.add(register.span)
        if register.scale_by is not None:
            spans.add(register.scale_by.span)
    for span in sorted(spans):
        longest = 16 * words_max if span.table.is_bits else words_max
        if runs:
            last = runs[-1]
            end = max(last.end, span.end)
            if (
                last.table is span.table
                and span.address <= last.end
                and (end == last.end or end - last.address <= longest)
            ):
                runs[-1] = Span(last.table, last.address, end - last.address)
                continue
        runs.append(span)
    return tuple(runs)


class BlockDecoder:
    """Decodes always the same registers from always the same runs.

    Compiled once, then used at every poll. Values come in the order of the registers given.
    """

    def __init__(self, registers: Sequence[Register], runs: Sequence[Span]) -> None:
        """Compile.

        Raises:
            ValueError: a register, or one that scales it, is not whole within one of the runs.
        """
        self.registers = tuple(registers)
        self.runs = tuple(runs)
        self.names = tuple(register.name for register in registers)
        self._decode = compile_decoder(self.registers, self.runs)

    def decode(self, blocks: Sequence[bytes]) -> tuple[tuple[Value, ...], tuple[Quality, ...]]:
        """Turn the contents of the runs into values.

        Args:
            blocks: one per run, in their order, each as long as its run.

        Returns:
            Values and qualities in the order of the registers. The qualities are ``()`` when all
            are good; a value that is not good is the raw number.

        Raises:
            ValueError: the blocks together are not as long as the runs.
        """
        return self._decode(blocks)


def encode(register: Register, value: Value) -> bytes:
    """Turn a value into the register's words, or into one byte for a bit.

    Args:
        register: any but one that another register scales: of that, ``register.at_exponent(…)``.
        value: in the register's unit, rounded to the nearest raw number; or a label of its.

    Raises:
        EncodeError: the value is of the wrong type, out of range, or the register's mark for "no
            value".
    """
    return encoder_of(register)(value)


def encode_for_write(register: Register, value: Value) -> bytes:
    """Encode a value that is meant to be written to a device.

    Raises:
        EncodeError: as ``encode``; or the register must not be written, or the number is none of
            its choices. (``encode`` takes such a number, as devices show more than they document.)
    """
    require_writable(register)
    block = encode(register, value)
    if register.choices and not isinstance(value, str):
        numbers = {choice.number: choice.label for choice in register.choices}
        if value not in numbers:
            known = ", ".join(f"{number} {label!r}" for number, label in numbers.items())
            raise _refusal(register, value, f"none of {known}")
    return block


def require_writable(register: Register) -> None:
    """Refuse what is never to be written.

    Raises:
        EncodeError: the register is one of those.
    """
    if not register.is_writable:
        reason = register.note or "the device does not take writes"
        raise EncodeError(f"{register.name} is not to be written ({register.access}): {reason}")


def encoder_of(register: Register) -> Callable[[Value], bytes]:
    """Compile ``encode`` for one register that is set again and again.

    Raises:
        EncodeError: another register scales it, so that it has no scale of its own.
    """
    if register.scale_by is not None:
        by = register.scale_by.name
        raise EncodeError(f"{register.name} is scaled by {by}, which has to be read first")
    kind = register.kind
    if kind is Kind.BOOL:
        pack: Callable[[Any], bytes] = _bool_packer(register)
    elif kind.is_float:
        pack = _float_packer(register)
    elif kind.is_number:
        pack = _integer_packer(register)
    else:
        pack = _form_packer(register)
    order = byte_order(register)
    if order == sorted(order):
        return pack
    # The permutation swaps pairs, so it is its own inverse.
    permute = operator.itemgetter(*order)
    return lambda value: bytes(permute(pack(value)))


def raw_value_of(register: Register, value: float) -> float:
    """The raw number of a decoded one, as ``BlockDecoder`` gives it for what is not good.

    Where another register scales this one, the value itself, as its raw number is not known here.
    """
    if register.scale_by is not None or not register.is_scaled:
        return value
    if register.kind.is_float:
        return _float_unscaler(register)(value)
    return raw_of(value, ratio_of(register.scale, register.offset))


def allowed_range(register: Register) -> tuple[float, float]:
    """Smallest and largest value that can be encoded, in the register's unit."""
    if register.kind.is_float:
        largest = _F32_MAX if register.kind is Kind.F32 else sys.float_info.max
        offset, reach = float(register.offset), abs(largest * float(register.scale))
        largest = sys.float_info.max
        low, high = max(offset - reach, -largest), min(offset + reach, largest)
    else:
        numerator, offset, denominator = ratio_of(register.scale, register.offset)
        ends = [(raw * numerator + offset) / denominator for raw in register.kind.raw_range]
        low, high = min(ends), max(ends)
    if register.minimum is not None:
        low = max(low, float(register.minimum))
    if register.maximum is not None:
        high = min(high, float(register.maximum))
    return low, high


_F32_MAX = 3.4028235e38
"""The largest f32 as it reads, by its shortest decimal: a little more than the number itself."""


def _refusal(register: Register, value: Value, because: str = "") -> EncodeError:
    unit = f" {register.unit}" if register.unit else ""
    if not because:
        low, high = allowed_range(register)
        because = f"outside {low:.12g}..{high:.12g}{unit}"
    return EncodeError(f"{register.name}: {value!r}{unit} is {because}")


def _require_number(register: Register, value: Value) -> None:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise _refusal(register, value, "not a finite number")


def _integer_packer(register: Register) -> Callable[[Any], bytes]:
    ratio = ratio_of(register.scale, register.offset)
    pack = struct.Struct(">" + FORMATS[register.kind]).pack
    low, high = allowed_range(register)
    sentinels = sentinels_of(register)
    has_labels = bool(register.choices or register.bits)

    def pack_integer(value: Any) -> bytes:
        try:
            if low <= value <= high:
                raw = raw_of(value, ratio)
                if register.kind.is_bcd:
                    raw = forms.bcd_pattern(raw)
                if raw not in sentinels:
                    return pack(raw)
                raise _refusal(register, value, "the device's mark for no value")
        except TypeError:
            if has_labels and isinstance(value, str):
                return pack_integer(register.number_of(value))
        _require_number(register, value)
        raise _refusal(register, value)

    return pack_integer


def _float_packer(register: Register) -> Callable[[Any], bytes]:
    pack = struct.Struct(">" + FORMATS[register.kind]).pack
    low, high = allowed_range(register)
    sentinels = sentinels_of(register)
    inverse = _float_unscaler(register) if register.is_scaled else None

    def pack_float(value: Any) -> bytes:
        _require_number(register, value)
        if not low <= value <= high:
            raise _refusal(register, value)
        try:
            words = pack(inverse(value) if inverse else value)
        except OverflowError:
            raise _refusal(register, value, f"too large for {register.kind}") from None
        if sentinels and struct.unpack(">" + FORMATS[register.kind], words)[0] in sentinels:
            raise _refusal(register, value, "the device's mark for no value")
        return words

    return pack_float


def _bool_packer(register: Register) -> Callable[[Any], bytes]:
    width = 1 if register.table.is_bits else 2

    def pack_bool(value: Any) -> bytes:
        if value not in (0, 1):
            raise _refusal(register, value, "neither true nor false")
        return int(value).to_bytes(width, "big")

    return pack_bool


def _form_packer(register: Register) -> Callable[[Any], bytes]:
    century = int(register.offset)
    convert: Callable[[str], bytes] = {
        Kind.TEXT: lambda text: forms.text_bytes(text, 2 * register.words),
        Kind.CLOCK6: lambda text: forms.clock6_bytes(text, century),
        Kind.CLOCK3: forms.clock3_bytes,
        Kind.UNIX32: lambda text: forms.unix_seconds(text).to_bytes(4, "big"),
    }[register.kind]

    def pack_form(value: Any) -> bytes:
        if not isinstance(value, str):
            what = "printable ASCII text" if register.kind is Kind.TEXT else "a date, as text"
            raise _refusal(register, value, f"not {what}")
        try:
            return convert(value)
        except ValueError as error:
            raise _refusal(register, value, str(error)) from None

    return pack_form


def _float_unscaler(register: Register) -> Callable[[float], float]:
    scale, offset = Fraction(register.scale), Fraction(register.offset)
    return lambda value: float((Fraction(repr(float(value))) - offset) / scale)
