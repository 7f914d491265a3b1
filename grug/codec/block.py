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

from grug.codec.decimals import Ratio, ratio_of, raw_of, scaled_float, shorten_f32, shortest_f32
from grug.codec.registers import Kind, Register
from grug.errors import EncodeError
from grug.model import Quality, Span, Value

_FORMATS = {
    Kind.U16: "H",
    Kind.S16: "h",
    Kind.U32: "I",
    Kind.S32: "i",
    Kind.U64: "Q",
    Kind.S64: "q",
    Kind.F32: "f",
    Kind.F64: "d",
}


def runs_of(registers: Iterable[Register], words_max: int) -> tuple[Span, ...]:
    """Join adjacent registers into the fewest runs.

    Args:
        registers: any number, any order, any tables.
        words_max: longest run in words; a run of bits may be 16 times as long.

    Returns:
        Runs sorted by table and address. Nothing but registers is in them; no value is split. A
        register that is longer than ``words_max`` is a run of its own.
    """
    runs: list[Span] = []
    for span in sorted({register.span for register in registers}):
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
            ValueError: a register is not whole within one of the runs.
        """
        self.registers = tuple(registers)
        self.runs = tuple(runs)
        self.names = tuple(register.name for register in registers)
        self._gather: Callable[[bytes], Any] | None = None
        self._compile_layout()
        self._compile_steps()

    def _compile_layout(self) -> None:
        """Find a struct that unpacks the joined blocks, gathering bytes first if it must."""
        places = [_place_of(register, self.runs) for register in self.registers]
        size = sum(_bytes_of(run) for run in self.runs)
        end, layout, is_plain = 0, ">", True
        for register, place in zip(self.registers, places, strict=True):
            is_plain = is_plain and place >= end and _is_in_order(register)
            layout += f"{max(place - end, 0)}x{_format_of(register)}"
            end = place + _bytes_of(register.span)
        if is_plain:
            self._unpack = struct.Struct(f"{layout}{size - end}x").unpack
            return
        # Orders other than ABCD, overlaps, or registers in another order than their addresses.
        wanted = [
            place + byte
            for register, place in zip(self.registers, places, strict=True)
            for byte in _byte_order(register)
        ]
        self._gather = operator.itemgetter(*wanted, -1)  # One more, so that it is always a tuple.
        self._unpack = struct.Struct(">" + "".join(map(_format_of, self.registers)) + "x").unpack

    def _compile_steps(self) -> None:
        """Note which values need more than unpacking."""
        self._singles: list[int] = []
        self._doubles: list[int] = []
        self._divided: list[tuple[int, int]] = []
        self._scaled: list[tuple[int, int, int, int]] = []
        self._multiplied: list[tuple[int, int, int]] = []
        self._converted: list[tuple[int, Callable[[Any], Value]]] = []
        self._sentinels: list[tuple[int, frozenset[Any]]] = []
        self._limited: list[tuple[int, float, float]] = []
        self._texts: list[int] = []
        for index, register in enumerate(self.registers):
            if register.kind is Kind.TEXT:
                self._texts.append(index)
                continue
            if register.invalid:
                self._sentinels.append((index, _sentinels_of(register)))
            if register.minimum is not None or register.maximum is not None:
                low = -math.inf if register.minimum is None else float(register.minimum)
                high = math.inf if register.maximum is None else float(register.maximum)
                self._limited.append((index, low, high))
            if register.kind is Kind.BOOL:
                if not register.table.is_bits:
                    self._converted.append((index, bool))
            elif register.kind.is_float:
                (self._singles if register.kind is Kind.F32 else self._doubles).append(index)
                if register.is_scaled:
                    self._converted.append((index, _float_scaler(register)))
            elif register.is_scaled:
                self._compile_ratio(index, ratio_of(register.scale, register.offset))

    def _compile_ratio(self, index: int, ratio: Ratio) -> None:
        numerator, offset, denominator = ratio
        if denominator == 1:
            self._multiplied.append((index, numerator, offset))
        elif numerator == 1 and not offset:
            self._divided.append((index, denominator))
        else:
            self._scaled.append((index, numerator, offset, denominator))

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
        block = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        try:
            raws = self._unpack(bytes(self._gather(block)) if self._gather else block)
        except (struct.error, IndexError):
            raise ValueError(f"{len(block)} bytes do not fill the runs {self.runs}") from None
        values = list(raws)
        bad: list[int] = []
        if self._singles:
            bad = shorten_f32(values, self._singles)
        for index in self._doubles:
            if not math.isfinite(values[index]):
                bad.append(index)
        for index, invalid in self._sentinels:
            if raws[index] in invalid:
                bad.append(index)
        for index, denominator in self._divided:
            values[index] /= denominator
        for index, numerator, offset in self._multiplied:
            values[index] = values[index] * numerator + offset
        for index, numerator, offset, denominator in self._scaled:
            values[index] = (values[index] * numerator + offset) / denominator
        for index, convert in self._converted:
            values[index] = convert(values[index])
        for index in self._texts:
            values[index], is_text = _text_of(values[index])
            if not is_text:
                bad.append(index)
        for index, low, high in self._limited:
            if not low <= values[index] <= high:
                bad.append(index)
        if not bad:
            return tuple(values), ()
        qualities = [Quality.GOOD] * len(values)
        for index in bad:
            qualities[index] = Quality.BAD
            if index not in self._texts:
                is_single = self.registers[index].kind is Kind.F32
                values[index] = shortest_f32(raws[index]) if is_single else raws[index]
        return tuple(values), tuple(qualities)


def encode(register: Register, value: Value) -> bytes:
    """Turn a value into the register's words, or into one byte for a bit.

    Args:
        register: any.
        value: in the register's unit; rounded to the nearest raw number.

    Raises:
        EncodeError: the value is of the wrong type, out of range, or the register's mark for "no
            value".
    """
    return encoder_of(register)(value)


def encode_for_write(register: Register, value: Value) -> bytes:
    """Encode a value that is meant to be written to a device.

    Raises:
        EncodeError: as ``encode``; or the register must not be written.
    """
    if not register.is_writable:
        reason = register.note or "the device does not take writes"
        raise EncodeError(f"{register.name} is not to be written ({register.access}): {reason}")
    return encode(register, value)


def encoder_of(register: Register) -> Callable[[Value], bytes]:
    """Compile ``encode`` for one register that is set again and again."""
    match register.kind:
        case Kind.TEXT:
            pack: Callable[[Any], bytes] = _text_packer(register)
        case Kind.BOOL:
            pack = _bool_packer(register)
        case Kind.F32 | Kind.F64:
            pack = _float_packer(register)
        case _:
            pack = _integer_packer(register)
    if _is_in_order(register):
        return pack
    # The permutation swaps pairs, so it is its own inverse.
    permute = operator.itemgetter(*_byte_order(register))
    return lambda value: bytes(permute(pack(value)))


def allowed_range(register: Register) -> tuple[float, float]:
    """Smallest and largest value that can be encoded, in the register's unit."""
    if register.kind.is_float:
        largest = _F32_MAX if register.kind is Kind.F32 else sys.float_info.max
        low, high = -largest, largest
    else:
        numerator, offset, denominator = ratio_of(register.scale, register.offset)
        ends = [(raw * numerator + offset) / denominator for raw in register.kind.raw_range]
        low, high = min(ends), max(ends)
    if register.minimum is not None:
        low = max(low, float(register.minimum))
    if register.maximum is not None:
        high = min(high, float(register.maximum))
    return low, high


_F32_MAX = (2 - 2.0**-23) * 2.0**127


def _refusal(register: Register, value: Value, because: str = "") -> EncodeError:
    unit = f" {register.unit}" if register.unit else ""
    if not because:
        low, high = allowed_range(register)
        because = f"outside {low:g}..{high:g}{unit}"
    return EncodeError(f"{register.name}: {value!r}{unit} is {because}")


def _require_number(register: Register, value: Value) -> None:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise _refusal(register, value, "not a finite number")


def _integer_packer(register: Register) -> Callable[[Any], bytes]:
    ratio = ratio_of(register.scale, register.offset)
    pack = struct.Struct(">" + _FORMATS[register.kind]).pack
    low, high = allowed_range(register)
    sentinels = _sentinels_of(register)

    def pack_integer(value: Any) -> bytes:
        try:
            if low <= value <= high:
                raw = raw_of(value, ratio)
                if raw not in sentinels:
                    return pack(raw)
                raise _refusal(register, value, "the device's mark for no value")
        except TypeError:
            pass
        _require_number(register, value)
        raise _refusal(register, value)

    return pack_integer


def _float_packer(register: Register) -> Callable[[Any], bytes]:
    pack = struct.Struct(">" + _FORMATS[register.kind]).pack
    low, high = allowed_range(register)
    sentinels = _sentinels_of(register)
    inverse = _float_unscaler(register) if register.is_scaled else None

    def pack_float(value: Any) -> bytes:
        _require_number(register, value)
        if not low <= value <= high:
            raise _refusal(register, value)
        try:
            words = pack(inverse(value) if inverse else value)
        except OverflowError:
            raise _refusal(register, value, f"too large for {register.kind}") from None
        if sentinels and struct.unpack(">" + _FORMATS[register.kind], words)[0] in sentinels:
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


def _text_packer(register: Register) -> Callable[[Any], bytes]:
    length = 2 * register.words

    def pack_text(value: Any) -> bytes:
        if not isinstance(value, str) or not value.isascii() or not (value + " ").isprintable():
            raise _refusal(register, value, "not printable ASCII text")
        if len(value) > length:
            raise _refusal(register, value, f"longer than {length} characters")
        return value.encode("ascii").ljust(length, b"\0")

    return pack_text


def _text_of(raw: bytes) -> tuple[str, bool]:
    """Give the text, and whether it is one."""
    text = raw.replace(b"\0", b"").decode("latin-1").rstrip(" ")
    return text, text.isascii() and (not text or text.isprintable())


def _float_scaler(register: Register) -> Callable[[Any], float]:
    scale, offset = register.scale, register.offset
    return lambda value: scaled_float(value, scale, offset)


def _float_unscaler(register: Register) -> Callable[[float], float]:
    scale, offset = Fraction(register.scale), Fraction(register.offset)
    return lambda value: float((Fraction(repr(float(value))) - offset) / scale)


def _sentinels_of(register: Register) -> frozenset[Any]:
    """Give the register's sentinels as the numbers that unpacking gives."""
    if not register.kind.is_float:
        return register.invalid
    length = 2 * register.words
    unpack = struct.Struct(">" + _FORMATS[register.kind]).unpack
    return frozenset(unpack(pattern.to_bytes(length, "big"))[0] for pattern in register.invalid)


def _format_of(register: Register) -> str:
    if register.kind is Kind.TEXT:
        return f"{2 * register.words}s"
    if register.kind is Kind.BOOL:
        return "?" if register.table.is_bits else "H"
    return _FORMATS[register.kind]


def _bytes_of(span: Span) -> int:
    return span.count if span.table.is_bits else 2 * span.count


def _place_of(register: Register, runs: Sequence[Span]) -> int:
    """Where the register begins in the joined blocks, in bytes."""
    start, span = 0, register.span
    for run in runs:
        if run.table is span.table and run.address <= span.address and span.end <= run.end:
            return start + (span.address - run.address) * (1 if span.table.is_bits else 2)
        start += _bytes_of(run)
    raise ValueError(f"{register.name} is not within {tuple(runs)}")


def _byte_order(register: Register) -> list[int]:
    """Where the bytes of the value, highest first, lie in the register's words."""
    if register.table.is_bits:
        return [0]
    words = list(range(register.words))
    if register.order.swaps_words and register.kind is not Kind.TEXT:
        words.reverse()
    swap = 1 if register.order.swaps_bytes else 0
    return [2 * word + (byte ^ swap) for word in words for byte in (0, 1)]


def _is_in_order(register: Register) -> bool:
    order = _byte_order(register)
    return order == sorted(order)
