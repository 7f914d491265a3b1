"""Watchdog actor: tells systemd that grug is alive, while every line's owner makes progress.

In:    LineCounted of each line, once a second
Out:   sd_notify; when it falls silent, systemd ends and restarts the process
Owns:  the timer that dumps all stacks to standard error shortly before systemd would act
Stops: when cancelled
"""

from __future__ import annotations

import faulthandler
from collections.abc import Iterable

import trio

from grug.messages import ActorFailed, LineCounted, Message
from grug.runtime.feed import Feed
from grug.transport import systemd

STUCK_AFTER_S = 10.0
"""A bus owner that has not counted for this long is stuck: it counts every second, also while its
line is down."""


async def run(feed: Feed, *, lines: Iterable[str]) -> None:
    """Feed the watchdog until cancelled; returns at once when systemd asked for none."""
    systemd.notify("READY=1")
    period_s = systemd.watchdog_s()
    if period_s is None:
        return
    counted_s = dict.fromkeys(lines, trio.current_time())
    with feed.subscribe("watchdog", LineCounted, ActorFailed, key=_line_of) as source:
        try:
            while True:
                for message in source.drain():
                    if isinstance(message, LineCounted):
                        counted_s[message.line] = message.counted_s
                    elif isinstance(message, ActorFailed) and _line_of(message) in counted_s:
                        # It rests before it starts again; that is the supervisor's will.
                        counted_s[_line_of(message)] = message.failed_s + message.restart_delay_s
                if trio.current_time() - min(counted_s.values(), default=0.0) < STUCK_AFTER_S:
                    systemd.notify("WATCHDOG=1")
                    faulthandler.dump_traceback_later(period_s * 0.9)
                await trio.sleep(period_s / 4)
        finally:
            faulthandler.cancel_dump_traceback_later()


def _line_of(message: Message) -> str:
    """The line that a message is about; a bus owner's part is named after it."""
    if isinstance(message, LineCounted):
        return message.line
    assert isinstance(message, ActorFailed), "nothing else is subscribed to"
    return message.actor.removeprefix("bus ")
