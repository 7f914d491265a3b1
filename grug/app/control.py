"""The control process: what an inverter waits for. Starts it, and stops it in the right order.

The stop ladder: controllers put their outputs in a safe state, bounded; then everything that asks
is cancelled; then the log is completed, last of all.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import trio

from grug.actors import forwarder
from grug.app.about import started
from grug.codec.registers import RegisterMap
from grug.config.types import HouseConfig
from grug.messages import RunStopping
from grug.runtime.clock import whole_ms
from grug.runtime.feed import Feed
from grug.runtime.supervisor import Part, run_parts, supervise
from grug.transport.process import DataProcess
from grug.transport.tap import WireTap

SAFE_OUTPUTS_S_MAX = 3.0
"""How long controllers may take to leave safe outputs behind."""


@dataclass(slots=True)
class House:
    """What the actors of one control process share."""

    config: HouseConfig
    maps: Mapping[str, RegisterMap] = field(default_factory=dict)
    """By model."""
    feed: Feed = field(default_factory=Feed)
    stop_asked: trio.Event = field(default_factory=trio.Event)
    """Set it to stop the house in good order."""
    stopping: trio.Event = field(default_factory=trio.Event)
    """Controllers leave safe outputs and return."""


@dataclass(frozen=True, slots=True)
class DataSide:
    """How the messages reach the log: another process, started by ``start``."""

    start: Callable[[], DataProcess]
    batch_s: float = 0.1
    """Pause between batches over the link; the display is this much late."""
    ship_at_end: bool = False
    tap: WireTap | None = None
    """Where what is on the wires is gathered; None keeps none of it."""


async def run_house(
    house: House,
    *,
    sources: list[Part],
    controllers: list[Part],
    data: DataSide | None,
) -> None:
    """Run a house until ``house.stop_asked``, then stop it in order.

    Args:
        house: what the parts share.
        sources: lines, pollers, fake meters: cancelled when the controllers have stopped.
        controllers: what commands something; each returns by itself on ``house.stopping``.
        data: where everything is recorded; None records nothing.
    """
    all_else_stopped = trio.Event()
    async with trio.open_nursery() as nursery:
        if data is not None:
            keeper = _forwarder(house, data, all_else_stopped)
            nursery.start_soon(supervise, keeper, house.feed, all_else_stopped, name=keeper.name)
            started_s = whole_ms(trio.current_time())
            house.feed.publish(started(house.config, house.maps, started_s))
        async with trio.open_nursery() as asking:
            for part in sources:
                asking.start_soon(supervise, part, house.feed, name=part.name)
            async with trio.open_nursery() as commanding:
                commanding.start_soon(run_parts, controllers, house.feed, house.stopping)
                await house.stop_asked.wait()
                stopping_s = whole_ms(trio.current_time())
                house.feed.publish(RunStopping("asked to stop", stopping_s))
                house.stopping.set()
                commanding.cancel_scope.deadline = trio.current_time() + SAFE_OUTPUTS_S_MAX
            asking.cancel_scope.cancel()
        all_else_stopped.set()


def _forwarder(house: House, data: DataSide, all_else_stopped: trio.Event) -> Part:
    """Subscribes at once, so that nothing published from now on is missed."""
    source = house.feed.subscribe("log", *forwarder.FORWARDED, bound=forwarder.WAITING_MESSAGES_MAX)
    return Part(
        "forwarder",
        partial(
            forwarder.run,
            source,
            house.feed,
            start=data.start,
            stopping=all_else_stopped,
            batch_s=data.batch_s,
            ship_at_end=data.ship_at_end,
            take_trace=data.tap.take if data.tap is not None else None,
        ),
        is_vital=False,
    )


async def stop_on_signals(house: House) -> None:
    """Ask the house to stop at SIGINT, SIGTERM, or when its terminal goes away."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
        async for _ in received:
            house.stop_asked.set()
