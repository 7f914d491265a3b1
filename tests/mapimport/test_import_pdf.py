"""Datasheets become maps: every layout, with what was guessed told, and broken files refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import datasheets
import pytest

from grug.codec.registers import Kind
from grug.errors import MapError
from grug.mapimport.addresses import Convention
from grug.mapimport.datasheet import import_tables
from grug.mapimport.tables import FoundTable
from grug.mapimport.writer import MadeMap, doubts_text, make_map
from grug.model import Table
from grug.transport.pdf import read_tables

Drawing = Callable[[Path], Path]


def made(drawing: Drawing, directory: Path, **options: object) -> MadeMap:
    path = drawing(directory / "sheet.pdf")
    return make_map("sheet", import_tables(read_tables(path), "sheet.pdf", **options))  # type: ignore[arg-type]


def addresses(result: MadeMap) -> dict[str, int]:
    return {name: each.address for name, each in result.register_map.registers.items()}


@pytest.mark.slow
def test_a_table_over_many_pages_with_repeated_titles_is_one_map(tmp_path: Path) -> None:
    result = made(datasheets.meter, tmp_path)
    assert len(result.register_map.registers) == 120
    last = result.register_map["energy_of_tariff_119"]
    assert (last.table, last.address, last.kind) == (Table.HOLDING_REGISTER, 238, Kind.U32)
    assert (last.scale, last.unit, last.decimals) == (Decimal("0.01"), "kWh", 2)
    assert result.left_out == ()


@pytest.mark.slow
def test_only_some_pages_are_read_when_asked(tmp_path: Path) -> None:
    path = datasheets.meter(tmp_path / "sheet.pdf")
    tables = read_tables(path, (2, 2))
    assert [table.page for table in tables] == [2]
    with pytest.raises(MapError, match="there are only 4 pages"):
        read_tables(path, (9, 9))


def test_what_was_taken_for_what_is_told(tmp_path: Path) -> None:
    result = made(datasheets.merged, tmp_path)
    text = doubts_text(result, "sheet.pdf")
    assert "page 1, table 1: 3 registers; columns: Address -> address, Content -> name" in text
    assert "total_energy: no type is stated; u32 taken, for it has 2 words (page 1, table 1" in text


def test_hexadecimal_addresses_and_gains_and_the_function_in_a_heading(tmp_path: Path) -> None:
    result = made(datasheets.hybrid, tmp_path)
    register_map = result.register_map
    assert addresses(result) == {
        "pv1_voltage": 0,
        "pv1_current": 1,
        "grid_power": 10,
        "temperature": 31,
        "export_limit": 256,
        "mode": 267,
    }
    assert register_map["grid_power"].table is Table.INPUT_REGISTER
    assert register_map["mode"].table is Table.HOLDING_REGISTER
    assert register_map["pv1_voltage"].scale == Decimal("0.1")
    assert register_map["temperature"].unit == "°C"


def test_ranges_of_references_and_a_cell_beside_several_rows(tmp_path: Path) -> None:
    result = made(datasheets.ranges, tmp_path)
    assert addresses(result) == {
        "voltage_l1": 0,
        "current_l1": 2,
        "active_power": 4,
        "serial_number": 9,
    }
    kinds = [register.kind for register in result.register_map.registers.values()]
    assert kinds == [Kind.F32, Kind.F32, Kind.F32, Kind.TEXT]
    assert any("30001..30017 are taken as references" in note for note in result.notes)
    assert "1 reserved rows left out" in result.notes


def test_a_name_beside_two_rows_is_one_value_of_two_words(tmp_path: Path) -> None:
    result = made(datasheets.merged, tmp_path)
    energy = result.register_map["total_energy"]
    assert (energy.table, energy.address, energy.kind) == (Table.INPUT_REGISTER, 100, Kind.U32)
    assert addresses(result)["frequency"] == 102


def test_an_address_in_two_bytes_beside_a_reference_decides(tmp_path: Path) -> None:
    result = made(datasheets.two_bytes, tmp_path, kind=Kind.F32)
    assert list(addresses(result).values()) == [0, 12, 342]
    register = result.register_map["total_active_energy"]
    assert (register.kind, register.table, register.unit) == (
        Kind.F32,
        Table.INPUT_REGISTER,
        "kWh",
    )
    assert result.doubts == ()


def test_a_table_without_lines_is_read_by_where_words_stand(tmp_path: Path) -> None:
    result = made(datasheets.plain_text, tmp_path)
    assert addresses(result) == {
        "total_generation": 33029,
        "generation_today": 33035,
        "active_power": 33079,
    }
    assert result.register_map["active_power"].kind is Kind.S32
    assert any("taken for input_registers" in note for note in result.notes)


def test_a_table_that_lies_on_its_side_is_turned(tmp_path: Path) -> None:
    result = made(datasheets.turned, tmp_path)
    assert addresses(result) == {"grid_voltage": 16, "grid_power": 17}
    assert result.register_map["grid_voltage"].scale == Decimal("0.1")


def test_a_person_can_say_how_addresses_count(tmp_path: Path) -> None:
    options = {"convention": Convention.REFERENCE}
    assert addresses(made(datasheets.plain_text, tmp_path, **options))["active_power"] == 3078


def test_a_document_without_registers_is_told_as_that(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="1 tables, but none of registers"):
        made(datasheets.prose, tmp_path)


@pytest.mark.parametrize("part", [0.2, 0.6, 0.95])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, part: float) -> None:
    path = datasheets.hybrid(tmp_path / "sheet.pdf")
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(MapError, match="the PDF is cut off"):
        read_tables(path)


def test_a_file_that_is_no_pdf_is_told_as_that(tmp_path: Path) -> None:
    path = tmp_path / "sheet.pdf"
    path.write_text("hello")
    with pytest.raises(MapError, match="this is no PDF"):
        read_tables(path)


@pytest.mark.parametrize("data", [b"%PDF-1.4\nstartxref\n0\n%%EOF", b"%PDF-1.7 startxref" * 9])
def test_a_file_that_only_looks_like_a_pdf_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "sheet.pdf"
    path.write_bytes(data)
    with pytest.raises(MapError, match=r"sheet\.pdf: "):
        read_tables(path)


@pytest.mark.slow
def test_a_damaged_file_is_read_or_refused_but_never_crashes(tmp_path: Path) -> None:
    path = datasheets.hybrid(tmp_path / "sheet.pdf")
    data = path.read_bytes()
    refused = 0
    for position in range(0, len(data), max(len(data) // 25, 1)):
        path.write_bytes(data[:position] + b"\x00>>" + data[position + 3 :])
        try:
            read_tables(path)
        except MapError:
            refused += 1
    assert refused


def test_without_the_library_the_advice_is_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pdfplumber", None)
    with pytest.raises(MapError, match=r"pip install 'grug\[pdf\]'"):
        read_tables(tmp_path / "sheet.pdf")


def found(*rows: tuple[str | None, ...], context: str = "") -> MadeMap:
    return make_map("sheet", import_tables([FoundTable(1, 1, rows, context)], "sheet.pdf"))


TITLES = ("Address", "Name", "Type", "Unit", "Scale")


def test_rows_that_cannot_be_in_a_map_are_listed_and_the_others_kept() -> None:
    result = found(
        TITLES,
        ("1", "good", "U16", "V", "0.1"),
        ("70000", "far", "U16", "V", "1"),
        ("2", "odd", "U24", "V", "1"),
        ("3", "nothing", "U16", "V", "0"),
        ("?", "nowhere", "U16", "V", "1"),
        ("9", "wide", "U32", "V", "1"),
        ("10", "in it", "U16", "V", "1"),
        ("20", "good", "U16", "V", "x"),
    )
    assert addresses(result) == {"good": 1, "wide": 9, "good_2": 20}
    left_out = "\n".join(str(problem) for problem in result.left_out)
    for row in (3, 4, 5, 6, 8):
        assert f"row {row}: " in left_out
    assert [doubt.text.split(": ")[1][:9] for doubt in result.doubts] == ["scale 'x'", "there are"]


def test_a_scale_above_one_is_doubted_for_it_may_divide() -> None:
    result = found(TITLES, ("1", "a", "U16", "V", "10"), ("2", "b", "U16", "V", "/10"))
    assert "perhaps it should divide" in result.doubts[0].text
    assert result.register_map["b"].scale == Decimal("0.1")


def test_more_lines_about_a_register_become_its_note() -> None:
    titles = ("Address", "Name", "Type", "Remark")
    result = found(titles, ("1", "state", "U16", "0: off"), ("", "", "", "1: on"))
    assert result.register_map["state"].note == "0: off 1: on"


def test_a_table_without_titles_goes_on_where_the_one_before_ended() -> None:
    tables = [
        FoundTable(1, 1, (TITLES, ("1", "a", "U16", "V", "0.1"))),
        FoundTable(2, 1, (("2", "b", "S16", "A", "0.01"),)),
    ]
    register_map = make_map("sheet", import_tables(tables, "sheet.pdf")).register_map
    assert register_map["b"].scale == Decimal("0.01")


def test_columns_without_titles_are_guessed_and_told() -> None:
    rows = [(f"0x{100 + i:04X}", f"a long name number {i}", "U16") for i in range(4)]
    result = found(*rows)
    assert result.register_map["a_long_name_number_3"].address == 103
    assert any("guessed from what is in them" in note for note in result.notes)


def test_a_german_table_is_understood() -> None:
    result = found(
        ("Register-\nAdresse", "Datentyp", "Laenge [Word]", "Einheit", "Bezeichnung", "Zugriff"),
        ("100 +", "", "", "", "Ladepunkt 1", ""),
        ("100", "uint16_t", "1", "A", "Ladestrom-\nvorgabe", "r/w"),
        ("101", "uint32_t", "2", "Wh", "Energie", "r"),
        ("103", "int16_t", "1", "-", "Temperatur", "r"),
    )
    assert addresses(result) == {"ladestromvorgabe": 100, "energie": 101, "temperatur": 103}
    assert result.register_map["ladestromvorgabe"].is_writable
    assert result.register_map["energie"].unit == "Wh"


def test_cells_decide_where_a_title_means_something_else() -> None:
    result = found(
        ("Register Addr.", "Bit field", "Size", "Type", "Name", "Description"),
        ("100-101", "31:0", "32-Bit", "READ", "VERSION", "of the firmware"),
        ("104", "15:0", "16-Bit", "R/W", "LIMIT", "in A"),
        ("105", "15:0", "16-Bit", "READ", "STATE", "0: off"),
    )
    assert addresses(result) == {"version": 100, "limit": 104, "state": 105}
    assert result.register_map["version"].kind is Kind.U32
    assert [each.is_writable for each in result.register_map.registers.values()] == [
        False,
        True,
        False,
    ]


def test_titles_in_columns_of_their_own_go_to_the_cells_beside_them() -> None:
    result = found(
        ("", "Adr (Off-", "", "R/W", "Value", "", "Byte", "", "Type"),
        (None, "set)", None, None, None, None, "s", None, None),
        ("0x0300 -\n0x0301", None, None, "R", "Current", "4", None, None, "float"),
        ("0x0302", None, None, "R/W", "Mode", "2", None, None, "uint16"),
        ("0x0303", None, None, "R", "State", "2", None, None, "uint16"),
    )
    assert addresses(result) == {"current": 0x300, "mode": 0x302, "state": 0x303}
    assert result.register_map["current"].kind is Kind.F32
    assert result.doubts == ()


def test_a_column_names_the_table_of_each_register() -> None:
    result = found(
        ("Reg. Type", "Address", "Name", "Type"),
        ("Holding", "1000", "Limit", "UINT\n16"),
        ("Input", "100", "Energy", "UINT\n32"),
        ("Discrete", "7", "Door", ""),
    )
    tables = [register.table for register in result.register_map.registers.values()]
    assert tables == [Table.HOLDING_REGISTER, Table.INPUT_REGISTER, Table.DISCRETE_INPUT]


def test_a_text_without_length_reaches_to_the_next_address() -> None:
    titles = ("Address", "Name", "Type")
    result = found(titles, ("10", "maker", "ASCII"), ("18", "state", "UINT16"))
    assert result.register_map["maker"].words == 8
    assert "the length of the text is not stated" in result.doubts[0].text
