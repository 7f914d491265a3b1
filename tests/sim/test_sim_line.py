"""Simulated lines: the timing of real wires, their faults, and the meter port that asks."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from configs import small_house

from grug.errors import LineError
from grug.model import Span
from grug.protocol.rtu import crc_is_good, with_crc
from grug.protocol.server import RequestFramer, read_reply
from grug.sim.faults import Fault, FaultKind, SimFaults, parse_fault
from grug.sim.line import (
    LATE_S,
    METER_TIMEOUT_S,
    TURNAROUND_S,
    SimEnd,
    SimLine,
    wire_character_s,
)
from grug.sim.wiring import SimulatedHouse
from grug.transport.line import Line

READ_POWER = with_crc(bytes((1, 4, 0, 52, 0, 2)))


async def exchange(line: Line, adu: bytes = READ_POWER, timeout_s: float = 0.3) -> bytes:
    """Everything that comes within the timeout; stops early at a whole good frame."""
    await line.send_all(adu)
    got = b""
    with trio.move_on_after(timeout_s):
        while not crc_is_good(got):
            got += await line.receive_some()
    return got


def simulated(seed: int = 1) -> SimulatedHouse:
    return SimulatedHouse(small_house(), seed, start_hour=12.0)


async def test_exchange_takes_the_time_of_the_wire(autojump_clock: trio.testing.MockClock) -> None:
    line = await simulated().opener("grid")()
    start_s = trio.current_time()
    reply = await exchange(line)
    assert len(reply) == 9
    expected_s = (8 + 9) * wire_character_s(19200) + TURNAROUND_S
    assert trio.current_time() - start_s == pytest.approx(expected_s)


async def test_busy_wire_delays_the_next_frame(autojump_clock: trio.testing.MockClock) -> None:
    line = await simulated().opener("grid")()
    start_s = trio.current_time()
    await line.send_all(READ_POWER)
    await line.send_all(READ_POWER)
    first = await line.receive_some()
    second = await line.receive_some()
    assert len(first) == len(second) == 9
    once_s = (8 + 9) * wire_character_s(19200) + TURNAROUND_S
    assert trio.current_time() - start_s == pytest.approx(2 * once_s)


async def test_unknown_unit_is_silent(autojump_clock: trio.testing.MockClock) -> None:
    line = await simulated().opener("grid")()
    assert await exchange(line, with_crc(bytes((9, 4, 0, 52, 0, 2)))) == b""


@pytest.mark.parametrize("kind", [FaultKind.SILENT, FaultKind.LATE])
async def test_fault_lasts_as_long_as_it_says(
    kind: FaultKind, autojump_clock: trio.testing.MockClock
) -> None:
    sim = simulated()
    sim.apply(f"grid:{kind}@10+20")
    line = await sim.opener("grid")()
    assert len(await exchange(line)) == 9
    await trio.sleep(10)
    assert await exchange(line) == b""
    await trio.sleep(20)
    line.discard_input()
    assert len(await exchange(line)) == 9


async def test_late_reply_comes_after_the_timeout(autojump_clock: trio.testing.MockClock) -> None:
    sim = simulated()
    sim.apply("grid:late")
    line = await sim.opener("grid")()
    assert await exchange(line) == b""
    await trio.sleep(LATE_S)
    assert line.discard_input() == 9


async def test_garbage_never_has_a_good_checksum(autojump_clock: trio.testing.MockClock) -> None:
    sim = simulated()
    sim.apply("grid:garbage")
    line = await sim.opener("grid")()
    for _ in range(50):
        assert not crc_is_good(await exchange(line))


async def test_foreign_reply_is_well_formed_but_another_units(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sim = simulated()
    sim.apply("grid:foreign")
    reply = await exchange(await sim.opener("grid")())
    assert crc_is_good(reply)
    assert reply[0] != 1


async def test_split_and_noisy_replies_hold_the_reply(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sim = simulated()
    line = await sim.opener("grid")()
    whole = await exchange(line)
    sim.apply("grid:split")
    await line.send_all(READ_POWER)
    pieces = [await line.receive_some(), await line.receive_some()]
    assert all(len(piece) < len(whole) for piece in pieces)
    assert crc_is_good(b"".join(pieces))
    sim.apply("grid:noise")
    noisy = await exchange(line)
    assert len(noisy) == len(whole) + 3
    assert crc_is_good(noisy[3:])


async def test_echo_comes_before_the_reply(autojump_clock: trio.testing.MockClock) -> None:
    sim = simulated()
    line = await SimLine("grid", {"grid": sim.units["grid"]}, baudrate=19200, echoes=True).open()
    await line.send_all(READ_POWER)
    assert await line.receive_some() == READ_POWER
    assert len(await line.receive_some()) == 9


async def test_pulled_adapter_wakes_the_reader_and_opens_again_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sim = simulated()
    sim.apply("grid:unplug@5+10")
    opener = sim.opener("grid")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sim.run)
        line = await opener()
        with pytest.raises(LineError, match="unplugged"):
            await line.receive_some()
        assert trio.current_time() == pytest.approx(5.0)
        with pytest.raises(LineError, match="unplugged"):
            await line.send_all(b"x")
        await line.aclose()
        with pytest.raises(LineError, match="no such adapter"):
            await opener()
        await trio.sleep(10)
        line = await opener()
        assert len(await exchange(line)) == 9
        sim.apply("meter1:unplug")
        nursery.cancel_scope.cancel()


async def test_line_opens_once_at_a_time(autojump_clock: trio.testing.MockClock) -> None:
    opener = simulated().opener("grid")
    line = await opener()
    with pytest.raises(LineError, match="open already"):
        await opener()
    await line.aclose()
    await line.aclose()
    with pytest.raises(LineError, match="closed"):
        await line.receive_some()
    await opener()


async def test_line_without_anything_on_it_does_not_open(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sim = simulated()
    del sim.ports["evse"]
    with pytest.raises(LineError, match="nothing is connected"):
        await sim.opener("evse")()


async def serve_meter(line: Line, power_w: int) -> None:
    """Answer as an Acrel meter would."""
    framer = RequestFramer(9600)
    words = bytearray(130)
    words[26:28] = power_w.to_bytes(2, "big", signed=True)
    while True:
        for request in framer.receive(await line.receive_some(), trio.current_time()):
            await line.send_all(read_reply(request, bytes(words)))


async def test_inverter_asks_four_times_a_second_and_believes_the_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sim = simulated()
    port = sim.meter_ports["fake1"]
    with trio.move_on_after(10.1):
        await serve_meter(await sim.opener("meter1")(), -321)
    assert port.asked == port.answered == 41
    sim.truth()
    assert sim.house.inverters[0].belief_w == -321.0
    assert not sim.house.inverters[0].is_meter_lost
    assert sim.house.inverters[1].is_meter_lost


async def test_belief_begins_when_the_answer_has_passed_the_wire(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sim = simulated()
    line = await sim.opener("meter1")()
    with trio.move_on_after(0.1):
        await serve_meter(line, 500)
    sim.house.advance(0.1)
    assert sim.house.inverters[0].belief_s < 0.0
    sim.house.advance(0.4)
    character_s = wire_character_s(9600)
    assert sim.house.inverters[0].belief_s == pytest.approx((8 + 135) * character_s)


async def test_unanswered_inverter_asks_again_after_its_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sim = simulated()
    line = await sim.opener("meter1")()
    times = []
    for _ in range(4):
        await line.receive_some()
        times.append(trio.current_time())
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps == pytest.approx([METER_TIMEOUT_S] * 3)


async def test_answer_after_the_timeout_is_not_believed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sim = simulated()
    line = await sim.opener("meter1")()
    (request,) = RequestFramer(9600).receive(await line.receive_some(), 0.0)
    await trio.sleep(METER_TIMEOUT_S + 0.01)
    await line.send_all(read_reply(request, bytes(130)))
    assert sim.meter_ports["fake1"].answered == 0


async def test_silent_inverter_does_not_ask(autojump_clock: trio.testing.MockClock) -> None:
    sim = simulated()
    sim.apply("fake1:silent@0+5")
    line = await sim.opener("meter1")()
    await line.receive_some()
    assert trio.current_time() >= 5.0
    assert isinstance(line, SimEnd)


async def test_garbled_answers_count_as_none(autojump_clock: trio.testing.MockClock) -> None:
    sim = simulated()
    sim.apply("fake1:garbage")
    with trio.move_on_after(7):
        await serve_meter(await sim.opener("meter1")(), 100)
    sim.truth()
    assert sim.house.inverters[0].is_meter_lost


async def test_eastron_profile_is_asked_for_its_input_registers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sim = SimulatedHouse(small_house("eastron_sdm120"), 1)
    line = await sim.opener("meter2")()
    (request,) = RequestFramer(9600).receive(await line.receive_some(), 0.0)
    assert (request.unit_id, request.function, request.address) == (2, 4, 0)
    unit = SimulatedHouse(small_house(), 1).units["ac2"]
    unit.sources["active_power"] = lambda: 777.0
    block = unit.read(Span(request.table, request.address, request.count), 0.0)
    assert isinstance(block, bytes)
    await line.send_all(read_reply(request, block))
    sim.house.advance(5.0)
    assert sim.house.inverters[1].belief_w == 777.0


def test_fault_is_read_as_a_person_writes_it() -> None:
    assert parse_fault("grid:silent@60+20") == Fault("grid", FaultKind.SILENT, 60.0, 20.0)
    assert parse_fault("solis1_meter:unplug", now_s=7.0).start_s == 7.0
    assert parse_fault("grid:late+2.5").end_s == 2.5
    for text, said in (("grid", "no fault"), ("grid:sad", "no kind"), ("a:late@x", "no fault")):
        with pytest.raises(ValueError, match=said):
            parse_fault(text)


async def test_fault_of_nobody_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(ValueError, match="not in this house"):
        simulated().apply("gird:silent")


def test_faults_of_one_seed_are_the_same() -> None:
    first, second = SimFaults(5), SimFaults(5)
    assert first.garbled(bytes(20)) == second.garbled(bytes(20))
    assert SimFaults(6).noise(8) != SimFaults(5).noise(8)
