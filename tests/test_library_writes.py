"""grug as a library: writes without holes, and a map served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing
from pump import COIL, HOLDING, INPUT, PUMP, Clock, Watched, make_register, open_cellar, pump

import grug
from grug.codec.image import RegisterImage
from grug.codec.registers import RegisterMap, Storage
from grug.control.writes import WriteRules
from grug.device.server import ServedUnit
from grug.messages import WriteDone
from grug.protocol.server import ServerRequest
from grug.runtime.feed import Feed
from grug.sim.faults import SimFaults, parse_fault
from grug.sim.line import SimLine

WORN = Storage.EEPROM

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
    both = RegisterMap(
        "both", {each.name: each for each in (make_register("a", 0), make_register("b", 0))}
    )
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
    assert (
        "mode: exception 2 (illegal data address); written before: level; not written: far"
        in str(caught.value)
    )


async def test_an_unacknowledged_write_is_looked_at_and_not_repeated(autojump_clock: Clock) -> None:
    unit, line = pump(SimFaults(1, origin_s=trio.current_time()))
    line.faults.add(parse_fault("pump:silent@0+1"))
    async with open_cellar(line) as bus:
        (record,) = await bus.device(PUMP).write(level=1.0, why="test")
    assert len(unit.writes) == 1
    assert (record.state, record.reason) == ("applied", "taken, though not said so")


async def test_a_write_that_nobody_can_look_at_may_have_been_taken(autojump_clock: Clock) -> None:
    unit, line = pump(SimFaults(1, origin_s=trio.current_time()))
    line.faults.add(parse_fault("pump:silent@0+60"))
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


async def test_a_directory_counts_writes_from_line_to_line(tmp_path: Path) -> None:
    worn = replace(
        PUMP, registers=PUMP.registers | {"mode": make_register("mode", 3, storage=WORN)}
    )
    rules = WriteRules(interval_s=0.0, per_year=2)
    for mode in (1, 2):
        _, line = pump()
        async with open_cellar(line, ledger=tmp_path, rules=rules) as bus:
            await bus.device(worn).write(mode=mode, why="test")
    unit, line = pump()
    async with open_cellar(line, ledger=tmp_path, rules=rules) as bus:
        with pytest.raises(grug.NotAllowedError, match="2 times in 365 days; its budget is 2"):
            await bus.device(worn).write(mode=3, why="test")
        await bus.device(worn).write(mode=4, why="it has to be", force=True)
    assert unit.image.get("mode") == 4
