"""Console actor: one line of text per event, for the journal or a terminal without the live view.

In:    events from the feed: what changed, never what merely is
Out:   standard error, one line each
Stops: when cancelled

It lives in the data process, with whatever else waits for somebody to read.
"""

from __future__ import annotations

from grug.messages import Message, WriteDone, WriteFailed
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed, Subscription
from grug.storage.series import EVENT_KINDS, event_of
from grug.transport.console import write_to_stderr

SHOWN_KINDS = tuple(kind for kind in EVENT_KINDS if kind not in (WriteDone, WriteFailed))
"""Single writes are for the ledger: a charger's limit alone is one every 10 s. Who writes says when
writing begins to fail, and when it works again."""
WAITING_EVENTS_MAX = 1000
"""Events come a few a minute; a thousand waiting means a storm, of which the newest matter."""


def subscribe(feed: Feed) -> Subscription:
    """What to hand to ``run``; made early, so that the first words of others are heard."""
    return feed.subscribe("console", *SHOWN_KINDS, bound=WAITING_EVENTS_MAX)


async def run(source: Subscription, *, wall: WallClock) -> None:
    """Write events until cancelled."""
    while True:
        lines = [line_of(message, wall) for message in await source.receive_batch()]
        if text := "".join(f"{line}\n" for line in lines if line):
            await write_to_stderr(text)


def line_of(message: Message, wall: WallClock) -> str | None:
    """The line for one event, or None when the message is none."""
    event = event_of(message)
    if event is None:
        return None
    seconds = wall.utc_ms(event.at_s) // 1000 % 86400
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{clock}Z {event.kind} {event.source}: {event.text}"
