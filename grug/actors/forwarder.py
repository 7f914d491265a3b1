"""Forwarder actor: carries messages to the data process, and keeps that process alive.

In:    everything published on the control process's feed
Out:   to the data process, in order; back from it LogCounted and ShipCounted
Owns:  the data process and the link to it
Stops: when ``stopping`` is set: sends what is left, lets the data process finish, returns

Control never waits for data: the subscription is a bounded buffer, and while the data process is
slow or restarting the oldest messages make room and are accounted for by a ``Lagged``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeAlias

import trio

from grug.errors import LinkError
from grug.messages import BeliefEstimated, Message, Noted, StopRecording
from grug.runtime.feed import Feed, Subscription
from grug.storage.series import LOGGED_KINDS
from grug.transport.console import write_to_stderr
from grug.transport.process import DataProcess

WAITING_MESSAGES_MAX = 50_000
"""Some 15 minutes of a large house: longer than any restart of the data process."""
FORWARDED = tuple(kind for kind in LOGGED_KINDS if kind is not BeliefEstimated)
"""What crosses the link: what the log wants; displays over there want nothing else. What is made
over there and comes back must not go there again."""
TakeTrace: TypeAlias = Callable[[float, bool], list[Message]]
"""Gives what taps gathered, at a time; all of it when that is the last time."""
RESTART_DELAY_S = 2.0
RESTART_DELAY_S_MAX = 300.0
HEALTHY_AFTER_S = 60.0
END_WAIT_S = 8.0
"""For the data process to flush and end when the house stops."""
SHIP_WAIT_S = 600.0
"""The same when it is to bring the database up to date first."""


async def run(
    source: Subscription,
    feed: Feed,
    *,
    start: Callable[[], DataProcess],
    stopping: trio.Event,
    batch_s: float,
    ship_at_end: bool,
    take_trace: TakeTrace | None = None,
) -> None:
    """Forward until ``stopping``.

    Args:
        source: a subscription to ``FORWARDED``.
        feed: for what comes back, and for notes.
        start: starts a data process.
        stopping: set when all others have stopped.
        batch_s: pause between two batches; saves wake-ups and costs the display this much delay.
        ship_at_end: wait at the end until the database has everything.
        take_trace: what was on the wires; asked at each batch, bounded by itself.
    """
    failures = 0
    while True:
        exchange = _Exchange(start(), source, feed, stopping, take_trace)
        started_s = trio.current_time()
        await exchange.run(batch_s, ship_at_end)
        status = await exchange.process.aclose()
        if stopping.is_set():
            return
        now_s = trio.current_time()
        failures = 1 if now_s - started_s > HEALTHY_AFTER_S else failures + 1
        delay_s = min(RESTART_DELAY_S * failures, RESTART_DELAY_S_MAX)
        text = f"ended with status {status}; starts again in {delay_s:.0f} s"
        feed.publish(Noted("data process", text, now_s))
        if failures > 1:
            # The process that writes to the terminal is the one that does not come up.
            await write_to_stderr(f"data process {text}\n")
        with trio.move_on_after(delay_s):
            await stopping.wait()


class _Exchange:
    """The exchange with one data process, until it dies or all is said."""

    def __init__(
        self,
        process: DataProcess,
        source: Subscription,
        feed: Feed,
        stopping: trio.Event,
        take_trace: TakeTrace | None,
    ) -> None:
        self.process = process
        self._source = source
        self._feed = feed
        self._stopping = stopping
        self._take_trace = take_trace

    async def run(self, batch_s: float, ship_at_end: bool) -> None:
        """Send and receive until either side has finished."""
        async with trio.open_nursery() as nursery:
            if self.process.link.is_blocking:
                await self._send(batch_s, ship_at_end)
                await self._receive()
                return

            async def receive() -> None:
                await self._receive()
                nursery.cancel_scope.cancel()

            async def bound_the_end() -> None:
                await self._stopping.wait()
                wait_s = SHIP_WAIT_S if ship_at_end else END_WAIT_S
                nursery.cancel_scope.deadline = trio.current_time() + wait_s

            nursery.start_soon(receive)
            nursery.start_soon(bound_the_end)
            await self._send(batch_s, ship_at_end)

    async def _send(self, batch_s: float, ship_at_end: bool) -> None:
        with contextlib.suppress(LinkError):  # The receiving half says so too, and ends it all.
            while not self._stopping.is_set():
                if batch := self._batch():
                    await self.process.link.send(batch)
                with trio.move_on_after(batch_s):
                    await self._stopping.wait()
            await self.process.link.send([*self._batch(is_last=True), StopRecording(ship_at_end)])
            await self.process.link.finish()

    def _batch(self, *, is_last: bool = False) -> list[Message]:
        """All that waits to be sent."""
        batch = self._source.drain()
        if self._take_trace is not None:
            batch += self._take_trace(trio.current_time(), is_last)
        return batch

    async def _receive(self) -> None:
        with contextlib.suppress(LinkError):
            while messages := await self.process.link.receive():
                for message in messages:
                    self._feed.publish(message)
