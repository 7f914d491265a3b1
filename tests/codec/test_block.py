"""Words to values and back: every kind, order and scale, against a slow reference."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from grug.codec.block import (
    BlockDecoder,
    allowed_range,
    encode,
    encode_for_write,
    encoder_of,
    runs_of,
)
from grug.codec.decimals import shortest_f32
from grug.codec.registers import Access, Kind, Register, WordOrder
from grug.errors import EncodeError
from grug.model import Quality, Span, Table, Value

HOLDING = Table.HOLDING_REGISTER
NUMBERS = [kind for kind in Kind if kind.is_integer or kind.is_float]


def register_of(kind: Kind = Kind.U16, name: str = "power", **facts: object) -> Register:
    return Register(name, HOLDING, **{"address": 100, "kind": kind, **facts})  # type: ignore[arg-type]


def decode_one(register: Register, block: bytes) -> tuple[Value, tuple[Quality, ...]]:
    values, qualities = BlockDecoder([register], [register.span]).decode([block])
    return values[0], qualities


def wire_bytes(value_bytes: bytes, order: WordOrder) -> bytes:
    """Bytes, highest first, as the order puts them on the wire; spelled out word by word."""
    words = [value_bytes[i : i + 2] for i in range(0, len(value_bytes), 2)]
    if order in (WordOrder.CDAB, WordOrder.DCBA):
        words = words[::-1]
    if order in (WordOrder.BADC, WordOrder.DCBA):
        words = [word[::-1] for word in words]
    return b"".join(words)


def naive_value(register: Register, block: bytes) -> Value:
    """The value by the definition, in fractions."""
    raw_bytes = wire_bytes(block, register.order)  # Each order is its own inverse.
    if register.kind.is_float:
        raw = struct.unpack(">f" if register.kind is Kind.F32 else ">d", raw_bytes)[0]
        if register.kind is Kind.F32:
            raw = shortest_f32(raw)
        exact = Fraction(repr(raw))
    else:
        is_signed = register.kind.value.startswith("s")
        exact = Fraction(int.from_bytes(raw_bytes, "big", signed=is_signed))
    value = exact * Fraction(register.scale) + Fraction(register.offset)
    is_whole = register.kind.is_integer and register.scale % 1 == 0 and register.offset % 1 == 0
    return int(value) if is_whole else float(value)


@st.composite
def numbers(draw: st.DrawFn) -> Register:
    kind = draw(st.sampled_from(NUMBERS))
    scales = ["1", "1", "0.1", "0.01", "0.001", "10", "-1", "1.13", "0.5"]
    offsets = ["0", "0", "0", "-40", "0.25"]
    return register_of(
        kind,
        order=draw(st.sampled_from(WordOrder)),
        scale=Decimal(draw(st.sampled_from(scales))),
        offset=Decimal(draw(st.sampled_from(offsets))),
    )


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[Register], list[bytes], tuple[Span, ...]]:
    """Some registers with holes between them, in any order, and what their runs hold."""
    registers, address = [], draw(st.integers(0, 50))
    for index in range(draw(st.integers(1, 12))):
        register = replace(draw(numbers()), name=f"r{index}", address=address)
        registers.append(register)
        address = register.span.end + draw(st.integers(0, 3))
    runs = runs_of(registers, draw(st.integers(4, 20)))
    if draw(st.booleans()):  # As the planner may: one run over everything, holes included.
        start = registers[0].address
        runs = (Span(HOLDING, start, registers[-1].span.end - start),)
    blocks = [draw(st.binary(min_size=2 * run.count, max_size=2 * run.count)) for run in runs]
    if draw(st.booleans()):
        registers = draw(st.permutations(registers))
    return registers, blocks, runs


@pytest.mark.slow
@given(layouts())
def test_a_block_decodes_as_its_registers_one_by_one(
    layout: tuple[list[Register], list[bytes], tuple[Span, ...]],
) -> None:
    registers, blocks, runs = layout
    values, qualities = BlockDecoder(registers, runs).decode(blocks)
    for index, register in enumerate(registers):
        run, block = next(
            (run, block)
            for run, block in zip(runs, blocks, strict=True)
            if run.address <= register.address and register.span.end <= run.end
        )
        start = 2 * (register.address - run.address)
        own = block[start : start + 2 * register.words]
        if qualities and qualities[index] is Quality.BAD:
            assert register.kind.is_float
            assert not math.isfinite(values[index])  # type: ignore[arg-type]
        else:
            assert values[index] == naive_value(register, own)


def test_a_scaled_float_reaches_as_far_as_its_scale() -> None:
    watts = register_of(Kind.F32, scale=Decimal(10))
    block = struct.pack(">f", 4.25e37)
    assert encode(watts, 4.25e38) == block
    with pytest.raises(EncodeError, match="outside"):
        encode(watts, 3.5e39)


@given(numbers(), st.data())
def test_what_is_encoded_decodes_to_the_same(register: Register, data: st.DataObject) -> None:
    size = 2 * register.words
    block = data.draw(st.binary(min_size=size, max_size=size))
    value, qualities = decode_one(register, block)
    assume(not qualities)
    assert not isinstance(value, str)
    if register.kind in (Kind.U64, Kind.S64):  # Beyond 2**50 a float has not the digits.
        assume(abs(value) * float(abs(1 / register.scale)) < 2**50)
    if register.kind.is_float and register.is_scaled:  # Scaled floats round twice.
        low, high = allowed_range(replace(register, scale=Decimal(1), offset=Decimal(0)))
        assume(low < (value - float(register.offset)) / float(register.scale) < high)
        again, _ = decode_one(register, encode(register, value))
        assert again == pytest.approx(value, rel=2.0**-22, abs=1e-6)
        return
    words = encode(register, value)
    assert decode_one(register, words) == (value, ())
    assert words == block or value == 0  # Minus zero is zero.


@given(st.sampled_from(WordOrder), st.text(st.characters(min_codepoint=33, max_codepoint=126)))
def test_text_round_trips_with_either_byte_first(order: WordOrder, text: str) -> None:
    register = register_of(Kind.TEXT, words=max(1, (len(text) + 1) // 2), order=order)
    assert decode_one(register, encode(register, text)) == (text, ())


def test_text_ends_at_its_padding() -> None:
    register = register_of(Kind.TEXT, words=4)
    assert decode_one(register, b"SN42 \0\0\0") == ("SN42", ())
    assert decode_one(register, b"SN\xff\x80\0\0\0\0")[1] == (Quality.BAD,)


def test_orders_are_as_they_are_spelled() -> None:
    block = {"ABCD": "11223344", "CDAB": "33441122", "BADC": "22114433", "DCBA": "44332211"}
    for name, text in block.items():
        register = register_of(Kind.U32, order=WordOrder(name))
        assert decode_one(register, bytes.fromhex(text)) == (0x11223344, ())


def test_decimals_are_exact() -> None:
    assert decode_one(register_of(scale=Decimal("0.1")), (4305).to_bytes(2, "big"))[0] == 430.5
    single = register_of(Kind.F32)
    assert decode_one(single, struct.pack(">f", 230.1))[0] == 230.1


def test_a_negative_scale_has_no_minus_zero() -> None:
    for scale in ("-1", "-0.1"):
        value, _ = decode_one(register_of(Kind.S16, scale=Decimal(scale)), b"\0\0")
        assert str(value) in ("0", "0.0")


def test_one_bad_value_leaves_the_others_good() -> None:
    good = register_of(Kind.F32, "good")
    bad = register_of(Kind.F32, "bad", address=102)
    decoder = BlockDecoder([good, bad], runs_of([good, bad], 125))
    values, qualities = decoder.decode([struct.pack(">ff", 1.5, math.nan)])
    assert values[0] == 1.5
    assert qualities == (Quality.GOOD, Quality.BAD)


@pytest.mark.parametrize(
    ("facts", "block", "raw"),
    [
        ({"kind": Kind.U16, "invalid": frozenset({0xFFFF})}, "ffff", 0xFFFF),
        (
            {"kind": Kind.S16, "invalid": frozenset({-32768}), "scale": Decimal("0.1")},
            "8000",
            -32768,
        ),
        ({"kind": Kind.F32, "invalid": frozenset({0x42280000})}, "42280000", 42.0),
        ({"kind": Kind.F32, "maximum": Decimal(300)}, "44160000", 600.0),
        ({"kind": Kind.F64}, "7ff0000000000000", math.inf),
        ({"kind": Kind.U16, "scale": Decimal("0.1"), "maximum": Decimal(300)}, "0bb9", 3001),
        ({"kind": Kind.S16, "minimum": Decimal(0)}, "ffff", -1),
    ],
)
def test_sentinels_and_implausible_values_are_bad_and_raw(
    facts: dict[str, object], block: str, raw: float
) -> None:
    assert decode_one(register_of(**facts), bytes.fromhex(block)) == (raw, (Quality.BAD,))  # type: ignore[arg-type]


def test_limits_themselves_are_good() -> None:
    register = register_of(scale=Decimal("0.1"), minimum=Decimal("0.3"), maximum=Decimal("0.7"))
    assert decode_one(register, b"\0\3") == (0.3, ())
    assert decode_one(register, b"\0\7") == (0.7, ())


def test_bits_and_words_decode_together() -> None:
    bits = [Register(f"b{n}", Table.COIL, 5 + n, Kind.BOOL) for n in range(3)]
    word, flag = register_of(), register_of(Kind.BOOL, "flag", address=101)
    registers = [*bits, word, flag]
    runs = runs_of(registers, 125)
    values, qualities = BlockDecoder(registers, runs).decode([b"\1\0\1", b"\0\7\0\2"])
    assert (values, qualities) == ((True, False, True, 7, True), ())
    assert values[0] is True
    assert [encode(bit, True) for bit in bits] == [b"\1"] * 3
    assert encode(flag, True) == b"\0\1"


def test_one_bit_alone_decodes() -> None:
    bit = Register("b", Table.DISCRETE_INPUT, 12501, Kind.BOOL)
    assert decode_one(bit, b"\1") == (True, ())


def test_a_block_of_another_length_is_a_bug_that_says_so() -> None:
    decoder = BlockDecoder([register_of()], [register_of().span])
    with pytest.raises(ValueError, match="3 bytes do not fill"):
        decoder.decode([b"\0\0\0"])
    with pytest.raises(ValueError, match="power is not within"):
        BlockDecoder([register_of(Kind.U32)], [register_of().span])


@pytest.mark.parametrize(
    ("facts", "value", "text"),
    [
        ({}, 70000, r"power: 70000 W is outside 0\.\.65535 W"),
        ({}, -1, r"power: -1 W is outside"),
        ({"kind": Kind.S16, "scale": Decimal("0.1")}, 3276.8, r"outside -3276.8\.\.3276.7 W"),
        ({"maximum": Decimal(32)}, 32.1, r"outside 0\.\.32 W"),
        ({}, math.nan, "not a finite number"),
        ({}, math.inf, "not a finite number"),
        ({}, "12", "'12' W is not a finite number"),
        ({"kind": Kind.F32}, 1e39, "outside"),
        ({"kind": Kind.F32}, math.nan, "not a finite number"),
        ({"kind": Kind.F32}, "x", "not a finite number"),
        ({"kind": Kind.F32, "minimum": Decimal(0)}, -1.0, r"outside 0\.\."),
        (
            {"kind": Kind.F32, "scale": Decimal("0.01")},
            3e38,
            "outside -3.4028235e.36..3.4028235e.36 W",
        ),
        ({"invalid": frozenset({65535})}, 65535, "mark for no value"),
        ({"kind": Kind.F32, "invalid": frozenset({0x42280000})}, 42.0, "mark for no value"),
        ({"kind": Kind.BOOL}, 2, "neither true nor false"),
        ({"kind": Kind.TEXT, "words": 1}, "abc", "longer than 2"),
        ({"kind": Kind.TEXT, "words": 1}, "é", "ASCII"),
        ({"kind": Kind.TEXT, "words": 1}, 5, "ASCII"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(
    facts: dict[str, object], value: Value, text: str
) -> None:
    with pytest.raises(EncodeError, match=text):
        encode(register_of(unit="W", **facts), value)  # type: ignore[arg-type]


def test_what_must_not_be_written_is_not_encoded_for_writing() -> None:
    for access in (Access.NEVER, Access.READ):
        with pytest.raises(EncodeError, match="power is not to be written"):
            encode_for_write(register_of(access=access), 1)
    for access in (Access.FREE, Access.GUARDED):
        assert encode_for_write(register_of(access=access), 1) == b"\0\1"


def test_an_encoder_can_be_kept() -> None:
    pack = encoder_of(register_of(Kind.S32, scale=Decimal("0.1"), order=WordOrder.CDAB))
    assert pack(-0.1) == bytes.fromhex("ffffffff")
    assert pack(0.2) == bytes.fromhex("00020000")


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(1, 20))
def test_runs_hold_all_registers_and_nothing_else(addresses: set[int], words_max: int) -> None:
    registers = [register_of(name=f"r{address}", address=address) for address in addresses]
    runs = runs_of(registers, words_max)
    covered = [address for run in runs for address in range(run.address, run.end)]
    assert covered == sorted(addresses)
    assert all(run.count <= words_max for run in runs)
    stretches = "".join("x" if n in addresses else " " for n in range(62)).split()
    fewest = sum(-(-len(stretch) // words_max) for stretch in stretches)
    assert len(runs) == fewest


def test_runs_never_split_a_value_nor_mix_tables() -> None:
    registers = [register_of(Kind.F32, f"f{n}", address=2 * n) for n in range(5)]
    bit = Register("bit", Table.COIL, 0, Kind.BOOL)
    assert runs_of([*registers, bit], 5) == (
        Span(Table.COIL, 0, 1),
        Span(HOLDING, 0, 4),
        Span(HOLDING, 4, 4),
        Span(HOLDING, 8, 2),
    )
    assert runs_of([register_of(Kind.F64)], 2) == (Span(HOLDING, 100, 4),)
