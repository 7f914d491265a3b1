"""One inverter told by its registers, by a gate that fails now and then."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio
import trio.testing
from pump import Clock

from grug.actors import dispatch
from grug.control.dispatch import ENABLED, EXISTS, MODE, POWER, PROBE, DispatchSettings
from grug.messages import (
    Decided,
    DispatchChanged,
    GetRegisters,
    RegistersGot,
    RegistersSet,
    SetRegisters,
    UnitChanged,
    WriteRecorded,
)
from grug.model import UnitHealth, Value, WriteState
from grug.runtime.calls import ValueCalls, WriteCalls, open_calls
from grug.runtime.feed import Feed, Subscription

SETTINGS = DispatchSettings(
    "sun", "sun1", 1.0, failsafe_min=10, falls_back=True, line="com", unit_id=1
)


class FakeGate:
    """Registers, and a step that fails once when it is named."""

    def __init__(self) -> None:
        self.feed = Feed()
        self.told = self.feed.subscribe("test", DispatchChanged)
        self.held: dict[str, Value | None] = {PROBE: EXISTS, ENABLED: 0, POWER: 0.0, MODE: 5}
        self.failing = ""
        self.is_lost = self.is_stubborn = self.is_busy = self.is_broken = False
        self.delay_s = 0.1
        """Of an answer to a write."""
        self.asked: list[SetRegisters] = []
        self.starts_s: list[float] = []
        self.before_write: Callable[[], None] = lambda: None
        self.carried_w = 0.0
        """As it was told last."""
        self.until_s = 0.0
        self.written_s = 0.0
        """When the inverter heard something last: its timer runs from then on."""
        self.health = UnitHealth.HEALTHY

    async def write(self, calls: WriteCalls) -> None:
        async for call in calls:
            self.asked.append(call.request)
            await trio.sleep(self.delay_s)
            reply = self._set(call.request)
            self.say_health(UnitHealth.SUSPECT if reply.reason else UnitHealth.HEALTHY)
            call.reply(reply)

    def say_health(self, *healths: UnitHealth, unit_id: int = 1) -> None:
        """As the bus does; a lost reply is enough for it."""
        for health in healths:
            if unit_id != 1 or health is not self.health:
                now_s = trio.current_time()
                self.feed.publish(UnitChanged("com", unit_id, health, "test", now_s))
            self.health = health if unit_id == 1 else self.health

    def _set(self, request: SetRegisters) -> RegistersSet:
        if self.is_busy:
            return RegistersSet((), "too late: the device was busy with another write until now")
        if self.is_broken:
            return RegistersSet((), "the gate failed", is_known=False)
        if self.is_lost:
            name, value = request.values[0]
            return RegistersSet((_record(name, value),), "the line is down")
        self.before_write()
        if request.why.startswith("offset of"):
            self.starts_s.append(trio.current_time())
            if self.is_stubborn:
                return RegistersSet((_record(POWER, 0),), "refused")
        for name, value in request.values:
            if name == self.failing:
                self.failing = ""
                self.held |= dict(request.safe)
                return RegistersSet((_record(name, value),), f"{name}: no reply")
            self.held[name] = value
            self.written_s = trio.current_time()
        return RegistersSet((), "")

    async def read(self, calls: ValueCalls) -> None:
        async for call in calls:
            call.reply(self._get(call.request))

    def _get(self, request: GetRegisters) -> RegistersGot:
        if self.is_lost:
            return RegistersGot((), "the line is down")
        return RegistersGot(tuple(self.held.get(name) for name in request.names), "")

    async def offset(self, power_w: float, lasts_s: float) -> None:
        """Decide twice a second, and see that what is told is what the registers carry."""
        for _ in range(round(lasts_s * 2)):
            now_s = trio.current_time()
            names, values = ("offset_w", "served_w/sun"), (power_w, 0.0)
            self.feed.publish(Decided("offset", now_s, names, values, "test"))
            await trio.sleep(0.5)
            for message in self.told.drain():
                assert isinstance(message, DispatchChanged)
                self.carried_w, self.until_s = message.power_w, message.until_s

    @property
    def acts_w(self) -> float:
        power_w = self.held[POWER]
        assert isinstance(power_w, float)
        return power_w if (self.held[ENABLED], self.held[MODE]) == (1, 3) else 0.0


def _record(name: str, value: Value) -> WriteRecorded:
    state = WriteState.PENDING
    return WriteRecorded("sun1", name, "me", "", value, None, None, state, "", 0.0, is_sent=True)


@asynccontextmanager
async def dispatching(probe: int = EXISTS) -> AsyncIterator[FakeGate]:
    gate, stopping = FakeGate(), trio.Event()
    gate.held[PROBE] = probe
    writes, calls = open_calls()
    questions, asked = open_calls()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate.write, calls)
        nursery.start_soon(gate.read, asked)

        async def run() -> None:
            await dispatch.run(writes, questions, gate.feed, settings=SETTINGS, stopping=stopping)

        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        yield gate
        nursery.cancel_scope.cancel()


async def test_a_move_that_failed_is_begun_anew_and_nothing_is_told_that_is_not_carried(
    autojump_clock: Clock,
) -> None:
    """The gate leaves the master switch off; a bare move would not switch it on again."""
    async with dispatching() as it:
        await it.offset(1000.0, 5.0)
        assert (it.carried_w, it.acts_w) == (1000.0, 1000.0)
        it.failing = MODE
        await it.offset(2000.0, 2.0)
        assert (it.carried_w, it.acts_w) == (0.0, 0.0)
        await it.offset(2000.0, 8.0)
        assert (it.carried_w, it.acts_w) == (2000.0, 2000.0)


async def test_after_a_line_was_lost_in_a_move_all_is_written_again(autojump_clock: Clock) -> None:
    async with dispatching() as it:
        await it.offset(1000.0, 5.0)
        it.is_lost = True
        await it.offset(1500.0, 3.0)
        it.held[ENABLED] = 0  # Nobody knows what arrived.
        it.is_lost = False
        await it.offset(1000.0, 10.0)
        assert (it.carried_w, it.acts_w) == (1000.0, 1000.0)


async def test_registers_of_an_inverter_that_woke_up_late_are_found(autojump_clock: Clock) -> None:
    async with dispatching(probe=0) as it:
        await it.offset(1000.0, 20.0)
        assert it.acts_w == 0.0
        it.held[PROBE] = EXISTS
        await it.offset(1000.0, 3600.0)
        assert (it.carried_w, it.acts_w) == (1000.0, 1000.0)


async def test_the_meter_says_nothing_that_the_registers_may_still_carry(
    autojump_clock: Clock,
) -> None:
    """A move starts the inverter's timer anew, too: said by both, the offset would be doubled."""
    async with dispatching() as it:
        for power_w in range(1000, 3000, 100):
            await it.offset(float(power_w), 5.0)
            assert it.until_s >= it.written_s + SETTINGS.timer_s


async def test_a_command_that_keeps_failing_is_tried_ever_more_seldom(
    autojump_clock: Clock,
) -> None:
    async with dispatching() as it:
        it.is_stubborn = True
        await it.offset(1000.0, 600.0)
        starts_s = it.starts_s
        pauses_s = [later - each for each, later in pairwise(starts_s)]
        assert pauses_s[0] < 7.0
        assert all(pause_s > 58.0 for pause_s in pauses_s[5:])
        assert len(starts_s) < 16


async def test_an_inverter_that_is_back_is_told_without_a_rest(autojump_clock: Clock) -> None:
    async with dispatching() as it:
        it.is_stubborn = True
        await it.offset(1000.0, 400.0)
        before = len(it.starts_s)
        it.is_stubborn = False
        it.say_health(UnitHealth.OFFLINE, UnitHealth.HEALTHY, unit_id=9)
        it.say_health(UnitHealth.SUSPECT, UnitHealth.HEALTHY)
        await it.offset(1000.0, 2.0)
        assert len(it.starts_s) == before
        it.say_health(UnitHealth.OFFLINE, UnitHealth.HEALTHY)
        await it.offset(1000.0, 2.0)
        assert len(it.starts_s) == before + 1
        assert it.acts_w == 1000.0


async def test_before_anything_is_sent_what_is_carried_is_in_doubt(autojump_clock: Clock) -> None:
    async with dispatching() as it:
        await it.offset(1000.0, 5.0)
        said = it.feed.subscribe("doubts", DispatchChanged)
        it.before_write = lambda: doubts.append(_last_of(said).is_doubt)
        doubts: list[bool] = []
        await it.offset(2000.0, 2.0)
        await it.offset(0.0, 2.0)
        assert doubts == [True, True]


def _last_of(said: Subscription) -> DispatchChanged:
    message = said.drain()[-1]
    assert isinstance(message, DispatchChanged)
    return message


async def test_an_inverter_that_lost_its_memory_is_armed_as_soon_as_it_is_back(
    autojump_clock: Clock,
) -> None:
    """The meter leaves out what its registers carried: until they do again, nothing says it."""
    async with dispatching() as it:
        await it.offset(1000.0, 5.0)
        it.held |= {ENABLED: 0, POWER: 0.0, MODE: 5}
        it.say_health(UnitHealth.OFFLINE)
        await it.offset(1000.0, 5.0)
        it.say_health(UnitHealth.HEALTHY)
        await it.offset(1000.0, 1.0)
        assert (it.carried_w, it.acts_w) == (1000.0, 1000.0)


async def test_a_reboot_while_a_write_is_under_way_is_seen(autojump_clock: Clock) -> None:
    async with dispatching() as it:
        await it.offset(1000.0, 5.0)
        it.delay_s = 3.0
        await it.offset(1500.0, 1.0)
        it.say_health(UnitHealth.OFFLINE, UnitHealth.HEALTHY, UnitHealth.SUSPECT)
        await it.offset(1500.0, 3.0)
        it.held |= {ENABLED: 0, POWER: 0.0, MODE: 5}
        await it.offset(1500.0, 4.0)
        assert it.acts_w == 1500.0


async def test_a_write_that_waited_too_long_for_another_ends_nothing(
    autojump_clock: Clock,
) -> None:
    async with dispatching() as it:
        await it.offset(1000.0, 5.0)
        it.is_busy = True
        it.asked.clear()
        await it.offset(2000.0, 10.0)
        assert {each.why for each in it.asked} <= {"offset of 2000 W", "armed again, 2000 W"}
        assert (it.carried_w, it.acts_w) == (1000.0, 1000.0)
        it.is_busy = False
        await it.offset(2000.0, 6.0)
        assert (it.carried_w, it.acts_w) == (2000.0, 2000.0)


async def test_a_write_of_which_nobody_knows_what_was_sent_is_ended(
    autojump_clock: Clock,
) -> None:
    async with dispatching() as it:
        await it.offset(1000.0, 5.0)
        it.is_broken = True
        it.asked.clear()
        await it.offset(2000.0, 2.0)
        assert it.asked[-1].why == "it does not do as told"


@pytest.mark.parametrize("lasts_s", [1.0, 100.0])
async def test_a_grid_that_is_lost_ends_the_power_however_much_failed(
    lasts_s: float, autojump_clock: Clock
) -> None:
    async with dispatching() as it:
        await it.offset(3000.0, 5.0)
        it.is_busy = True
        await it.offset(2000.0, lasts_s)
        it.is_busy = False
        await it.offset(float("nan"), 2.0)
        assert it.acts_w == 0.0


async def test_what_the_registers_carry_is_said_again_every_minute(autojump_clock: Clock) -> None:
    async with dispatching() as it:
        await it.offset(1000.0, 5.0)
        until_s = it.until_s
        late = it.feed.subscribe("late", DispatchChanged)
        await it.offset(1000.0, 125.0)
        said = [each for each in late.drain() if isinstance(each, DispatchChanged)]
        assert len(said) == 2
        assert {(each.power_w, each.until_s, each.is_doubt) for each in said} == {
            (1000.0, until_s, False)
        }
