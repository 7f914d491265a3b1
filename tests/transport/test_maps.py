"""The maps that come with grug, and how a user's own come first."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grug.codec.block import BlockDecoder, encode, encode_for_write, runs_of
from grug.codec.image import RegisterImage
from grug.codec.registers import Access, Kind, Register, RegisterMap, Storage
from grug.errors import EncodeError, MapError
from grug.model import Quality, Table
from grug.transport.maps import load_map, map_models

MODELS = map_models()
MAPS = {model: load_map(model) for model in MODELS}
EVERY_MAP = pytest.mark.parametrize("register_map", MAPS.values(), ids=MODELS)


def test_the_seeds_devices_and_more_are_all_there() -> None:
    counts = {model: len(register_map.registers) for model, register_map in MAPS.items()}
    assert counts == {
        "abb_terra": 20,
        "acrel_1_phase": 9,
        "acrel_acr10r": 15,
        "acrel_acr10rd16te4": 28,
        "acrel_acr10rh": 11,
        "chint_dtsu666": 41,
        "eastron_sdm120": 24,
        "eastron_sdm630": 87,
        "eastron_sdm72dm_v2": 49,
        "fronius_ts100a": 14,
        "solis_s5_eh1p": 386,
        "sunspec_101": 54,
        "sunspec_103": 54,
        "sunspec_201": 83,
        "sunspec_203": 83,
        "sunspec_204": 83,
    }


@EVERY_MAP
def test_every_map_says_where_it_comes_from(register_map: RegisterMap) -> None:
    facts = register_map.facts
    assert all((facts.title, facts.manufacturer, facts.source, facts.verified))


def wire_values(register: Register, raw: int) -> bytes:
    """The register's bytes for any 64 random bits; floats are kept finite, text printable."""
    if register.table.is_bits:
        return bytes([raw & 1])
    if register.kind is Kind.TEXT:
        return f"{raw:0{2 * register.words}x}"[-2 * register.words :].encode()
    if register.name.endswith("_scale"):
        return (raw % 7 - 3).to_bytes(2, "big", signed=True)
    if register.kind is Kind.F32:
        exponent = raw >> 23 & 0xFF
        return struct.pack(">I", raw & 0xFFFFFFFF if exponent < 0xF0 else raw & 0x807FFFFF)
    return (raw & ((1 << 16 * register.words) - 1)).to_bytes(2 * register.words, "big")


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=50)
@given(seed=st.integers(0, 2**32))
def test_every_register_round_trips(model: str, seed: int) -> None:
    register_map, random = MAPS[model], Random(seed)
    registers = sorted(
        (each for each in register_map.registers.values() if not each.alias),
        key=lambda register: register.span,
    )
    blocks = [wire_values(register, random.getrandbits(64)) for register in registers]
    runs = runs_of(registers, register_map.facts.words_max)
    stream = BytesIO(b"".join(blocks))
    contents = [stream.read(run.count * (1 if run.table.is_bits else 2)) for run in runs]
    values, qualities = BlockDecoder(registers, runs).decode(contents)
    for index, (register, block) in enumerate(zip(registers, blocks, strict=True)):
        value = values[index]
        if register.scale_by is not None:
            register = register.at_exponent(int(values[registers.index(register.scale_by)]))
        if qualities and qualities[index] is not Quality.GOOD:
            # Nothing else may be wrong with it.
            assert register.minimum is not None or register.invalid
        elif register.kind.is_float and register.is_scaled:
            again, _ = BlockDecoder([register], [register.span]).decode([encode(register, value)])
            assert again[0] == pytest.approx(value, rel=2.0**-22, abs=1e-40)
        else:
            assert encode(register, value) == block or value == 0  # Minus zero is zero.


@EVERY_MAP
def test_every_register_can_be_served(register_map: RegisterMap) -> None:
    image = RegisterImage(register_map)
    for register in register_map.registers.values():
        block = image.read(register.table, register.address, register.words)
        assert block == bytes(register.words * (1 if register.table.is_bits else 2))
        image.get(register.name)


@EVERY_MAP
def test_only_writable_tables_are_written_and_storage_is_known_or_feared(
    register_map: RegisterMap,
) -> None:
    for register in register_map.registers.values():
        if register.access is not Access.READ:
            assert register.table in (Table.COIL, Table.HOLDING_REGISTER)
        if register.access is Access.FREE:
            assert register.storage is Storage.RAM


@EVERY_MAP
def test_what_must_never_be_written_says_why(register_map: RegisterMap) -> None:
    for register in register_map.registers.values():
        assert register.access is not Access.NEVER or register.note, register.name


def test_the_chargers_harmful_registers_are_never_written() -> None:
    charger = MAPS["abb_terra"]
    for name in ("stop_charging", "force_lock_socket"):
        with pytest.raises(EncodeError, match=name):
            encode_for_write(charger[name], 0)
    assert encode_for_write(charger["current_limit"], 16) == struct.pack(">I", 16000)
    with pytest.raises(EncodeError, match=r"outside 0\.\.32 A"):
        encode_for_write(charger["current_limit"], 33)
    assert charger.facts.holes == "never"


def test_an_inverters_grid_protection_is_never_written() -> None:
    inverter = MAPS["solis_s5_eh1p"]
    for register in inverter.registers.values():
        if register.table is Table.HOLDING_REGISTER and 43084 <= register.address <= 43105:
            assert register.access is Access.NEVER
    for name in ("slave_address_setting", "national_standard_setting"):
        assert inverter[name].access is Access.NEVER


def test_an_acrel_meter_answers_an_inverters_question() -> None:
    image = RegisterImage(MAPS["acrel_1_phase"])
    image.set_many(["voltage", "active_power"], [230.1, -993])
    block = image.read(Table.HOLDING_REGISTER, 0, 65)
    assert block == image.read(Table.INPUT_REGISTER, 0, 65)
    words = struct.unpack(">65h", block or b"")
    assert (words[11], words[13], sum(map(bool, words))) == (2301, -993, 2)


def test_bit_fields_read_as_labels() -> None:
    inverter = MAPS["solis_s5_eh1p"]
    assert inverter["fault_status_1_grid"].labels_of(0b1000000001) == ("No grid", "Meter COM Fail")
    fine = inverter["operating_status"].labels_of(0x0F01)
    assert fine == ("Normal Operation",)


def test_enumerations_read_as_labels_and_are_written_by_them() -> None:
    switch = MAPS["solis_s5_eh1p"]["power_on_off"]
    assert switch.labels_of(0xDE) == ("Off",)
    assert encode_for_write(switch, "On") == b"\0\xbe"
    with pytest.raises(EncodeError, match="200 is none of 190 'On', 222 'Off'"):
        encode_for_write(switch, 200)


def test_a_clock_of_six_registers_reads_as_one_date() -> None:
    inverter = MAPS["solis_s5_eh1p"]
    clock = inverter["system_time"]
    block = struct.pack(">6H", 26, 11, 22, 16, 44, 53)
    parts = inverter.select(["system_time", "system_time_year", "system_time_second"])
    values, qualities = BlockDecoder(parts, runs_of(parts, 40)).decode([block])
    assert (values, qualities) == (("2026-11-22T16:44:53", 26, 53), ())
    assert encode(clock, "2026-11-22T16:44:53") == block


def test_a_sunspec_meter_is_scaled_by_what_it_says() -> None:
    image = RegisterImage(MAPS["sunspec_203"])
    image.set_many(["active_power", "active_power_scale"], [-1234.5, -1])
    assert image.get("active_power") == -1234.5
    image.set_many(["active_power_scale", "active_power"], [2, 3000])
    assert image.get("active_power") == 3000
    with pytest.raises(EncodeError, match=r"outside -3276800\.\.3276700"):
        image.set("active_power", 4e6)


def test_the_chargers_harmful_registers_are_not_read_over() -> None:
    assert MAPS["abb_terra"].facts.barriers == {
        (Table.HOLDING_REGISTER, 0x4103),
        (Table.HOLDING_REGISTER, 0x4105),
    }


def test_a_users_map_comes_first(tmp_path: Path) -> None:
    (tmp_path / "eastron_sdm630.csv").write_text("name,table,address,kind\nmine,input,1,u16\n")
    (tmp_path / "heater.csv").write_bytes(
        "name,table,address,kind,unit\nt,input,1,s16,°C".encode("cp1252")
    )
    (tmp_path / "heater.toml").write_text("words_max = 8\n")
    assert list(load_map("eastron_sdm630", tmp_path).registers) == ["mine"]
    assert load_map("heater", tmp_path)["t"].unit == "°C"
    assert load_map("heater", tmp_path).facts.words_max == 8
    assert load_map("abb_terra", tmp_path) == MAPS["abb_terra"]
    assert set(map_models(tmp_path)) == {*MODELS, "heater"}


def test_a_map_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="no map 'eastron_sdm360'; did you mean 'eastron_sdm630'"):
        load_map("eastron_sdm360")
    with pytest.raises(MapError, match="no map"):
        load_map("../maps/abb_terra", tmp_path / "nowhere")


def test_a_bad_map_is_told_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("name,table,address,kind\na,input,1,u99\n")
    with pytest.raises(MapError, match=r"bad\.csv:2: kind"):
        load_map("bad", tmp_path)
