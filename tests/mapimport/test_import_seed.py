"""The CSV of grug's predecessor becomes a map, and what is wrong with it is all told at once."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.codec.registers import Access, Kind, RegisterMap
from grug.errors import MapError
from grug.mapimport.guess import Format, guess_format
from grug.mapimport.seed import import_seed
from grug.mapimport.writer import MadeMap, make_map
from grug.model import Table

HEADER = "function,addr,addr_end,type,unit,name,name_for_id,usertype,decimals,description\n"


def made(rows: str, **options: bool) -> MadeMap:
    return make_map("device", import_seed(HEADER + rows, "device.csv"), **options)


def loaded(rows: str) -> RegisterMap:
    return made(rows).register_map


def problems(rows: str) -> list[str]:
    with pytest.raises(MapError) as caught:
        made(rows)
    return [str(problem) for problem in caught.value.problems]


def test_a_row_becomes_a_register() -> None:
    register = loaded('4,0x1F,,"S16","0,1°C","Inverter temperature ","temperature","float",1,\n')[
        "temperature"
    ]
    assert (register.table, register.address, register.kind) == (
        Table.INPUT_REGISTER,
        31,
        Kind.S16,
    )
    assert (register.scale, register.unit, register.decimals) == (Decimal("0.1"), "°C", 1)
    assert register.note == "Inverter temperature"


@pytest.mark.parametrize(
    ("function", "table", "access"),
    [
        (1, Table.COIL, Access.GUARDED),
        (2, Table.DISCRETE_INPUT, Access.READ),
        (3, Table.HOLDING_REGISTER, Access.GUARDED),
        (4, Table.INPUT_REGISTER, Access.READ),
    ],
)
def test_the_function_tells_the_table_and_whether_it_can_be_written(
    function: int, table: Table, access: Access
) -> None:
    kind = "bool" if function < 3 else "u16"
    register = loaded(f"{function},7,,{kind},,x,,int,,\n")["x"]
    assert (register.table, register.access) == (table, access)


@pytest.mark.parametrize(
    ("text", "scale", "unit"),
    [
        ("0,1V", "0.1", "V"),
        ("1.13W", "1.13", "W"),
        ("0.01kWh", "0.01", "kWh"),
        ('"1,00 %"', "1", "%"),
        ("1Var", "1", "var"),
        ("0.1", "0.1", ""),
        ("Year", "1", "Year"),
        ("", "1", ""),
    ],
)
def test_the_unit_holds_the_scale(text: str, scale: str, unit: str) -> None:
    row = f'4,1,,U16,"{text.strip(chr(34))}",x,,float,,\n'
    register = loaded(row)["x"]
    assert (register.scale, register.unit) == (Decimal(scale), unit)


def test_a_setting_that_is_called_like_a_reading_is_told_apart() -> None:
    register_map = loaded("4,1,,U16,,limit,,int,,\n3,9,,U16,,limit,,int,,\n")
    assert register_map["limit"].address == 1
    assert register_map["limit_setting"].address == 9


def test_rows_of_one_name_are_numbered_and_doubted() -> None:
    result = made("4,1,,U16,,a,,int,,\n4,2,,U16,,a,,int,,\n4,3,,U16,,a_2,,int,,\n")
    assert {name: each.address for name, each in result.register_map.registers.items()} == {
        "a": 1,
        "a_3": 2,
        "a_2": 3,
    }
    assert "2 rows of this name" in result.doubts[0].text


def test_reserved_rows_and_remarks_are_left_out() -> None:
    result = made(
        '"A remark of the author",,,,,,,,,\n,"another one",,,,,,,,\n'
        "4,1,9,U16,,Reserved ,,int,,\n4,10,,U16,,a,,int,,\n"
    )
    assert list(result.register_map.registers) == ["a"]
    assert "1 reserved rows left out" in result.notes


def test_labels_of_a_bit_field_are_read_from_its_description() -> None:
    description = "Appendix 5\nBIT00 No grid 0—No 1—Yes\nBIT01 Reserved 0—No 1—Yes\n"
    description += "BIT08 Load fault 0—Fault 1—OK"
    result = made(f'4,5,,U16,,state,,bitfield,,"{description}"\n', with_sidecar=True)
    register = result.register_map["state"]
    assert register.labels_of(0b1) == ("No grid", "Load fault")
    assert register.labels_of(0b1_0000_0000) == ()


def test_a_range_is_an_array_or_text() -> None:
    rows = "4,0,3,U16,,serial,,int,,ASCII characters\n4,10,15,U32,,energy,,int,,\n"
    register_map = loaded(rows)
    assert (register_map["serial"].kind, register_map["serial"].words) == (Kind.TEXT, 4)
    assert register_map.arrays["energy"] == ("energy_1", "energy_2", "energy_3")
    assert register_map["energy_3"].address == 14


def test_everything_wrong_is_told_at_once_with_its_line() -> None:
    found = problems(
        "7,1,,U16,,a,,int,,\n"
        "4,xx,,U16,,b,,int,,\n"
        "4,65536,,U16,,c,,int,,\n"
        "4,4,,U17,,d,,int,,\n"
        "4,5,,U16,0V,e,,int,,\n"
        "4,6,6,U32,,f,,int,,\n"
        "4,7,,U16,,,,int,,\n"
    )
    assert [text.split(": ")[1] for text in found] == [
        "function",
        "addr",
        "addr",
        "type",
        "unit",
        "addr_end",
        "name",
    ]
    assert [text.split(":")[1] for text in found] == ["2", "3", "4", "5", "6", "7", "8"]


def test_what_the_map_would_have_wrong_is_told_at_the_line_of_the_source() -> None:
    (found,) = problems("4,1,,U32,,a,,int,,\n4,2,,U32,,b,,int,,\n")
    assert found.startswith("device.csv:3: address: b overlaps a (line 2) at 2")
    (found,) = problems("4,65535,,U32,,a,,int,,\n")
    assert found.startswith("device.csv:2: address: 65535 + 2 words goes past 65535")


def test_bad_rows_can_be_left_out_instead() -> None:
    result = made("4,1,,U16,,a,,int,,\n9,2,,U16,,b,,int,,\n4,1,2,U32,,c,,int,,\n", skip_bad=True)
    assert list(result.register_map.registers) == ["a"]
    assert len(result.left_out) == 2


@pytest.mark.parametrize(
    "text", ["", "name,addr\n", "function,addr,type,name\n", HEADER + '4,1,,"U16\x00,\n"', "\x00"]
)
def test_a_file_without_rows_is_no_map(text: str) -> None:
    with pytest.raises(MapError):
        make_map("device", import_seed(text, "device.csv"))


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}( [a-z0-9]{1,5})?", fullmatch=True)
KINDS = st.sampled_from([Kind.U16, Kind.S16, Kind.U32, Kind.S32, Kind.F32])
SCALES = st.sampled_from(["", "1", "0.1", "0,01", "1.13", "10", "0,001"])
UNITS = st.sampled_from(["", "V", "kWh", "W", "°C", "%", "VA", "Hz"])


@pytest.mark.slow
@given(
    st.lists(st.tuples(NAMES, KINDS, SCALES, UNITS, st.integers(0, 3)), min_size=1, max_size=12),
    st.sampled_from([3, 4]),
    st.integers(0, 60000),
    st.sampled_from([",", ";"]),
)
def test_rows_survive_import_and_the_parser_of_maps(
    rows: list[tuple[str, Kind, str, str, int]], function: int, first: int, delimiter: str
) -> None:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerow(HEADER.strip().split(","))
    address = first
    expected = []
    for name, kind, scale, unit, decimals in rows:
        written = "Float" if kind is Kind.F32 else kind.value.upper()
        cells = [function, address, "", f"{written} ", f"{scale}{unit}", f" {name} "]
        writer.writerow([*cells, "", "float", decimals, ""])
        expected.append((address, kind, Decimal(scale.replace(",", ".") or 1), unit, decimals))
        address += kind.words
    assert guess_format(file.getvalue()) is Format.SEED
    register_map = make_map("device", import_seed(file.getvalue(), "device.csv")).register_map
    assert [
        (each.address, each.kind, each.scale, each.unit, each.decimals)
        for each in register_map.registers.values()
    ] == expected
