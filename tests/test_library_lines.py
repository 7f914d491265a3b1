"""grug as a library: lines that open, close, break and come back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing
from pump import PUMP, Clock, Watched, open_cellar, pump

import grug
from grug.codec.image import RegisterImage
from grug.device.device import Device
from grug.sim.faults import SimFaults, parse_fault


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

        def interrupt(self) -> None:
            pass

        def discard_input(self) -> int:
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
