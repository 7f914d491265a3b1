"""Telegraf's three styles of modbus configuration become maps."""

from __future__ import annotations

from decimal import Decimal

import pytest

from grug.codec.registers import Kind, RegisterMap, WordOrder
from grug.errors import MapError
from grug.mapimport.guess import Format, guess_format, import_text
from grug.mapimport.writer import make_map
from grug.model import Table

REGISTER = """
[[inputs.modbus]]
  name = "inverter"
  controller = "file:///dev/ttyUSB0"
  baud_rate = 19200
  data_bits = 8
  parity = "N"
  stop_bits = 2
  slave_id = 1
  coils = [ { name = "Relay", address = [7] } ]
  holding_registers = [
    { name = "Power Factor", byte_order = "AB", data_type = "FIXED", scale=0.01, address = [8] },
    { name = "Energy", byte_order = "CDAB", data_type = "UFIXED", scale=0.001, address = [5,6] },
    { name = "Frequency", byte_order = "ABCD", data_type = "FLOAT32-IEEE", address = [10, 11] },
  ]
  input_registers = [ { name = "T", byte_order="AB", data_type="INT16", scale=1.0, address=[0] } ]
"""

REQUEST = """
[[inputs.modbus]]
  configuration_type = "request"
  [[inputs.modbus.request]]
    slave_id = 1
    byte_order = "DCBA"
    register = "input"
    fields = [
      { address=0, name="voltage", type="UINT16", scale=0.1 },
      { address=1, name="energy", type="UINT64" },
      { address=5, name="gap", type="INT16", omit=true },
      { address=6, name="serial", type="STRING", length=4 },
      { address=12, name="door open", type="BIT", bit=3 },
      { address=12, name="alarm", type="BIT" },
    ]
"""

METRIC = """
[[inputs.modbus]]
  configuration_type = "metric"
  [[inputs.modbus.metric]]
    slave_id = 1
    measurement = "power"
    fields = [
      { register="coil", address=0, name="on" },
      { address=3, name="power", type="INT32" },
    ]
"""


def loaded(text: str) -> RegisterMap:
    imported = import_text(text, "telegraf.conf")
    return make_map("device", imported, with_sidecar=True).register_map


def test_the_register_style_lists_the_words_of_a_value() -> None:
    assert guess_format(REGISTER) is Format.TELEGRAF
    register_map = loaded(REGISTER)
    assert register_map["relay"].table is Table.COIL
    assert register_map["power_factor"].kind is Kind.S16
    energy = register_map["energy"]
    assert (energy.address, energy.kind, energy.order) == (5, Kind.U32, WordOrder.CDAB)
    assert (energy.scale, energy.decimals) == (Decimal("0.001"), 3)
    assert register_map["frequency"].kind is Kind.F32
    assert register_map["t"].table is Table.INPUT_REGISTER
    assert register_map.facts.framing == "8N2"


def test_the_request_style_gives_one_address_a_field() -> None:
    register_map = loaded(REQUEST)
    voltage = register_map["voltage"]
    assert (voltage.table, voltage.scale) == (Table.INPUT_REGISTER, Decimal("0.1"))
    assert register_map["energy"].order is WordOrder.DCBA
    assert register_map["serial"].words == 4
    assert "gap" not in register_map.registers


def test_bits_of_one_word_become_one_bit_field() -> None:
    field = loaded(REQUEST)["bits_of_12"]
    assert field.labels_of(0b1001) == ("alarm", "door open")


def test_the_metric_style_names_the_table_in_each_field() -> None:
    register_map = loaded(METRIC)
    assert register_map["on"].table is Table.COIL
    assert (register_map["power"].table, register_map["power"].kind) == (
        Table.HOLDING_REGISTER,
        Kind.S32,
    )


def test_everything_wrong_is_told_at_once_with_line_and_place() -> None:
    text = """
[[inputs.modbus]]
  holding_registers = [
    { name = "apart", data_type = "UINT32", address = [5, 7] },
    { name = "long", data_type = "UINT16", address = [8, 9] },
  ]
  [[inputs.modbus.request]]
    register = "holdings"
    fields = [ { address=1, name="table", type="INT16" } ]
  [[inputs.modbus.request]]
    fields = [ { address=1, name="kind", type="INT17" }, { address="?", name="where" } ]
  [[inputs.modbus.request]]
    byte_order = "CABD"
    fields = [ { address=1, name="order", type="INT16" }, { address=1, type="INT16" } ]
"""
    with pytest.raises(MapError) as caught:
        loaded(text)
    found = [str(problem) for problem in caught.value.problems]
    assert len(found) == 8
    assert "telegraf.conf:4: holding_registers 1: address" in str(caught.value)
    assert "request 2, field 1: type: 'INT17' is unknown; did you mean" in str(caught.value)


@pytest.mark.parametrize("text", ["[[inputs.modbus", "[[inputs.modbus]]\nname = 1\n"])
def test_a_file_without_fields_is_no_map(text: str) -> None:
    with pytest.raises(MapError, match=r"telegraf\.conf: "):
        loaded(text + "\n#[[inputs.modbus]]")
