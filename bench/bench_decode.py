"""Decoding a block at once, against decoding its registers one by one.

    python bench/bench_decode.py

Four blocks are decoded, each in three ways:

- grug: ``BlockDecoder``, values exact, sentinels and limits checked, qualities given;
- struct: a plain codec that takes one register after the other: slice, reorder, unpack, compare
  with the sentinel, scale, compare with the limits;
- pymodbus: ``convert_from_registers`` for each register, then the same scaling and comparing.

Neither of the two others gives exact decimals. The blocks hold different values in every round, as
real ones do. All ratios are of one run on one machine.
"""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable, Sequence
from decimal import Decimal

from pymodbus.client.mixin import ModbusClientMixin

from grug.codec.block import BlockDecoder, encode, runs_of
from grug.codec.registers import Kind, Register, WordOrder
from grug.model import Span, Table

ROUNDS = 300
VARIANTS = 50
"""Different blocks, decoded in turn."""


def mixed(count: int) -> list[Register]:
    """Registers as devices have them: mostly scaled words, some floats, some long, a text."""
    random.seed(1)
    registers, address = [], 0
    shapes = [
        *[(Kind.U16, "0.1")] * 30,
        *[(Kind.S16, "0.01")] * 12,
        *[(Kind.U16, "1")] * 20,
        *[(Kind.S32, "1")] * 10,
        *[(Kind.U32, "0.001")] * 10,
        *[(Kind.F32, "1")] * 12,
        *[(Kind.U64, "1")] * 2,
        *[(Kind.F64, "1")] * 2,
        *[(Kind.BOOL, "1")],
        *[(Kind.TEXT, "1")],
    ]
    random.shuffle(shapes)
    for index in range(count):
        kind, scale = shapes[index % len(shapes)]
        is_signed = kind in (Kind.S16, Kind.S32)
        sentinel = {Kind.U16: 0xFFFF, Kind.S16: -0x8000, Kind.S32: -0x80000000}.get(kind)
        register = Register(
            f"r{index}",
            Table.HOLDING_REGISTER,
            address,
            kind,
            words=8 if kind is Kind.TEXT else 0,
            scale=Decimal(scale),
            order=WordOrder.CDAB if kind is Kind.U32 else WordOrder.ABCD,
            invalid=frozenset() if sentinel is None else frozenset({sentinel}),
            maximum=Decimal(30) if is_signed and kind is Kind.S16 else None,
        )
        registers.append(register)
        address += register.words
    return registers


def plain(kind: Kind, scale: str) -> list[Register]:
    """A hundred registers of one kind."""
    words = kind.words
    return [
        Register(f"r{i}", Table.HOLDING_REGISTER, i * words, kind, scale=Decimal(scale))
        for i in range(100)
    ]


def random_block(registers: Sequence[Register]) -> bytes:
    """Good values everywhere."""
    words = []
    for register in registers:
        match register.kind:
            case Kind.TEXT:
                value: float | str | bool = "AB12345"
            case Kind.BOOL:
                value = True
            case Kind.F32 | Kind.F64:
                value = random.uniform(0, 400)
            case Kind.U64:
                value = random.randrange(1 << 50)
            case _:
                value = random.randrange(3000) * float(register.scale)
        words.append(encode(register, value))
    return b"".join(words)


_CODES = {
    Kind.BOOL: "H",
    Kind.U16: "H",
    Kind.S16: "h",
    Kind.U32: "I",
    Kind.S32: "i",
    Kind.U64: "Q",
    Kind.F32: "f",
    Kind.F64: "d",
}


class StructCodec:
    """What one writes first: one register after the other, with the struct module."""

    def __init__(self, registers: Sequence[Register]) -> None:
        self.plan = [
            (
                2 * register.address,
                2 * (register.address + register.words),
                register.kind,
                register.order,
                ">" + _CODES.get(register.kind, ""),
                float(register.scale),
                float(register.offset),
                register.invalid,
                None if register.minimum is None else float(register.minimum),
                None if register.maximum is None else float(register.maximum),
            )
            for register in registers
        ]

    def decode(self, block: bytes) -> list[object]:
        """Give a value and whether it is good, for each."""
        out: list[object] = []
        for start, end, kind, order, code, scale, offset, invalid, low, high in self.plan:
            data = block[start:end]
            if order.swaps_bytes:
                data = b"".join(data[i : i + 2][::-1] for i in range(0, len(data), 2))
            if order.swaps_words:
                data = b"".join(data[i : i + 2] for i in range(len(data) - 2, -1, -2))
            if kind is Kind.TEXT:
                out.append((data.rstrip(b"\0").decode("latin-1"), True))
                continue
            (raw,) = struct.unpack(code, data)
            good = raw not in invalid
            value = raw * scale + offset
            if low is not None and value < low:
                good = False
            if high is not None and value > high:
                good = False
            out.append((bool(raw) if kind is Kind.BOOL else value, good))
        return out


_TYPES = {
    Kind.BOOL: ModbusClientMixin.DATATYPE.UINT16,
    Kind.U16: ModbusClientMixin.DATATYPE.UINT16,
    Kind.S16: ModbusClientMixin.DATATYPE.INT16,
    Kind.U32: ModbusClientMixin.DATATYPE.UINT32,
    Kind.S32: ModbusClientMixin.DATATYPE.INT32,
    Kind.U64: ModbusClientMixin.DATATYPE.UINT64,
    Kind.F32: ModbusClientMixin.DATATYPE.FLOAT32,
    Kind.F64: ModbusClientMixin.DATATYPE.FLOAT64,
    Kind.TEXT: ModbusClientMixin.DATATYPE.STRING,
}


class PymodbusCodec:
    """``convert_from_registers`` for each register of a reply."""

    def __init__(self, registers: Sequence[Register]) -> None:
        self.registers = registers

    def decode(self, words: Sequence[int]) -> list[object]:
        """Give a value and whether it is good, for each."""
        out: list[object] = []
        convert = ModbusClientMixin.convert_from_registers
        for register in self.registers:
            part = list(words[register.address : register.address + register.words])
            order = "little" if register.order.swaps_words else "big"
            raw = convert(part, _TYPES[register.kind], word_order=order)
            if isinstance(raw, str):
                out.append((raw, True))
                continue
            value = raw * float(register.scale) + float(register.offset)
            good = raw not in register.invalid
            if register.maximum is not None and value > float(register.maximum):
                good = False
            out.append((value, good))
        return out


def best_us(decode: Callable[[int], object], rounds: int) -> float:
    """Microseconds a call, the best of five tries."""
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for turn in range(rounds):
            decode(turn % VARIANTS)
        best = min(best, (time.perf_counter() - started) / rounds)
    return 1e6 * best


def compare(title: str, registers: Sequence[Register]) -> None:
    """Print one line."""
    end = registers[-1].span.end
    run = Span(Table.HOLDING_REGISTER, 0, end)
    assert runs_of(registers, 1000) == (run,)
    blocks = [random_block(registers) for _ in range(VARIANTS)]
    words = [struct.unpack(f">{end}H", block) for block in blocks]
    decoder, codec, foreign = (
        BlockDecoder(registers, [run]),
        StructCodec(registers),
        PymodbusCodec(registers),
    )
    for block in blocks:
        assert decoder.decode([block])[1] == ()
    ours = best_us(lambda i: decoder.decode([blocks[i]]), ROUNDS * 10)
    plainly = best_us(lambda i: codec.decode(blocks[i]), ROUNDS)
    theirs = best_us(lambda i: foreign.decode(words[i]), ROUNDS)
    print(
        f"{title:32} grug {ours:6.2f} us, struct {plainly:6.1f} us = {plainly / ours:4.1f}x,"
        f" pymodbus {theirs:6.1f} us = {theirs / ours:4.1f}x"
    )


def main() -> None:
    """Print it all."""
    compare("100 registers of mixed kinds", mixed(100))
    compare("100 words of mixed kinds", [each for each in mixed(100) if each.span.end <= 100])
    compare("100 scaled words", plain(Kind.U16, "0.1"))
    compare("100 float32", plain(Kind.F32, "1"))
    compare("8 float32, a meter's poll", plain(Kind.F32, "1")[:8])


if __name__ == "__main__":
    main()
