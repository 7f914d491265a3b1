"""What every check of a house needs: the house, the maps, and where complaints go."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from grug.codec.hints import did_you_mean
from grug.codec.registers import RegisterMap
from grug.config.build import Report, quoted
from grug.config.toml_lines import KeyPath
from grug.config.types import HouseConfig


class HouseCheck:
    """One house under examination."""

    def __init__(
        self,
        house: HouseConfig,
        maps: Mapping[str, RegisterMap],
        report: Report,
        today: dt.date = dt.date.min,
    ) -> None:
        self.house = house
        self.maps = maps
        self.report = report
        self.today = today

    def refers(self, path: KeyPath, name: str, table: str) -> bool:
        """Refuse a name that is in no table of that kind; True when it is there."""
        names: Mapping[str, object] = getattr(self.house, table)
        if not self.report.is_usable(*path) or not self.report.is_usable(table):
            return False
        if name not in names:
            text = f"there is no {table} {quoted(name)}{did_you_mean(name, names)}"
            self.report.refuse(path, text)
            return False
        return True

    def map_named(self, path: KeyPath, model: str) -> RegisterMap | None:
        """The map of that name; refused when there is none."""
        if not self.report.is_usable(*path):
            return None
        if model not in self.maps:
            text = f"there is no map {quoted(model)}{did_you_mean(model, self.maps)}"
            self.report.refuse(path, text)
            return None
        return self.maps[model]

    def has_register(self, path: KeyPath, register: str, register_map: RegisterMap) -> bool:
        """Refuse a register that the map does not have; True when it is there."""
        if not self.report.is_usable(*path):
            return False
        if register in register_map.registers:
            return True
        near = did_you_mean(register, register_map.registers)
        text = f"map {quoted(register_map.model)} has no register {quoted(register)}{near}"
        self.report.refuse(path, text)
        return False

    def within(self, path: KeyPath, is_good: bool, text: str) -> None:
        """Refuse a value outside its range."""
        if not is_good and self.report.is_usable(*path):
            self.report.refuse(path, f"{quoted(str(path[-1]))} {text}")

    def has_good_polls(self, device: str) -> bool:
        """Whether no register name was refused: a misspelt one may be meant for the grid power."""
        return all(
            self.report.is_usable("device", device, "poll", index, "registers", i)
            for index, poll in enumerate(self.house.device[device].poll)
            for i in range(len(poll.registers))
        )

    def grid_period_s(self) -> float | None:
        """How often the grid power is read; None when it is not."""
        grid = self.house.grid
        device = None if grid is None else self.house.device.get(grid.device)
        if grid is None or device is None:
            return None
        periods = [poll.every for poll in device.poll if grid.register in poll.registers]
        return min(periods, default=None)
