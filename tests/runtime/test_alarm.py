"""The alarm wakes when something is overdue, however often it was moved; in virtual time."""

from __future__ import annotations

import trio
import trio.testing

from grug.runtime.alarm import Alarm

Clock = trio.testing.MockClock


async def rings(alarm: Alarm, moves: list[tuple[float, float]]) -> list[float]:
    """When it rings, if at these times it is set to those."""
    rang: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(alarm.ring, lambda: rang.append(trio.current_time()))
        for at_s, due_s in moves:
            await trio.sleep_until(at_s)
            alarm.set(due_s)
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    return rang


async def test_it_rings_when_it_is_due_and_once(autojump_clock: Clock) -> None:
    assert await rings(Alarm(), [(1.0, 5.0)]) == [5.0]


async def test_what_is_put_off_before_it_rings_rings_later(autojump_clock: Clock) -> None:
    moves = [(float(at_s), at_s + 3.0) for at_s in range(10)]
    assert await rings(Alarm(), moves) == [12.0]


async def test_what_is_due_sooner_rings_sooner(autojump_clock: Clock) -> None:
    assert await rings(Alarm(), [(1.0, 50.0), (2.0, 4.0), (5.0, 8.0)]) == [4.0, 8.0]


async def test_what_is_over_rings_at_once(autojump_clock: Clock) -> None:
    assert await rings(Alarm(), [(1.0, 5.0), (9.0, 7.0)]) == [5.0, 9.0]
