"""The schedule in house.toml: what holds when, and what is no schedule."""

from __future__ import annotations

import datetime as dt
import tomllib

import pytest

from grug.config.build import Report, build
from grug.config.checks.context import HouseCheck
from grug.config.checks.schedule import check_schedule
from grug.config.schedule import entry_of
from grug.config.toml_lines import locate
from grug.config.types import HouseConfig, InverterConfig, ScheduleConfig
from grug.model import Aim

NIGHT = """\
[schedule.night]
start = "22:30"
end = "24:00"
power = 800
aim = "grid"
days = ["sat", "sun"]
first = "2026-11-01"
"""


def report_of(text: str, today: dt.date = dt.date.min) -> Report:
    report = Report("house.toml", locate(text))
    table = tomllib.loads(text)["schedule"]
    schedule = build(dict[str, ScheduleConfig], table, ("schedule",), report)
    inverters = {"solis1": InverterConfig(device="solis1", fakemeter="fake1")}
    house = HouseConfig(line={}, device={}, inverter=inverters, schedule=schedule)
    check_schedule(HouseCheck(house, {}, report, today))
    return report


def test_entry_means_what_the_file_says() -> None:
    report = report_of(NIGHT)
    assert not report.problems
    assert not report.warnings
    config = ScheduleConfig(
        start="22:30",
        end="24:00",
        power=800.0,
        aim=Aim.GRID,
        days=("sat", "sun"),
        first="2026-11-01",
    )
    entry = entry_of("night", config)
    assert (entry.start, entry.end) == (dt.time(22, 30), dt.time(0, 0))
    assert entry.days == {5, 6}
    assert (entry.first, entry.last) == (dt.date(2026, 11, 1), dt.date.max)
    assert (entry.who, entry.target) == ("schedule/night", "")


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('"22:30"', '"24:00"', 2, "no time of day"),
        ('"22:30"', '"7:30"', 2, "no time of day such as '22:30'"),
        ('"24:00"', '"24:30"', 3, "no time of day"),
        ('"grid"', '"gird"', 5, "did you mean 'grid'?"),
        ('"sat", "sun"', '"sat", "sunday"', 6, "did you mean 'sun'?"),
        ('"2026-11-01"', '"2026-11-31"', 7, "no date"),
        ('first = "2026-11-01"', 'last = "yesterday"', 7, "no date"),
        (
            'first = "2026-11-01"',
            'first = "2026-11-02"\nlast = "2026-11-01"',
            8,
            "is before 'first'",
        ),
        ('first = "2026-11-01"', 'target = "solis2"', 7, "did you mean 'solis1'?"),
        ("= 800\n", "= -800\n", 4, "a bound"),
    ],
)
def test_each_mistake_is_blamed_on_its_line(old: str, new: str, line: int, words: str) -> None:
    text = NIGHT.replace(old, new)
    if words == "a bound":
        text = text.replace('"grid"', '"export_max"')
    (problem,) = report_of(text).problems
    assert problem.line == line
    assert words in problem.text


def test_more_than_the_limit_is_a_warning() -> None:
    text = NIGHT.replace('"grid"', '"offset"').replace("800", "9000")
    (warning,) = report_of(text).warnings
    assert "cut to the limit of 6000 W" in warning.text


@pytest.mark.parametrize(("today", "is_over"), [("2026-11-30", False), ("2026-12-01", True)])
def test_an_entry_whose_last_day_is_past_is_a_warning_on_its_line(
    today: str, is_over: bool
) -> None:
    report = report_of(NIGHT + 'last = "2026-11-30"\n', dt.date.fromisoformat(today))
    assert not report.problems
    assert [(each.line, "is over" in each.text) for each in report.warnings] == [
        (8, True)
    ] * is_over
