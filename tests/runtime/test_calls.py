"""Calls: one reply each, in the order asked, and no trace of who went away."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from grug.runtime.calls import Call, Caller, Calls, open_calls


def ends() -> tuple[Caller[int, str], Calls[int, str]]:
    return open_calls()


async def echo(calls: Calls[int, str]) -> None:
    async for call in calls:
        call.reply(f"reply to {call.request}")


async def test_every_asker_gets_the_reply_to_its_own_request() -> None:
    caller, calls = ends()
    replies: dict[int, str] = {}

    async def ask(number: int) -> None:
        replies[number] = await caller.ask(number)

    async with trio.open_nursery() as answering:
        answering.start_soon(echo, calls)
        async with trio.open_nursery() as asking:
            for number in range(200):
                asking.start_soon(ask, number)
        caller.close()
    assert replies == {number: f"reply to {number}" for number in range(200)}


async def test_who_asks_at_the_same_moment_is_heard_at_once() -> None:
    caller, calls = ends()
    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(caller.ask, number)
        await calls.wait()
        taken = calls.take()
        assert len(taken) == 100
        assert not len(calls)
        for call in taken:
            call.reply("done")


async def test_a_cancelled_asker_is_seen_and_may_still_be_answered() -> None:
    caller, calls = ends()
    with trio.move_on_after(0) as scope:
        await caller.ask(1)
    assert scope.cancelled_caught
    (call,) = calls.take()
    assert call.is_abandoned
    call.reply("nobody hears this")


async def test_a_reply_is_not_lost_when_the_asker_is_cancelled_right_after() -> None:
    caller, calls = ends()
    replies = []

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            replies.append(await caller.ask(1))

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, scope)
        await calls.wait()
        (call,) = calls.take()
        call.reply("in time")
        scope.cancel()
    assert replies == ["in time"]


async def test_a_call_can_be_answered_before_its_asker_waits() -> None:
    call: Call[int, str] = Call(1)
    call.reply("at once")
    assert await call.wait() == "at once"


async def test_the_answering_end_ends_after_the_last_call() -> None:
    caller, calls = ends()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller.ask, 1)
        await trio.testing.wait_all_tasks_blocked()
        caller.close()
        assert not calls.has_ended
        await echo(calls)
        assert calls.has_ended
    with pytest.raises(trio.ClosedResourceError):
        await caller.ask(2)


async def test_waiting_for_calls_can_be_cancelled_and_begun_again() -> None:
    caller, calls = ends()
    with trio.move_on_after(0):
        await calls.wait()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo, calls)
        assert await caller.ask(3) == "reply to 3"
        with pytest.raises(trio.BusyResourceError):
            await calls.wait()
        caller.close()


async def test_an_asker_of_a_former_owner_does_not_wake_the_new_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    caller, calls = ends()
    events: list[str] = []

    async def carry_for_old(call: Call[int, str]) -> bool:
        await trio.sleep(1)
        call.reply("old")
        return False

    async def carry_for_new(call: Call[int, str]) -> bool:
        await trio.sleep(5)
        events.append("carried")
        call.reply("new")
        return True

    async def ask_after(delay_s: float) -> None:
        await trio.sleep(delay_s)
        events.append(await caller.ask(1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_after, 0.1)
        nursery.start_soon(ask_after, 0.7)
        with trio.move_on_after(0.5):  # The first owner is cancelled.
            await calls.wait(carry_for_old)
        with trio.move_on_after(20):
            await calls.wait(carry_for_new)
            events.append("woken")
        nursery.cancel_scope.cancel()
    assert events == ["old", "carried", "new"]


async def test_a_carrier_who_is_cancelled_wakes_the_owner(
    autojump_clock: trio.testing.MockClock,
) -> None:
    caller, calls = ends()
    left: list[Call[int, str]] = []

    async def carry(call: Call[int, str]) -> bool:
        left.append(call)
        await trio.sleep_forever()
        return True

    async def ask() -> None:
        with trio.move_on_after(1):
            await caller.ask(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        with trio.fail_after(2):
            await calls.wait(carry)
    assert left[0].is_abandoned
