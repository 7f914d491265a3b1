"""The link between processes: the same messages come out, however the bytes are cut."""

from __future__ import annotations

import socket

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from grug.errors import LinkError
from grug.messages import LineChanged, Message, Noted, Readings
from grug.transport.link import BatchDecoder, BlockingLink, Link, encode_batch

MESSAGES: list[Message] = [
    Noted("test", "a text", 1.0),
    Readings("grid", 2.0, ("a", "b"), (1.5, -3)),
    LineChanged("grid", False, "unplugged", 3.0),
]


@given(st.lists(st.integers(1, 400), max_size=8))
def test_messages_survive_any_cutting(cuts: list[int]) -> None:
    data = encode_batch(MESSAGES * 3)
    decoder = BatchDecoder()
    heard: list[Message] = []
    for cut in cuts:
        heard += decoder.receive(data[:cut])
        data = data[cut:]
    heard += decoder.receive(data)
    assert heard == MESSAGES * 3


async def test_both_ends_finish_in_order() -> None:
    here, there = (Link(end) for end in socket.socketpair())
    await here.send(MESSAGES)
    await here.finish()
    assert await there.receive() == MESSAGES
    assert await there.receive() == []
    await there.send(MESSAGES[:1])
    await there.aclose()
    assert await here.receive() == MESSAGES[:1]
    assert await here.receive() == []
    await here.aclose()


async def test_a_dead_process_is_a_link_error() -> None:
    here, there = socket.socketpair()
    there.close()
    link = Link(here)
    with pytest.raises(LinkError):
        for _ in range(3):  # The first writes may still fit the socket.
            await link.send(MESSAGES)
    await link.aclose()


async def test_the_blocking_end_holds_virtual_time(autojump_clock: trio.testing.MockClock) -> None:
    here, there = socket.socketpair()
    link = BlockingLink(here)
    start_s = trio.current_time()
    await link.send(MESSAGES)
    assert trio.current_time() == start_s
    assert BatchDecoder().receive(there.recv(65536)) == MESSAGES
    there.close()
    with pytest.raises(LinkError):
        await link.send(MESSAGES)
    await link.aclose()
