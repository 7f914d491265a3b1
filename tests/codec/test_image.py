"""The server side of a map: what is set is what is served."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.codec.image import RegisterImage
from grug.codec.registers import Access, DeviceFacts, Kind, Register, RegisterMap
from grug.errors import EncodeError
from grug.model import Table

INPUT, HOLDING, COIL = Table.INPUT_REGISTER, Table.HOLDING_REGISTER, Table.COIL


def image_of(*registers: Register, mirrored: tuple[Table, ...] = ()) -> RegisterImage:
    by_name = {register.name: register for register in registers}
    return RegisterImage(RegisterMap("meter", by_name, DeviceFacts(mirrored=mirrored)))


VOLTAGE = Register("voltage", INPUT, 11, Kind.U16, scale=Decimal("0.1"))
POWER = Register("power", INPUT, 13, Kind.S16)
ENERGY = Register("energy", INPUT, 60, Kind.S32, scale=Decimal("0.01"))
LIMIT = Register("limit", HOLDING, 16640, Kind.U32, access=Access.FREE, scale=Decimal("0.001"))
SWITCH = Register("switch", COIL, 5000, Kind.BOOL, access=Access.GUARDED)


def test_a_read_shows_what_was_set_and_zeros_between() -> None:
    image = image_of(VOLTAGE, POWER, ENERGY)
    image.set_many(["voltage", "power", "energy"], [230.1, -500, 12.34])
    words = struct.unpack(">65H", image.read(INPUT, 0, 65) or b"")
    shown = {address: word for address, word in enumerate(words) if word}
    assert shown == {11: 2301, 13: 0x10000 - 500, 61: 1234}


def test_values_read_back() -> None:
    image = image_of(VOLTAGE, POWER)
    image.set("voltage", 230.1)
    assert (image.get("voltage"), image.get("power")) == (230.1, 0)


def test_a_range_without_registers_is_not_served() -> None:
    image = image_of(VOLTAGE, POWER, LIMIT)
    assert image.read(INPUT, 12, 1) is None
    assert image.read(INPUT, 0, 11) is None
    assert image.read(INPUT, 14, 100) is None
    assert image.read(INPUT, 65000, 100) is None
    assert image.read(HOLDING, 11, 1) is None
    assert image.read(COIL, 11, 1) is None
    assert image.read(INPUT, 12, 2) == bytes(4)


@given(st.integers(0, 70), st.integers(1, 125))
def test_any_read_is_as_long_as_asked(address: int, count: int) -> None:
    block = image_of(VOLTAGE, POWER, ENERGY).read(INPUT, address, count)
    assert block is None or len(block) == 2 * count


def test_a_mirrored_table_serves_the_input_registers() -> None:
    image = image_of(VOLTAGE, POWER, mirrored=(HOLDING,))
    image.set("power", 7)
    assert image.read(HOLDING, 0, 65) == image.read(INPUT, 0, 65) != bytes(130)
    assert image.write(HOLDING, 13, b"\0\5") == []
    assert image.get("power") == 7


def test_a_value_that_does_not_fit_changes_nothing() -> None:
    image = image_of(VOLTAGE, POWER)
    image.set_many(["voltage", "power"], [230, 5])
    with pytest.raises(EncodeError, match="power: 40000"):
        image.set_many(["voltage", "power"], [231, 40000])
    assert (image.get("voltage"), image.get("power")) == (230, 5)
    with pytest.raises(KeyError):
        image.set("nonsense", 1)


def test_a_write_names_what_it_changed() -> None:
    image = image_of(LIMIT, SWITCH, Register("next", HOLDING, 16642, Kind.U16))
    assert image.write(HOLDING, 16640, struct.pack(">IH", 16000, 0)) == ["limit"]
    assert image.get("limit") == 16
    assert image.write(HOLDING, 16640, struct.pack(">IH", 16000, 3)) == ["next"]
    assert image.write(HOLDING, 16640, struct.pack(">IH", 16000, 3)) == []
    assert image.write(COIL, 5000, b"\1") == ["switch"]
    assert image.get("switch") is True


def test_a_write_of_half_a_value_changes_half_of_it() -> None:
    image = image_of(LIMIT)
    image.set("limit", 16)
    assert image.write(HOLDING, 16641, struct.pack(">HH", 1, 9)) == ["limit"]
    assert image.get("limit") == 0.001
    assert image.read(HOLDING, 16641, 2) == struct.pack(">HH", 1, 0)


def test_a_write_to_nothing_is_lost() -> None:
    image = image_of(LIMIT)
    for table, address in ((HOLDING, 5), (HOLDING, 65535), (COIL, 1)):
        assert image.write(table, address, b"\1\2") == []
    assert image.get("limit") == 0
