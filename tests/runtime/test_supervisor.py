"""Supervision: a crash is reported, waits, and does not touch the neighbours."""

from __future__ import annotations

import itertools

import pytest
import trio

from grug.messages import ActorFailed, Message
from grug.runtime.feed import Feed
from grug.runtime.supervisor import FAILURES_MAX, GivenUpError, Part, run_parts, supervise


def _failures(messages: list[Message]) -> list[ActorFailed]:
    return [message for message in messages if isinstance(message, ActorFailed)]


async def test_a_crashed_actor_starts_again_after_a_growing_delay(
    autojump_clock: trio.testing.MockClock,
) -> None:
    feed = Feed()
    events = feed.subscribe("test", ActorFailed)
    started_s: list[float] = []

    async def crash_twice() -> None:
        started_s.append(trio.current_time())
        if len(started_s) < 3:
            raise ValueError("a bug")

    await supervise(Part("buggy", crash_twice), feed)
    assert [later - earlier for earlier, later in itertools.pairwise(started_s)] == [
        2.0,
        4.0,
    ]
    failed = _failures(events.drain())
    assert [failure.actor for failure in failed] == ["buggy", "buggy"]
    assert "a bug" in failed[0].text


async def test_a_crash_leaves_the_neighbours_running(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ticks: list[float] = []

    async def tick() -> None:
        for _ in range(5):
            await trio.sleep(1)
            ticks.append(trio.current_time())

    crashes = iter([True, False])

    async def crash_once() -> None:
        if next(crashes):
            raise RuntimeError("a bug")

    start_s = trio.current_time()
    await run_parts([Part("tick", tick), Part("crash", crash_once)], Feed())
    assert [round(at_s - start_s) for at_s in ticks] == [1, 2, 3, 4, 5]


async def test_an_actor_that_never_stays_up_is_given_up_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    starts = 0

    async def crash() -> None:
        nonlocal starts
        starts += 1
        raise RuntimeError("for ever")

    with pytest.raises(GivenUpError, match="crashed"):
        await supervise(Part("hopeless", crash), Feed())
    assert starts == FAILURES_MAX


@pytest.mark.parametrize("crashes_again", [False, True])
async def test_an_actor_that_rests_when_the_house_stops_still_leaves_safe_outputs(
    autojump_clock: trio.testing.MockClock, crashes_again: bool
) -> None:
    stopping = trio.Event()
    outputs: list[float] = []

    async def command() -> None:
        if not stopping.is_set():
            await trio.sleep(1)
            raise RuntimeError("a bug")
        outputs.append(trio.current_time())
        if crashes_again:
            raise RuntimeError("another bug")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_parts, [Part("evse", command)], Feed(), stopping)
        await trio.sleep(1.5)
        stopping.set()
        stopped_s = trio.current_time()
    assert outputs == [stopped_s]
    assert trio.current_time() == stopped_s
