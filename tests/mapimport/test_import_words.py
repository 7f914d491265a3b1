"""What people call kinds, units, names and addresses is understood, or doubted, never invented."""

from __future__ import annotations

import keyword
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.codec.registers import Kind
from grug.mapimport.addresses import Convention, Printed, judge, parse_printed
from grug.mapimport.names import name_rows
from grug.mapimport.rows import ImportedRow
from grug.mapimport.words import decimal, identifier, kind_of, plain, scale_and_unit, unit_of, whole
from grug.model import Table


@pytest.mark.parametrize(
    ("text", "words", "kind"),
    [
        ("UINT16", 0, Kind.U16),
        ("uint_16", 0, Kind.U16),
        ("U16", 0, Kind.U16),
        ("S32 ", 0, Kind.S32),
        ("INT32", 0, Kind.S32),
        ("int", 0, Kind.S16),
        ("unsigned int", 0, Kind.U16),
        ("Unsigned 32-bit integer", 0, Kind.U32),
        ("signed", 2, Kind.S32),
        ("unsigned", 4, Kind.U64),
        ("WORD", 0, Kind.U16),
        ("DWORD", 0, Kind.U32),
        ("double word", 0, Kind.U32),
        ("long", 0, Kind.S32),
        ("ulong", 0, Kind.U32),
        ("short", 0, Kind.S16),
        ("INT16U", 0, Kind.U16),
        ("Float", 0, Kind.F32),
        ("IEEE 754", 2, Kind.F32),
        ("float64", 0, Kind.F64),
        ("Double", 0, Kind.F64),
        ("ASCII", 8, Kind.TEXT),
        ("STR20", 0, Kind.TEXT),
        ("enum16", 0, Kind.U16),
        ("bitfield32", 0, Kind.U32),
        ("Boolean", 0, Kind.BOOL),
        ("BCD", 1, Kind.BCD16),
        ("UINT24", 0, None),
        ("INT17", 0, None),
        ("float16", 0, None),
        ("whatever", 0, None),
        ("unsigned", 3, None),
    ],
)
def test_kinds_are_known_by_the_names_that_people_use(
    text: str, words: int, kind: Kind | None
) -> None:
    assert kind_of(text, words) is kind


@pytest.mark.parametrize(
    ("text", "scale", "unit"),
    [
        ("0.1V", "0.1", "V"),
        ("0,1 V", "0.1", "V"),
        ("1/10 A", "0.1", "A"),
        ("x0.01", "0.01", ""),
        ("10^-2 kWh", "0.01", "kWh"),
        ("kwh", None, "kWh"),
        ("℃", None, "°C"),
        ("mW", None, "mW"),
        ("MW", None, "MW"),
        ("None", None, ""),
        ("-", None, ""),
        ("", None, ""),
    ],
)
def test_scale_and_unit_are_taken_apart(text: str, scale: str | None, unit: str) -> None:
    assert scale_and_unit(text) == (None if scale is None else Decimal(scale), unit)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Total Import kWh", "total_import_kwh"),
        ("ActivePower L1-N", "active_power_l1_n"),
        ("Énergie (réactive) ", "energie_reactive"),
        ("THD %", "thd_pct"),
        ("12V undervoltage", "r_12v_undervoltage"),
        ("电压", ""),
    ],
)
def test_names_become_snake_case(text: str, name: str) -> None:
    assert identifier(text) == name


@given(st.text(max_size=80))
def test_any_text_is_taken_without_a_crash(text: str) -> None:
    kind_of(text)
    unit_of(text)
    scale, _ = scale_and_unit(text)
    assert scale is None or scale.is_finite()
    parse_printed(text)
    parse_printed(text, is_hex=True)
    whole(text)
    decimal(text)
    name = identifier(text)
    assert not name or (name.isidentifier() and name.isascii() and name == name.lower())


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12))
def test_a_number_is_written_so_that_it_reads_the_same(number: Decimal) -> None:
    assert Decimal(plain(number)) == number


@given(st.lists(st.tuples(st.text(max_size=12), st.integers(1, 4)), max_size=20))
def test_names_are_unique_and_can_be_typed(rows: list[tuple[str, int]]) -> None:
    imported = [
        ImportedRow(name, Table.INPUT_REGISTER, address, Kind.U16, count=count)
        for address, (name, count) in enumerate(rows)
    ]
    names, _ = name_rows(imported)
    elements = [
        each
        for name, row in zip(names, imported, strict=True)
        for each in ([name] if row.count == 1 else [f"{name}_{i + 1}" for i in range(row.count)])
    ]
    assert len(set(elements)) == len(elements)
    assert all(name.isidentifier() and not keyword.iskeyword(name) for name in elements)


@pytest.mark.parametrize(
    ("text", "is_hex", "first", "last"),
    [
        ("40001", False, 40001, 40001),
        ("40001-40002", False, 40001, 40002),
        ("40001 – 40002", False, 40001, 40002),
        ("40001~02", False, 40001, 40002),
        ("40001/40002", False, 40001, 40002),
        ("30001\n30002", False, 30001, 30002),
        ("0x0100", False, 256, 256),
        ("0x100-0x101", False, 256, 257),
        ("100H", False, 256, 256),
        ("000A", True, 10, 10),
        ("0 (0x0000)", False, 0, 0),
    ],
)
def test_addresses_are_read_as_documents_print_them(
    text: str, is_hex: bool, first: int, last: int
) -> None:
    printed = parse_printed(text, is_hex=is_hex)
    assert printed is not None
    assert (printed.first, printed.last) == (first, last)


@pytest.mark.parametrize("text", ["", "-", "Name", "000A", "40002-40001", "1-2-3", "9999999", "³"])
def test_what_is_no_address_is_not_taken_for_one(text: str) -> None:
    assert parse_printed(text) is None


def wires(texts: list[str], convention: Convention = Convention.AUTO) -> list[int]:
    printed = [each for text in texts if (each := parse_printed(text)) is not None]
    verdict = judge([(each, None) for each in printed], convention)
    return [verdict.wire(each)[0] for each in printed]


def test_numbers_that_begin_at_40001_are_references() -> None:
    assert wires(["40001", "40120"]) == [0, 119]
    assert wires(["30001", "40001"]) == [0, 0]


def test_numbers_that_begin_far_from_40001_go_over_the_wire_as_they_are() -> None:
    assert wires(["33029", "43010"]) == [33029, 43010]


def test_a_person_decides_where_nobody_can_tell() -> None:
    assert wires(["33029"], Convention.REFERENCE) == [3028]
    assert wires(["40001"], Convention.WIRE) == [40001]
    assert wires(["1", "2"], Convention.ONE_BASED) == [0, 1]


def test_long_and_marked_references_are_never_in_doubt() -> None:
    assert wires(["400001", "465536"]) == [0, 65535]
    assert wires(["4x0011"], Convention.WIRE) == [10]
    assert parse_printed("3x0001") == Printed(1, 1, prefix=3)


def test_a_wire_address_beside_a_number_decides() -> None:
    printed = [(Printed(40101, 40101), 100), (Printed(40201, 40201), 200)]
    verdict = judge(printed, Convention.AUTO)
    assert [verdict.wire(each)[0] for each, _ in printed] == [100, 200]
