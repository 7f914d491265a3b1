"""Names of things, and of units on a line."""

from __future__ import annotations

import re

from grug.config.build import quoted
from grug.config.checks.context import HouseCheck
from grug.config.toml_lines import KeyPath

_NAME = re.compile(r"[A-Za-z0-9_-]+")
UNIT_ID_MAX = 247
"""Source: MODBUS over Serial Line V1.02, 2.2. Some devices live at the reserved 248 to 255."""


def check_names(check: HouseCheck) -> None:
    """Names that can be part of a series' name, and mean one thing."""
    house = check.house
    for table in ("line", "device", "fakemeter", "inverter", "schedule", "evse"):
        for name in getattr(house, table):
            if not _NAME.fullmatch(name):
                text = f"{quoted(name)}: names are made of letters, digits, _ and -"
                check.report.refuse((table, name), text)
    for name in house.fakemeter.keys() & house.device.keys():
        text = f"{quoted(name)} is a device too: their series in the log would be mixed"
        check.report.refuse(("fakemeter", name), text)


def check_units(check: HouseCheck) -> None:
    """Unit ids in range, and once per line."""
    seen: dict[tuple[str, int], str] = {}
    for name, device in check.house.device.items():
        path = ("device", name, "unit")
        _unit(check, path, device.unit)
        if not check.report.is_usable(*path):
            continue
        other = seen.setdefault((device.line, device.unit), name)
        if other != name:
            where = check.report.line_of(("device", other, "unit"))
            text = (
                f"unit {device.unit} on line {quoted(device.line)} "
                f"is device {quoted(other)} already (line {where})"
            )
            check.report.refuse(path, text)
    for name, meter in check.house.fakemeter.items():
        _unit(check, ("fakemeter", name, "unit"), meter.unit)


def _unit(check: HouseCheck, path: KeyPath, unit: int) -> None:
    is_reserved = UNIT_ID_MAX < unit <= 255
    check.within(path, is_reserved or 1 <= unit <= UNIT_ID_MAX, f"{unit} is not in 1..247")
    if is_reserved:
        check.report.warn(path, f"unit {unit} is reserved by Modbus; some devices answer to it")
