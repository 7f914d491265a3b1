"""grug as a library: registers by name over simulated lines, and the same maps served."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TypeAlias

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

import grug
from grug.actors.bus import GAP_S_MIN
from grug.codec.block import BlockDecoder
from grug.codec.image import RegisterImage
from grug.codec.registers import Access, DeviceFacts, Kind, Register, RegisterMap, WordOrder
from grug.device.device import Device
from grug.device.line import DeviceLine
from grug.device.server import ServedUnit
from grug.messages import WriteDone
from grug.model import Quality, Table
from grug.planner.plan import ReadCost, ReadLimits, plan_reads
from grug.protocol.server import ServerRequest, exception_reply
from grug.runtime.feed import Feed
from grug.sim.faults import SimFaults, parse_fault
from grug.sim.line import SimLine
from grug.transport.maps import load_map, map_models

HOLDING, COIL = Table.HOLDING_REGISTER, Table.COIL
INPUT = Table.INPUT_REGISTER


def register(name: str, address: int, kind: Kind = Kind.U16, **more: object) -> Register:
    table = more.pop("table", HOLDING)
    more.setdefault("access", Access.GUARDED)
    return Register(name, table, address, kind, **more)  # type: ignore[arg-type]


PUMP = RegisterMap(
    "pump",
    {
        each.name: each
        for each in (
            register("level", 0, scale=Decimal("0.1"), unit="cm", decimals=1),
            register("limit", 1, Kind.U32, order=WordOrder.CDAB),
            register("mode", 3, maximum=Decimal(4)),
            register("name", 4, Kind.TEXT, words=4),
            register("far", 20),
            register("erase", 21, access=Access.NEVER, note="erases the pump's memory"),
            register("hours", 30, Kind.F32, table=INPUT, access=Access.READ, unit="h"),
            register("heat", 40, table=INPUT, access=Access.READ, invalid=frozenset({0xFFFF})),
            register("valve", 100, Kind.BOOL, table=COIL),
            register("drain", 101, Kind.BOOL, table=COIL),
        )
    },
    DeviceFacts(words_max=40, unit_id=7),
)


class Watched(ServedUnit):
    """A served unit that remembers what it was asked."""

    def __init__(self, unit_id: int, image: RegisterImage) -> None:
        super().__init__(unit_id, image)
        self.requests: list[ServerRequest] = []
        self.refuses: set[int] = set()
        """Addresses."""

    def answer(self, request: ServerRequest, now_s: float) -> bytes | None:
        if request.unit_id == self.unit_id:
            self.requests.append(request)
            asked = range(request.address, request.address + request.count)
            if self.refuses.intersection(asked):
                return exception_reply(request, 2)
        return super().answer(request, now_s)

    @property
    def writes(self) -> list[tuple[int, int]]:
        """Address and count of the writes."""
        return [(each.address, each.count) for each in self.requests if not each.is_read]


def pump(faults: SimFaults | None = None) -> tuple[Watched, SimLine]:
    """A pump as unit 7 of a simulated line."""
    unit = Watched(7, RegisterImage(PUMP))
    return unit, SimLine("cellar", {"pump": unit}, faults=faults)


def open_cellar(line: SimLine, **more: object) -> DeviceLine:
    return grug.open_line(line.open, **more)  # type: ignore[arg-type]


Clock: TypeAlias = trio.testing.MockClock


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
    wide = RegisterMap("wide", {each.name: each for each in (register("a", 0), register("b", 60))})
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
    factor = register("power_sf", 51, Kind.S16)
    power = register("power", 50, Kind.S16, scale_by=factor)
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


# Writing


async def test_neighbours_are_written_together_and_nothing_between(autojump_clock: Clock) -> None:
    unit, line = pump()
    unit.image.set("name", "Grundy")
    async with open_cellar(line) as bus:
        await bus.device(PUMP).write(
            {"far": 3, "mode": 2, "level": 50.0, "limit": 70000}, why="test", valve=True, drain=True
        )
    assert unit.writes == [(100, 2), (0, 4), (20, 1)]
    names = ("level", "limit", "mode", "name", "far", "valve", "drain")
    assert [unit.image.get(name) for name in names] == [50.0, 70000, 2, "Grundy", 3, True, True]


async def test_order_is_kept_when_asked_for(autojump_clock: Clock) -> None:
    unit, line = pump()
    async with open_cellar(line) as bus:
        values = {"far": 3, "mode": 2, "level": 50.0, "limit": 70000}
        await bus.device(PUMP).write(values, why="test", ordered=True)
    assert unit.writes == [(20, 1), (3, 1), (0, 3)]


async def test_no_write_is_longer_than_the_device_takes(autojump_clock: Clock) -> None:
    unit, line = pump()
    short = replace(PUMP, facts=replace(PUMP.facts, write_words_max=2))
    async with open_cellar(line) as bus:
        values = {"mode": 2, "level": 50.0, "limit": 70000, "name": "long"}
        await bus.device(short).write(values, why="test")
    assert unit.writes == [(0, 1), (1, 2), (3, 1), (4, 4)]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"erase": 1}, "erase is not to be written .* erases the pump's memory"),
        ({"hours": 1.0}, "hours is not to be written"),
        ({"mode": 5}, "mode: 5 is outside 0..4"),
        ({"limit": "many"}, "limit"),
    ],
)
async def test_one_wrong_value_and_nothing_is_sent(
    values: dict[str, object], text: str, autojump_clock: Clock
) -> None:
    unit, line = pump()
    async with open_cellar(line) as bus:
        with pytest.raises(grug.EncodeError, match=text):
            await bus.device(PUMP).write({"level": 1.0, **values}, why="test")  # type: ignore[dict-item]
    assert not unit.requests


async def test_two_names_for_one_address_cannot_be_written_at_once(autojump_clock: Clock) -> None:
    both = RegisterMap("both", {each.name: each for each in (register("a", 0), register("b", 0))})
    _, line = pump()
    async with open_cellar(line) as bus:
        with pytest.raises(grug.EncodeError, match="a and b share an address"):
            await bus.device(both).write(a=1, b=2, why="test")


async def test_a_write_that_stops_halfway_says_what_was_done(autojump_clock: Clock) -> None:
    unit, line = pump()
    unit.refuses = {3}
    async with open_cellar(line) as bus:
        with pytest.raises(grug.RefusedError) as caught:
            await bus.device(PUMP).write({"level": 1.0, "mode": 1, "far": 1}, why="test")
    assert "mode: exception 2; written before: level; not written: far" in str(caught.value)


async def test_an_unacknowledged_write_is_not_repeated(autojump_clock: Clock) -> None:
    unit, line = pump(SimFaults(1, origin_s=trio.current_time()))
    line.faults.add(parse_fault("pump:silent@0+1"))
    async with open_cellar(line) as bus:
        with pytest.raises(grug.NoReplyError, match="whether it was taken is unknown"):
            await bus.device(PUMP).write(level=1.0, why="test")
    assert len(unit.writes) == 1


async def test_reading_back_finds_what_the_device_made_of_it(autojump_clock: Clock) -> None:
    class Stubborn(Watched):
        def answer(self, request: ServerRequest, now_s: float) -> bytes | None:
            reply = super().answer(request, now_s)
            self.image.set("level", min(float(self.image.get("level")), 20.0))
            return reply

    line = SimLine("cellar", {"pump": Stubborn(7, RegisterImage(PUMP))})
    async with open_cellar(line) as bus:
        device = bus.device(PUMP)
        await device.write(level=20.0, limit=5, why="test", verify=True)
        with pytest.raises(grug.NotTakenError, match=r"level is 20\.0 cm, not 30\.0 cm$"):
            await device.write(level=30.0, limit=5, why="test", verify=True)


async def test_writes_go_to_the_ledger_with_who_and_why(autojump_clock: Clock) -> None:
    _, line = pump()
    feed = Feed()
    ledger = feed.subscribe("test", WriteDone)
    async with open_cellar(line, feed=feed) as bus:
        await bus.device(PUMP).write(level=1.0, why="cold", who="me")
    (done,) = ledger.drain()
    assert isinstance(done, WriteDone)
    assert (done.request.who, done.request.why) == ("me", "cold")


# Lines


async def test_an_error_leaves_the_block_as_it_was_raised(autojump_clock: Clock) -> None:
    _, line = pump()
    with pytest.raises(grug.NoReplyError) as caught:
        async with open_cellar(line) as bus:
            await bus.device(PUMP, unit=8).read("level")
    assert not isinstance(caught.value, BaseExceptionGroup)
    assert line.end is None


async def test_a_line_can_be_opened_again_after_use(autojump_clock: Clock) -> None:
    _, line = pump()
    for _ in range(2):
        async with open_cellar(line) as bus:
            await bus.device(PUMP).read("level")
    async with open_cellar(line):
        pass
    assert line.end is None


async def test_cancelling_the_block_closes_the_line(autojump_clock: Clock) -> None:
    _, line = pump()
    with trio.move_on_after(0.1) as scope:
        async with open_cellar(line) as bus:
            await bus.device(PUMP, unit=8).read("level")
    assert scope.cancelled_caught
    assert line.end is None


async def test_a_port_that_is_not_there_is_an_error_at_once(autojump_clock: Clock) -> None:
    with pytest.raises(grug.LineError, match="is not there"):
        async with grug.open_line("/dev/no-such-port"):
            raise AssertionError("it cannot be open")


async def test_a_line_that_comes_back_is_used_again(autojump_clock: Clock) -> None:
    faults = SimFaults(1, origin_s=trio.current_time())
    _, line = pump(faults)
    async with open_cellar(line) as bus:
        device = bus.device(PUMP)
        await device.read("level")
        faults.add(parse_fault("cellar:unplug@0+5"))
        with pytest.raises(grug.LineError):
            await device.read("level")
        await trio.sleep(40)
        await device.read("level")


async def test_a_device_added_later_is_read_by_its_own_rules(autojump_clock: Clock) -> None:
    _, line = pump()
    short = replace(PUMP, facts=replace(PUMP.facts, words_max=3))
    other = Watched(9, RegisterImage(short))
    line.units["other"] = other
    async with open_cellar(line) as bus:
        await bus.device(PUMP).read("level")
        await bus.device(short, unit=9).read("level", "limit", "mode")
    assert max(each.count for each in other.requests) == 3


async def test_reads_under_way_survive_a_device_added_later(autojump_clock: Clock) -> None:
    _, line = pump()
    got: list[object] = []

    async def read(device: Device) -> None:
        got.append(await device.read("level"))

    async with open_cellar(line) as bus, trio.open_nursery() as nursery:
        device = bus.device(PUMP)
        for _ in range(100):
            nursery.start_soon(read, device)
        await trio.sleep(0.01)
        with pytest.raises(grug.NoReplyError):
            await bus.device("eastron_sdm120", unit=33).read("voltage")
    assert len(got) == 100


async def test_whoever_still_waits_when_the_line_closes_gets_an_error(
    autojump_clock: Clock,
) -> None:
    _, line = pump()

    async def read(device: Device) -> None:
        with pytest.raises(grug.LineError):
            await device.read("level")

    async with trio.open_nursery() as nursery, open_cellar(line) as bus:
        device = bus.device(PUMP, unit=8)
        for _ in range(200):
            nursery.start_soon(read, device)
        await trio.sleep(0.1)
    with pytest.raises(grug.LineError, match="is not open"):
        await device.read("level")


async def test_a_bug_ends_the_block_and_keeps_nobody_waiting(autojump_clock: Clock) -> None:
    class Broken:
        async def send_all(self, data: bytes) -> None:
            await trio.sleep(0.1)
            raise ZeroDivisionError

        async def receive_some(self) -> bytes:
            raise AssertionError("never asked")

        async def discard_input(self) -> int:
            return 0

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    async def open_broken() -> Broken:
        await trio.lowlevel.checkpoint()
        return Broken()

    async def read(device: Device) -> None:
        for _ in range(3):
            with pytest.raises(grug.LineError):
                await device.read("level")

    async with trio.open_nursery() as nursery:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with grug.open_line(open_broken) as bus:
                nursery.start_soon(read, bus.device(PUMP))
                await trio.sleep_forever()
        assert caught.group_contains(ZeroDivisionError)


@pytest.mark.parametrize("unit", [0, 248])
def test_unit_ids_that_do_not_exist_are_refused(unit: int) -> None:
    _, line = pump()
    with pytest.raises(ValueError, match=r"1\.\.247"):
        open_cellar(line).device(PUMP, unit=unit)


def test_a_map_of_ones_own_is_loaded_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("name,table,address,kind\nlevel,holding_register,3,u16\n")
    assert grug.find_map(path)["level"].address == 3
    assert grug.find_map(str(path)).model == "mine"
    with pytest.raises(grug.MapError, match=r"eastron_sdm120\.csv: there is no such file"):
        grug.find_map(tmp_path / "eastron_sdm120.csv")


# Serving


def request(function: int, address: int, count: int, block: bytes = b"") -> ServerRequest:
    table = {3: HOLDING, 4: INPUT, 5: COIL, 6: HOLDING, 16: HOLDING}[function]
    return ServerRequest(7, function, table, address, count, block, bytes(8))


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (request(3, 0, 41), 3),
        (request(3, 9000, 1), 2),
        (request(16, 3, 2, bytes(4)), 0),
        (request(16, 8, 1, bytes(2)), 2),
        (request(6, 21, 1, bytes(2)), 0),
    ],
)
def test_a_served_unit_keeps_to_its_map(asked: ServerRequest, code: int) -> None:
    reply = ServedUnit(7, RegisterImage(PUMP)).answer(asked, 0.0)
    assert reply is not None
    assert (reply[2] if reply[1] & 0x80 else 0) == code


def test_a_served_unit_wants_multiple_writes_where_the_device_does() -> None:
    strict = replace(PUMP, facts=replace(PUMP.facts, write_function="multiple"))
    reply = ServedUnit(7, RegisterImage(strict)).answer(request(6, 3, 1, bytes(2)), 0.0)
    assert reply is not None
    assert reply[1:3] == bytes((0x86, 1))


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
