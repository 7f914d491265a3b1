"""Inverters told by their registers, in the closed loop of the simulated house."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
from configs import small_house

from grug.app import parts
from grug.app.control import House
from grug.app.writing import open_gate
from grug.config.types import HouseConfig, OffsetConfig
from grug.control.dispatch import is_as_told
from grug.messages import (
    Decided,
    DispatchChanged,
    MeterImage,
    Noted,
    ReadFailed,
    ReadRegisters,
    SetOffset,
    UnitChanged,
    WriteFailed,
)
from grug.model import FailureKind, UnitHealth
from grug.runtime.calls import BusCaller, BusReply, BusRequest, Caller
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed
from grug.sim.actors import SimActors
from grug.sim.devices import SolisUnit
from grug.sim.dispatch import Dispatched
from grug.sim.seeded import run_seeded
from grug.sim.wiring import SimulatedHouse

pytestmark = pytest.mark.slow


def without_fakemeters(house: HouseConfig, *names: str) -> HouseConfig:
    """The same house, in which these have a true meter of their own and are told by registers."""
    inverters = dict(house.inverter)
    gone = set()
    for name in names:
        gone.add(inverters[name].fakemeter)
        inverters[name] = msgspec.structs.replace(inverters[name], control="dispatch", fakemeter="")
    meters = {name: meter for name, meter in house.fakemeter.items() if name not in gone}
    lines = {
        name: line
        for name, line in house.line.items()
        if name not in {house.fakemeter[each].line for each in gone}
    }
    return msgspec.structs.replace(house, line=lines, inverter=inverters, fakemeter=meters)


MEASURED = {"gain": 0.45, "dead_time": 0.55, "lag": 0.1}
"""Of the simulated inverters, as house.toml says it."""


def config_of(control: str, offset_w: float = -2000.0, *, is_measured: bool = False) -> HouseConfig:
    house = small_house()
    known = MEASURED if is_measured else {}
    inverters = {
        name: msgspec.structs.replace(inverter, control=control, **known)
        for name, inverter in house.inverter.items()
    }
    return msgspec.structs.replace(house, inverter=inverters, offset=OffsetConfig(power=offset_w))


class Replies:
    """Which part of the replies is lost; whatever was asked for is done."""

    def __init__(self) -> None:
        self.lost = 0.0
        self.random = random.Random(7)


class LossyCaller(Caller[BusRequest, BusReply]):
    """A line that carries every request, and says of its units what a bus does.

    None is ever offline: polls, which lose nothing here, come between any three failures.
    """

    def __init__(self, line: str, inner: BusCaller, replies: Replies, feed: Feed) -> None:
        self._line = line
        self._inner = inner
        self._replies = replies
        self._feed = feed
        self._healths: dict[int, UnitHealth] = {}

    def _note(self, unit_id: int, *, is_lost: bool) -> None:
        health = UnitHealth.SUSPECT if is_lost else UnitHealth.HEALTHY
        if health is not self._healths.get(unit_id):
            self._healths[unit_id] = health
            now_s = trio.current_time()
            self._feed.publish(UnitChanged(self._line, unit_id, health, "lossy", now_s))

    async def ask(self, request: BusRequest) -> BusReply:
        reply = await self._inner.ask(request)
        is_lost = self._replies.random.random() < self._replies.lost
        if is_lost:
            await trio.sleep(0.3)
        if not is_lost:
            if not isinstance(reply, ReadFailed | WriteFailed):
                self._note(request.unit_id, is_lost=False)
            return reply
        self._note(request.unit_id, is_lost=True)
        kind, text, now_s = FailureKind.NO_REPLY, "no reply", trio.current_time()
        if isinstance(request, ReadRegisters):
            return ReadFailed(kind, text, now_s)
        return WriteFailed("com", request, kind, text, now_s)


class Loop:
    """A house that runs, and what it says."""

    def __init__(self, config: HouseConfig, has_dispatch: bool) -> None:
        self.house = House(config)
        self.maps = parts.load_maps(config)
        self.simulated = SimulatedHouse(config, 1, start_hour=11.0)
        self.told = self.house.feed.subscribe("test", DispatchChanged, Noted)
        self.units = [unit for unit in self.simulated.units.values() if isinstance(unit, SolisUnit)]
        for unit in self.units:
            unit.has_dispatch = has_dispatch
        self.controllers = trio.CancelScope()
        self.replies = Replies()

    async def run(self) -> None:
        actors = SimActors(self.simulated, self.house.feed)
        lossy = {
            name: LossyCaller(name, bus, self.replies, self.house.feed)
            for name, bus in actors.buses.items()
        }
        gate = open_gate(self.house, self.maps, lossy, wall=WallClock(0.0))
        async with trio.open_nursery() as sources:
            sources.start_soon(actors.run)
            sources.start_soon(self.simulated.run)
            sources.start_soon(gate.part.start)
            with self.controllers:
                async with trio.open_nursery() as commanding:
                    for part in parts.controllers(self.house, self.maps, gate):
                        commanding.start_soon(part.start)

    async def grid_w(self, over_s: float = 20.0) -> float:
        """Mean power at the grid, plus = import."""
        before = self.simulated.truth()
        await trio.sleep(over_s)
        after = self.simulated.truth()
        net_wh = sum(
            sign * (after[name] - before[name])
            for name, sign in (("import_wh", 1), ("export_wh", -1))
        )
        return net_wh * 3600.0 / over_s

    def enabled(self) -> list[int]:
        for unit in self.units:
            unit.read(unit.register_map["dispatch_enabled"].span, trio.current_time())
        return [int(unit.image.get("dispatch_enabled")) for unit in self.units]

    def carried(self) -> list[float]:
        now_s = trio.current_time()
        self.simulated.house.advance(now_s)
        held = [inverter.dispatched for inverter in self.simulated.house.inverters]
        return [each.power_w if each is not None and each.mode == 3 else 0.0 for each in held]

    def beliefs(self) -> float:
        return sum(inverter.belief_w for inverter in self.simulated.house.inverters)

    def notes(self) -> list[str]:
        return [each.text for each in self.told.drain() if isinstance(each, Noted)]


@asynccontextmanager
async def running(
    control: str,
    offset_w: float = -2000.0,
    *,
    has_dispatch: bool = True,
    truly_metered: Sequence[str] = (),
    is_measured: bool = False,
) -> AsyncIterator[Loop]:
    config = config_of(control, offset_w, is_measured=is_measured)
    loop = Loop(without_fakemeters(config, *truly_metered), has_dispatch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        yield loop
        nursery.cancel_scope.cancel()


def run(check: Callable[[], object]) -> None:
    run_seeded(check, seed=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("control", ["dispatch", "both"])
def test_the_registers_carry_the_offset_and_the_meter_tells_the_truth(control: str) -> None:
    async def check() -> None:
        async with running(control) as loop:
            await trio.sleep(40)
            assert loop.carried() == [-1000.0, -1000.0]
            assert await loop.grid_w() == pytest.approx(2000.0, abs=250.0)
            assert loop.beliefs() == pytest.approx(loop.simulated.house.grid_w, abs=500.0)

    run(check)


def test_meter_alone_and_both_put_the_grid_at_the_same_power() -> None:
    powers_w: dict[str, float] = {}

    async def check(control: str) -> None:
        async with running(control) as loop:
            await trio.sleep(60)
            powers_w[control] = await loop.grid_w(60.0)

    for control in ("mitm", "both"):
        run_seeded(check, control, seed=1)
    assert powers_w["both"] == pytest.approx(powers_w["mitm"], abs=150.0)


def test_grug_dies_and_the_inverter_takes_back_control_within_its_timer() -> None:
    async def check() -> None:
        async with running("dispatch") as loop:
            await trio.sleep(40)
            assert loop.enabled() == [1, 1]
            loop.controllers.cancel()  # Like SIGKILL: nobody says good-bye.
            await trio.sleep(30)
            assert loop.enabled() == [1, 1]
            await trio.sleep(35)
            assert loop.enabled() == [0, 0]
            assert loop.carried() == [0.0, 0.0]

    run(check)


def test_a_stop_gives_the_inverters_back_at_once() -> None:
    async def check() -> None:
        async with running("both") as loop:
            await trio.sleep(40)
            loop.house.stopping.set()
            await trio.sleep(2.5)
            assert loop.enabled() == [0, 0]
            modes = [unit.image.get("dispatch_mode") for unit in loop.units]
            assert modes == [5, 5]

    run(check)


@pytest.mark.parametrize("after_s", [0.4, 0.7, 1.0, 1.3, 1.6])
def test_a_stop_in_the_middle_of_a_start_gives_them_back_too(after_s: float) -> None:
    async def check() -> None:
        async with running("both", 0.0) as loop:
            await trio.sleep(20)
            wish = SetOffset(-1500.0, trio.current_time() + 60.0, "test", "why")
            loop.house.feed.publish(wish)
            await trio.sleep(after_s)
            loop.house.stopping.set()
            await trio.sleep(2.9)
            assert loop.enabled() == [0, 0]

    run(check)


def test_the_timer_never_ends_while_grug_lives_and_the_offset_moves() -> None:
    async def check() -> None:
        async with running("both") as loop:
            await trio.sleep(30)
            for turn in range(40):
                wish = SetOffset(-1000.0 - 100.0 * turn, trio.current_time() + 60.0, "test", "why")
                loop.house.feed.publish(wish)
                await trio.sleep(6)
                assert loop.enabled() == [1, 1]

    run(check)


def test_no_offset_leaves_the_inverters_to_themselves() -> None:
    async def check() -> None:
        async with running("both", 0.0) as loop:
            await trio.sleep(30)
            assert loop.enabled() == [0, 0]
            wish = SetOffset(1500.0, trio.current_time() + 20.0, "test", "an hour of export")
            loop.house.feed.publish(wish)
            await trio.sleep(15)
            assert loop.carried() == [750.0, 750.0]
            await trio.sleep(20)
            assert loop.enabled() == [0, 0]

    run(check)


@pytest.mark.parametrize("is_measured", [False, True])
@pytest.mark.parametrize(("control", "grid_w"), [("both", 2000.0), ("dispatch", 0.0)])
def test_firmware_without_the_registers(control: str, grid_w: float, is_measured: bool) -> None:
    async def check() -> None:
        async with running(control, has_dispatch=False, is_measured=is_measured) as loop:
            await trio.sleep(60)
            assert await loop.grid_w() == pytest.approx(grid_w, abs=300.0)
            notes = [note for note in loop.notes() if "no dispatch by registers" in note]
            assert len(notes) == 2
            assert "input 34502 reads 0, not 43605" in notes[0]

    run(check)


def test_a_lost_grid_meter_ends_what_the_registers_say() -> None:
    async def check() -> None:
        async with running("both") as loop:
            await trio.sleep(40)
            loop.simulated.apply("grid:silent+60")
            await trio.sleep(15)
            assert loop.enabled() == [0, 0]

    run(check)


def test_what_somebody_else_writes_is_noticed_and_ended() -> None:
    async def check() -> None:
        async with running("both") as loop:
            await trio.sleep(40)
            loop.units[0].image.set("dispatch_mode", 2)
            loop.units[0].image.set("dispatch_power", 3000.0)
            await trio.sleep(30)
            assert loop.carried() == [-1000.0, -1000.0]

    run(check)


class Offsets:
    """What meters and registers together make of an offset, decision by decision."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._said = loop.house.feed.subscribe("offsets", Decided, MeterImage)
        self.told_w: list[float] = []
        """What all meters say beside the grid's power, and what all registers carry."""

    async def watch(self) -> None:
        while True:
            for message in await self._said.receive_batch():
                if not isinstance(message, Decided) or message.controller != "offset":
                    continue
                grid_w, _, *served_w = message.values
                self.told_w.append(sum(served_w) - grid_w + sum(self._loop.carried()))


@pytest.mark.parametrize("lost", [0.3, 0.7, 1.0])
def test_a_line_that_loses_replies_never_doubles_the_offset(lost: float) -> None:
    """Each write may have been taken: then registers and meter both would carry it."""

    async def check() -> None:
        async with running("both", 0.0) as loop:
            offsets = Offsets(loop)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(offsets.watch)
                await trio.sleep(10)
                for turn in range(12):
                    wish_w = (-2000.0, 1500.0, -800.0)[turn % 3]
                    expires_s = trio.current_time() + 60.0
                    loop.house.feed.publish(SetOffset(wish_w, expires_s, "test", "why"))
                    loop.replies.lost = lost if turn % 2 == 0 else 0.0
                    await trio.sleep(3)  # While it slews, the last wish's part may still be there.
                    offsets.told_w.clear()
                    await trio.sleep(30)
                    # One that does not follow is told its part, and the other one all.
                    bound_w = 1.3 * 2000.0
                    assert max(map(abs, offsets.told_w)) <= bound_w
                nursery.cancel_scope.cancel()

    run(check)


def test_after_lost_replies_the_offset_comes_back() -> None:
    async def check() -> None:
        async with running("both") as loop:
            await trio.sleep(40)
            loop.replies.lost = 1.0
            await trio.sleep(200)
            loop.replies.lost = 0.0
            await trio.sleep(120)
            assert loop.carried() == [-1000.0, -1000.0]
            assert await loop.grid_w() == pytest.approx(2000.0, abs=250.0)

    run(check)


def test_an_earlier_run_that_was_killed_is_not_added_to() -> None:
    """Its registers hold until its timer ends: until they were read the meter says no offset."""

    async def check() -> None:
        async with running("both", -2000.0) as loop:
            for inverter in loop.simulated.house.inverters:
                inverter.dispatched = Dispatched(3, -1000.0, 1800.0)
            for unit in loop.units:
                unit.image.set("dispatch_enabled", 1)
            loop.replies.lost = 1.0
            offsets = Offsets(loop)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(offsets.watch)
                await trio.sleep(600)
                assert min(offsets.told_w) >= -2250.0
                loop.replies.lost = 0.0
                await trio.sleep(90)
                assert loop.carried() == [-1000.0, -1000.0]
                nursery.cancel_scope.cancel()

    run(check)


def test_a_house_without_any_fake_meter_is_steered_by_registers() -> None:
    async def check() -> None:
        names = ("solis1", "solis2")
        async with running("dispatch", truly_metered=names) as loop:
            assert not loop.house.config.fakemeter
            await trio.sleep(60)
            assert loop.carried() == [-2000.0, -2000.0]
            assert await loop.grid_w(60.0) == pytest.approx(2000.0, abs=150.0)
            loop.simulated.apply("grid:silent+120")
            await trio.sleep(20)
            assert loop.enabled() == [0, 0]

    run(check)


@pytest.mark.parametrize("truly_metered", ["solis1", "solis2"])
def test_one_by_its_registers_and_one_by_its_meter_aim_at_the_same(truly_metered: str) -> None:
    async def check() -> None:
        async with running("mitm", -2000.0, truly_metered=(truly_metered,)) as loop:
            await trio.sleep(60)
            circulating_w = []
            for _ in range(40):
                assert await loop.grid_w(60.0) == pytest.approx(2000.0, abs=250.0)
                first_w, second_w = (
                    each.battery.power_w for each in loop.simulated.house.inverters
                )
                opposed = first_w * second_w < 0.0
                circulating_w.append(min(abs(first_w), abs(second_w)) if opposed else 0.0)
            assert sorted(circulating_w)[-4] < 400.0

    run(check)


async def against_w(loop: Loop, for_s: float) -> float:
    """The largest power from one battery to the other, each half second."""
    largest_w = 0.0
    for _ in range(round(2.0 * for_s)):
        await trio.sleep(0.5)
        house = loop.simulated.house
        house.advance(trio.current_time())
        charging_w = sorted(each.battery.power_w for each in house.inverters)
        largest_w = max(largest_w, min(-charging_w[0], charging_w[-1]))
    return largest_w


@pytest.mark.parametrize("is_measured", [False, True])
def test_a_true_meter_without_registers_is_fought_by_nobody(is_measured: bool) -> None:
    async def check() -> None:
        async with running(
            "mitm", has_dispatch=False, truly_metered=("solis2",), is_measured=is_measured
        ) as loop:
            said = loop.house.feed.subscribe("reasons", Decided, wanted=is_offset)
            await trio.sleep(30)
            assert await against_w(loop, 300.0) < 400.0
            assert await loop.grid_w() == pytest.approx(0.0, abs=150.0)
            last = said.drain()[-1]
            assert isinstance(last, Decided)
            assert "solis2 has a true meter and its registers do not carry it" in last.reason
            assert "no dispatch by registers" in last.reason

    run(check)


def is_offset(message: object) -> bool:
    return isinstance(message, Decided) and message.controller == "offset"


def test_of_two_true_meters_one_without_registers_is_not_fought_by_the_other() -> None:
    async def check() -> None:
        async with running("dispatch", truly_metered=("solis1", "solis2")) as loop:
            loop.units[1].has_dispatch = False
            await trio.sleep(30)
            assert await against_w(loop, 600.0) < 700.0

    run(check)


def test_a_line_that_is_lost_takes_the_offset_along_and_brings_it_back() -> None:
    async def check() -> None:
        async with running("mitm", truly_metered=("solis2",), is_measured=True) as loop:
            await trio.sleep(60)
            assert await loop.grid_w() == pytest.approx(2000.0, abs=250.0)
            loop.replies.lost = 1.0
            await trio.sleep(180)
            assert await against_w(loop, 120.0) < 400.0
            assert await loop.grid_w() == pytest.approx(0.0, abs=150.0)
            loop.replies.lost = 0.0
            await trio.sleep(120)
            assert await loop.grid_w() == pytest.approx(2000.0, abs=250.0)

    run(check)


@pytest.mark.parametrize("is_on", [True, False])
@pytest.mark.parametrize("is_measured", [False, True])
@pytest.mark.parametrize("control", ["mitm", "dispatch", "both"])
def test_one_that_answers_no_more_is_neither_doubled_nor_fed(
    control: str, is_measured: bool, is_on: bool
) -> None:
    """Its registers go on for up to a minute, and whatever its battery does nobody can see."""

    async def check() -> None:
        async with running(control, is_measured=is_measured) as loop:
            await trio.sleep(60)
            assert await loop.grid_w() == pytest.approx(2000.0, abs=250.0)
            loop.simulated.house.inverters[0].is_on = is_on
            loop.simulated.apply("solis1:silent+150")
            for _ in range(14):
                assert await loop.grid_w(10.0) < 2500.0, "sun may come that nobody can store"
                assert await against_w(loop, 0.5) < 400.0
            await trio.sleep(30)
            loop.simulated.house.inverters[0].is_on = True
            await trio.sleep(60)
            assert await loop.grid_w() == pytest.approx(2000.0, abs=250.0)
            assert loop.carried()[0] == (0.0 if control == "mitm" else -1000.0)

    run(check)


def test_the_look_at_the_registers_knows_its_own_values() -> None:
    assert is_as_told((1, -1000.0, 3), -1000.0)
    assert not is_as_told((0, -1000.0, 3), -1000.0)
    assert not is_as_told((1, None, 3), -1000.0)
