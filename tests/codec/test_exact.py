"""Every kind, order and scale: exact against decimal, and the same however the words arrive."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta
from decimal import Context, Decimal
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from grug.codec.block import BlockDecoder, encode, runs_of
from grug.codec.decimals import shortest_f32
from grug.codec.image import RegisterImage
from grug.codec.registers import Kind, Register, RegisterMap, WordOrder
from grug.model import Span, Table, Value

HOLDING = Table.HOLDING_REGISTER
WIDE = Context(prec=2000)
WHOLE = [kind for kind in Kind if kind.is_integer or kind.is_bcd]


@st.composite
def decimals(draw: st.DrawFn, low: int, high: int) -> Decimal:
    """Any decimal of up to six digits, from ten to the power of low to that of high."""
    digits = draw(st.integers(1, 999_999)) * draw(st.sampled_from([1, -1]))
    return Decimal(digits).scaleb(draw(st.integers(low, high)))


SCALES = st.one_of(st.sampled_from([Decimal("0.1"), Decimal("0.01")]), decimals(-12, 6))
OFFSETS = st.one_of(st.just(Decimal(0)), decimals(-6, 3))


def exact_value(raw: Decimal | int, register: Register) -> Decimal:
    return WIDE.add(WIDE.multiply(Decimal(raw), register.scale), register.offset)


def decode_one(register: Register, block: bytes) -> Value:
    values, qualities = BlockDecoder([register], [register.span]).decode([block])
    assert qualities == ()
    return values[0]


def block_of(raw: int, register: Register) -> bytes:
    plain = Register("plain", HOLDING, 0, register.kind, order=register.order)
    return encode(plain, raw)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.sampled_from(WHOLE), st.sampled_from(WordOrder), SCALES, OFFSETS, st.data())
def test_every_raw_value_is_the_float_nearest_to_its_decimal_in_both_directions(
    kind: Kind, order: WordOrder, scale: Decimal, offset: Decimal, data: st.DataObject
) -> None:
    raw = data.draw(st.integers(*kind.raw_range))
    register = Register("x", HOLDING, 0, kind, order=order, scale=scale, offset=offset)
    block = block_of(raw, register)
    value = decode_one(register, block)
    exact = exact_value(raw, register)
    assert value == (exact if isinstance(value, int) else float(exact))
    # A float has 53 bits; what it cannot tell apart cannot come back as it was.
    assume(abs(exact) + abs(offset) < abs(scale) * 2**50)
    assert encode(register, value) == block


@given(st.integers(0, 2**32 - 1), SCALES, OFFSETS)
def test_a_scaled_float32_is_the_float_nearest_to_its_shortest_decimal_scaled(
    bits: int, scale: Decimal, offset: Decimal
) -> None:
    assume(bits >> 23 & 0xFF != 0xFF)
    register = Register("x", HOLDING, 0, Kind.F32, scale=scale, offset=offset)
    block = struct.pack(">I", bits)
    shortest = shortest_f32(struct.unpack(">f", block)[0])
    assert decode_one(register, block) == float(exact_value(Decimal(repr(shortest)), register))


@given(st.floats(allow_nan=False, allow_infinity=False), SCALES, OFFSETS)
def test_a_scaled_float64_is_scaled_as_the_decimal_that_it_shows(
    raw: float, scale: Decimal, offset: Decimal
) -> None:
    register = Register("x", HOLDING, 0, Kind.F64, scale=scale, offset=offset)
    exact = exact_value(Decimal(repr(raw)), register)
    assume(abs(exact) < Decimal("1e308"))
    assert decode_one(register, struct.pack(">d", raw)) == float(exact)


EPOCH = datetime(2000, 1, 1)


def draw_value(draw: st.DrawFn, register: Register) -> Value:
    kind = register.kind
    if kind is Kind.BOOL:
        return draw(st.booleans())
    if kind is Kind.TEXT:
        letters = st.characters(min_codepoint=33, max_codepoint=126)
        return draw(st.text(letters, max_size=2 * register.words))
    if kind in (Kind.CLOCK3, Kind.CLOCK6, Kind.UNIX32):
        date = EPOCH + timedelta(seconds=draw(st.integers(0, 60 * 365 * 86400)))
        return date.isoformat() + ("Z" if kind is Kind.UNIX32 else "")
    if kind is Kind.F32:
        return shortest_f32(draw(st.floats(width=32, allow_nan=False, allow_infinity=False)))
    if kind is Kind.F64:
        return draw(st.floats(allow_nan=False, allow_infinity=False))
    low, high = kind.raw_range
    raw = draw(st.integers(max(low, -(2**50)), min(high, 2**50)))
    value = exact_value(raw, register)
    return int(value) if register.scale == 1 else float(value)


@st.composite
def devices(draw: st.DrawFn) -> tuple[list[Register], list[Value]]:
    """Registers of any kinds in two tables, with holes, and a value for each."""
    registers: list[Register] = []
    values: list[Value] = []
    address = {HOLDING: draw(st.integers(0, 9)), Table.COIL: draw(st.integers(0, 9))}
    factor = Register("factor", HOLDING, 60000, Kind.S16)
    for index in range(draw(st.integers(1, 15))):
        kind = draw(st.sampled_from(Kind))
        is_coil = kind is Kind.BOOL and draw(st.booleans())
        table = Table.COIL if is_coil else HOLDING
        has_scale = (kind.is_integer or kind.is_bcd) and draw(st.booleans())
        register = Register(
            f"r{index}",
            table,
            address[table],
            kind,
            words=draw(st.integers(1, 9)) if kind is Kind.TEXT else 0,
            order=draw(st.sampled_from(WordOrder)),
            scale=Decimal("0.01") if has_scale else Decimal(1),
            offset=Decimal(2000) if kind is Kind.CLOCK6 else Decimal(0),
        )
        address[table] = register.span.end + draw(st.integers(0, 2))
        values.append(draw_value(draw, register))
        if kind.is_integer and not has_scale and draw(st.booleans()):
            # A factor of 10**-2 is in force; the value is that of a scale of 0.01.
            values[-1] = int(values[-1]) / 100
            register = Register(
                register.name, table, register.address, kind, order=register.order, scale_by=factor
            )
        registers.append(register)
    return registers, values


def memory_of(registers: list[Register], values: list[Value]) -> dict[tuple[Table, int], bytes]:
    """Words and bits by address, as the device holds them."""
    memory = {(HOLDING, 60000): (-2 & 0xFFFF).to_bytes(2, "big")}
    for register, value in zip(registers, values, strict=True):
        plain = register if register.scale_by is None else register.at_exponent(-2)
        block, width = encode(plain, value), 1 if register.table.is_bits else 2
        for index in range(register.words):
            word = block[index * width : (index + 1) * width]
            memory[(register.table, register.address + index)] = word
    return memory


def read(memory: dict[tuple[Table, int], bytes], run: Span) -> bytes:
    gap = b"\1" if run.table.is_bits else b"\xa5\x5a"
    return b"".join(memory.get((run.table, a), gap) for a in range(run.address, run.end))


@pytest.mark.slow
@settings(max_examples=200)
@given(devices(), st.integers(9, 30), st.integers(0, 2**32))
def test_any_device_round_trips_with_its_words_whole_split_and_reordered(
    device: tuple[list[Register], list[Value]], words_max: int, seed: int
) -> None:
    registers, values = device
    memory = memory_of(registers, values)
    ways = [runs_of(registers, words_max), runs_of(registers, 65536)]
    starts = {run.table: run.address for run in reversed(ways[1])}
    ends = {run.table: run.end for run in ways[1]}
    ways.append(tuple(Span(table, starts[table], ends[table] - starts[table]) for table in starts))
    shuffle = list(range(len(registers)))
    Random(seed).shuffle(shuffle)
    for runs in ways:
        runs = tuple(Random(seed).sample(runs, len(runs)))
        blocks = [read(memory, run) for run in runs]
        assert BlockDecoder(registers, runs).decode(blocks) == (tuple(values), ())
        shuffled = BlockDecoder([registers[index] for index in shuffle], runs)
        assert shuffled.decode(blocks)[0] == tuple(values[index] for index in shuffle)


@pytest.mark.slow
@given(devices(), st.integers(9, 30), st.integers(0, 2**32))
def test_what_an_image_serves_is_what_was_set_in_any_order(
    device: tuple[list[Register], list[Value]], words_max: int, seed: int
) -> None:
    registers, values = device
    factor = Register("factor", HOLDING, 60000, Kind.S16)
    by_name = {register.name: register for register in (*registers, factor)}
    image = RegisterImage(RegisterMap("any", by_name))
    pairs = [("factor", -2), *zip(by_name, values, strict=False)]
    Random(seed).shuffle(pairs)
    image.set_many([name for name, _ in pairs], [value for _, value in pairs])
    assert [image.get(register.name) for register in registers] == values
    runs = runs_of(registers, words_max)
    blocks = [image.read(run.table, run.address, run.count) or b"" for run in runs]
    assert BlockDecoder(registers, runs).decode(blocks) == (tuple(values), ())


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_f32_reads_and_encodes_as_its_shortest_decimal(sign: int) -> None:
    register = Register("largest_f32", HOLDING, 0, Kind.F32)
    value = sign * 3.4028235e38
    block = encode(register, value)
    assert BlockDecoder([register], [register.span]).decode([block]) == ((value,), ())
