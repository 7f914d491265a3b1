"""Simulated units show the house, obey writes, and have their devices' quirks."""

from __future__ import annotations

from pathlib import Path

from configs import small_house

import grug
from grug.codec.block import BlockDecoder, encode, runs_of
from grug.config.check import parse_house
from grug.config.types import HouseConfig
from grug.model import Span, Table, Value
from grug.protocol.rtu import crc_is_good, with_crc
from grug.protocol.server import RequestFramer
from grug.sim.devices import POWER_OFF, POWER_ON
from grug.sim.house import HouseSetup
from grug.sim.household import LoadSetup
from grug.sim.units import SimUnit
from grug.sim.wiring import SimulatedHouse
from grug.transport.maps import load_map, map_models


def house_of(config: HouseConfig, hour: float = 12.0) -> SimulatedHouse:
    return SimulatedHouse(config, seed=1, start_hour=hour, origin_s=0.0)


def read(unit: SimUnit, *names: str, now_s: float) -> tuple[Value, ...]:
    """As a poller reads: blocks, then values."""
    registers = unit.register_map.select(names)
    runs = runs_of(registers, unit.register_map.facts.words_max)
    blocks = [unit.read(run, now_s) for run in runs]
    values, qualities = BlockDecoder(registers, runs).decode(
        [block for block in blocks if isinstance(block, bytes)]
    )
    assert qualities == ()
    return values


def write(unit: SimUnit, name: str, value: Value, now_s: float) -> int:
    register = unit.register_map[name]
    return unit.write(register.table, register.address, encode(register, value), now_s)


def test_every_polled_register_of_the_example_house_reads_the_same_over_both_ways() -> None:
    path = Path(grug.__file__).parent.parent / "examples" / "house.toml"
    maps = {model: load_map(model) for model in map_models()}
    config = parse_house(path.read_text(), path.name, maps)
    sim = house_of(config)
    for now_s in (0.0, 33.4, 700.0):
        for name, device in config.device.items():
            for poll in device.poll:
                unit = sim.units[name]
                assert read(unit, *poll.registers, now_s=now_s) == unit.values(
                    poll.registers, now_s
                )


def test_what_the_example_house_polls_is_simulated_and_not_just_zero() -> None:
    path = Path(grug.__file__).parent.parent / "examples" / "house.toml"
    maps = {model: load_map(model) for model in map_models()}
    config = parse_house(path.read_text(), path.name, maps)
    sim = house_of(config)
    unsimulated = {
        (device.map, register)
        for name, device in config.device.items()
        for poll in device.poll
        for register in poll.registers
        if register not in sim.units[name].sources
    }
    assert unsimulated <= {("solis_s5_eh1p", "backup_load_power")}


def test_grid_meter_shows_the_phases_and_their_sum_in_whole_watts() -> None:
    sim = house_of(small_house())
    total, *phases = read(
        sim.units["grid"],
        "total_power",
        "phase_1_power",
        "phase_2_power",
        "phase_3_power",
        now_s=10.0,
    )
    assert total == round(sim.house.grid_w)
    assert phases == [round(power_w) for power_w in sim.house.phase_w]


def test_small_meter_shows_nothing_below_fifty_watts() -> None:
    sim = house_of(small_house(), hour=0.0)
    sim.house.advance(1.0)
    inverter = sim.house.inverters[0]
    for power_w, shown in ((49.9, 0.0), (-49.9, 0.0), (50.4, -50.0), (-700.0, 700.0)):
        inverter.ac_w = power_w
        assert read(sim.units["ac1"], "active_power", now_s=1.0) == (shown,)


def test_inverter_tells_what_it_believes_of_its_meter() -> None:
    sim = house_of(small_house())
    sim.house.inverters[1].believe(-1234.0, 1.0)
    assert read(sim.units["solis2"], "meter_total_active_power", now_s=2.0) == (-1234,)
    assert read(sim.units["solis2"], "inverter_serial_number", now_s=2.0) == ("SIM0025EH1P6K",)


def test_inverter_is_switched_off_and_on_by_its_register() -> None:
    sim = house_of(small_house())
    unit = sim.units["solis1"]
    assert write(unit, "power_on_off", POWER_OFF, 1.0) == 0
    sim.house.advance(10.0)
    assert sim.house.inverters[0].pv_w == 0.0
    assert write(unit, "power_on_off", POWER_ON, 10.0) == 0
    sim.house.advance(20.0)
    assert sim.house.inverters[0].pv_w > 0.0
    assert read(unit, "power_on_off", now_s=20.0) == (POWER_ON,)


def test_charge_current_setting_limits_the_battery() -> None:
    sim = house_of(small_house())
    write(sim.units["solis1"], "battery_charge_current_maximum_setting", 10.0, 1.0)
    assert sim.house.inverters[0].battery.charge_limit_w() == 500.0


def test_repeated_limit_reaches_a_charger_that_has_forgotten_it() -> None:
    sim = house_of(small_house())
    unit, charger = sim.units["evse"], sim.house.chargers[0]
    write(unit, "current_limit", 7.5, 1.0)
    assert read(unit, "current_limit_readback", now_s=1.0) == (7.5,)
    charger.limit_a = 16.0
    write(unit, "current_limit", 7.5, 11.0)
    assert charger.limit_a == 7.5


def test_stop_register_of_the_charger_does_its_harm() -> None:
    sim = house_of(small_house())
    write(sim.units["evse"], "stop_charging", 1, 1.0)
    assert not sim.house.chargers[0].is_enabled


def test_unit_refuses_what_its_device_refuses() -> None:
    sim = house_of(small_house())
    framer = RequestFramer(9600)

    def answer(device: str, frame: bytes) -> bytes | None:
        (request,) = framer.receive(with_crc(frame), 0.0)
        return sim.units[device].answer(request, 0.0)

    unknown = answer("solis1", bytes((1, 4, 0x10, 0, 0, 1)))
    assert unknown is not None
    assert unknown[1:3] == b"\x84\x02"
    single = answer("ac1", bytes((3, 6, 0, 20, 0, 1)))
    assert single is not None
    assert single[1:3] == b"\x86\x01"
    assert answer("ac1", bytes((1, 4, 0, 12, 0, 2))) is None, "another unit is meant"
    power = answer("ac1", bytes((3, 4, 0, 12, 0, 2)))
    assert power is not None
    assert crc_is_good(power)


def test_too_long_a_read_is_refused() -> None:
    unit = house_of(small_house()).units["solis1"]
    most = unit.register_map.facts.words_max
    assert isinstance(unit.read(Span(Table.INPUT_REGISTER, 33100, most), 0.0), bytes)
    assert unit.read(Span(Table.INPUT_REGISTER, 33100, most + 1), 0.0) == 3


def test_house_has_as_many_inverters_and_cars_as_the_config() -> None:
    config = small_house()
    quiet = HouseSetup(inverters=(), chargers=(), load=LoadSetup(is_constant=True))
    sim = SimulatedHouse(config, 1, setup=quiet, origin_s=0.0)
    assert [inverter.setup.name for inverter in sim.house.inverters] == ["solis1", "solis2"]
    assert [inverter.setup.phase for inverter in sim.house.inverters] == [0, 1]
    assert len(sim.house.chargers) == 1
