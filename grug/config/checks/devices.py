"""Devices and what is polled from them."""

from __future__ import annotations

from grug.config.build import quoted
from grug.config.checks.context import HouseCheck
from grug.config.checks.lines import check_turnaround
from grug.config.loads import snapshot_problem
from grug.config.toml_lines import KeyPath
from grug.config.types import DeviceConfig


def check_devices(check: HouseCheck) -> None:
    """Lines, maps and polled registers of every device."""
    for name, device in check.house.device.items():
        _device(check, name, device)


def _device(check: HouseCheck, name: str, device: DeviceConfig) -> None:
    path: KeyPath = ("device", name)
    check.refers((*path, "line"), device.line, "line")
    if device.turnaround is not None and device.line in check.house.line:
        line = check.house.line[device.line]
        check_turnaround(check, (*path, "turnaround"), device.turnaround, line)
    register_map = check.map_named((*path, "map"), device.map)
    seen: set[str] = set()
    for index, poll in enumerate(device.poll):
        here = (*path, "poll", index)
        check.within((*here, "every"), poll.every > 0, "must be longer than 0 s")
        check.within((*here, "registers"), bool(poll.registers), "names no register")
        if register_map is None:
            continue
        for i, register in enumerate(poll.registers):
            check.has_register((*here, "registers", i), register, register_map)
            if register in seen:
                text = f"{quoted(register)} of {quoted(name)} is polled twice"
                check.report.warn((*here, "registers", i), text)
            seen.add(register)
        if poll.snapshot and check.report.is_usable(*here) and _is_line_known(check, device):
            problem = snapshot_problem(check.house, check.maps, device, index)
            check.within((*here, "snapshot"), not problem, f"is not possible: {problem}")


def _is_line_known(check: HouseCheck, device: DeviceConfig) -> bool:
    """Whether it is known how long a character takes."""
    path = ("line", device.line)
    return device.line in check.house.line and all(
        check.report.is_usable(*path, key) for key in ("baudrate", "framing")
    )
