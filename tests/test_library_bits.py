"""grug as a library: bits of a bit field, and writes that are read back at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from pump import HOLDING, Clock, Watched, make_register

import grug
from grug.codec.image import RegisterImage
from grug.codec.registers import Access, Bit, DeviceFacts, Kind, RegisterMap, WordOrder
from grug.protocol.rtu import with_crc
from grug.protocol.server import ServerRequest
from grug.sim.faults import SimFaults, parse_fault
from grug.sim.line import SimLine

BITS = (Bit(0, "Pump"), Bit(3, "Valve"), Bit(9, "Alarm", active_low=True))
BOILER = RegisterMap(
    "boiler",
    {
        each.name: each
        for each in (
            make_register("mode", 5, bits=BITS),
            make_register("wide", 6, Kind.U32, order=WordOrder.CDAB, bits=(Bit(17, "Far"),)),
            make_register("fixed", 8, bits=BITS, access=Access.NEVER, note="it burns"),
            make_register("plain", 9),
        )
    },
    DeviceFacts(unit_id=7),
)


def boiler(*functions: int) -> tuple[Watched, SimLine, RegisterMap]:
    known = replace(BOILER, facts=replace(BOILER.facts, functions=frozenset(functions)))
    unit = Watched(7, RegisterImage(known))
    return unit, SimLine("cellar", {"boiler": unit}), known


def functions_of(unit: Watched) -> list[int]:
    return [request.function for request in unit.requests]


@pytest.mark.parametrize(("functions", "used"), [((22,), [22]), ((), [3, 6])])
async def test_one_bit_is_written_and_the_others_stay(
    functions: tuple[int, ...], used: list[int], autojump_clock: Clock
) -> None:
    unit, line, known = boiler(*functions)
    unit.image.set("mode", 0x8201)
    async with grug.open_line(line.open) as bus:
        await bus.device(known).write_bits("mode", {"Valve": True, "Alarm": True}, why="test")
    assert functions_of(unit) == used
    assert unit.image.get("mode") == 0x8009


async def test_two_words_are_read_and_written_back_whatever_their_order(
    autojump_clock: Clock,
) -> None:
    unit, line, known = boiler(22)
    unit.image.set("wide", 0x12345678)
    async with grug.open_line(line.open) as bus:
        await bus.device(known).write_bits("wide", {"Far": True}, why="test", verify=True)
    assert functions_of(unit) == [3, 3, 16, 3]
    assert unit.image.get("wide") == 0x12365678


@pytest.mark.parametrize(
    ("name", "bits", "text"),
    [
        ("mode", {"Valv": True}, "no bit 'Valv'; did you mean 'Valve'"),
        ("mode", {}, "no bit"),
        ("plain", {"Valve": True}, "no bit 'Valve'"),
        ("fixed", {"Pump": True}, "not to be written .* it burns"),
    ],
)
async def test_what_has_no_such_bit_is_not_written(
    name: str, bits: dict[str, bool], text: str, autojump_clock: Clock
) -> None:
    unit, line, known = boiler()
    async with grug.open_line(line.open) as bus:
        with pytest.raises(grug.EncodeError, match=text):
            await bus.device(known).write_bits(name, bits, why="test")
    assert not unit.requests


async def test_a_silent_device_gets_no_guessed_bits(autojump_clock: Clock) -> None:
    unit, _, known = boiler()
    faults = SimFaults(1, origin_s=trio.current_time())
    line = SimLine("cellar", {"boiler": unit}, faults=faults)
    faults.add(parse_fault("boiler:silent@0+1"))
    async with grug.open_line(line.open) as bus:
        with pytest.raises(grug.NoReplyError, match=r"mode: .* it was not sent"):
            await bus.device(known).write_bits("mode", {"Pump": True}, why="test")
    assert set(functions_of(unit)) == {3}


async def test_a_bit_that_the_device_does_not_keep_is_told(autojump_clock: Clock) -> None:
    class Stubborn(Watched):
        def answer(self, request: ServerRequest, now_s: float) -> bytes | None:
            reply = super().answer(request, now_s)
            self.image.set("mode", 0)
            return reply

    line = SimLine("cellar", {"boiler": Stubborn(7, RegisterImage(BOILER))})
    async with grug.open_line(line.open) as bus:
        with pytest.raises(grug.NotTakenError, match="mode: not taken: Valve"):
            await bus.device(BOILER).write_bits(
                "mode", {"Valve": True, "Pump": False}, why="test", verify=True
            )


async def test_a_write_that_is_read_back_takes_one_transaction_where_the_device_can(
    autojump_clock: Clock,
) -> None:
    unit, line, known = boiler(23)
    async with grug.open_line(line.open) as bus:
        await bus.device(known).write(plain=77, why="test", verify=True)
        await bus.device(known).write(plain=78, why="test")
    assert functions_of(unit) == [3, 23, 6]
    assert unit.image.get("plain") == 78


async def test_another_read_back_is_looked_at_twice(autojump_clock: Clock) -> None:
    class Slow(Watched):
        """Holds what it held for as long as one request takes."""

        def answer(self, request: ServerRequest, now_s: float) -> bytes | None:
            reply = super().answer(request, now_s)
            if request.reads is None or reply is None:
                return reply
            return with_crc(bytes((*reply[:3], 0, 0)))

    unit = Slow(7, RegisterImage(boiler(23)[2]))
    line = SimLine("cellar", {"boiler": unit})
    async with grug.open_line(line.open) as bus:
        await bus.device(unit.image.register_map).write(plain=77, why="test", verify=True)
    assert functions_of(unit) == [3, 23, 3]


@pytest.mark.parametrize("function", [22, 23])
async def test_a_served_device_without_the_function_refuses_it(
    function: int, autojump_clock: Clock
) -> None:
    unit, _, _ = boiler()
    request = ServerRequest(7, function, HOLDING, 5, 1, b"\0\1", bytes(10), mask=b"\0\1")
    reply = unit.answer(request, 0.0)
    assert reply is not None
    assert reply[1:3] == bytes((function | 0x80, 1))
