"""Home Assistant's and ha-solarman's YAML become maps."""

from __future__ import annotations

import sys
from decimal import Decimal

import pytest

from grug.codec.registers import Access, Kind, RegisterMap, WordOrder
from grug.errors import MapError
from grug.mapimport.guess import Format, guess_format, import_text
from grug.mapimport.writer import make_map
from grug.model import Table

HOUSE = """
homeassistant:
  name: !secret home_name
automation: !include automations.yaml
modbus:
  - name: meter
    type: serial
    port: /dev/ttyUSB0
    baudrate: 19200
    bytesize: 8
    parity: E
    stopbits: 1
    sensors:
      - &power
        name: "Active power L1"
        unique_id: !secret meter_id
        slave: 1
        address: 0x0C
        input_type: input
        data_type: float32
        unit_of_measurement: W
        precision: 1
      - <<: *power
        name: Active power L2
        address: 14
      - name: Temperature
        device_address: 1
        address: 100
        scale: 0.1
        offset: -40
        unit_of_measurement: °C
        nan_value: 0x8000
      - {name: Energy, slave: 1, address: 200, data_type: uint32, swap: word, scale: 0.01}
      - {name: Serial, slave: 1, address: 300, data_type: string, count: 8}
      - {name: Cells, slave: 1, address: 400, data_type: uint16, virtual_count: 2}
    binary_sensors:
      - {name: Door, slave: 1, address: 3, input_type: discrete_input}
    switches:
      - {name: Relay, slave: 1, address: 5, write_type: coil}
      - {name: Mode, slave: 1, address: 500}
"""

INVERTER = """
default: {code: 0x04, min_span: 10}
requests:
  - {start: 43000, end: 43300, mb_functioncode: 0x03}
parameters:
  - group: Solar
    items:
      - {name: PV power, rule: 3, uom: W, registers: [33058, 33057]}
      - {name: Low first, rule: 4, registers: [0x0010, 0x0011]}
      - {name: Temperature, rule: 2, scale: 0.1, offset: 1000, uom: "°C", registers: [33093]}
      - name: State
        rule: 1
        registers: [33095]
        lookup: [{key: 0x0, value: Waiting}, {key: [1, 2], value: Running}]
      - {name: Serial, rule: 5, registers: [1, 2, 3, 4]}
      - {name: Clock, rule: 8, registers: [20, 21, 22]}
      - {name: Limit, rule: 1, platform: number, registers: [43010]}
      - {name: Sum, rule: 1, sensors: [{registers: [1]}, {registers: [2]}]}
"""


def loaded(text: str) -> RegisterMap:
    return make_map("device", import_text(text, "device.yaml"), with_sidecar=True).register_map


def problems(text: str) -> list[str]:
    with pytest.raises(MapError) as caught:
        loaded(text)
    return [str(problem) for problem in caught.value.problems]


def test_home_assistants_entities_become_registers() -> None:
    register_map = loaded(HOUSE)
    power = register_map["active_power_l1"]
    assert (power.table, power.address, power.kind) == (Table.INPUT_REGISTER, 12, Kind.F32)
    assert (power.unit, power.decimals) == ("W", 1)
    temperature = register_map["temperature"]
    assert (temperature.kind, temperature.scale) == (Kind.S16, Decimal("0.1"))
    assert temperature.offset == -40
    assert temperature.invalid == {-0x8000}
    assert register_map["energy"].order is WordOrder.CDAB
    assert register_map["serial"].words == 8
    assert register_map["cells_3"].address == 402
    assert register_map["door"].table is Table.DISCRETE_INPUT


def test_anchors_and_secrets_are_understood_or_let_be() -> None:
    assert loaded(HOUSE)["active_power_l2"].address == 14


def test_what_is_switched_may_be_written_on_purpose() -> None:
    register_map = loaded(HOUSE)
    assert register_map["relay"].table is Table.COIL
    assert register_map["relay"].access is register_map["mode"].access is Access.GUARDED


def test_the_line_of_a_hub_comes_along() -> None:
    facts = loaded(HOUSE).facts
    assert (facts.baudrate, facts.framing) == (19200, "8E1")


def test_a_list_of_sensors_alone_is_enough() -> None:
    text = "- name: a\n  address: 1\n  input_type: input\n- name: b\n  address: 2\n"
    assert guess_format(text) is Format.HOME_ASSISTANT
    assert list(loaded(text).registers) == ["a", "b"]


def test_units_are_not_mixed() -> None:
    text = "sensors:\n- {name: a, address: 1, slave: 1}\n- {name: b, address: 1, slave: 2}\n"
    assert "several units (1, 2); choose one by --unit" in problems(text)[0]
    imported = import_text(text, "device.yaml")
    assert list(make_map("device", imported, unit_id=2).register_map.registers) == ["b"]
    with pytest.raises(MapError, match="no registers of unit 3"):
        make_map("device", imported, unit_id=3)


def test_everything_wrong_with_entities_is_told_at_once() -> None:
    found = problems(
        "sensors:\n"
        "- {name: a, address: x}\n"
        "- {name: b, address: 1, data_type: float23}\n"
        "- {name: c, address: 2, data_type: int32, count: 1}\n"
        "- {name: d, address: 3, swap: words}\n"
        "- {name: e, address: 4, scale: 0}\n"
        "- {address: 5, input_type: inputs}\n"
        "- 17\n"
        "- {name: g, address: 70000}\n"
        "- {name: h, address: 9, data_type: custom, structure: '>2h'}\n"
    )
    assert len(found) == 10
    assert "did you mean 'float32'" in "\n".join(found)
    assert {text.split(":")[1] for text in found if text[12].isdigit()} >= {"2", "3", "9"}


def test_the_same_register_again_is_left_out_and_another_view_of_it_is_an_alias() -> None:
    text = (
        "sensors:\n- {name: a, address: 1}\n- {name: a again, address: 1}\n"
        "- {name: a raw, address: 1, data_type: uint16}\n"
    )
    result = make_map("device", import_text(text, "device.yaml"))
    assert list(result.register_map.registers) == ["a", "a_raw"]
    assert result.register_map["a_raw"].alias == "a"
    assert "a again left out: it is a again" in result.notes


@pytest.mark.parametrize(
    "text",
    [
        "modbus: [",
        "modbus:\n  sensors: {a: 1}\n",
        "modbus: 3\n",
        "sensors: !!timestamp 2026-99-99\n",
        pytest.param("sensors: " + "[" * 3000, marks=pytest.mark.slow),
        "modbus: &a [*a]\n",
        "sensors:\n- {name: a, address: .inf, scale: .nan}\n",
    ],
)
def test_broken_yaml_is_told_not_crashed_on(text: str) -> None:
    assert problems(text)


def test_without_the_library_the_advice_is_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert "pip install 'grug[import]'" in problems(HOUSE)[0]


def test_solarmans_items_become_registers() -> None:
    register_map = loaded(INVERTER)
    power = register_map["pv_power"]
    assert (power.table, power.address, power.kind, power.order) == (
        Table.INPUT_REGISTER,
        33057,
        Kind.U32,
        WordOrder.ABCD,
    )
    low_first = register_map["low_first"]
    assert (low_first.address, low_first.kind, low_first.order) == (16, Kind.S32, WordOrder.CDAB)
    assert register_map["serial"].words == 4
    assert register_map["clock"].kind is Kind.CLOCK3


def test_solarman_subtracts_its_offset_before_it_scales() -> None:
    temperature = loaded(INVERTER)["temperature"]
    assert temperature.scale == Decimal("0.1")
    assert temperature.offset == -100


def test_solarmans_choices_become_labels_and_settings_can_be_written() -> None:
    register_map = loaded(INVERTER)
    assert register_map["state"].labels_of(1) == ("Running",)
    assert register_map["state"].labels_of(2) == ("Running (2)",)
    limit = register_map["limit"]
    assert (limit.table, limit.access) == (Table.HOLDING_REGISTER, Access.GUARDED)


def test_computed_items_are_left_out_and_told() -> None:
    notes = make_map("device", import_text(INVERTER, "device.yaml")).notes
    assert any(note.startswith("1 items that are computed") for note in notes)


def test_registers_that_are_apart_are_no_value_of_ours() -> None:
    text = "parameters:\n- items:\n  - {name: a, rule: 3, registers: [5, 9]}\n"
    text += "  - {name: b, rule: 99, registers: [1]}\n  - {name: c, rule: 1, registers: x}\n"
    assert [found.split(": ", 2)[1] for found in problems(text)] == ["a", "b", "registers"]
