"""Agenda actor: asks for what the schedule has, while the wall clock shows its times.

In:    nothing
Out:   SetOffset when an entry of the schedule starts, ends early, or its end moves; Noted
Owns:  which entries hold
Stops: when cancelled; its last wishes end by themselves
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence

import trio

from grug.control.agenda import Entry, is_over, next_change_s, step
from grug.messages import Noted
from grug.runtime.feed import Feed

NAME = "schedule"

LOOK_S = 20.0
"""The wall clock may be set at any time; this is how long it may take to be noticed."""


class AgendaMemory:
    """What must outlive a crash: who was asked for, so that it can be ended early."""

    def __init__(self) -> None:
        """Nothing was asked for yet."""
        self.was_set = False
        """Whether the clock was ever to be believed."""
        self.held: Mapping[str, float] = {}
        """By entry: until when it was asked for, monotonic."""
        self.over: set[str] = set()
        """Entries that were said to be over."""


async def run(
    feed: Feed,
    *,
    entries: Sequence[Entry],
    wall_now: Callable[[], dt.datetime],
    is_clock_set: Callable[[], bool],
    memory: AgendaMemory | None = None,
) -> None:
    """Look at the clock until cancelled.

    Args:
        feed: gets the wishes.
        entries: the schedule.
        wall_now: the local time, with its zone.
        is_clock_set: whether that can be believed; nothing is asked for before it can.
        memory: what an earlier start of the actor has asked for.
    """
    memory = memory or AgendaMemory()
    while True:
        wait_s = LOOK_S
        # Once it was, it is only a little wrong, however long the time service is away.
        memory.was_set = memory.was_set or is_clock_set()
        if memory.was_set:
            now = wall_now()
            _look(feed, entries, memory, now)
            wait_s = next_change_s(entries, now, LOOK_S)
        # A millisecond late rather than early: at the moment itself the entry holds.
        await trio.sleep(wait_s + 1e-3)


def _look(feed: Feed, entries: Sequence[Entry], memory: AgendaMemory, now: dt.datetime) -> None:
    """Ask for what holds from now on."""
    now_s = trio.current_time()
    done = step(entries, memory.held, now, now_s)
    for wish in done.wishes:
        feed.publish(wish)
    memory.held = done.held
    for entry in entries:
        if entry.name not in memory.over and is_over(entry, now):
            memory.over.add(entry.name)
            text = f"{entry.name} ended on {entry.last}: it asks for nothing"
            feed.publish(Noted(NAME, text, now_s))
