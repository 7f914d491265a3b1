"""Maps as people write them: good ones load, bad ones tell all that is wrong at once."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.codec.block import BlockDecoder, runs_of
from grug.codec.csvmap import COLUMNS, parse_map
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


MORE = "name,table,address,kind,count,scale,offset,min,max,max_step,counter,alias"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x,input,65530,u16,7", "address: 65530 + 7 words goes past 65535"),
        ("x,input,1,u16,0", "count: 0 is outside 1..1000"),
        ("x,input,1,u16,two", "count: 'two' is not a whole number"),
        ("x,input,1,u16,,factor", "scale: 'factor' is neither a number nor a register"),
        ("x,input,1,f32,,factor", "scale: a f32 cannot be scaled by factor"),
        ("x,input,1,text,,0.1", "words: the length of a text in words is needed"),
        ("x,input,1,clock3,,0.1", "scale: a clock3 has neither scale nor offset"),
        ("x,input,1,clock3,,,2000", "offset: a clock3 has neither scale nor offset"),
        ("x,input,1,clock6,,,1950", "offset: of a clock6 it is what years count from"),
        ("x,input,1,unix32,,,,0", "min: a unix32 has no range"),
        ("x,input,1,bcd16,,,,10000", "min: the range between min and max holds no"),
        ("x,input,1,u16,,,,,,fast", "max_step: 'fast' is not a number"),
        ("x,input,1,u16,,,,,,0/s", "max_step: 0/s is not above 0"),
        ("x,input,1,u16,,,,,,-5", "max_step: -5 is not above 0"),
        ("x,input,1,clock6,,,,,,5", "max_step: a clock6 neither steps nor counts"),
        ("x,input,1,u16,,,,,,,no", "counter: 'no' is not a whole number"),
        ("x,input,1,u16,,,,,,,,y", "alias: the map has no register 'y'"),
        ("x,input,1,u16,,,,,,,,x", "alias: x shares no address with x"),
    ],
)
def test_faults_of_the_rarer_columns_are_told_too(text: str, problem: str) -> None:
    assert any(
        told.startswith(f"meter.csv:2: {problem}") for told in problems_of(f"{MORE}\n{text}")
    )


def test_steps_and_counters_are_read_as_they_say() -> None:
    text = (
        f"{MORE}\na,input,1,u16,,,,,,50 2.5/s,,\nb,input,2,u32,,,,,,,yes,\nc,input,4,u32,,,,,,,5,\n"
    )
    register_map = load(text)
    a, b, c = register_map.select("abc")
    assert (a.step_max, a.rate_max, a.confirmations) == (50, Decimal("2.5"), 0)
    assert (b.confirmations, c.confirmations) == (3, 5)
    assert all(register.is_watched for register in (a, b, c))


def test_an_array_becomes_numbered_registers() -> None:
    register_map = load(f"{MORE}\ncell,input,10,s32,3,0.1,,,,,,\n", "[bits]\n")
    assert list(register_map.registers) == ["cell_1", "cell_2", "cell_3"]
    assert [each.address for each in register_map.registers.values()] == [10, 12, 14]
    assert register_map.arrays == {"cell": ("cell_1", "cell_2", "cell_3")}
    assert register_map.select(["cell"]) == tuple(register_map.registers.values())


def test_labels_of_an_array_are_those_of_each() -> None:
    register_map = load(f"{MORE}\nstate,input,10,u16,2,,,,,,,\n", "[enums.state]\n0 = 'Off'")
    assert register_map["state_2"].labels_of(0) == ("Off",)


def test_a_scale_may_be_another_register() -> None:
    text = f"{MORE}\np,input,1,s16,,p_scale,,,,,,\np_scale,input,2,s16,,,,,,,,\n"
    register_map = load(text)
    assert register_map["p"].scale_by == register_map["p_scale"]
    told = problems_of(text.replace("p_scale,input,2,s16", "p_scale,input,2,u16"))
    assert told == ["meter.csv:2: scale: p_scale is no unscaled s16, so it cannot scale others"]


def test_registers_overlap_only_where_it_is_declared() -> None:
    rows = f"{MORE}\nlow,input,1,u16,,,,,,,,\nboth,input,1,u32,,,,,,,,"
    (told,) = problems_of(rows)
    assert "both overlaps low (line 2) at 1; if both are meant, say so in column alias" in told
    assert load(rows + "low\n")["both"].alias == "low"
    text = rows.replace("both,input,1", "both,input,5") + "low\n"
    assert problems_of(text) == ["meter.csv:3: alias: both shares no address with low"]


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
functions = [22, 23]
identify = { register = "status", values = [3, 4] }
identity = ["status"]
bits_max = 64
write_words_max = 10

[barriers]
holding_register = [0x10, [0x20, 0x22]]

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
    assert facts.functions == {22, 23}
    assert facts.identity == ("status",)
    assert (facts.bits_max, facts.write_words_max, facts.identify_values) == (64, 10, (3, 4))
    addresses = {address for _, address in facts.barriers}
    assert addresses == {0x10, 0x20, 0x21, 0x22}
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
        ("functions = [16]", "meter.toml:1: functions: [16] is not a list of 22, 23"),
        ("functions = 22", "meter.toml:1: functions: 22 is not a list of 22, 23"),
        ("mirrors = ['coil']", "meter.toml:1: mirrors: ['coil'] is not a list of"),
        ("mirrors = ['input_register']", "meter.toml: mirrors: the map has registers of its own"),
        ("identify = 'staus'", "meter.toml:1: identify: the map has no register 'staus'; did you"),
        ("identity = 'status'", "meter.toml:1: identity: 'status' is not a list of register names"),
        (
            "identity = ['staus']",
            "meter.toml:1: identity: the map has no register 'staus'; did you",
        ),
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
        ("bits_max = 2001", "meter.toml:1: bits_max: 2001 is not a number from 1 to 2000"),
        ("identify = 3", "meter.toml:1: identify: not of the form"),
        ("identify = { register = 'status', values = 3 }", "meter.toml:1: identify: not of"),
        ("barriers = 3", "meter.toml:1: barriers: a list per table is needed"),
        ("[barriers]\nholding = [3]", "meter.toml:2: barriers: there is no table 'holding'; did"),
        ("[barriers]\ncoil = [70000]", "meter.toml:2: barriers.coil: 70000 is neither"),
        ("[barriers]\ncoil = [[1, 2, 3]]", "meter.toml:2: barriers.coil: [1, 2, 3] is neither"),
        ("enums = 3", "meter.toml:1: enums: one table per register"),
        ("[enums.status]\nx = 'y'", "meter.toml:1: enums.status.x: not of the form"),
        ("[enums.status]\n1 = 2", "meter.toml:1: enums.status.1: not of the form"),
        ("[enums.status]\n-1 = 'y'", "meter.toml:1: enums: -1 is no raw value of status, a u16"),
        ("[enums.status]\n1 = 'y'\n0x1 = 'z'", "meter.toml:1: enums: status has a number or a"),
        ("[enums.status]\n1 = 'y'\n2 = 'y'", "meter.toml:1: enums: status has a number or a"),
        ("[bits.status]\n1='y'\n[enums.status]\n2='y'", "meter.toml:1: enums: status is a bit"),
        ("[enums.other]\n1 = 'y'", "meter.toml:1: enums: the map has no register 'other'"),
    ],
)
def test_a_bad_sidecar_is_told(sidecar: str, problem: str) -> None:
    assert any(told.startswith(problem) for told in problems_of(STATUS, sidecar))


def test_bits_are_for_whole_numbers() -> None:
    text = "name,table,address,kind\nstatus,input,1,f32\n"
    assert problems_of(text, "[bits.status]\n1 = 'a'") == [
        "meter.toml:1: bits: status is no unscaled integer"
    ]


def test_a_quote_that_never_ends_is_told_where_it_begins() -> None:
    text = 'name,table,address,kind,note\na,input,1,u16,"never\nb,input,2,u16,\n'
    assert problems_of(text) == ["meter.csv:2: no proper CSV from here on: unexpected end of data"]
    (told,) = problems_of(f'{STATUS}"' + "x" * 200_000)
    assert told.startswith("meter.csv:3: no proper CSV from here on: field larger than")


def test_a_value_longer_than_a_read_is_told() -> None:
    text = row("sn,input,1,text,16")
    assert problems_of(text, "words_max = 8") == [
        "meter.csv:2: sn has 16 words, more than words_max in the sidecar"
    ]


NASTY = """x|y|input|coil|holding|1|0x10|70000|u16|s16|f32|bool|text|bcd16|clock6|unix32|CDAB|0,1
    |-5|1e40|0|nan|yes|2/s|free|ram|;|#|for"""
CELLS = st.one_of(
    st.sampled_from([*NASTY.split("|"), "", "0xFFFF 7", "9" * 5000, '"', "\0", "\r", "\u2028"]),
    st.text(max_size=6),
)
TOML_LINES = """words_max = 3|gap = []|holes = 1|identify = 'x'|identify = {}|mirrors = [[1]]
    |mirrors = ['holding_register']|barriers = 3|[barriers]|coil = [1, [2], [3, 2], 'a']|[bits.x]
    |[enums.x]|1 = 'a'|1 = {}|2 = {label = 'b', active = 1}|bits = {x = 1}|enums = {x = {1 = 'a'}}
    |serial = {unit = 300}|[serial]|framing = 8|title = 4|=|\x07"""


@pytest.mark.slow
@given(
    st.lists(st.sampled_from(COLUMNS), max_size=20),
    st.lists(st.lists(CELLS, max_size=20), max_size=6),
    st.lists(st.sampled_from(TOML_LINES.split("|")), max_size=6),
)
def test_whatever_is_in_the_files_it_loads_or_is_told(
    columns: list[str], rows: list[list[str]], sidecar: list[str]
) -> None:
    header = ",".join(dict.fromkeys(["name", "table", "address", "kind", *columns]))
    text = "\n".join([header, *(",".join(row) for row in rows)])
    try:
        register_map = load(text, "\n".join(sidecar))
    except MapError:
        return
    registers = tuple(register_map.registers.values())
    BlockDecoder(registers, runs_of(registers, 125))
