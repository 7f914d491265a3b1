"""Two maps are compared register by register, and a problem is shown at its cell."""

from __future__ import annotations

import pytest

from grug.codec.csvmap import parse_map
from grug.codec.registers import RegisterMap
from grug.errors import MapError, Problem
from grug.mapimport.diff import diff_maps
from grug.mapimport.locate import column_of


def a_map(rows: str) -> RegisterMap:
    return parse_map("m", f"name,table,address,kind,scale,unit\n{rows}", "", "m.csv")


def test_equal_maps_do_not_differ() -> None:
    rows = "a,input,1,u16,0.1,V\nb,input,2,u32,,\n"
    assert list(diff_maps(a_map(rows), a_map(rows))) == []


def test_differences_are_told_by_name_then_by_address() -> None:
    first = a_map("a,input,1,u16,0.1,V\nb,input,2,u16,,W\nold,input,9,u16,,\ngone,input,20,u16,,\n")
    second = a_map("a,input,1,s16,0.01,V\nb,input,2,u16,,W\nnew,input,9,u16,,A\nmore,coil,1,bool,,")
    assert [str(difference) for difference in diff_maps(first, second)] == [
        "~ a: kind u16 -> s16; scale 0.1 -> 0.01",
        "= input_register 9 is old -> new: unit none -> A",
        "- gone (input_register 20 u16)",
        "+ more (coil 1 bool)",
    ]


@pytest.mark.parametrize(
    ("line", "text", "column"),
    [
        (2, "scale: 0 would make every value the same", 15),
        (3, "kind: unknown kind 'u17'", 13),
        (4, "kind: unknown kind 'u17'", 25),
        (2, "a has 200 words, more than words_max in the sidecar", 1),
        (99, "scale: 0", 1),
        (0, "no header", 1),
    ],
)
def test_a_problem_is_shown_at_its_cell(line: int, text: str, column: int) -> None:
    lines = [
        "name,table,address,kind,scale,note",
        'a,input,1,u16,0,"a, b"',
        "b,input,2,  u17,,",
        '"c, ""c""",input, 0x10 ,u17,0,',
    ]
    assert column_of(Problem("m.csv", line, text), lines) == column


def test_columns_are_found_for_all_that_the_parser_of_maps_finds() -> None:
    text = "name;table;address;kind;scale\na;input;70000;u16;0,1\nb;inputs;1;u17;0\n"
    with pytest.raises(MapError) as caught:
        parse_map("m", text, "", "m.csv")
    lines = text.splitlines()
    places = [(each.line, column_of(each, lines)) for each in caught.value.problems]
    assert places == [(2, 9), (3, 3), (3, 12)]
