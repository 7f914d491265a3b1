"""Maps as people write them: good ones load, bad ones tell all that is wrong at once."""

from __future__ import annotations

from decimal import Decimal

import pytest

from grug.codec.csvmap import parse_map
from grug.codec.registers import Access, Bit, Kind, RegisterMap, Storage, WordOrder
from grug.errors import MapError
from grug.model import Span, Table

HEADER = "name,table,address,kind,words,order,scale,offset,access,storage,invalid,min,max,note"


def load(csv_text: str, sidecar_text: str = "") -> RegisterMap:
    return parse_map("meter", csv_text, sidecar_text, "meter.csv")


def problems_of(csv_text: str, sidecar_text: str = "") -> list[str]:
    with pytest.raises(MapError) as caught:
        load(csv_text, sidecar_text)
    return [str(problem) for problem in caught.value.problems]


def row(text: str) -> str:
    """A map of one row, in the order of HEADER, the rest empty."""
    return f"{HEADER}\n{text}\n"


def test_a_row_is_read_as_it_says() -> None:
    register = load(
        row('p,input_register,0x10,s32,,CDAB,"0,1",-40,read,,0x80000000 5,-10,"99,5",why')
    )["p"]
    assert register.span == Span(Table.INPUT_REGISTER, 16, 2)
    assert (register.kind, register.order) == (Kind.S32, WordOrder.CDAB)
    assert (register.scale, register.offset) == (Decimal("0.1"), Decimal(-40))
    assert register.invalid == {-(2**31), 5}
    assert (register.minimum, register.maximum) == (Decimal(-10), Decimal("99.5"))
    assert register.note == "why"


def test_a_floats_sentinels_are_bit_patterns() -> None:
    register_map = load(row("x,input,1,f32,,,,,,,0x7fc00000,,,"))
    assert [register.invalid for register in register_map.select(["x"])] == [{0x7FC00000}]
    (told,) = problems_of(row("x,input,1,f32,,,,,,,-1,,,"))
    assert "invalid: -1 is no raw value of kind f32" in told


def test_four_columns_are_enough() -> None:
    register = load("kind,name,table,address\nu16,x,holding,7\n")["x"]
    assert (register.access, register.storage) == (Access.READ, Storage.UNKNOWN)
    assert (register.scale, register.words) == (1, 1)


def test_spreadsheet_habits_are_forgiven() -> None:
    text = (
        "\ufeffName ; TABLE;address;Kind ;scale;\n\n# a remark\n x ; Input ; 7;U16 ; 0,01;\n;;;;;\n"
    )
    register = load(text.replace("\n", "\r\n"))["x"]
    assert (register.table, register.scale) == (Table.INPUT_REGISTER, Decimal("0.01"))


def test_quoted_line_breaks_do_not_shift_line_numbers() -> None:
    text = 'name,table,address,kind,note\na,input,1,u16,"two\nlines"\nb,input,2,u17,\n'
    assert problems_of(text) == ["meter.csv:4: kind: unknown kind 'u17'; did you mean 'u16'?"]


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = "\n".join(
        [
            "name,table,address,kind,scale,access",
            "a,input,0,f32,1,",
            "a,input,1,u16,1,",
            "59s1,imput,70000,u23,0,",
            "c,holding,65535,u32,x,sometimes",
            "d,coil,1,u16,1,free",
            "e,input,9,u16,0,free",
        ]
    )
    assert problems_of(text) == [
        "meter.csv:4: name: '59s1' is not a letter followed by letters, digits or _",
        "meter.csv:4: table: unknown table 'imput'; did you mean 'input'?",
        "meter.csv:4: kind: unknown kind 'u23'; did you mean 'u32'?",
        "meter.csv:4: address: 70000 is outside 0..65535",
        "meter.csv:5: access: unknown access 'sometimes'; one of read, free, guarded, never",
        "meter.csv:5: address: 65535 + 2 words goes past 65535",
        "meter.csv:6: kind: u16 does not fit a coil; did you mean 'bool'?",
        "meter.csv:7: scale: 0 would make every value the same",
        "meter.csv:7: access: nobody can write to table input_register; did you mean 'read'?",
        "meter.csv:5: scale: 'x' is neither a number nor a register; one of a, 59s1, c, d, e",
        "meter.csv:3: name: a is already on line 2",
        "meter.csv:3: address: a overlaps a (line 2) at 1;"
        " if both are meant, say so in column alias",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (",input,1,u16", "name: empty"),
        ("for,input,1,u16", "name: 'for' is not"),
        ("x,,1,u16", "table: empty"),
        ("x,input,,u16", "address: '' is not a whole number"),
        ("x,input,-1,u16", "address: -1 is outside 0..65535"),
        ("x,input,1,text", "words: the length of a text in words is needed"),
        ("x,input,1,u32,3", "words: 3 is not the length of u32, which is 2"),
        ("x,input,1,u16,,DBCA", "order: unknown order 'DBCA'; did you mean"),
        ("x,input,1,u16,,,1e99", "scale: 1e99 is no sensible number"),
        ("x,input,1,u16,,,nan", "scale: nan is no sensible number"),
        ("x,coil,1,bool,,,2", "scale: a bool has neither scale nor offset"),
        ("x,input,1,u16,,,,,,,70000", "invalid: 70000 is no raw value of kind u16"),
        ("x,input,1,text,2,,,,,,1", "invalid: 1 is no raw value of kind text"),
        ("x,input,1,u16,,,,,,,none", "invalid: 'none' is not a whole number"),
        ("x,coil,1,bool,,,,,,,,0,1", "min: a bool has no range"),
        ("x,coil,1,bool,,,,,,,1", "invalid: 1 is no raw value of kind bool"),
        ("x,input,1,u16,,,,,,,,9,8", "min: the range between min and max holds no"),
        ("x,input,1,u16,,,,,,,,,,a,b", "15 cells for 14 columns"),
        ("x,input,1,u16,,,,,,eprom", "storage: unknown storage 'eprom'; did you mean 'eeprom'?"),
    ],
)
def test_each_fault_is_told_with_its_line_and_column(text: str, problem: str) -> None:
    (told,) = problems_of(row(text))
    assert told.startswith(f"meter.csv:2: {problem}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "meter.csv: no header"),
        (
            "name,table,adress,kind\n",
            "meter.csv:1: unknown column 'adress'; did you mean 'address'?",
        ),
        ("name,table,address,kind,kind\n", "meter.csv:1: column kind is there 2 times"),
        ("name,table,kind\n", "meter.csv:1: column address is missing"),
    ],
)
def test_a_bad_header_is_told(text: str, problem: str) -> None:
    assert problems_of(text)[0].startswith(problem)


SIDECAR = """
title = "A meter"
words_max = 40
gap = 0.1
holes = "never"
mirrors = ["holding_register"]
write_function = "multiple"
identify = "status"

[serial]
baudrate = 2400
framing = "8E1"
unit = 5

[bits.status]
8 = { label = "Load fault", active = "low" }
0 = "Running"
"""
STATUS = "name,table,address,kind\nstatus,input,1,u16\n"


def test_a_sidecar_is_read_as_it_says() -> None:
    register_map = load(STATUS, SIDECAR)
    facts = register_map.facts
    assert (facts.title, facts.words_max, facts.gap_s, facts.holes) == ("A meter", 40, 0.1, "never")
    assert facts.mirrored == (Table.HOLDING_REGISTER,)
    assert (facts.write_function, facts.identify) == ("multiple", "status")
    assert (facts.baudrate, facts.framing, facts.unit_id) == (2400, "8E1", 5)
    status = register_map["status"]
    assert status.bits == (Bit(0, "Running"), Bit(8, "Load fault", active_low=True))
    assert status.labels_of(0x0101) == ("Running",)
    assert status.labels_of(0x0000) == ("Load fault",)


def test_without_a_sidecar_the_defaults_hold() -> None:
    facts = load(STATUS).facts
    assert (facts.words_max, facts.holes, facts.write_function) == (125, "learned", "shortest")


@pytest.mark.parametrize(
    ("sidecar", "problem"),
    [
        ("word_max = 4", "meter.toml:1: unknown key 'word_max'; did you mean 'words_max'?"),
        ("\nwords_max = 0", "meter.toml:2: words_max: 0 is not a number from 1 to 125"),
        ("gap = '1'", "meter.toml:1: gap: '1' is not seconds from 0 to 10"),
        ("holes = 'nevr'", "meter.toml:1: holes: 'nevr' is not learned or never; did you mean 'n"),
        ("mirrors = ['coil']", "meter.toml:1: mirrors: ['coil'] is not a list of"),
        ("mirrors = ['input_register']", "meter.toml: mirrors: the map has registers of its own"),
        ("identify = 'staus'", "meter.toml:1: identify: the map has no register 'staus'; did you"),
        ("serial = 3", "meter.toml:1: serial: 3 is not a table"),
        ("[serial]\nframing = '9X1'", "meter.toml:2: framing: '9X1' is not something like 8N1"),
        ("[serial]\nbaud = 9600", "meter.toml:2: unknown key 'baud' in [serial]; did you mean"),
        ("a = 1\na = 2", "meter.toml:2: not valid TOML"),
        ("bits = 3", "meter.toml:1: bits: one table per register"),
        ("[bits]\nstatus = 3", "meter.toml:2: bits.status: a table of number = label"),
        ("[bits.status]\nx = 'y'", "meter.toml:1: bits.status.x: not of the form"),
        ("[bits.status]\n16 = 'y'", "meter.toml:1: bits: status has only 16 bits"),
        ("[bits.other]\n1 = 'y'", "meter.toml:1: bits: the map has no register 'other'"),
        ("holes = 'never'\ntitle = ", "meter.toml:2: not valid TOML"),
    ],
)
def test_a_bad_sidecar_is_told(sidecar: str, problem: str) -> None:
    assert any(told.startswith(problem) for told in problems_of(STATUS, sidecar))


def test_bits_are_for_whole_numbers() -> None:
    text = "name,table,address,kind\nstatus,input,1,f32\n"
    assert problems_of(text, "[bits.status]\n1 = 'a'") == [
        "meter.toml:1: bits: status is no unscaled integer"
    ]


def test_a_value_longer_than_a_read_is_told() -> None:
    text = row("sn,input,1,text,16")
    assert problems_of(text, "words_max = 8") == [
        "meter.csv:2: sn has 16 words, more than words_max in the sidecar"
    ]
