"""The offset actor: an image per reading of the grid, and none without."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise

import pytest
import trio
import trio.testing

from grug.actors import offset
from grug.control.images import IMAGE_NAMES
from grug.control.offset import OffsetSettings, SteeredInverter
from grug.messages import (
    Decided,
    Message,
    MeterImage,
    Noted,
    Readings,
    ReadingsMissing,
    SetOffset,
    UnitChanged,
)
from grug.model import FailureKind, Quality, UnitHealth, Value
from grug.runtime.feed import Feed

SETTINGS = OffsetSettings(
    "grid",
    "total_power",
    (
        SteeredInverter("solis1", "fake1", image_names=IMAGE_NAMES, line="com1", unit_id=1),
        SteeredInverter("solis2", "fake2", image_names=IMAGE_NAMES, line="com2", unit_id=1),
    ),
    voltage_register="volts",
    frequency_register="hertz",
)
FAST = ("volts", "total_power")


class House:
    def __init__(self, settings: OffsetSettings = SETTINGS) -> None:
        self.settings = settings
        self.feed = Feed()
        self.stopping = trio.Event()
        self.heard = self.feed.subscribe("test", MeterImage, Decided, Noted)
        self.is_done = False
        self.memory = offset.OffsetMemory(self.feed)

    async def run(self) -> None:
        await offset.run(
            self.feed, settings=self.settings, stopping=self.stopping, memory=self.memory
        )
        self.is_done = True

    async def keep_reading_the_frequency(self) -> None:
        while True:
            self.feed.publish(Readings("grid", trio.current_time(), ("hertz",), (50.0,)))
            await trio.sleep(2)

    async def read(self, power_w: Value, volts: Value = 230.0, **others: object) -> list[Message]:
        """Let the grid be read; what the actor says to it."""
        readings = Readings("grid", trio.current_time(), FAST, (volts, power_w), **others)
        self.feed.publish(readings)
        await trio.testing.wait_all_tasks_blocked()
        return self.heard.drain()


@asynccontextmanager
async def running(settings: OffsetSettings = SETTINGS) -> AsyncIterator[House]:
    house = House(settings)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(house.keep_reading_the_frequency)
        await trio.testing.wait_all_tasks_blocked()
        yield house
        nursery.cancel_scope.cancel()


def served(heard: list[Message]) -> dict[str, float]:
    return {
        message.fakemeter: message.values[message.names.index("active_power")]
        for message in heard
        if isinstance(message, MeterImage)
    }


def reasons(heard: list[Message]) -> list[str]:
    return [message.reason for message in heard if isinstance(message, Decided)]


async def test_every_reading_of_the_grid_gives_images_and_one_decision(autojump_clock) -> None:
    async with running() as house:
        for power_w in (1000.0, -500.0):
            heard = await house.read(power_w)
            assert served(heard) == {"fake1": power_w / 2, "fake2": power_w / 2}
            assert len(reasons(heard)) == 1
            await trio.sleep(0.2)


async def test_other_readings_do_not_even_wake_it(autojump_clock) -> None:
    async with running() as house:
        house.feed.publish(Readings("solis1", trio.current_time(), ("total_power",), (9.0,)))
        house.feed.publish(Readings("grid", trio.current_time(), ("total_kwh",), (9.0,)))
        await trio.testing.wait_all_tasks_blocked()
        assert house.heard.drain() == []


async def test_voltage_and_slow_frequency_reach_the_image(autojump_clock) -> None:
    async with running() as house:
        house.feed.publish(Readings("grid", trio.current_time(), ("hertz",), (49.9,)))
        image = next(m for m in await house.read(460.0) if isinstance(m, MeterImage))
        values = dict(zip(image.names, image.values, strict=True))
        assert (values["frequency"], values["voltage"], values["current"]) == (49.9, 230.0, 1.0)


async def test_bad_or_missing_readings_give_no_image(autojump_clock) -> None:
    async with running() as house:
        bad = (Quality.GOOD, Quality.BAD)
        for power_w, qualities, why in (
            (100.0, bad, "reading is bad"),
            (float("nan"), (), "implausible"),
            (True, (), "not a number"),
            ("100", (), "not a number"),
        ):
            heard = await house.read(power_w, qualities=qualities)
            assert served(heard) == {}
            assert why in reasons(heard)[0]
        missing = ReadingsMissing("grid", FAST, FailureKind.NO_REPLY, "silence", 5.0)
        house.feed.publish(missing)
        await trio.testing.wait_all_tasks_blocked()
        heard = house.heard.drain()
        assert served(heard) == {}
        assert "grid not read: no_reply" in reasons(heard)[0]
        assert served(await house.read(100.0)) == {"fake1": 50.0, "fake2": 50.0}


async def test_offset_asked_for_is_slewed_to_and_ends(autojump_clock) -> None:
    async with running() as house:
        await house.read(0.0)
        house.feed.publish(SetOffset(-2000.0, trio.current_time() + 10, "cli", "test"))
        course = []
        for _ in range(75):
            await trio.sleep(0.2)
            course.append(round(sum(served(await house.read(0.0)).values())))
        assert course[:11] == [-200 * step for step in range(1, 11)] + [-2000]
        assert course[45] == -2000
        assert course[-1] == 0


async def test_offset_that_is_no_number_is_noted_and_ignored(autojump_clock) -> None:
    async with running() as house:
        house.feed.publish(SetOffset(float("nan"), 100.0, "cli", "test"))
        await trio.testing.wait_all_tasks_blocked()
        (note,) = house.heard.drain()
        assert isinstance(note, Noted)
        assert "by cli ignored" in note.text


async def test_offline_inverters_share_goes_to_the_others(autojump_clock) -> None:
    async with running() as house:
        for health, expected in (
            (UnitHealth.SUSPECT, {"fake1": 500.0, "fake2": 500.0}),
            (UnitHealth.OFFLINE, {"fake2": 1000.0}),
            (UnitHealth.HEALTHY, {"fake1": 500.0, "fake2": 500.0}),
        ):
            house.feed.publish(UnitChanged("com1", 1, health, "", 0.0))
            house.feed.publish(UnitChanged("elsewhere", 1, UnitHealth.OFFLINE, "", 0.0))
            assert served(await house.read(1000.0)) == expected


async def test_stop_leaves_the_true_power_behind_until_it_is_old(autojump_clock) -> None:
    async with running() as house:
        house.feed.publish(SetOffset(-2000.0, trio.current_time() + 1e3, "cli", "test"))
        for _ in range(10):
            await trio.sleep(0.5)
            heard = await house.read(300.0)
        assert served(heard) == {"fake1": -850.0, "fake2": -850.0}
        read_s = trio.current_time()
        await trio.sleep(0.1)
        house.stopping.set()
        await trio.testing.wait_all_tasks_blocked()
        heard = house.heard.drain()
        assert served(heard) == {"fake1": 150.0, "fake2": 150.0}
        assert {m.valid_until_s for m in heard if isinstance(m, MeterImage)} == {read_s + 1.5}
        await trio.sleep(0.5)
        assert served(await house.read(400.0)) == {"fake1": 200.0, "fake2": 200.0}
        assert not house.is_done, "inverters must have had the time to ask"
        await trio.sleep(1.5)
        assert house.is_done
        house.heard.drain()
        assert await house.read(300.0) == []


def notes(heard: list[Message]) -> list[str]:
    return [message.text.split(":")[1].strip() for message in heard if isinstance(message, Noted)]


async def test_silent_meter_ramps_the_offset_away_and_never_makes_a_reading_younger(
    autojump_clock,
) -> None:
    async with running() as house:
        house.feed.publish(SetOffset(-1200.0, trio.current_time() + 1e3, "cli", "test"))
        for _ in range(5):
            await trio.sleep(0.5)
            await house.read(300.0)
        read_s = trio.current_time()
        await trio.sleep(5)
        heard = house.heard.drain()
        images = [message for message in heard if isinstance(message, MeterImage)]
        assert {(image.read_s, image.valid_until_s) for image in images} == {(read_s, read_s + 1.5)}
        powers_w = [image.values[image.names.index("active_power")] for image in images]
        assert powers_w == sorted(powers_w), "nothing but towards zero"
        assert (powers_w[0] < 0.0, powers_w[-1]) == (True, 150.0)
        assert notes(heard) == ["live -> ramp", "ramp -> silent"]
        assert served(await house.read(300.0)).keys() == {"fake1", "fake2"}


async def test_second_meter_is_believed_while_the_first_is_silent(autojump_clock) -> None:
    settings = replace(SETTINGS, second_device="utility", second_register="power")
    async with running(settings) as house:
        heard = await house.read(300.0)
        for power_w in (400.0, 500.0):
            await trio.sleep(1)
            house.feed.publish(Readings("utility", trio.current_time(), ("power",), (power_w,)))
            await trio.testing.wait_all_tasks_blocked()
            heard += house.heard.drain()
        assert served(heard) == {"fake1": 250.0, "fake2": 250.0}
        assert notes(heard) == ["live -> ramp", "ramp -> second meter"]
        heard = await house.read(600.0)
        assert served(heard) == {"fake1": 300.0, "fake2": 300.0}
        assert notes(heard) == ["second meter -> live"]


async def test_what_an_inverter_passes_on_of_its_own_meter_counts_as_a_second_one(
    autojump_clock,
) -> None:
    settings = replace(
        SETTINGS,
        second_device="sun",
        second_register="power",
        second_sign=-1.0,
        is_second_relayed=True,
    )
    async with running(settings) as house:
        await house.read(300.0)
        await trio.sleep(0.8)
        for power_w in (-390.0, -400.0, -400.0, -400.0, -400.0):
            house.feed.publish(Readings("sun", trio.current_time(), ("power",), (power_w,)))
            await trio.sleep(0.5)
        heard = house.heard.drain()
        images = [message for message in heard if isinstance(message, MeterImage)]
        assert served(heard) == {"fake1": 200.0, "fake2": 200.0}
        assert {image.read_s for image in images if image.read_s > 0.5} == {0.8}
        assert notes(heard)[1:] == ["ramp -> second meter", "second meter -> silent"]


async def second_meter_alone(settings: OffsetSettings, names: tuple[str, ...]) -> list[float]:
    """Ages at which images were made, after the first meter was read for the last time."""
    settings = replace(settings, second_device="utility", second_register="power")
    async with running(settings) as house:
        await house.read(300.0)
        lost_s = trio.current_time()
        values = tuple(float(each) for each in (400.0, 229.0, 50.0)[: len(names)])
        for _ in range(100):
            await trio.sleep(0.2)
            house.feed.publish(Readings("utility", trio.current_time(), names, values))
        await trio.testing.wait_all_tasks_blocked()
        images = [each for each in house.heard.drain() if isinstance(each, MeterImage)]
        volts = {image.values[image.names.index("voltage")] for image in images[-1:]}
        assert volts in ({229.0}, {230.0})
        return [image.read_s - lost_s for image in images]


async def test_second_meter_that_says_the_voltage_too_is_believed_for_as_long_as_it_takes(
    autojump_clock,
) -> None:
    settings = replace(
        SETTINGS, second_voltage_register="volts2", second_frequency_register="hertz2"
    )
    ages_s = await second_meter_alone(settings, ("power", "volts2", "hertz2"))
    assert max(ages_s) == pytest.approx(20.0)
    assert max(b - a for a, b in pairwise(ages_s[2:])) < 0.5


async def test_second_meter_alone_without_a_voltage_ends_with_the_first_ones(
    autojump_clock,
) -> None:
    """No voltage is told that is older than that."""
    assert max(await second_meter_alone(SETTINGS, ("power",))) <= SETTINGS.others_max_age_s


async def test_stop_without_a_fresh_reading_says_nothing(autojump_clock) -> None:
    async with running() as house:
        await house.read(300.0)
        await trio.sleep(2)
        house.stopping.set()
        await trio.sleep(2)
        assert house.is_done
        assert served(house.heard.drain()) == {}


async def test_a_restarted_controller_remembers_wishes_and_who_is_away(autojump_clock) -> None:
    async with running() as house:
        house.feed.publish(UnitChanged("com1", 1, UnitHealth.OFFLINE, "", 0.0))
        house.feed.publish(SetOffset(-1000.0, trio.current_time() + 1e3, "cli", "test"))
        for _ in range(6):
            await trio.sleep(0.5)
            before = served(await house.read(3000.0))
        memory = house.memory
    assert before == {"fake2": 2000.0}
    house = House()
    house.memory = memory
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.run)
        await trio.testing.wait_all_tasks_blocked()
        house.feed.publish(Readings("grid", trio.current_time(), ("hertz",), (50.0,)))
        assert served(await house.read(3000.0)) == before
        nursery.cancel_scope.cancel()


async def test_wishes_asked_for_while_the_controller_is_away_are_obeyed(autojump_clock) -> None:
    house = House()
    house.feed.publish(SetOffset(-1000.0, trio.current_time() + 1e3, "schedule/night", ""))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.run)
        await trio.testing.wait_all_tasks_blocked()
        assert [wish.power_w for wish in house.memory.state.wishes] == [-1000.0]
        nursery.cancel_scope.cancel()
    house.feed.publish(SetOffset(-500.0, trio.current_time() + 1e3, "cli", ""))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.run)
        await trio.testing.wait_all_tasks_blocked()
        assert [wish.power_w for wish in house.memory.state.wishes] == [-1000.0, -500.0]
        nursery.cancel_scope.cancel()


async def test_the_facts_of_an_inverter_count_from_their_place_in_the_feed(autojump_clock) -> None:
    async with running() as house:
        book = house.memory
        await house.read(100.0)
        house.feed.publish(UnitChanged("com1", 1, UnitHealth.OFFLINE, "", 0.0))
        readings = Readings("grid", trio.current_time(), FAST, (230.0, 1000.0))
        house.feed.publish(readings)
        house.feed.publish(UnitChanged("com1", 1, UnitHealth.HEALTHY, "", 0.0))
        await trio.testing.wait_all_tasks_blocked()
        assert served(house.heard.drain()) == {"fake2": 1000.0}
        assert not book.state.offline


async def decided_of(*, is_held_up: bool) -> list[tuple[float, ...]]:
    """Decisions over a second of readings and the silence after it, with times from its start."""
    async with running() as house:
        start_s = trio.current_time()
        readings = []
        for step in range(6):
            read_s = start_s + 0.2 * step
            readings.append(Readings("grid", read_s, FAST, (230.0, 100.0 * step)))
            await trio.sleep_until(read_s)
            if not is_held_up:
                house.feed.publish(readings[-1])
        await trio.sleep_until(start_s + 4.0)
        for each in readings if is_held_up else ():
            house.feed.publish(each)
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1.0)
        heard = house.heard.drain()
        return [
            (round(message.decided_s - start_s, 6), *message.values[:2])
            for message in heard
            if isinstance(message, Decided) and not math.isnan(message.values[0])
        ]


async def test_decisions_follow_from_the_feed_however_late_the_actor_runs(autojump_clock) -> None:
    prompt = await decided_of(is_held_up=False)
    assert len(prompt) == 6 + 4, "one for each reading, then those of the ramp"
    assert await decided_of(is_held_up=True) == prompt
