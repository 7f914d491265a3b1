"""From the schedule as the file has it to the entries that the agenda keeps. Pure."""

from __future__ import annotations

import datetime as dt
import re

from grug.config.types import ScheduleConfig
from grug.control.agenda import EVERY_DAY, Entry
from grug.control.commands import HOUSE

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def time_of(text: str) -> dt.time | None:
    """A time of day; None when the text is none. The day's end is the next one's beginning."""
    if text == "24:00":
        return dt.time.min
    match = _TIME.fullmatch(text)
    return dt.time(int(match[1]), int(match[2])) if match else None


def date_of(text: str) -> dt.date | None:
    """A date; None when the text is none."""
    if not _DATE.fullmatch(text):
        return None
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None


def entry_of(name: str, config: ScheduleConfig) -> Entry:
    """The entry that a checked part of the file stands for."""
    return Entry(
        name=name,
        start=time_of(config.start) or dt.time.min,
        end=time_of(config.end) or dt.time.min,
        power_w=config.power,
        aim=config.aim,
        per_soc_w=config.per_soc,
        target="" if config.target == HOUSE else config.target,
        why=config.why,
        days=frozenset(map(WEEKDAYS.index, config.days)) or EVERY_DAY,
        first=date_of(config.first) or dt.date.min,
        last=date_of(config.last) or dt.date.max,
    )
