"""The schedule: which of the house's standing wishes hold at a moment of the wall clock. Pure.

An entry holds from a time of day to another, on some weekdays, between two dates. Times are the
house's local ones. Whatever the clock does (a summer that begins or ends, a step by NTP, a start
without a battery-backed clock), an entry holds exactly while the clock shows a time of its own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from grug.control.wishes import SCHEDULE
from grug.messages import SetOffset
from grug.model import Aim

EVERY_DAY = frozenset(range(7))
DAY = dt.timedelta(days=1)
MOVED_S = 2.0
"""An end that the clock has moved by less than this is still the same."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One standing wish and when it holds."""

    name: str
    start: dt.time
    end: dt.time
    """Of the next day when it is not after ``start``."""
    power_w: float
    aim: Aim = Aim.OFFSET
    per_soc_w: float = 0.0
    target: str = ""
    why: str = ""
    days: frozenset[int] = EVERY_DAY
    """Weekdays on which it starts, Monday = 0."""
    first: dt.date = dt.date.min
    last: dt.date = dt.date.max
    """Dates on which it starts, both included."""

    @property
    def who(self) -> str:
        """Who asks, for the log and for the order of wishes."""
        return f"{SCHEDULE}/{self.name}"

    def wish(self, expires_s: float) -> SetOffset:
        """What it asks for until then."""
        why = self.why
        return SetOffset(
            self.power_w, expires_s, self.who, why, self.target, self.aim, self.per_soc_w
        )

    def runs_around(self, now: dt.datetime) -> Iterator[tuple[dt.datetime, dt.datetime]]:
        """Start and end of its runs that begin yesterday, today or tomorrow."""
        for day in (now.date() - DAY, now.date(), now.date() + DAY):
            if day.weekday() in self.days and self.first <= day <= self.last:
                until = day if self.end > self.start else day + DAY
                yield _moment(day, self.start, now), _moment(until, self.end, now)


@dataclass(frozen=True, slots=True)
class Step:
    """What to ask for now, and what is asked for from then on."""

    wishes: tuple[SetOffset, ...]
    held: Mapping[str, float]
    """By entry that holds: when its wish ends, in monotonic seconds."""


def step(
    entries: Sequence[Entry], held: Mapping[str, float], now: dt.datetime, now_s: float
) -> Step:
    """Compare what holds with what was asked for.

    Args:
        entries: the schedule.
        held: what the last step left.
        now: the wall clock, with its zone.
        now_s: monotonic time of the same moment.
    """
    wishes: list[SetOffset] = []
    holds: dict[str, float] = {}
    for entry in sorted(entries, key=lambda each: _since(each, now)):
        ends = [end for start, end in entry.runs_around(now) if _is_within(start, now, end)]
        if ends:
            expires_s = now_s + (max(ends) - now).total_seconds()
            known_s = held.get(entry.name)
            # After one that is asked for anew come those that began later: the newest is obeyed.
            if wishes or known_s is None or abs(known_s - expires_s) > MOVED_S:
                wishes.append(entry.wish(expires_s))
                known_s = expires_s
            holds[entry.name] = known_s
        elif held.get(entry.name, now_s) > now_s:
            wishes.append(entry.wish(now_s))  # The clock was set: its time is not now.
    return Step(tuple(wishes), holds)


def next_change_s(entries: Sequence[Entry], now: dt.datetime, longest_s: float) -> float:
    """Seconds until an entry starts or ends, at most ``longest_s``."""
    waits_s = [
        (moment - now).total_seconds()
        for entry in entries
        for run in entry.runs_around(now)
        for moment in run
    ]
    return min([longest_s, *(wait_s for wait_s in waits_s if wait_s > 0.0)])


def is_over(entry: Entry, now: dt.datetime) -> bool:
    """Whether it will never hold again."""
    return now.date() - DAY > entry.last


def _moment(day: dt.date, time: dt.time, now: dt.datetime) -> dt.datetime:
    """In UTC, so that differences are true across a change to summer time."""
    return dt.datetime.combine(day, time, now.tzinfo).astimezone(dt.UTC)


def _is_within(start: dt.datetime, now: dt.datetime, end: dt.datetime) -> bool:
    return start <= _utc(now) < end


def _utc(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC)


def _since(entry: Entry, now: dt.datetime) -> dt.datetime:
    """When it began last: what began later is asked for later, and so comes first."""
    starts = [start for start, end in entry.runs_around(now) if _is_within(start, now, end)]
    return max(starts, default=_utc(now))
