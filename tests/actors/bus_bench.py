"""A bus owner at work on a scripted line, and how tests ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio
import trio.testing
from scripted_line import ScriptedLine

from grug.actors import bus
from grug.messages import Message, ReadRegisters, RegistersRead, WriteRegisters
from grug.model import Priority, Span, Table
from grug.runtime.calls import BusCaller, open_calls
from grug.runtime.feed import Feed, Subscription

HOLDING = Table.HOLDING_REGISTER
TIMING = bus.LineTiming(baudrate=9600, reply_timeout_s=0.3)


def span(address: int, count: int = 1) -> Span:
    return Span(HOLDING, address, count)


def read(
    unit_id: int,
    *spans: Span,
    within_s: float = 10.0,
    priority: Priority = Priority.NORMAL,
) -> ReadRegisters:
    return ReadRegisters(unit_id, spans, trio.current_time() + within_s, priority)


def write(unit_id: int, address: int, value: int, within_s: float = 10.0) -> WriteRegisters:
    return WriteRegisters(
        unit_id,
        HOLDING,
        address,
        value.to_bytes(2, "big"),
        trio.current_time() + within_s,
        who="test",
        why="to see",
    )


@dataclass
class Bench:
    """A bus owner at work on a scripted line."""

    bus: BusCaller
    line: ScriptedLine
    facts: Subscription
    nursery: trio.Nursery

    def facts_of(self, kind: type[Message]) -> list[Message]:
        return [fact for fact in self.facts.drain() if isinstance(fact, kind)]

    def ask_soon(
        self, request: ReadRegisters | WriteRegisters, replies: list[object] | None = None
    ) -> list[object]:
        replies = [] if replies is None else replies

        async def ask() -> None:
            replies.append(await self.bus.ask(request))

        self.nursery.start_soon(ask)
        return replies


@asynccontextmanager
async def bus_on(
    line: ScriptedLine,
    units: dict[int, bus.UnitTraits] | None = None,
    timing: bus.LineTiming = TIMING,
) -> AsyncIterator[Bench]:
    feed = Feed()
    caller, calls = open_calls()
    facts = feed.subscribe("test", Message, bound=100_000)
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await bus.run(
                calls, feed, line_name="line", open_line=line.open, timing=timing, units=units or {}
            )

        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        yield Bench(caller, line, facts, nursery)
        nursery.cancel_scope.cancel()


async def poll(
    bench: Bench, unit_id: int, every_s: float, until_s: float, replies: list[object]
) -> None:
    """Ask on a grid, and say when next, as a poller does."""
    at_s = trio.current_time()
    spans = (span(0, 10),)
    while at_s < until_s:
        await trio.sleep_until(at_s)
        at_s += every_s
        until_next_s = at_s + every_s
        request = ReadRegisters(unit_id, spans, at_s, next_s=at_s, next_deadline_s=until_next_s)
        replies.append(await bench.bus.ask(request))
        while at_s < trio.current_time():
            at_s += every_s


def good(replies: list[object]) -> int:
    return sum(isinstance(reply, RegistersRead) for reply in replies)
