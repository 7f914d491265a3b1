"""Reads house.toml and refuses it with everything that is wrong, at once.

Beyond keys and types (grug.config.build) a house must make sense: references lead somewhere,
registers are in the maps, no two things claim the same port or unit id, and no line is asked for
more than it can carry (grug.config.checks). What works but surprises is a warning. Nothing here
opens a port or file.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Mapping
from typing import NamedTuple

from grug.codec.registers import RegisterMap
from grug.config.build import Report, build
from grug.config.checks.capacity import check_loads
from grug.config.checks.context import HouseCheck
from grug.config.checks.devices import check_devices
from grug.config.checks.keeping import check_keeping
from grug.config.checks.lines import check_lines
from grug.config.checks.names import check_names, check_units
from grug.config.checks.schedule import check_schedule
from grug.config.checks.steering import check_steering
from grug.config.toml_lines import line_of_syntax_error, locate
from grug.config.types import HouseConfig
from grug.errors import ConfigError, Problem

_PARTS = (
    check_names,
    check_lines,
    check_units,
    check_devices,
    check_steering,
    check_schedule,
    check_keeping,
)


class CheckedHouse(NamedTuple):
    """A house that is fit to run, and what is worth saying about it."""

    house: HouseConfig
    warnings: tuple[Problem, ...]
    loads: dict[str, float]
    """Share of its time that each line with devices is busy with polls, 1 = all of it."""


def parse_house(text: str, file_name: str, maps: Mapping[str, RegisterMap]) -> HouseConfig:
    """Read and check a house; see ``check_house``."""
    return check_house(text, file_name, maps).house


def check_house(
    text: str,
    file_name: str,
    maps: Mapping[str, RegisterMap],
    today: dt.date = dt.date.min,
) -> CheckedHouse:
    """Read and check a house.

    Args:
        text: contents of house.toml.
        file_name: what to call the file in complaints.
        maps: the register maps that there are, by model.
        today: the local date, for what may be over by now; without it nothing is.

    Raises:
        ConfigError: with every problem, in the order of the file's lines.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = line_of_syntax_error(text, error)
        problem = Problem(file_name, line, f"this is not TOML: {error}")
        raise ConfigError([problem]) from error
    report = Report(file_name, locate(text))
    house: HouseConfig = build(HouseConfig, raw, (), report)
    check = HouseCheck(house, maps, report, today)
    for part in _PARTS:
        part(check)
    loads = check_loads(check)
    if report.problems:
        raise ConfigError(sorted(report.problems, key=lambda problem: problem.line))
    warnings = sorted(report.warnings, key=lambda problem: problem.line)
    return CheckedHouse(house, tuple(warnings), loads)
