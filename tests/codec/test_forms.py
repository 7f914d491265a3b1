"""Digits, dates, labels and scaling registers: what they read as, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from grug.codec.block import BlockDecoder, encode, encode_for_write, runs_of
from grug.codec.registers import Access, Bit, Choice, Kind, Register, WordOrder
from grug.errors import EncodeError
from grug.model import Quality, Span, Table, Value

HOLDING = Table.HOLDING_REGISTER


def decode_one(register: Register, block: str) -> tuple[Value, tuple[Quality, ...]]:
    values, qualities = BlockDecoder([register], [register.span]).decode([bytes.fromhex(block)])
    return values[0], qualities


@pytest.mark.parametrize(
    ("kind", "facts", "block", "value"),
    [
        (Kind.BCD16, {}, "1234", 1234),
        (Kind.BCD16, {"order": WordOrder.BADC}, "3412", 1234),
        (Kind.BCD16, {"scale": Decimal("0.1")}, "2301", 230.1),
        (Kind.BCD32, {}, "00120305", 120305),
        (Kind.BCD32, {"order": WordOrder.CDAB}, "03050012", 120305),
        (Kind.BCD32, {"scale": Decimal("0.01"), "offset": Decimal(5)}, "00000150", 6.5),
        (Kind.CLOCK6, {}, "07ea000b00160010002c0035", "2026-11-22T16:44:53"),
        (Kind.CLOCK6, {"offset": Decimal(2000)}, "001a000b00160010002c0035", "2026-11-22T16:44:53"),
        (Kind.CLOCK3, {}, "1a0b16102c35", "2026-11-22T16:44:53"),
        (Kind.CLOCK3, {"order": WordOrder.DCBA}, "0b1a1016352c", "2026-11-22T16:44:53"),
        (Kind.UNIX32, {}, "6a22efd5", "2026-06-05T15:48:37Z"),
        (Kind.UNIX32, {"order": WordOrder.CDAB}, "00010000", "1970-01-01T00:00:01Z"),
    ],
)
def test_digits_and_dates_read_as_they_look(
    kind: Kind, facts: dict[str, object], block: str, value: Value
) -> None:
    register = Register("x", HOLDING, 0, kind, **facts)  # type: ignore[arg-type]
    assert decode_one(register, block) == (value, ())
    assert encode(register, value) == bytes.fromhex(block)


@pytest.mark.parametrize(
    ("kind", "block", "raw"),
    [
        (Kind.BCD16, "12a4", 0x12A4),
        (Kind.BCD32, "ffffffff", 0xFFFFFFFF),
        (Kind.CLOCK6, "07ea000d00160010002c0035", "07ea 000d 0016 0010 002c 0035"),
        (Kind.CLOCK3, "1a021f102c35", "1a02 1f10 2c35"),
        (Kind.CLOCK3, "ffffffffffff", "ffff ffff ffff"),
    ],
)
def test_what_is_no_number_or_date_is_bad_and_raw(kind: Kind, block: str, raw: Value) -> None:
    assert decode_one(Register("x", HOLDING, 0, kind), block) == (raw, (Quality.BAD,))


def test_a_sentinel_of_bcd_is_a_bit_pattern() -> None:
    register = Register("x", HOLDING, 0, Kind.BCD16, invalid=frozenset({0x9999}))
    assert decode_one(register, "9999") == (0x9999, (Quality.BAD,))
    with pytest.raises(EncodeError, match="mark for no value"):
        encode(register, 9999)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (Kind.BCD16, 10000, r"x: 10000 is outside 0\.\.9999"),
        (Kind.BCD16, -1, "outside"),
        (Kind.BCD32, "12", "not a finite number"),
        (Kind.CLOCK6, 5, "not a date, as text"),
        (Kind.CLOCK6, "tomorrow", "not a date such as"),
        (Kind.CLOCK6, "2026-11-22T16:44:53Z", "time zone, which the device does not know"),
        (Kind.CLOCK3, "1999-11-22T16:44:53", "not from 2000 to 2255"),
        (Kind.UNIX32, "2026-11-22T16:44:53", "not a date in UTC"),
        (Kind.UNIX32, "2226-11-22T16:44:53Z", "not from 1970 to 2106"),
    ],
)
def test_what_has_no_digits_or_date_is_refused(kind: Kind, value: Value, text: str) -> None:
    with pytest.raises(EncodeError, match=text):
        encode(Register("x", HOLDING, 0, kind), value)


def test_a_year_before_the_century_of_a_clock_is_refused() -> None:
    register = Register("x", HOLDING, 0, Kind.CLOCK6, offset=Decimal(2000))
    with pytest.raises(EncodeError, match="before 2000"):
        encode(register, "1999-11-22T16:44:53")


MODE = Register(
    "mode",
    HOLDING,
    0,
    Kind.U16,
    access=Access.GUARDED,
    choices=(Choice(1, "Hold"), Choice(2, "Charge")),
)
FLAGS = Register(
    "flags", HOLDING, 0, Kind.U16, bits=(Bit(0, "Running"), Bit(3, "Grid fault", active_low=True))
)


def test_an_enumeration_reads_as_a_number_with_a_label() -> None:
    assert decode_one(MODE, "0002") == (2, ())
    assert MODE.labels_of(2) == ("Charge",)
    assert MODE.labels_of(7) == ()
    assert MODE.labels_of("text") == ()
    assert decode_one(MODE, "0007") == (7, ())  # Devices show more than they document.


def test_an_enumeration_is_written_by_label_or_known_number() -> None:
    assert encode(MODE, "Charge") == encode_for_write(MODE, "Charge") == b"\0\2"
    assert encode_for_write(MODE, 1) == b"\0\1"
    assert encode(MODE, 7) == b"\0\7"
    with pytest.raises(EncodeError, match="mode: 7 is none of 1 'Hold', 2 'Charge'"):
        encode_for_write(MODE, 7)
    with pytest.raises(EncodeError, match="mode: there is no label 'Chrage'; did you mean 'Charge"):
        encode(MODE, "Chrage")
    with pytest.raises(EncodeError, match="one label is needed, not 2"):
        MODE.number_of("Hold", "Charge")


def test_a_bit_field_is_put_together_from_labels_and_active_low_bits_rest_at_one() -> None:
    assert FLAGS.number_of("Running") == 0b1001
    assert FLAGS.number_of("Running", "Grid fault") == 0b0001
    assert FLAGS.labels_of(FLAGS.number_of("Grid fault")) == ("Grid fault",)
    assert encode(FLAGS, "Running") == b"\0\x09"


SCALE = Register("power_scale", HOLDING, 5, Kind.S16, invalid=frozenset({-0x8000}))
POWER = Register("power", HOLDING, 2, Kind.S16, unit="W", scale_by=SCALE)


@pytest.mark.parametrize(
    ("scale", "value"),
    [
        ("0000", -1234),
        ("ffff", -123.4),
        ("fffd", -1.234),
        ("0002", -123400),
        ("000a", -1234 * 10**10),
    ],
)
def test_a_value_is_scaled_by_what_the_other_register_holds(scale: str, value: float) -> None:
    runs = runs_of([POWER], 125)
    assert runs == (Span(HOLDING, 2, 1), Span(HOLDING, 5, 1))  # The scale is read with it.
    blocks = [(-1234 & 0xFFFF).to_bytes(2, "big"), bytes.fromhex(scale)]
    assert BlockDecoder([POWER], runs).decode(blocks) == ((value,), ())


@pytest.mark.parametrize("scale", ["8000", "000b", "7fff"])
def test_without_its_scale_a_value_is_bad(scale: str) -> None:
    decoder = BlockDecoder([POWER, SCALE], [Span(HOLDING, 2, 4)])
    values, qualities = decoder.decode([bytes.fromhex("0011" + "0000" * 2 + scale)])
    assert values[0] == 17
    assert qualities[0] is Quality.BAD
    assert (qualities[1] is Quality.BAD) is (scale == "8000")


def test_limits_hold_for_the_scaled_value() -> None:
    register = replace(POWER, maximum=Decimal(100))
    decoder = BlockDecoder([register], [Span(HOLDING, 2, 4)])
    assert decoder.decode([bytes.fromhex("03e800000000ffff")]) == ((100.0,), ())
    assert decoder.decode([bytes.fromhex("03e900000000ffff")]) == ((1001,), (Quality.BAD,))


def test_a_value_without_a_known_scale_is_not_encoded() -> None:
    with pytest.raises(EncodeError, match="power is scaled by power_scale"):
        encode(POWER, 5)
    assert encode(POWER.at_exponent(-1), 5) == b"\0\x32"
    with pytest.raises(EncodeError, match="its scale is not known"):
        POWER.at_exponent(-0x8000)


def test_a_decoder_without_the_scales_run_is_a_bug_that_says_so() -> None:
    with pytest.raises(ValueError, match="power_scale is not within"):
        BlockDecoder([POWER], [POWER.span])


def test_overlapping_registers_decode_from_the_same_words() -> None:
    whole = Register("whole", HOLDING, 0, Kind.U32)
    halves = [Register(f"half_{n}", HOLDING, n, Kind.U16, alias="whole") for n in (0, 1)]
    decoder = BlockDecoder([halves[1], whole, halves[0]], [whole.span])
    assert decoder.decode([bytes.fromhex("00010002")]) == ((2, 0x10002, 1), ())


def test_blocks_that_do_not_fit_the_runs_are_a_bug_that_says_so() -> None:
    coil = Register("coil", Table.COIL, 0, Kind.BOOL)
    decoder = BlockDecoder([coil, SCALE], [coil.span, SCALE.span])
    assert decoder.decode([b"\1", b"\0\3"]) == ((True, 3), ())
    with pytest.raises(ValueError, match="1 blocks for 2 runs"):
        decoder.decode([b"\1\0\3"])
    with pytest.raises(ValueError, match="do not fill"):
        decoder.decode([b"\1", b"\0"])
