"""Templates of wb-mqtt-serial and SunSpec models become maps."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from grug.codec.registers import Access, Kind, RegisterMap, WordOrder
from grug.errors import MapError
from grug.mapimport.guess import Format, Reading, guess_format, import_text
from grug.mapimport.writer import MadeMap, make_map
from grug.model import Table

TEMPLATE = """
// A comment, as the program allows it; "quoted", even.
{
  "device_type": "meter", /* another */
  "device": {
    "name": "Meter", "max_read_registers": 40, "guard_interval_us": 5000,
    "channels": [
      {"name": "Urms L1", "reg_type": "input", "address": "0x1410", "type": "voltage",
       "format": "u32", "scale": 1.52588e-7, "word_order": "little_endian", "round_to": 0.01},
      {"name": "Temperature", "reg_type": "input", "address": 7, "type": "temperature",
       "format": "s16", "scale": 0.1, "offset": -5, "error_value": "0x7FFF"},
      {"name": "Relay", "reg_type": "coil", "address": 2, "type": "switch"},
      {"name": "Mode", "reg_type": "holding", "address": 30, "type": "range",
       "enum": [0, 1], "enum_titles": ["off", "on"]},
      {"name": "Uptime", "reg_type": "holding", "address": 31, "readonly": true},
      {"name": "Overload", "reg_type": "input", "address": "50:3:1"},
      {"name": "Alarm", "reg_type": "input", "address": "50:0"},
      {"name": "Model", "reg_type": "holding", "address": 200, "format": "string",
       "string_data_size": 6},
      {"name": "Virtual", "device_type": "other"}
    ]
  }
}
"""

MODEL: dict[str, Any] = {
    "id": 64999,
    "group": {
        "name": "inverter",
        "label": "Inverter",
        "points": [
            {"name": "ID", "size": 1, "type": "uint16", "label": "Model ID"},
            {"name": "L", "size": 1, "type": "uint16"},
            {"name": "W", "size": 1, "type": "int16", "sf": "W_SF", "units": "W", "label": "Watts"},
            {"name": "W_SF", "size": 1, "type": "sunssf"},
            {"name": "Hz", "size": 1, "type": "uint16", "sf": -2, "units": "Hz"},
            {"name": "Pad", "size": 1, "type": "pad"},
            {"name": "Mn", "size": 16, "type": "string", "label": "Manufacturer"},
            {
                "name": "St",
                "size": 1,
                "type": "enum16",
                "symbols": [{"name": "OFF", "value": 1}, {"name": "MPPT", "value": 4}],
            },
            {
                "name": "Evt",
                "size": 2,
                "type": "bitfield32",
                "symbols": [{"name": "FAULT", "value": 0}],
            },
            {"name": "WMax", "size": 1, "type": "uint16", "access": "RW"},
        ],
        "groups": [
            {
                "name": "module",
                "count": 0,
                "points": [{"name": "A", "size": 2, "type": "float32", "units": "A"}],
            }
        ],
    },
}


def made(text: str, **reading: int) -> MadeMap:
    imported = import_text(text, "device.json", reading=Reading(**reading))
    return make_map("device", imported, with_sidecar=True)


def loaded(text: str) -> RegisterMap:
    return made(text).register_map


def test_a_template_becomes_a_map() -> None:
    assert guess_format(TEMPLATE) is Format.WIRENBOARD
    register_map = loaded(TEMPLATE)
    voltage = register_map["urms_l1"]
    assert (voltage.address, voltage.kind, voltage.order, voltage.unit) == (
        0x1410,
        Kind.U32,
        WordOrder.CDAB,
        "V",
    )
    assert voltage.scale == Decimal("1.52588e-7")
    temperature = register_map["temperature"]
    assert (temperature.offset, temperature.invalid) == (-5, {0x7FFF})
    assert register_map["relay"].table is Table.COIL
    assert register_map["mode"].labels_of(1) == ("on",)
    assert register_map.facts.words_max == 40
    assert register_map.facts.gap_s == 0.005


def test_what_a_template_marks_as_read_only_stays_so() -> None:
    register_map = loaded(TEMPLATE)
    assert register_map["uptime"].access is Access.READ
    assert register_map["mode"].access is Access.GUARDED


def test_bits_of_a_word_become_a_bit_field() -> None:
    assert loaded(TEMPLATE)["bits_of_50"].labels_of(0b1000) == ("Overload",)


def test_a_text_of_one_character_a_word_comes_raw_and_doubted() -> None:
    result = made(TEMPLATE)
    assert len(result.register_map.arrays["model"]) == 6
    assert any("low byte" in doubt.text for doubt in result.doubts)


def test_wrong_channels_are_told_at_once() -> None:
    channels: list[object] = [
        {"name": "a", "address": "1:2:3"},
        {"name": "b", "address": 1, "format": "u17"},
        {"name": "c", "address": 1, "reg_type": "inputs"},
        {"name": "d", "address": 2, "scale": 0},
        {"name": "e", "address": 3, "word_order": "middle"},
        {"address": 4},
        5,
    ]
    with pytest.raises(MapError) as caught:
        loaded(json.dumps({"device": {"channels": channels}}))
    assert len(caught.value.problems) == 7


def test_a_device_of_another_protocol_is_told_as_that() -> None:
    with pytest.raises(MapError, match="'dlms', which is not Modbus"):
        loaded('{"device": {"protocol": "dlms", "channels": []}}')


def test_a_sunspec_model_becomes_a_map_with_its_scale_factors() -> None:
    assert guess_format(json.dumps(MODEL)) is Format.SUNSPEC
    register_map = made(json.dumps(MODEL), base=50000).register_map
    watts = register_map["watts"]
    assert (watts.table, watts.address, watts.kind) == (Table.HOLDING_REGISTER, 50002, Kind.S16)
    assert watts.scale_by == register_map["w_sf"]
    assert watts.invalid == {-0x8000}
    assert register_map["hz"].scale == Decimal("0.01")
    assert (register_map["manufacturer"].address, register_map["manufacturer"].words) == (50006, 16)
    assert register_map["st"].labels_of(4) == ("MPPT",)
    assert register_map["evt"].labels_of(1) == ("FAULT",)
    assert register_map["wmax"].access is Access.GUARDED


def test_where_a_model_begins_is_said_when_nobody_told_it() -> None:
    result = made(json.dumps(MODEL))
    assert result.register_map["model_id"].address == 40070
    assert any("taken to begin at 40070; give --base" in note for note in result.notes)
    common = {**MODEL, "id": 1}
    assert loaded(json.dumps(common))["model_id"].address == 40002


def test_a_group_that_repeats_is_taken_once_and_told() -> None:
    result = made(json.dumps(MODEL))
    assert result.register_map["module_a"].kind is Kind.F32
    assert any("group module repeats 0 times" in note for note in result.notes)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"device": 3}',
        '{"group": {"points": 1}}',
        '{"group": {"points": [{"name": "a", "type": "odd", "size": 1}]}}',
        '{"group": {"points": [{"name": "a", "type": "int32", "size": 1}, 3]}}',
        '{"device": {"channels": [{"name": "a", "address": ' + "9" * 5000 + "}]}}",
        '{"a":' * 3000,
    ],
)
def test_broken_json_is_told_not_crashed_on(text: str) -> None:
    with pytest.raises(MapError):
        loaded(text)
