"""The feed: nobody slows the publisher, and a slow reader knows what it lost."""

from __future__ import annotations

import trio

from grug.messages import Lagged, LineChanged, Message, Noted
from grug.runtime.feed import Feed


def _note(text: str) -> Noted:
    return Noted("test", text, 0.0)


def _texts(messages: list[Message]) -> list[str]:
    return [message.text for message in messages if isinstance(message, Noted)]


async def test_every_subscriber_of_a_kind_hears_it_and_no_other() -> None:
    feed = Feed()
    notes = feed.subscribe("notes", Noted)
    changes = feed.subscribe("changes", LineChanged)
    everything = feed.subscribe("all", Message)
    feed.publish(_note("one"))
    assert _texts(notes.drain()) == ["one"]
    assert _texts(everything.drain()) == ["one"]
    assert changes.drain() == []


async def test_a_full_queue_drops_its_oldest_and_says_how_many() -> None:
    feed = Feed()
    slow = feed.subscribe("slow", Noted, bound=2)
    for text in "abcde":
        feed.publish(_note(text))
    first, *rest = slow.drain()
    assert first == Lagged("slow", 3)
    assert _texts(rest) == ["d", "e"]
    feed.publish(_note("f"))
    assert _texts(slow.drain()) == ["f"]


async def test_a_conflated_reader_gets_the_latest_of_each_key() -> None:
    feed = Feed()
    latest = feed.subscribe("latest", LineChanged, key=lambda message: message.line)
    for line, is_up in (("a", True), ("b", True), ("a", False)):
        feed.publish(LineChanged(line, is_up, "", 0.0))
    heard = {message.line: message.is_up for message in latest.drain()}
    assert heard == {"a": False, "b": True}


async def test_a_waiting_reader_wakes_and_a_cancelled_one_leaves_no_trace(
    autojump_clock: trio.testing.MockClock,
) -> None:
    feed = Feed()
    source = feed.subscribe("reader", Noted)
    with trio.move_on_after(1):
        await source.receive_batch()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 5)

        async def publish_later() -> None:
            await trio.sleep(2)
            feed.publish(_note("late"))

        nursery.start_soon(publish_later)
        assert _texts(await source.receive_batch()) == ["late"]
        nursery.cancel_scope.cancel()


async def test_a_closed_subscription_hears_nothing() -> None:
    feed = Feed()
    with feed.subscribe("gone", Noted) as source:
        feed.publish(_note("heard"))
    feed.publish(_note("missed"))
    assert _texts(source.drain()) == ["heard"]
