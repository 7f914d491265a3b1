"""grug as a library: registers by name, read over simulated lines."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import cache

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from pump import COIL, HOLDING, INPUT, PUMP, ROOT, Clock, Watched, make_register, open_cellar, pump

import grug
from grug.app.load import load_house
from grug.codec.block import BlockDecoder
from grug.codec.image import RegisterImage
from grug.codec.registers import DeviceFacts, Kind, RegisterMap
from grug.device.server import ServedUnit
from grug.model import Quality
from grug.planner.gap import GAP_S_MIN
from grug.planner.plan import ReadCost, ReadLimits, plan_reads
from grug.sim.faults import SimFaults, parse_fault
from grug.sim.line import SimLine
from grug.sim.wiring import SimulatedHouse
from grug.transport.maps import load_map, map_models

# Reading


async def test_mixed_kinds_and_tables_come_by_name_in_the_order_asked(
    autojump_clock: Clock,
) -> None:
    unit, line = pump()
    unit.image.set_many(
        ("level", "limit", "name", "hours", "valve"), (12.3, 70000, "Grundy", 230.1, True)
    )
    async with open_cellar(line) as bus:
        values = await bus.device(PUMP).read("valve", "name", "hours", "limit", "level")
    assert list(values.items()) == [
        ("valve", True),
        ("name", "Grundy"),
        ("hours", 230.1),
        ("limit", 70000),
        ("level", 12.3),
    ]


async def test_a_read_takes_one_transaction_per_table_when_all_lies_near(
    autojump_clock: Clock,
) -> None:
    unit, line = pump()
    async with open_cellar(line) as bus:
        await bus.device(PUMP).read("level", "mode", "far", "hours", "heat", "valve", "drain")
    tables = sorted((each.table, each.address, each.count) for each in unit.requests)
    assert tables == [(COIL, 100, 2), (HOLDING, 0, 21), (INPUT, 30, 11)]


async def test_a_whole_map_takes_no_more_transactions_than_its_plan(autojump_clock: Clock) -> None:
    solis = shipped("solis_s5_eh1p")
    unit = Watched(1, RegisterImage(solis))
    async with open_cellar(SimLine("com", {"inverter": unit})) as bus:
        device = bus.device(solis)
        await device.readings(*device.readable)
        asked = len(unit.requests)
        with pytest.raises(grug.BadValueError, match="real_time_clock has no plausible value"):
            await device.read(*device.readable)  # All is zero in a new image.
    spans = [solis[name].span for name in device.readable]
    cost = ReadCost(10 / 9600, GAP_S_MIN, 0.01 + solis.facts.gap_s)
    limits = ReadLimits(words_max=solis.facts.words_max, forbidden=solis.facts.barriers)
    plan = plan_reads(spans, cost, limits)
    assert asked == len(unit.requests) - asked == len(plan)


async def test_a_hole_that_is_refused_is_learned_and_read_around(autojump_clock: Clock) -> None:
    unit, line = pump()
    unit.refuses = {10}
    async with open_cellar(line) as bus:
        device = bus.device(PUMP)
        for _ in range(2):
            assert await device.read("mode", "far") == {"mode": 0, "far": 0}
    assert [each.count for each in unit.requests] == [18, 1, 1, 1, 1]


async def test_devices_that_forbid_holes_are_read_in_runs(autojump_clock: Clock) -> None:
    unit, line = pump()
    careful = replace(PUMP, facts=replace(PUMP.facts, holes="never"))
    async with open_cellar(line) as bus:
        await bus.device(careful).read("level", "limit", "far", "mode")
    assert [(each.address, each.count) for each in unit.requests] == [(0, 4), (20, 1)]


async def test_barriers_of_the_map_are_not_read_across(autojump_clock: Clock) -> None:
    unit, line = pump()
    facts = replace(PUMP.facts, barriers=frozenset({(HOLDING, 2)}))
    async with open_cellar(line) as bus:
        await bus.device(replace(PUMP, facts=facts)).read("level", "mode")
    assert [(each.address, each.count) for each in unit.requests] == [(0, 1), (3, 1)]


async def test_two_maps_of_one_unit_are_both_kept_to(autojump_clock: Clock) -> None:
    unit, line = pump()
    careful = replace(PUMP, facts=replace(PUMP.facts, holes="never"))
    short = replace(PUMP, facts=replace(PUMP.facts, words_max=2))
    async with open_cellar(line) as bus:
        bus.device(careful)
        await bus.device(short).read("level", "mode", "far")
    assert [(each.address, each.count) for each in unit.requests] == [(0, 1), (3, 1), (20, 1)]


async def test_a_long_gap_of_the_unit_makes_holes_cheaper(autojump_clock: Clock) -> None:
    wide = RegisterMap(
        "wide", {each.name: each for each in (make_register("a", 0), make_register("b", 60))}
    )
    counts = []
    for gap_s in (0.0, 0.1):
        slow = replace(wide, facts=DeviceFacts(gap_s=gap_s))
        unit = Watched(1, RegisterImage(slow))
        async with open_cellar(SimLine("x", {"u": unit})) as bus:
            await bus.device(slow).read("a", "b")
        counts.append(len(unit.requests))
    assert counts == [2, 1]


async def test_tasks_that_read_together_share_transactions(autojump_clock: Clock) -> None:
    unit, line = pump()
    async with open_cellar(line) as bus:
        device = bus.device(PUMP)
        await device.read("heat")
        async with trio.open_nursery() as nursery:
            for name in ("level", "limit", "mode", "name"):
                nursery.start_soon(device.read, name)
    assert len(unit.requests) <= 3


async def test_a_factor_held_by_the_device_is_read_along(autojump_clock: Clock) -> None:
    factor = make_register("power_sf", 51, Kind.S16)
    power = make_register("power", 50, Kind.S16, scale_by=factor)
    scaled = RegisterMap("scaled", {"power": power, "power_sf": factor})
    plain = RegisterMap("plain", {"power": replace(power, scale_by=None), "power_sf": factor})
    unit = Watched(1, RegisterImage(plain))
    unit.image.write(HOLDING, 50, (4305).to_bytes(2, "big") + (-1).to_bytes(2, "big", signed=True))
    async with open_cellar(SimLine("roof", {"u": unit})) as bus:
        device = bus.device(scaled)
        assert await device.read("power") == {"power": 430.5}
        assert len(unit.requests) == 1
        await device.write(power=12.5, why="test", verify=True)
        assert await device.read("power") == {"power": 12.5}


async def test_nothing_asked_is_nothing_sent(autojump_clock: Clock) -> None:
    unit, line = pump()
    async with open_cellar(line) as bus:
        assert await bus.device(PUMP).read() == {}
    assert not unit.requests


@cache
def shipped(model: str) -> RegisterMap:
    return load_map(model)


@pytest.mark.slow
@settings(max_examples=60)
@given(data=st.data(), model=st.sampled_from(map_models()))
def test_any_registers_of_any_map_read_as_the_unit_holds_them(
    data: st.DataObject, model: str
) -> None:
    register_map = shipped(model)
    names = data.draw(st.lists(st.sampled_from(list(register_map.registers)), max_size=20))
    noise = data.draw(st.randoms(use_true_random=False))
    image = RegisterImage(register_map)
    for each in register_map.registers.values():
        if each.table.is_bits:
            image.write(each.table, each.address, noise.randbytes(1)[0] % 2 * b"\1" or b"\0")
        else:
            image.write(each.table, each.address, noise.randbytes(2 * each.words))

    async def read_all() -> dict[str, grug.Reading]:
        line = SimLine("any", {"unit": ServedUnit(3, image)})
        async with open_cellar(line) as bus:
            device = bus.device(register_map, unit=3)
            readings = await device.readings(*names)
            good = {name: each.value for name, each in readings.items() if each.value is not None}
            assert await device.read(*good) == good
            return readings

    readings = trio.run(read_all, clock=trio.testing.MockClock(autojump_threshold=0))
    assert list(readings) == list(dict.fromkeys(names))
    for name, reading in readings.items():
        each = register_map[name]
        spans = [each.span] if each.scale_by is None else [each.span, each.scale_by.span]
        blocks = [image.read(span.table, span.address, span.count) or b"" for span in spans]
        (value,), qualities = BlockDecoder((each,), spans).decode(blocks)
        assert reading.quality is (qualities[0] if qualities else Quality.GOOD)
        assert reading.value == (None if qualities else value)


# What can go wrong with a read


async def test_a_wrong_name_says_what_was_meant_and_sends_nothing(autojump_clock: Clock) -> None:
    unit, line = pump()
    async with open_cellar(line) as bus:
        with pytest.raises(KeyError) as caught:
            await bus.device(PUMP).read("level", "limmit", "hour")
    assert isinstance(caught.value, grug.UnknownRegisterError)
    assert str(caught.value).splitlines() == [
        "pump has no register 'limmit'; did you mean 'limit'?",
        "pump has no register 'hour'; did you mean 'hours'?",
    ]
    assert not unit.requests


async def test_a_silent_unit_costs_one_timeout_and_says_who_was_silent(
    autojump_clock: Clock,
) -> None:
    _, line = pump()
    async with open_cellar(line, reply_timeout_s=0.4) as bus:
        device = bus.device(PUMP, unit=8)
        before_s = trio.current_time()
        with pytest.raises(grug.NoReplyError, match="pump, unit 8 on cellar: no reply"):
            await device.read("level")
        assert 0.4 < trio.current_time() - before_s < 0.5


async def test_a_unit_that_stays_silent_fails_at_once(autojump_clock: Clock) -> None:
    _, line = pump()
    async with open_cellar(line) as bus:
        device = bus.device(PUMP, unit=8)
        for _ in range(3):
            with pytest.raises(grug.NoReplyError):
                await device.read("level")
        before_s = trio.current_time()
        with pytest.raises(grug.UnitOfflineError):
            await device.read("level")
        assert trio.current_time() - before_s < 0.1


async def test_a_mark_for_no_value_is_no_value(autojump_clock: Clock) -> None:
    unit, line = pump()
    unit.image.write(INPUT, 40, b"\xff\xff")
    async with open_cellar(line) as bus:
        device = bus.device(PUMP)
        with pytest.raises(grug.BadValueError, match=r"heat has no value .* 65535"):
            await device.read("level", "heat")
        readings = await device.readings("level", "heat")
    assert readings["level"].value == 0.0
    assert str(readings["heat"]) == "bad: no value (the device says 65535)"
    assert readings["heat"].value is None
    assert readings["heat"].quality is Quality.BAD


async def test_a_refused_register_spoils_read_but_not_readings(autojump_clock: Clock) -> None:
    unit, line = pump()
    unit.refuses = {3}
    async with open_cellar(line) as bus:
        device = bus.device(PUMP)
        with pytest.raises(grug.RefusedError, match="exception 2"):
            await device.read("level", "limit", "mode", "name")
        readings = await device.readings("level", "limit", "mode", "name")
    assert [each.quality for each in readings.values()] == [
        Quality.GOOD,
        Quality.GOOD,
        Quality.MISSING,
        Quality.GOOD,
    ]
    assert "exception 2" in str(readings["mode"])


async def test_readings_of_a_dead_unit_raise_after_three_timeouts(autojump_clock: Clock) -> None:
    _, line = pump()
    async with open_cellar(line, reply_timeout_s=0.3) as bus:
        device = bus.device("solis_s5_eh1p", unit=9)
        before_s = trio.current_time()
        with pytest.raises(grug.NoReplyError):
            await device.readings(*device.readable)
        assert trio.current_time() - before_s < 2


async def test_readings_ask_again_for_what_was_garbled(autojump_clock: Clock) -> None:
    faults = SimFaults(1, origin_s=trio.current_time())
    faults.add(parse_fault("pump:garbage@0+0.05"))
    _, line = pump(faults)
    async with open_cellar(line) as bus:
        device = bus.device(PUMP)
        readings = await device.readings("level", "heat", "valve")
    assert all(reading.quality is Quality.GOOD for reading in readings.values())


async def test_registers_that_do_harm_are_left_out_of_everything(autojump_clock: Clock) -> None:
    _, line = pump()
    assert "erase" not in open_cellar(line).device(PUMP).readable


async def test_a_reading_shows_decimals_unit_and_labels(autojump_clock: Clock) -> None:
    solis = shipped("solis_s5_eh1p")
    unit = ServedUnit(1, RegisterImage(solis))
    unit.image.set_many(("battery_voltage", "energy_storage_mode"), (53.0, 33))
    async with open_cellar(SimLine("x", {"u": unit})) as bus:
        readings = await bus.device(solis).readings("battery_voltage", "energy_storage_mode")
    assert str(readings["battery_voltage"]) == "53.0 V"
    assert str(readings["energy_storage_mode"]) == "33 (Self use, Allow charge from grid)"


# The simulated house


async def test_the_devices_of_a_house_are_read_and_commanded(autojump_clock: Clock) -> None:
    config = load_house(ROOT / "examples" / "house.toml").house
    house = SimulatedHouse(config, 1, start_hour=12.0)
    async with grug.open_line(house.opener("solis1")) as line:
        inverter = line.device("solis_s5_eh1p", unit=config.device["solis1"].unit)
        meter = line.device("eastron_sdm120", unit=config.device["solis1_ac"].unit)
        names = ("battery_voltage", "bms_battery_soc", "no_grid")
        values = await inverter.read(*names)
        now = dict(
            zip(names, house.units["solis1"].values(names, trio.current_time()), strict=True)
        )
        assert values == pytest.approx(now, rel=0.01)
        assert 220 < float((await meter.read("voltage"))["voltage"]) < 240
        readings = await inverter.readings(*inverter.readable)
        assert any(reading.quality is Quality.GOOD for reading in readings.values())
    async with grug.open_line(house.opener("evse")) as line:
        charger = line.device("abb_terra", unit=config.device["evse"].unit)
        await charger.write(current_limit=7.5, why="test", verify=True)
        assert await charger.read("current_limit") == {"current_limit": 7.5}


# The package


def test_every_public_name_is_there_and_no_other() -> None:
    assert {getattr(grug, name) is not None for name in grug.__all__} == {True}
    assert set(grug.__all__) <= set(dir(grug))
    with pytest.raises(AttributeError, match="no attribute 'open_lines'"):
        _ = grug.open_lines


@pytest.mark.slow
def test_import_loads_neither_database_nor_terminal_nor_pymodbus() -> None:
    code = "import sys, grug; grug.open_line; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"rich", "asyncclick", "chdb", "clickhouse_connect", "pymodbus", "zstandard", "numpy"}
    assert not heavy & set(done.stdout.split())


def test_importing_the_package_alone_loads_nothing_of_it() -> None:
    code = "import sys, grug; print(*(name for name in sys.modules if name.startswith('grug.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
