"""The data process: records, ships, draws. The control process starts it and never waits for it.

It ends when the link ends: after a ``StopRecording`` in good order, after the control process's
death with one last flush. It ignores the signals that are for the control process.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import trio

from grug.actors import belief, console, logserver, query, recorder, shipper, tracer, view
from grug.config.types import HouseConfig
from grug.control.belief import REPORTED
from grug.errors import LinkError
from grug.messages import (
    BeliefEstimated,
    LogCounted,
    Message,
    Noted,
    ShipCounted,
    StopRecording,
)
from grug.runtime.clock import MonotonicClock, WallClock
from grug.runtime.feed import Feed, Subscription
from grug.runtime.supervisor import Part, supervise
from grug.storage.series import About
from grug.transport.asking import embedded_url, socket_path
from grug.transport.clickhouse import SharedDatabase
from grug.transport.framereads import RING
from grug.transport.link import Link
from grug.transport.logfiles import Synced
from grug.transport.logwriter import Limits
from grug.transport.priority import yield_to_others
from grug.transport.process import DataProcess, start_data_process

WAITING_MESSAGES_MAX = 200_000
"""Between two turns of the recorder: many times what the link hands over at once, so that nothing
is ever dropped inside this process."""
WAITING_TRACES_MAX = 1000
"""Of up to a thousand records each: some minutes of a card that does not take anything."""
SHIP_AT_STOP_S_MAX = 3.0
"""When the house stops, the rest of the log is shipped in this time or at the next start."""
SERVE_AGAIN_S = 30.0
"""Between two tries to get the port that the log is served at."""
BACK = (LogCounted, ShipCounted, BeliefEstimated)
"""What the control process is told."""


class DataSettings(msgspec.Struct, frozen=True):
    """All that the data process needs to know, handed to it on its standard input."""

    config: HouseConfig
    wall_origin_s: float | None = None
    """See ``WallClock``; None in real time."""
    resume: bool = False
    """The run repeats an earlier one exactly; see ``recorder.run``."""
    about: About = About()
    """Name, units and decimals, for the log."""
    view: bool = False
    hint: str = ""
    """What a person at the view may do next."""


def starter(settings: DataSettings) -> Callable[[], DataProcess]:
    """How to start a data process with these settings."""
    in_virtual_time = settings.wall_origin_s is not None
    encoded = msgspec.json.encode(settings)
    return partial(start_data_process, encoded, in_virtual_time=in_virtual_time)


async def run(settings: DataSettings, link: Link) -> None:
    """Record, ship and draw what comes over the link, until it ends."""
    state = Path(settings.config.site.state)
    wall = WallClock(settings.wall_origin_s)
    feed = Feed()
    synced = Synced()
    source = feed.subscribe("recorder", *recorder.KINDS, bound=WAITING_MESSAGES_MAX)
    traced = feed.subscribe("tracer", *tracer.KINDS, bound=WAITING_TRACES_MAX)
    async with trio.open_nursery() as nursery:
        reports = feed.subscribe("report", *BACK, key=_kind_of)
        if settings.view:
            draw = partial(view.run, feed, config=settings.config, wall=wall, hint=settings.hint)
            nursery.start_soon(supervise, Part("view", draw, is_vital=False), feed)
        elif settings.wall_origin_s is None:
            write = partial(console.run, console.subscribe(feed), wall=wall)
            nursery.start_soon(supervise, Part("console", write, is_vital=False), feed)
        if settings.wall_origin_s is None:
            nursery.start_soon(_check_beliefs, settings, feed)
        nursery.start_soon(_publish_received, link, feed)
        nursery.start_soon(_report, link, reports)
        async with trio.open_nursery() as keeping:
            if settings.config.log.serve and settings.wall_origin_s is None:
                nursery.start_soon(_serve, settings, state, synced, feed)
            if settings.config.log.frames:
                keeping.start_soon(_trace, settings, state, traced, wall, feed)
            if settings.config.ship.to:
                keeping.start_soon(_ship, settings, state, synced, feed)
            ships_at_end = await recorder.run(
                source,
                log_directory=state / "log",
                settings=settings.config.log,
                wall=wall,
                feed=feed,
                on_block=synced.mark,
                resume=settings.resume,
                is_durable=settings.wall_origin_s is None,
                about=settings.about,
            )
            synced.end()
            if not ships_at_end:
                keeping.cancel_scope.deadline = trio.current_time() + SHIP_AT_STOP_S_MAX
        nursery.cancel_scope.cancel()
    with contextlib.suppress(LinkError):
        await link.send(reports.drain())
    await link.aclose()


def _kind_of(message: Message) -> object:
    """What reports are conflated by."""
    return message.inverter if isinstance(message, BeliefEstimated) else type(message)


async def _check_beliefs(settings: DataSettings, feed: Feed) -> None:
    """Compare what inverters report of their meter with what they were told."""
    config = settings.config
    devices = {
        name: inverter.device
        for name, inverter in config.inverter.items()
        if inverter.fakemeter
        and any(REPORTED in poll.registers for poll in config.device[inverter.device].poll)
    }
    if devices:
        check = partial(belief.run, feed, devices=devices)
        await supervise(Part("belief", check, is_vital=False), feed)


async def _trace(
    settings: DataSettings, state: Path, traced: Subscription, wall: WallClock, feed: Feed
) -> None:
    """Keep what was on the wires; ends when the recording ends."""
    log = settings.config.log
    keep = partial(
        tracer.run,
        traced,
        directory=state / RING,
        limits=Limits.of(log.frames_max_bytes, log.max_age_days, log.reserve_bytes),
        wall=wall,
        feed=feed,
        resume=settings.resume,
    )
    await supervise(Part("tracer", keep, is_vital=False), feed)


async def _ship(settings: DataSettings, state: Path, synced: Synced, feed: Feed) -> None:
    """Bring the log into the database, and answer queries on it; ends when the log has ended."""
    to = settings.config.ship.to
    url = embedded_url(state) if to == "chdb:" else to
    database = SharedDatabase(url)
    ship = partial(
        shipper.run, log_directory=state / "log", database=database, synced=synced, feed=feed
    )
    answer = partial(query.run, socket_path=socket_path(state), database=database)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervise, Part("query", answer, is_vital=False), feed)
            await supervise(Part("shipper", ship, is_vital=False), feed)
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + SHIP_AT_STOP_S_MAX):
            await database.close()


async def _serve(settings: DataSettings, state: Path, synced: Synced, feed: Feed) -> None:
    """Let other machines fetch the log; ends when cancelled."""
    serve = partial(_listen_and_serve, settings, state, synced, feed)
    await supervise(Part("logserver", serve, is_vital=False), feed)


async def _listen_and_serve(
    settings: DataSettings, state: Path, synced: Synced, feed: Feed
) -> None:
    """Get the port, however long it is taken, and serve: a crash has closed the one before."""
    place = settings.config.log.serve
    host, _, port = place.rpartition(":")
    last_text = ""
    while True:
        try:
            listeners = await trio.open_tcp_listeners(int(port), host=host.strip("[]"))
            break
        except OSError as error:
            text = f"the log cannot be served at {place}: {error}"
        if text != last_text:
            last_text = text
            feed.publish(Noted("logserver", text, trio.current_time()))
        await trio.sleep(SERVE_AGAIN_S)
    await logserver.run(
        log_directory=state / "log",
        synced=synced,
        listeners=list(listeners),
        token=settings.config.log.token,
        feed=feed,
    )


async def _publish_received(link: Link, feed: Feed) -> None:
    """Publish here what the control process published; its end is an order to stop."""
    with contextlib.suppress(LinkError):
        while messages := await link.receive():
            for message in messages:
                feed.publish(message)
    feed.publish(StopRecording(ship=False))


async def _report(link: Link, reports: Subscription) -> None:
    """Tell the control process how the log and the database are doing."""
    with contextlib.suppress(LinkError):
        while True:
            batch = await reports.receive_batch()
            with trio.CancelScope(shield=True):  # Half a message would spoil the last ones.
                await link.send(batch)


def main() -> None:
    """Entry point of the process: the socket's number as argument, settings on standard input."""
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, signal.SIG_IGN)
    yield_to_others()
    settings = msgspec.json.decode(sys.stdin.buffer.read(), type=DataSettings)
    end = socket.socket(fileno=int(sys.argv[1]))

    async def start() -> None:
        await run(settings, Link(end))

    trio.run(start, clock=MonotonicClock())


if __name__ == "__main__":
    main()
