"""Lines: their ports and timing, and who uses them."""

from __future__ import annotations

import os.path
import re

from grug.codec.hints import did_you_mean
from grug.config.build import quoted
from grug.config.checks.context import HouseCheck
from grug.config.toml_lines import KeyPath
from grug.config.types import LineConfig
from grug.protocol.ports import tcp_port

BAUDRATES = (1200, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 57600, 76800, 115200, 230400)
"""Speeds that RS485 devices are found at."""

_NUMBERED_PORT = re.compile(r"/dev/tty(?:USB|ACM)\d+")
_FRAMING = re.compile(r"8[NEO][12]")


def check_lines(check: HouseCheck) -> None:
    """Ports, timing and users of every line."""
    ports: dict[str, str] = {}
    users: dict[str, list[str]] = {}
    for device in check.house.device.values():
        users.setdefault(device.line, []).append("device")
    for meter in check.house.fakemeter.values():
        users.setdefault(meter.line, []).append("fakemeter")
    for name, line in check.house.line.items():
        _line(check, name, line)
        port = os.path.normpath(line.port) if line.port.startswith("/") else line.port
        path = ("line", name, "port")
        if port in ports and check.report.is_usable(*path):
            other = check.report.line_of(("line", ports[port], "port"))
            taken_by = f"[line.{ports[port]}] (line {other})"
            text = f"port {quoted(line.port)} is taken by {taken_by}"
            check.report.refuse(path, text)
        ports.setdefault(port, name)
        _users_of_line(check, name, users.get(name, []))


def _line(check: HouseCheck, name: str, line: LineConfig) -> None:
    path: KeyPath = ("line", name)
    _port(check, (*path, "port"), line.port)
    if line.baudrate not in BAUDRATES and check.report.is_usable(*path, "baudrate"):
        near = min(BAUDRATES, key=lambda rate: abs(rate - line.baudrate))
        text = f"'baudrate' {line.baudrate} is no usual speed; did you mean {near}?"
        check.report.refuse((*path, "baudrate"), text)
    if not _FRAMING.fullmatch(line.framing) and check.report.is_usable(*path, "framing"):
        near_framing = did_you_mean(line.framing, ("8N1", "8E1", "8O1", "8N2"))
        text = f"'framing' {quoted(line.framing)} does not carry Modbus RTU{near_framing}"
        check.report.refuse((*path, "framing"), text)
    check.within((*path, "timeout"), line.timeout > 0, "must be longer than 0 s")
    check.within((*path, "gap"), line.gap is None or line.gap >= 0, "cannot be negative")
    check.within((*path, "switch_gap"), line.switch_gap >= 0, "cannot be negative")
    check.within((*path, "settle"), line.settle >= 0, "cannot be negative")
    check_turnaround(check, (*path, "turnaround"), line.turnaround, line)
    if line.rs485 != "off" and "://" in line.port:
        text = "'rs485' is for serial ports: a gateway switches its own line"
        check.report.refuse((*path, "rs485"), text)


def check_turnaround(
    check: HouseCheck, path: KeyPath, turnaround_s: float, line: LineConfig
) -> None:
    """A reply that usually begins after the timeout would never be heard."""
    is_quick = 0 <= turnaround_s < line.timeout or line.timeout <= 0
    text = f"must be in 0..{line.timeout:g} s, the line's 'timeout': later replies are not heard"
    check.within(path, is_quick, text)


def _port(check: HouseCheck, path: KeyPath, port: str) -> None:
    if not check.report.is_usable(*path):
        return
    try:
        is_path = tcp_port(port) is None
    except ValueError as error:
        check.report.refuse(path, str(error))
        return
    if not is_path:
        return
    if not port.startswith("/"):
        text = (
            f"{quoted(port)} is no path of a serial port, such as /dev/serial/by-id/..., "
            "and not like tcp://host:502 or rtu+tcp://host:502"
        )
        check.report.refuse(path, text)
    elif _NUMBERED_PORT.fullmatch(port):
        text = (
            f"{port} may be another adapter after the next start: "
            "use its name in /dev/serial/by-id (ls -l /dev/serial/by-id)"
        )
        check.report.warn(path, text)


def _users_of_line(check: HouseCheck, name: str, users: list[str]) -> None:
    path = ("line", name)
    if "device" in users and "fakemeter" in users:
        text = (
            f"line {quoted(name)} has a fake meter and devices: an inverter asks on it, "
            "so grug cannot ask there too; give the fake meter a line of its own"
        )
        check.report.refuse(path, text)
    elif users.count("fakemeter") > 1:
        text = f"line {quoted(name)} has {users.count('fakemeter')} fake meters; one is possible"
        check.report.refuse(path, text)
    elif "fakemeter" in users and check.house.line[name].port.startswith("tcp://"):
        text = (
            "a fake meter answers an inverter on a serial line, or through rtu+tcp://; "
            "on Modbus TCP it would have to be called"
        )
        check.report.refuse((*path, "port"), text)
    elif not users:
        check.report.warn(path, f"nothing uses line {quoted(name)}")
