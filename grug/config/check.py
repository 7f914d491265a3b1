"""Reads house.toml and refuses it with everything that is wrong, at once.

Beyond keys and types (grug.config.build) a house must make sense: references lead somewhere,
registers are in the maps, no two things claim the same port or unit id, and no line is asked for
more than it can carry. What works but surprises is a warning. Nothing here opens a port or file.
"""

from __future__ import annotations

import os.path
import re
import tomllib
from collections.abc import Mapping
from typing import NamedTuple

from grug.codec.hints import did_you_mean
from grug.codec.registers import RegisterMap
from grug.config.build import Report, build, quoted
from grug.config.loads import line_loads, line_schedule
from grug.config.toml_lines import KeyPath, line_of_syntax_error, locate
from grug.config.types import (
    DeviceConfig,
    EvseConfig,
    FakeMeterConfig,
    GridConfig,
    HouseConfig,
    LineConfig,
)
from grug.errors import ConfigError, Problem
from grug.protocol.ports import tcp_port

BAUDRATES = (1200, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 57600, 76800, 115200, 230400)
"""Speeds that RS485 devices are found at."""
UNIT_ID_MAX = 247
"""Source: MODBUS over Serial Line V1.02, 2.2. Some devices live at the reserved 248 to 255."""
EVSE_LIMIT_A_MAX = 32.0
"""Largest limit of a household charger. Source: IEC 61851-1, one cable of 32 A."""
IMPORT_FORCE_MAX = 6.0
"""Beyond it the simulated inverters swing."""
MAX_AGE_S_MAX = 10.0
"""Old data is not safe: an inverter falls back on its own logic for a lost meter before this."""
MAX_AGE_S_SENSIBLE = 5.0
"""An inverter that is steered by measurements older than this overshoots visibly."""

STEERING_REGISTER = "active_power"
"""What inverters drive to zero; the profile of a fake meter must have it."""
LIMIT_REGISTER = "current_limit"
"""What a charger is held by; its map must have it."""

LOAD_SENSIBLE = 0.85
"""Share of a line's time beyond which polls begin to wait for each other."""

_NUMBERED_PORT = re.compile(r"/dev/tty(?:USB|ACM)\d+")
_FRAMING = re.compile(r"8[NEO][12]")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_SERVE = re.compile(r"|(?:[\w.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}")
TOKEN_LENGTH_MIN = 12
_SHIP_TO = re.compile(r"|chdb:|https?://\S+")


class CheckedHouse(NamedTuple):
    """A house that is fit to run, and what is worth saying about it."""

    house: HouseConfig
    warnings: tuple[Problem, ...]
    loads: dict[str, float]
    """Share of its time that each line with devices is busy with polls, 1 = all of it."""


def parse_house(text: str, file_name: str, maps: Mapping[str, RegisterMap]) -> HouseConfig:
    """Read and check a house; see ``check_house``."""
    return check_house(text, file_name, maps).house


def check_house(text: str, file_name: str, maps: Mapping[str, RegisterMap]) -> CheckedHouse:
    """Read and check a house.

    Args:
        text: contents of house.toml.
        file_name: what to call the file in complaints.
        maps: the register maps that there are, by model.

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
    loads = _Check(house, maps, report).all()
    if report.problems:
        raise ConfigError(sorted(report.problems, key=lambda problem: problem.line))
    warnings = sorted(report.warnings, key=lambda problem: problem.line)
    return CheckedHouse(house, tuple(warnings), loads)


class _Check:
    """All checks of one house that need more than one value at a time."""

    def __init__(self, house: HouseConfig, maps: Mapping[str, RegisterMap], report: Report) -> None:
        self._house = house
        self._maps = maps
        self._report = report

    def all(self) -> dict[str, float]:
        """Check everything; returns the lines' loads."""
        self._names()
        self._lines()
        self._units()
        for name, device in self._house.device.items():
            self._device(name, device)
        self._grid()
        for name, meter in self._house.fakemeter.items():
            self._fakemeter(name, meter)
        self._inverters()
        self._offset()
        for name, evse in self._house.evse.items():
            self._evse(name, evse)
        self._keeping()
        return self._loads()

    # Names and references

    def _names(self) -> None:
        house = self._house
        for table in ("line", "device", "fakemeter", "inverter", "evse"):
            for name in getattr(house, table):
                if not _NAME.fullmatch(name):
                    text = f"{quoted(name)}: names are made of letters, digits, _ and -"
                    self._report.refuse((table, name), text)
        for name in house.fakemeter.keys() & house.device.keys():
            text = f"{quoted(name)} is a device too: their series in the log would be mixed"
            self._report.refuse(("fakemeter", name), text)

    def _refers(self, path: KeyPath, name: str, table: str) -> bool:
        """Refuse a name that is in no table of that kind; True when it is there."""
        names: Mapping[str, object] = getattr(self._house, table)
        if not self._report.is_usable(*path) or not self._report.is_usable(table):
            return False
        if name not in names:
            text = f"there is no {table} {quoted(name)}{did_you_mean(name, names)}"
            self._report.refuse(path, text)
            return False
        return True

    def _map(self, path: KeyPath, model: str) -> RegisterMap | None:
        """The map of that name; refused when there is none."""
        if not self._report.is_usable(*path):
            return None
        if model not in self._maps:
            text = f"there is no map {quoted(model)}{did_you_mean(model, self._maps)}"
            self._report.refuse(path, text)
            return None
        return self._maps[model]

    def _range(self, path: KeyPath, is_good: bool, text: str) -> None:
        """Refuse a value outside its range."""
        if not is_good and self._report.is_usable(*path):
            self._report.refuse(path, f"{quoted(str(path[-1]))} {text}")

    # Lines

    def _lines(self) -> None:
        ports: dict[str, str] = {}
        users: dict[str, list[str]] = {}
        for device in self._house.device.values():
            users.setdefault(device.line, []).append("device")
        for meter in self._house.fakemeter.values():
            users.setdefault(meter.line, []).append("fakemeter")
        for name, line in self._house.line.items():
            self._line(name, line)
            port = os.path.normpath(line.port) if line.port.startswith("/") else line.port
            path = ("line", name, "port")
            if port in ports and self._report.is_usable(*path):
                other = self._report.line_of(("line", ports[port], "port"))
                taken_by = f"[line.{ports[port]}] (line {other})"
                text = f"port {quoted(line.port)} is taken by {taken_by}"
                self._report.refuse(path, text)
            ports.setdefault(port, name)
            self._users_of_line(name, users.get(name, []))

    def _line(self, name: str, line: LineConfig) -> None:
        path: KeyPath = ("line", name)
        self._port((*path, "port"), line.port)
        if line.baudrate not in BAUDRATES and self._report.is_usable(*path, "baudrate"):
            near = min(BAUDRATES, key=lambda rate: abs(rate - line.baudrate))
            text = f"'baudrate' {line.baudrate} is no usual speed; did you mean {near}?"
            self._report.refuse((*path, "baudrate"), text)
        if not _FRAMING.fullmatch(line.framing) and self._report.is_usable(*path, "framing"):
            near_framing = did_you_mean(line.framing, ("8N1", "8E1", "8O1", "8N2"))
            text = f"'framing' {quoted(line.framing)} does not carry Modbus RTU{near_framing}"
            self._report.refuse((*path, "framing"), text)
        self._range((*path, "timeout"), line.timeout > 0, "must be longer than 0 s")
        self._range((*path, "gap"), line.gap is None or line.gap >= 0, "cannot be negative")
        self._range((*path, "switch_gap"), line.switch_gap >= 0, "cannot be negative")
        self._range((*path, "settle"), line.settle >= 0, "cannot be negative")

    def _port(self, path: KeyPath, port: str) -> None:
        if not self._report.is_usable(*path):
            return
        try:
            is_path = tcp_port(port) is None
        except ValueError as error:
            self._report.refuse(path, str(error))
            return
        if not is_path:
            return
        if not port.startswith("/"):
            text = (
                f"{quoted(port)} is no path of a serial port, such as /dev/serial/by-id/..., "
                "and not like tcp://host:502 or rtu+tcp://host:502"
            )
            self._report.refuse(path, text)
        elif _NUMBERED_PORT.fullmatch(port):
            text = (
                f"{port} may be another adapter after the next start: "
                "use its name in /dev/serial/by-id (ls -l /dev/serial/by-id)"
            )
            self._report.warn(path, text)

    def _users_of_line(self, name: str, users: list[str]) -> None:
        path = ("line", name)
        if "device" in users and "fakemeter" in users:
            text = (
                f"line {quoted(name)} has a fake meter and devices: an inverter asks on it, "
                "so grug cannot ask there too; give the fake meter a line of its own"
            )
            self._report.refuse(path, text)
        elif users.count("fakemeter") > 1:
            text = (
                f"line {quoted(name)} has {users.count('fakemeter')} fake meters; one is possible"
            )
            self._report.refuse(path, text)
        elif "fakemeter" in users and self._house.line[name].port.startswith("tcp://"):
            text = (
                "a fake meter answers an inverter on a serial line, or through rtu+tcp://; "
                "on Modbus TCP it would have to be called"
            )
            self._report.refuse((*path, "port"), text)
        elif not users:
            self._report.warn(path, f"nothing uses line {quoted(name)}")

    def _units(self) -> None:
        """Unit ids in range, and once per line."""
        seen: dict[tuple[str, int], str] = {}
        for name, device in self._house.device.items():
            path = ("device", name, "unit")
            self._unit(path, device.unit)
            if not self._report.is_usable(*path):
                continue
            other = seen.setdefault((device.line, device.unit), name)
            if other != name:
                where = self._report.line_of(("device", other, "unit"))
                text = (
                    f"unit {device.unit} on line {quoted(device.line)} "
                    f"is device {quoted(other)} already (line {where})"
                )
                self._report.refuse(path, text)
        for name, meter in self._house.fakemeter.items():
            self._unit(("fakemeter", name, "unit"), meter.unit)

    def _unit(self, path: KeyPath, unit: int) -> None:
        is_reserved = UNIT_ID_MAX < unit <= 255
        self._range(path, is_reserved or 1 <= unit <= UNIT_ID_MAX, f"{unit} is not in 1..247")
        if is_reserved:
            self._report.warn(path, f"unit {unit} is reserved by Modbus; some devices answer to it")

    # Devices

    def _device(self, name: str, device: DeviceConfig) -> None:
        path: KeyPath = ("device", name)
        self._refers((*path, "line"), device.line, "line")
        register_map = self._map((*path, "map"), device.map)
        seen: set[str] = set()
        for index, poll in enumerate(device.poll):
            here = (*path, "poll", index)
            self._range((*here, "every"), poll.every > 0, "must be longer than 0 s")
            self._range((*here, "registers"), bool(poll.registers), "names no register")
            if register_map is None:
                continue
            for i, register in enumerate(poll.registers):
                self._register((*here, "registers", i), register, register_map)
                if register in seen:
                    text = f"{quoted(register)} of {quoted(name)} is polled twice"
                    self._report.warn((*here, "registers", i), text)
                seen.add(register)

    def _register(self, path: KeyPath, register: str, register_map: RegisterMap) -> bool:
        if not self._report.is_usable(*path):
            return False
        if register in register_map.registers:
            return True
        near = did_you_mean(register, register_map.registers)
        text = f"map {quoted(register_map.model)} has no register {quoted(register)}{near}"
        self._report.refuse(path, text)
        return False

    # Steering

    def _grid(self) -> None:
        grid = self._house.grid
        if grid is None:
            if self._house.fakemeter:
                text = "fake meters need [grid]: where the house's true power is read"
                self._report.refuse(("fakemeter",), text)
            return
        path = ("grid", "register")
        if not self._refers(("grid", "device"), grid.device, "device"):
            return
        register_map = self._maps.get(self._house.device[grid.device].map)
        if register_map is None or not self._register(path, grid.register, register_map):
            return
        unit = register_map.registers[grid.register].unit
        if unit != "W":
            text = f"{quoted(grid.register)} is no power in W, its unit is {quoted(unit)}"
            self._report.refuse(path, text)
        elif self._grid_period_s() is None and self._has_good_polls(grid.device):
            text = f"no poll of device {quoted(grid.device)} reads {quoted(grid.register)}"
            self._report.refuse(path, text)
        period_s = self._grid_period_s()
        if period_s is not None and grid.live is not None and grid.live <= period_s:
            text = f"of {grid.live:g} s is over before the meter is read again, in {period_s:g} s"
            self._range(("grid", "live"), False, text)
        if grid.second:
            self._second_meter(grid)

    def _second_meter(self, grid: GridConfig) -> None:
        """It has to measure the house's connection by itself."""
        path = ("grid", "second")
        name, register = grid.second_series
        if not self._refers(path, name, "device"):
            return
        house, device = self._house, self._house.device[name]
        steered = {inverter.device for inverter in house.inverter.values()}
        others = {inverter.meter for inverter in house.inverter.values()}
        others |= {evse.meter for evse in house.evse.values()}
        if name == grid.device:
            self._report.refuse(path, f"{quoted(name)} is the grid meter itself")
        elif name in steered:
            text = f"what inverter {quoted(name)} knows of the grid is what grug tells it"
            self._report.refuse(path, text)
        elif name in others:
            text = f"{quoted(name)} measures a part of the house, not its connection to the grid"
            self._report.refuse(path, text)
        elif register not in (names := [each for poll in device.poll for each in poll.registers]):
            text = (
                f"no poll of {quoted(name)} reads {quoted(register)}{did_you_mean(register, names)}"
            )
            self._report.refuse(path, text)
        elif device.line == house.device[grid.device].line:
            text = f"{quoted(name)} is on the grid meter's line: one adapter can take both away"
            self._report.warn(path, text)

    def _has_good_polls(self, device: str) -> bool:
        """Whether no register name was refused: a misspelt one may be meant for the grid power."""
        return all(
            self._report.is_usable("device", device, "poll", index, "registers", i)
            for index, poll in enumerate(self._house.device[device].poll)
            for i in range(len(poll.registers))
        )

    def _grid_period_s(self) -> float | None:
        """How often the grid power is read; None when it is not."""
        grid = self._house.grid
        device = None if grid is None else self._house.device.get(grid.device)
        if grid is None or device is None:
            return None
        periods = [poll.every for poll in device.poll if grid.register in poll.registers]
        return min(periods, default=None)

    def _fakemeter(self, name: str, meter: FakeMeterConfig) -> None:
        path: KeyPath = ("fakemeter", name)
        self._refers((*path, "line"), meter.line, "line")
        profile = self._map((*path, "profile"), meter.profile)
        if profile is not None and STEERING_REGISTER not in profile.registers:
            text = f"{quoted(meter.profile)} has no register '{STEERING_REGISTER}' to steer by"
            self._report.refuse((*path, "profile"), text)
        here = (*path, "max_age")
        self._range(
            here,
            0 < meter.max_age <= MAX_AGE_S_MAX,
            f"must be longer than 0 s and at most {MAX_AGE_S_MAX:g} s",
        )
        period_s = self._grid_period_s()
        if period_s is not None and self._report.is_usable(*here) and period_s >= meter.max_age:
            text = (
                f"'max_age' of {meter.max_age:g} s is over before the grid meter is read again, "
                f"every {period_s:g} s: the fake meter would fall silent each time"
            )
            self._report.refuse(here, text)
        elif meter.max_age > MAX_AGE_S_SENSIBLE:
            text = f"an inverter steered by readings {meter.max_age:g} s old overshoots"
            self._report.warn(here, text)

    def _inverters(self) -> None:
        taken: dict[tuple[str, str], str] = {}
        for name, inverter in self._house.inverter.items():
            path: KeyPath = ("inverter", name)
            self._range((*path, "share"), inverter.share > 0, "must be more than 0")
            if inverter.meter:
                self._refers((*path, "meter"), inverter.meter, "device")
            has_device = self._refers((*path, "device"), inverter.device, "device")
            has_meter = self._refers((*path, "fakemeter"), inverter.fakemeter, "fakemeter")
            for key, value in (("device", inverter.device), ("fakemeter", inverter.fakemeter)):
                other = taken.setdefault((key, value), name)
                if other != name and self._report.is_usable(*path, key):
                    text = f"{key} {quoted(value)} belongs to inverter {quoted(other)} already"
                    self._report.refuse((*path, key), text)
            if has_device and has_meter:
                self._same_unit(inverter.device, inverter.fakemeter)
        for name in self._house.fakemeter:
            if ("fakemeter", name) not in taken:
                text = f"no inverter has fake meter {quoted(name)}: it stays silent"
                self._report.warn(("fakemeter", name), text)

    def _same_unit(self, device: str, fakemeter: str) -> None:
        """A Solis asks its meter port for the unit id that it has itself at its COM port."""
        unit = self._house.device[device].unit
        if unit != self._house.fakemeter[fakemeter].unit:
            text = (
                f"device {quoted(device)} is unit {unit}; a Solis asks its meter by its own unit "
                "id, and would get no answer here"
            )
            self._report.warn(("fakemeter", fakemeter, "unit"), text)

    def _offset(self) -> None:
        offset = self._house.offset
        self._range(("offset", "limit"), offset.limit >= 0, "cannot be negative")
        self._range(("offset", "slew"), offset.slew > 0, "must be more than 0 W/s")
        force = ("offset", "import_force")
        self._range(force, 1 <= offset.import_force <= IMPORT_FORCE_MAX, "must be in 1..6")
        if self._report.is_usable("offset", "limit"):
            is_within = abs(offset.power) <= offset.limit
            text = f"{offset.power:g} W is beyond the limit of {offset.limit:g} W"
            self._range(("offset", "power"), is_within, text)

    def _evse(self, name: str, evse: EvseConfig) -> None:
        path: KeyPath = ("evse", name)
        if self._refers((*path, "device"), evse.device, "device"):
            self._charger(path, evse.device)
        if evse.meter:
            self._refers((*path, "meter"), evse.meter, "device")
        self._range((*path, "resend"), evse.resend > 0, "must be longer than 0 s")
        for key, limit in (("limit", evse.limit), ("on_stop", evse.on_stop)):
            is_good = limit is None or 0 <= limit <= EVSE_LIMIT_A_MAX
            self._range((*path, key), is_good, f"{limit} A is not in 0..{EVSE_LIMIT_A_MAX:g}")

    def _charger(self, path: KeyPath, device: str) -> None:
        """A charger's map needs a current limit that may be written."""
        register_map = self._maps.get(self._house.device[device].map)
        if register_map is None:
            return
        register = register_map.registers.get(LIMIT_REGISTER)
        if register is None or not register.is_writable:
            text = f"map {quoted(register_map.model)} has no '{LIMIT_REGISTER}' that may be written"
            self._report.refuse((*path, "device"), text)

    # Keeping

    def _keeping(self) -> None:
        log, ship = self._house.log, self._house.ship
        self._range(("site", "name"), bool(self._house.site.name), "is empty")
        self._range(("site", "state"), bool(self._house.site.state), "is empty")
        self._range(("log", "block"), log.block > 0, "must be longer than 0 s")
        self._range(("log", "max_bytes"), log.max_bytes >= 1_000_000, "must be at least 1_000_000")
        self._range(("log", "max_age_days"), log.max_age_days > 0, "must be more than 0")
        self._range(("log", "reserve_bytes"), log.reserve_bytes >= 0, "cannot be negative")
        is_place = _SERVE.fullmatch(log.serve) is not None
        text = f"{quoted(log.serve)} is no place to serve: '0.0.0.0:8765', '127.0.0.1:8765' or ''"
        self._range(("log", "serve"), is_place, text)
        has_token = not log.serve or len(log.token) >= TOKEN_LENGTH_MIN
        text = f"needs at least {TOKEN_LENGTH_MIN} characters: who has it reads the whole log"
        self._range(("log", "token"), has_token, text)
        is_known = _SHIP_TO.fullmatch(ship.to) is not None
        text = f"{quoted(ship.to)} is no database: 'chdb:', 'http://host:8123/database' or ''"
        self._range(("ship", "to"), is_known, text)

    def _loads(self) -> dict[str, float]:
        """Planned load of each line that has devices; refused where no plan could be enough."""
        if not all(
            self._report.is_usable("line", name, key)
            for name in self._house.line
            for key in ("baudrate", "framing")
        ):
            return {}  # How long a character takes is not known.
        loads = line_loads(self._house, self._maps)
        for name, (planned, least) in loads.items():
            path = ("line", name)
            if least > 1:
                text = (
                    f"line {quoted(name)} is asked for {least:.0%} of its time at "
                    f"{self._house.line[name].baudrate} baud, even with one request per poll "
                    "group: poll less often, fewer registers, or raise the baudrate"
                )
                self._report.refuse(path, text)
            elif planned > LOAD_SENSIBLE:
                text = (
                    f"polls take about {planned:.0%} of the time of line {quoted(name)}: "
                    "some will be late, and retries and writes make more of them so"
                )
                self._report.warn(path, text)
            elif not self._report.problems:
                self._late(name)
        return {name: load.planned for name, load in loads.items()}

    def _late(self, line: str) -> None:
        """Warn of polls of a line that cannot be in time although there is time enough."""
        for late in line_schedule(self._house, self._maps, line).late:
            text = (
                f"{late.late} of {late.of} readings of {quoted(late.unit)} each {late.group} come "
                f"later than the next is due: line {quoted(line)} is held by longer reads "
                "meanwhile; `grug plan` shows them"
            )
            self._report.warn(("line", line), text)
