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


async def run(
    feed: Feed,
    *,
    entries: Sequence[Entry],
    wall_now: Callable[[], dt.datetime],
    is_clock_set: Callable[[], bool],
) -> None:
    """Look at the clock until cancelled.

    Args:
        feed: gets the wishes.
        entries: the schedule.
        wall_now: the local time, with its zone.
        is_clock_set: whether that can be believed; nothing is asked for before it can.
    """
    keeper = _Keeper(feed, entries)
    was_set = False
    while True:
        wait_s = LOOK_S
        # Once it was, it is only a little wrong, however long the time service is away.
        was_set = was_set or is_clock_set()
        if was_set:
            now = wall_now()
            keeper.look(now, trio.current_time())
            wait_s = next_change_s(entries, now, LOOK_S)
        # A millisecond late rather than early: at the moment itself the entry holds.
        await trio.sleep(wait_s + 1e-3)


class _Keeper:
    """What was asked for, and what was said to be over."""

    def __init__(self, feed: Feed, entries: Sequence[Entry]) -> None:
        self._feed = feed
        self._entries = entries
        self._held: Mapping[str, float] = {}
        self._over: set[str] = set()

    def look(self, now: dt.datetime, now_s: float) -> None:
        """Ask for what holds from now on."""
        done = step(self._entries, self._held, now, now_s)
        self._held = done.held
        for wish in done.wishes:
            self._feed.publish(wish)
        for entry in self._entries:
            if entry.name not in self._over and is_over(entry, now):
                self._over.add(entry.name)
                text = f"{entry.name} ended on {entry.last}: it asks for nothing"
                self._feed.publish(Noted(NAME, text, now_s))
