"""The agenda: the schedule's wishes reach the feed at their times of day."""

from __future__ import annotations

import datetime as dt
from typing import Any

import trio

from grug.actors import agenda
from grug.control.agenda import Entry
from grug.messages import Noted, SetOffset
from grug.runtime.feed import Feed

NOON = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)
LUNCH = Entry("lunch", dt.time(12, 30), dt.time(13, 0), -1500.0, why="cheap")


class _Wall:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.offset = dt.timedelta()
        self.is_set = True

    def now(self) -> dt.datetime:
        return NOON + dt.timedelta(seconds=trio.current_time()) + self.offset


async def _play(script: Any, *entries: Entry) -> list[tuple[float, SetOffset | Noted]]:
    feed, wall, seen = Feed(), _Wall(), []
    with feed.subscribe("test", SetOffset, Noted) as source:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                while True:
                    seen.extend(
                        (trio.current_time(), each) for each in await source.receive_batch()
                    )

            nursery.start_soon(watch)
            nursery.start_soon(
                lambda: agenda.run(
                    feed, entries=entries, wall_now=wall.now, is_clock_set=lambda: wall.is_set
                )
            )
            await script(wall)
            nursery.cancel_scope.cancel()
    return seen


async def test_wish_comes_at_its_time_with_its_end(autojump_clock: object) -> None:
    async def script(_: _Wall) -> None:
        await trio.sleep(4000)

    ((at_s, wish),) = await _play(script, LUNCH)
    assert isinstance(wish, SetOffset)
    assert 1800.0 <= at_s < 1800.01
    assert abs(wish.expires_s - 3600.0) < 0.01
    assert (wish.power_w, wish.who, wish.why) == (-1500.0, "schedule/lunch", "cheap")


async def test_schedule_waits_until_the_clock_is_set(autojump_clock: object) -> None:
    async def script(wall: _Wall) -> None:
        wall.is_set, wall.offset = False, dt.timedelta(minutes=40)
        await trio.sleep(600)
        wall.is_set = True
        await trio.sleep(60)

    ((at_s, _),) = await _play(script, LUNCH)
    assert 600.0 <= at_s <= 600.0 + agenda.LOOK_S


async def test_clock_set_back_ends_what_should_not_be_yet(autojump_clock: object) -> None:
    async def script(wall: _Wall) -> None:
        wall.offset = dt.timedelta(minutes=40)
        await trio.sleep(100)
        wall.offset = dt.timedelta()
        await trio.sleep(100)

    (_, (at_s, ended)) = await _play(script, LUNCH)
    assert isinstance(ended, SetOffset)
    assert 100.0 <= at_s <= 100.0 + agenda.LOOK_S
    assert ended.expires_s <= at_s


async def test_entry_of_the_past_is_said_to_be_over_once(autojump_clock: object) -> None:
    async def script(_: _Wall) -> None:
        await trio.sleep(7200)

    past = Entry("old", dt.time(0, 0), dt.time(0, 0), 1.0, last=dt.date(2025, 3, 1))
    ((_, noted),) = await _play(script, past)
    assert isinstance(noted, Noted)
    assert noted.text == "old ended on 2025-03-01: it asks for nothing"


async def test_time_service_that_goes_away_later_does_not_stop_the_schedule(
    autojump_clock: object,
) -> None:
    async def script(wall: _Wall) -> None:
        await trio.sleep(600)
        wall.is_set = False  # The kernel says so after some 9 hours without the network.
        await trio.sleep(3400)

    ((at_s, wish),) = await _play(script, LUNCH)
    assert isinstance(wish, SetOffset)
    assert 1800.0 <= at_s < 1800.01


async def test_an_agenda_that_crashed_still_ends_what_it_asked_for(autojump_clock: object) -> None:
    """The clock is set back while it is down: what it asked for is not to hold any more."""
    feed, wall, memory = Feed(), _Wall(), agenda.AgendaMemory()
    wall.offset = dt.timedelta(minutes=40)

    async def start() -> None:
        await agenda.run(
            feed, entries=[LUNCH], wall_now=wall.now, is_clock_set=lambda: True, memory=memory
        )

    with feed.subscribe("test", SetOffset) as source:
        with trio.move_on_after(5):
            await start()
        wall.offset = dt.timedelta()
        with trio.move_on_after(5):
            await start()
        asked, ended = source.drain()
    assert isinstance(asked, SetOffset)
    assert isinstance(ended, SetOffset)
    assert asked.expires_s > trio.current_time() >= ended.expires_s
