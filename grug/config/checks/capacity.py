"""What lines can carry: polls that no schedule reads in time are refused, with what would do."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from grug.config.build import quoted
from grug.config.checks.context import HouseCheck
from grug.config.checks.lines import BAUDRATES
from grug.config.loads import (
    group_name,
    is_feasible_anyhow,
    line_loads,
    line_schedule,
    turnaround_s,
    why_infeasible,
)
from grug.config.types import HouseConfig, Seconds
from grug.planner.feasible import Infeasible, Pause, Why

LOAD_SENSIBLE = 0.85
"""Share of a line's time beyond which polls begin to wait for each other."""

PERIODS_S = tuple(
    digit * scale
    for scale in (0.01, 0.1, 1.0, 10.0, 100.0)
    for digit in (1.0, 1.5, 2, 3, 4, 5, 6, 8)
)
"""Periods that are proposed where one is too short."""

_Choice = TypeVar("_Choice")


def check_loads(check: HouseCheck) -> dict[str, float]:
    """Planned load of each line that has devices; refused where no schedule can be in time."""
    if not all(
        check.report.is_usable("line", name, key)
        for name in check.house.line
        for key in ("baudrate", "framing")
    ):
        return {}  # How long a character takes is not known.
    loads = line_loads(check.house, check.maps)
    for name, load in loads.items():
        path = ("line", name)
        reasons = why_infeasible(check.house, check.maps, name)
        for reason in reasons:
            _refuse(check, name, reason)
        if reasons:
            continue
        if load > LOAD_SENSIBLE:
            text = (
                f"polls take about {load:.0%} of the time of line {quoted(name)}: "
                "some will be late, and retries and writes make more of them so"
            )
            check.report.warn(path, text)
        elif not check.report.problems:
            _late(check, name)
    return loads


def _late(check: HouseCheck, line: str) -> None:
    """Warn of polls of a line that will not be in time although nothing proves that they cannot."""
    late = line_schedule(check.house, check.maps, line).late
    if not late:
        return
    known = "whether another order could do better is not known"
    if is_feasible_anyhow(check.house, check.maps, line):
        known = (
            "they could be in time, each group read by itself, by an order that grug does not try"
        )
    for each in late:
        text = (
            f"{each.late} of {each.of} readings of {quoted(each.unit)} each {each.group} come "
            f"later than the next is due: line {quoted(line)} is held by longer reads "
            f"meanwhile; {known}; `grug plan` shows them"
        )
        check.report.warn(("line", line), text)


def _refuse(check: HouseCheck, line: str, reason: Infeasible) -> None:
    device = check.house.device[reason.unit]
    names = [group_name(device, number) for number in range(len(device.poll))]
    number = names.index(reason.group)
    text = f"{_said(check.house, line, reason)}; {_cure(check, line, reason.unit, number)}"
    check.report.refuse(("device", reason.unit, "poll", number, "every"), text)


def _said(house: HouseConfig, line: str, reason: Infeasible) -> str:
    """The reason with its numbers."""
    speed = f"at {house.line[line].baudrate} baud, with {_answers(house, line)} for each answer"
    match reason.why:
        case Why.LINE:
            return (
                f"line {quoted(line)} cannot carry its polls in any order: they need at least "
                f"{reason.least:.1%} of its time {speed}; this one alone takes {reason.alone:.0%}"
            )
        case Why.UNIT:
            return (
                f"device {quoted(reason.unit)} cannot be asked so often in any order: its polls "
                f"and the silence that it wants after each answer need at least "
                f"{reason.least:.1%} of the time {speed}; this poll alone takes {reason.alone:.0%}"
            )
        case Why.PAUSE:
            assert reason.pause is not None
            return (
                f"line {quoted(line)} cannot carry its polls in any order: this one takes "
                f"{reason.alone:.0%} of its period {speed}, {_pause_said(reason.pause)}"
            )


def _answers(house: HouseConfig, line: str) -> str:
    """How long the units of a line are expected to take to begin an answer."""
    devices = [device for device in house.device.values() if device.line == line and device.poll]
    times_ms = [1e3 * turnaround_s(house, device) for device in devices]
    least, most = f"{min(times_ms):.4g}", f"{max(times_ms):.4g}"
    return f"{least} ms" if least == most else f"{least} to {most} ms"


def _pause_said(pause: Pause) -> str:
    what = f"{pause.span.table} {pause.span.address}+{pause.span.count}"
    text = (
        f"so that there are never more than {1e3 * pause.longest_s:.0f} ms between two of its "
        f"readings, and a read of {what}, which {quoted(pause.unit)} wants each {pause.group}, "
        f"takes {1e3 * pause.read_s:.0f} ms in one piece"
    )
    if pause.most > 0:
        text += f": at most {pause.most:.0%} of the pauses are long enough, which is too few"
    return text


def _cure(check: HouseCheck, line: str, device: str, number: int) -> str:
    """What would have to be changed, by itself: the period, or the speed."""
    house = check.house
    poll = house.device[device].poll[number]

    def is_served(changed: HouseConfig) -> bool:
        return not why_infeasible(changed, check.maps, line)

    periods = [period for period in PERIODS_S if period > poll.every]
    period = _first(periods, lambda each: is_served(_with_period(house, device, number, each)))
    speeds = [rate for rate in BAUDRATES if rate > house.line[line].baudrate]
    speed = _first(speeds, lambda each: is_served(_with_speed(house, line, each)))
    cures: list[str] = []
    if period is not None:
        cures.append(f"every = {quoted(_duration(period))} here")
    if speed is not None:
        cures.append(f"baudrate = {speed} for line {quoted(line)} and its devices")
    cure = f"what could do: {', or '.join(cures)}"
    if not cures:
        cure = "no longer period of this poll alone is enough: poll less often, or fewer registers"
    if is_served(_answering_at_once(house, line)):
        cure += "; devices that answer sooner may say so, with 'turnaround'"
    return cure


def _first(choices: Sequence[_Choice], is_good: Callable[[_Choice], bool]) -> _Choice | None:
    """The first good one of choices that become better and better."""
    at = bisect_left(choices, True, key=is_good)
    return choices[at] if at < len(choices) else None


def _with_period(house: HouseConfig, name: str, number: int, period_s: float) -> HouseConfig:
    device = house.device[name]
    poll = list(device.poll)
    poll[number] = msgspec.structs.replace(poll[number], every=Seconds(period_s))
    changed = msgspec.structs.replace(device, poll=tuple(poll))
    return msgspec.structs.replace(house, device={**house.device, name: changed})


def _with_speed(house: HouseConfig, name: str, baudrate: int) -> HouseConfig:
    changed = msgspec.structs.replace(house.line[name], baudrate=baudrate)
    return msgspec.structs.replace(house, line={**house.line, name: changed})


def _answering_at_once(house: HouseConfig, name: str) -> HouseConfig:
    devices = {
        key: msgspec.structs.replace(device, turnaround=Seconds(0.0))
        for key, device in house.device.items()
        if device.line == name
    }
    return msgspec.structs.replace(house, device={**house.device, **devices})


def _duration(seconds: float) -> str:
    """As it is written in house.toml."""
    return f"{1e3 * seconds:g}ms" if seconds < 1 else f"{seconds:g}s"
