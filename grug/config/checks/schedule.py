"""The schedule: times, days and dates that can be, and wishes that make sense."""

from __future__ import annotations

import datetime as dt

from grug.codec.hints import did_you_mean
from grug.config.build import quoted
from grug.config.checks.context import HouseCheck
from grug.config.schedule import WEEKDAYS, date_of, entry_of, time_of
from grug.config.toml_lines import KeyPath
from grug.config.types import ScheduleConfig
from grug.control.commands import HOUSE
from grug.control.wishes import problem_of


def check_schedule(check: HouseCheck) -> None:
    """Every standing wish by itself."""
    if check.house.schedule and not check.house.inverter:
        check.report.refuse(("schedule",), "a schedule steers inverters, and there are none")
    for name, entry in check.house.schedule.items():
        path: KeyPath = ("schedule", name)
        before = len(check.report.problems)
        _times(check, path, entry)
        _dates(check, path, entry)
        _target(check, path, entry)
        if len(check.report.problems) == before:
            _sense(check, name, entry)


def _times(check: HouseCheck, path: KeyPath, entry: ScheduleConfig) -> None:
    for key, text, is_end in (("start", entry.start, False), ("end", entry.end, True)):
        is_time = time_of(text) is not None and (is_end or text != "24:00")
        check.within((*path, key), is_time, f"{quoted(text)} is no time of day such as '22:30'")
    for index, day in enumerate(entry.days):
        if day not in WEEKDAYS and check.report.is_usable(*path, "days", index):
            near = did_you_mean(day.lower()[:3], WEEKDAYS)
            text = f"{quoted(day)} is no weekday; they are {', '.join(WEEKDAYS)}{near}"
            check.report.refuse((*path, "days", index), text)


def _dates(check: HouseCheck, path: KeyPath, entry: ScheduleConfig) -> None:
    for key, text in (("first", entry.first), ("last", entry.last)):
        is_date = not text or date_of(text) is not None
        check.within((*path, key), is_date, f"{quoted(text)} is no date such as '2026-11-30'")
    first = date_of(entry.first) or dt.date.min
    last = date_of(entry.last) or dt.date.max
    check.within((*path, "last"), first <= last, f"{entry.last} is before 'first', {entry.first}")
    if last < check.today and check.report.is_usable(*path, "last"):
        text = f"{quoted(entry.last)} is over: this entry does not begin any more"
        check.report.warn((*path, "last"), text)


def _target(check: HouseCheck, path: KeyPath, entry: ScheduleConfig) -> None:
    names = (HOUSE, *check.house.inverter)
    if entry.target not in names and check.report.is_usable(*path, "target"):
        near = did_you_mean(entry.target, names)
        text = f"there is no inverter {quoted(entry.target)}{near}; {quoted(HOUSE)} is all of them"
        check.report.refuse((*path, "target"), text)


def _sense(check: HouseCheck, name: str, entry: ScheduleConfig) -> None:
    """What the offset controller would refuse, or cut down, is said before it starts."""
    path = ("schedule", name, "power")
    problem = problem_of(entry_of(name, entry).wish(0.0))
    if problem:
        check.report.refuse(path, problem)
    limit_w = check.house.offset.limit
    if entry.aim == "offset" and abs(entry.power) > limit_w:
        check.report.warn(path, f"{entry.power:g} W is cut to the limit of {limit_w:g} W")
