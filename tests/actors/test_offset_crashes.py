"""Crashes of the offset actor: no wish is lost unseen, whatever message the bug is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from grug.actors import offset
from grug.control.offset import OffsetSettings, SteeredInverter
from grug.control.wishes import take_wish
from grug.messages import (
    ActorFailed,
    DispatchChanged,
    Message,
    Noted,
    Readings,
    SetOffset,
    UnitChanged,
)
from grug.model import Aim, UnitHealth
from grug.runtime.feed import Feed
from grug.runtime.supervisor import Part, supervise

SETTINGS = OffsetSettings(
    "grid",
    "total_power",
    (
        SteeredInverter("solis1", "fake1", line="com1", unit_id=1),
        SteeredInverter("solis2", "fake2", line="com2", unit_id=1),
    ),
)
LONG_S = 1000.0


def wish(power_w: float, who: str, target: str = "", aim: Aim = Aim.OFFSET) -> SetOffset:
    return SetOffset(power_w, LONG_S, who, "test", target, aim)


def script() -> list[Message]:
    """What is published in one moment; only the offset actor's tasks come after it."""
    return [
        wish(-1000.0, "cli/ann"),
        UnitChanged("com1", 1, UnitHealth.OFFLINE, "test", 0.0),
        wish(300.0, "cli/ben", "solis1"),
        Readings("grid", 0.5, ("total_power",), (2000.0,)),
        SetOffset(0.0, 0.0, "cli/ben", "over", "solis1"),
        wish(500.0, "cli/ann", "", Aim.EXPORT_MAX),
        DispatchChanged("solis2", -400.0, LONG_S, "test", 0.0),
        wish(-200.0, "schedule/night"),
        Readings("grid", 0.7, ("total_power",), (2100.0,)),
        wish(-700.0, "cli/ann"),
    ]


def expected() -> tuple[SetOffset, ...]:
    held: tuple[SetOffset, ...] = ()
    for message in script():
        if isinstance(message, SetOffset):
            held = take_wish(held, message)
    return tuple(each for each in held if each.expires_s > 1.0)


class Bug(Exception):
    """What is injected."""


@contextmanager
def bug_at(number: int, where: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The message of that number crashes the actor, once; before or after it was taken."""
    take, count = offset._Controller._take, 0

    def faulty(self: offset._Controller, message: Message) -> bool:
        nonlocal count
        count += 1
        if count == number + 1 and where == "before":
            raise Bug
        asks_to_decide = take(self, message)
        if count == number + 1:
            raise Bug
        return asks_to_decide

    with monkeypatch.context() as patch:
        patch.setattr(offset._Controller, "_take", faulty)
        yield


async def outcome(feed: Feed, memory: offset.OffsetMemory) -> list[Message]:
    """Run the script under the supervisor; what was said meanwhile."""
    said = feed.subscribe("test", Noted, ActorFailed, SetOffset)

    async def start() -> None:
        await offset.run(feed, settings=SETTINGS, stopping=trio.Event(), memory=memory)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervise, Part("offset", start), feed)
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1.0)
        for message in script():
            feed.publish(message)
        await trio.sleep(10.0)
        nursery.cancel_scope.cancel()
    return said.drain()


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("number", range(len(script())))
async def test_after_a_crash_every_wish_that_is_not_said_to_be_lost_holds(
    number: int,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    feed = Feed()
    memory = offset.OffsetMemory(feed)
    with bug_at(number, where, monkeypatch):
        said = await outcome(feed, memory)
    assert sum(isinstance(each, ActorFailed) for each in said) == 1
    lost = script()[number]
    held = [each for each in memory.state.wishes if each.expires_s > trio.current_time()]
    if not isinstance(lost, SetOffset):
        assert tuple(held) == expected()
        assert memory.state.offline == {"solis1"}
        return
    things = [(each.who, each.target, each.aim) for each in held]
    later = [each for each in script()[number + 1 :] if isinstance(each, SetOffset)]
    is_renewed = any(
        (each.who, each.target, each.aim) == (lost.who, lost.target, lost.aim) for each in later
    )
    assert is_renewed or (lost.who, lost.target, lost.aim) not in things
    assert set(held) <= set(expected())
    assert len(held) >= len(expected()) - 1
    if lost.expires_s > 1.0:
        notes = [each.text for each in said if isinstance(each, Noted)]
        assert any(lost.who in note and "is not obeyed" in note for note in notes)


async def test_a_crash_in_a_decision_loses_no_wish(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    feed = Feed()
    memory = offset.OffsetMemory(feed)
    decide, left = offset._Controller._decide, [True]

    def faulty(self: offset._Controller, at_s: float) -> None:
        if left:
            left.pop()
            raise Bug
        decide(self, at_s)

    monkeypatch.setattr(offset._Controller, "_decide", faulty)
    said = await outcome(feed, memory)
    assert not left
    assert not [each for each in said if isinstance(each, Noted) and "obeyed" in each.text]
    assert tuple(each for each in memory.state.wishes if each.expires_s > 1.0) == expected()
    assert memory.state.offline == {"solis1"}


async def test_an_expiry_that_passes_while_it_is_down_is_obeyed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    feed = Feed()
    memory = offset.OffsetMemory(feed)
    feed.publish(SetOffset(-1000.0, trio.current_time() + 5.0, "cli/ann", "short"))
    await trio.sleep(30.0)
    settings, stopping = SETTINGS, trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: offset.run(feed, settings=settings, stopping=stopping, memory=memory)
        )
        await trio.testing.wait_all_tasks_blocked()
        feed.publish(Readings("grid", trio.current_time(), ("total_power",), (2000.0,)))
        await trio.testing.wait_all_tasks_blocked()
        assert memory.state.offset_w == 0.0
        assert memory.state.wishes == ()
        nursery.cancel_scope.cancel()


async def test_a_flood_that_overflows_the_inbox_ends_wishes_and_keeps_bounds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One that was lost may have ended another, or said that an inverter is back."""
    feed = Feed()
    memory = offset.OffsetMemory(feed)
    feed.publish(wish(400.0, "cli/ann", "", Aim.EXPORT_MAX))
    said = feed.subscribe("test", Noted)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: offset.run(feed, settings=SETTINGS, stopping=trio.Event(), memory=memory)
        )
        await trio.testing.wait_all_tasks_blocked()
        feed.publish(wish(-1000.0, "cli/ann"))
        feed.publish(UnitChanged("com1", 1, UnitHealth.OFFLINE, "test", 0.0))
        await trio.testing.wait_all_tasks_blocked()
        for turn in range(1500):
            feed.publish(UnitChanged("com9", turn % 200, UnitHealth.OFFLINE, "flood", 0.0))
        await trio.testing.wait_all_tasks_blocked()
        held = [each for each in memory.state.wishes if each.expires_s > trio.current_time()]
        assert [each.aim for each in held] == [Aim.EXPORT_MAX]
        nursery.cancel_scope.cancel()
    texts = [each.text for each in said.drain() if isinstance(each, Noted)]
    assert memory.state.offline == frozenset()
    assert "500 messages were lost" in texts
    assert any("-1000 W by cli/ann is not obeyed" in text for text in texts)
