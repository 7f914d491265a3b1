"""Supervision: an actor that crashes on a bug is reported, waits, and starts again.

A crash never takes the neighbours with it. A vital actor that cannot stay up is given up on
after ``FAILURES_MAX`` crashes in a row, and then the whole process ends, so that whatever started
it (systemd) decides; an inverter meanwhile hears silence. Others are tried for ever.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from grug.messages import ActorFailed
from grug.runtime.feed import Feed

RESTART_DELAY_S = 2.0
"""Times the number of failures in a row."""
RESTART_DELAY_S_MAX = 300.0
HEALTHY_AFTER_S = 60.0
"""An actor that ran this long before it crashed starts counting failures anew."""
FAILURES_MAX = 20
"""Crashes in a row until the process gives up on a vital actor: some 7 minutes of trying."""


@dataclass(frozen=True, slots=True)
class Part:
    """One actor of a house: its name, and how to start it (anew)."""

    name: str
    start: Callable[[], Awaitable[None]]
    is_vital: bool = True
    """Without it the house is not steered; what only shows or counts is not vital."""


class GivenUpError(Exception):
    """An actor crashed ``FAILURES_MAX`` times in a row; the cause is attached."""


async def supervise(part: Part, feed: Feed, stopping: trio.Event | None = None) -> None:
    """Run the actor until it returns by itself, restarting it when it crashes.

    Args:
        part: the actor.
        feed: hears of its crashes.
        stopping: when this is set the actor leaves safe outputs behind and returns. One that rests
            from a crash at that moment is started at once for it, and for nothing else.

    Raises:
        GivenUpError: it crashed too often in a row.
    """
    failures = 0
    while True:
        started_s = trio.current_time()
        try:
            await part.start()
        except Exception as error:  # Any bug of the actor ends here and is reported, never hidden.
            now_s = trio.current_time()
            failures = 1 if now_s - started_s > HEALTHY_AFTER_S else failures + 1
            delay_s = min(RESTART_DELAY_S * failures, RESTART_DELAY_S_MAX)
            text = "".join(traceback.format_exception(error))
            feed.publish(ActorFailed(part.name, text, delay_s, now_s))
            if part.is_vital and failures >= FAILURES_MAX:
                raise GivenUpError(f"{part.name} crashed {failures} times in a row") from error
            if stopping is None:
                await trio.sleep(delay_s)
                continue
            if stopping.is_set():
                return
            with trio.move_on_after(delay_s):
                await stopping.wait()
        else:
            return


async def run_parts(parts: list[Part], feed: Feed, stopping: trio.Event | None = None) -> None:
    """Run actors side by side until all have returned; see ``supervise``."""
    async with trio.open_nursery() as nursery:
        for part in parts:
            nursery.start_soon(supervise, part, feed, stopping, name=part.name)
