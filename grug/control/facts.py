"""What is known of each inverter, gathered from the readings of its COM port and AC meter. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import msgspec
from msgspec.structs import replace

from grug.control.balance import InverterFacts
from grug.control.offset import SteeredInverter
from grug.control.plant import Asking
from grug.messages import ANSWERS, Readings
from grug.model import Quality

PV, AC, SOC, VOLTAGE = "pv_power", "active_power", "bms_battery_soc", "bms_battery_voltage"
CHARGE, DISCHARGE = "bms_battery_charge_current_limit", "bms_battery_discharge_current_limit"
"""Registers by the names that the maps have for them; one that a map lacks is not known."""
MODE, GRID_FAULTS = "energy_storage_mode", "fault_status_1_grid"
_OFF_GRID_BIT, _NO_GRID_BIT = 1 << 2, 1 << 0
"""Bits of the two. Source: maps/solis_s5_eh1p.toml."""
NEWS = (
    (SOC, "soc_pct"),
    (VOLTAGE, "battery_v"),
    (CHARGE, "charge_a_max"),
    (DISCHARGE, "discharge_a_max"),
)
"""Registers, and the facts that they are."""
_WANTED = frozenset((PV, AC, SOC, VOLTAGE, CHARGE, DISCHARGE, MODE, GRID_FAULTS))

ASKING_S = (0.02, 1.0)
"""Shortest and longest time between two questions of an inverter that asks regularly."""
ASKING_S_MAX = 3.0
"""Two counts that are further apart say nothing of when it asks."""

LAYOUTS_MAX = 256
"""Poll groups whose layout is remembered: far more than a house has."""


class FactsKnown(msgspec.Struct, frozen=True):
    """What a ``FactsBook`` has gathered; its fields are those of the book."""

    facts: dict[str, InverterFacts]
    answers: dict[str, tuple[float, float]]
    off_grid: dict[tuple[str, str], bool]
    soc_s: dict[str, float]
    pv_s: dict[str, float]
    ac_s: dict[str, float]


class FactsBook:
    """The latest facts of every inverter; a bad or missing value leaves the one before to age."""

    def __init__(self, inverters: Sequence[SteeredInverter]) -> None:
        self.facts: dict[str, InverterFacts] = {}
        """By inverter."""
        self._by_device = {inverter.device: inverter for inverter in inverters if inverter.device}
        self._by_meter = {inverter.meter: inverter for inverter in inverters if inverter.meter}
        self._by_fakemeter = {each.fakemeter: each for each in inverters if each.fakemeter}
        self._answers: dict[str, tuple[float, float]] = {}
        """By inverter: (time, count) of its meter's answers as published last."""
        self.devices = frozenset((*self._by_device, *self._by_meter, *self._by_fakemeter))
        """Whose readings matter."""
        self._off_grid: dict[tuple[str, str], bool] = {}
        """By inverter and register that says so."""
        self.soc_s: dict[str, float] = {}
        """By inverter: when its state of charge was read."""
        self._pv_s: dict[str, float] = {}
        self._ac_s: dict[str, float] = {}

    def known(self) -> FactsKnown:
        """What was gathered; it changes with the next readings."""
        return FactsKnown(
            self.facts, self._answers, self._off_grid, self.soc_s, self._pv_s, self._ac_s
        )

    def recall(self, known: FactsKnown) -> None:
        """Go on from what was gathered at another time."""
        self.facts, self._answers = known.facts, known.answers
        self._off_grid, self.soc_s = known.off_grid, known.soc_s
        self._pv_s, self._ac_s = known.pv_s, known.ac_s

    def take(self, readings: Readings) -> None:
        """Note what matters of some readings."""
        inverter = self._by_device.get(readings.device)
        by_meter = self._by_meter.get(readings.device)
        if inverter is not None:
            self._take_com(inverter, readings)
        elif by_meter is not None:
            power_w = _numbers(readings).get(AC)
            if power_w is not None:
                # At the AC port plus is what the inverter takes.
                self._note(
                    by_meter.name, readings.read_s, self._ac_s, ac_w=-power_w, ac_s=readings.read_s
                )
        elif readings.device in self._by_fakemeter and readings.names == ANSWERS:
            count, read_s = float(readings.values[0]), readings.read_s
            self._take_answers(self._by_fakemeter[readings.device].name, count, read_s)

    def _take_answers(self, name: str, count: float, read_s: float) -> None:
        """Work out when the inverter asks, from two counts; None when it is not regular."""
        before_s, before = self._answers.get(name, (-math.inf, 0.0))
        self._answers[name] = (read_s, count)
        asking = None
        if count > before and 0.0 < read_s - before_s <= ASKING_S_MAX:
            every_s = (read_s - before_s) / (count - before)
            if ASKING_S[0] <= every_s <= ASKING_S[1]:
                asking = Asking(read_s, every_s)
        self.facts[name] = replace(self.facts.get(name, InverterFacts()), asking=asking)

    def _take_com(self, inverter: SteeredInverter, readings: Readings) -> None:
        numbers, name = _numbers(readings), inverter.name
        if AC in numbers and not inverter.meter:
            self._note(name, readings.read_s, self._ac_s, ac_w=numbers[AC], ac_s=readings.read_s)
        if SOC in numbers:
            self.soc_s[name] = readings.read_s
        if PV in numbers:
            self._note(name, readings.read_s, self._pv_s, pv_w=numbers[PV])
        for register, bit in ((MODE, _OFF_GRID_BIT), (GRID_FAULTS, _NO_GRID_BIT)):
            if register in numbers:
                self._off_grid[name, register] = bool(int(numbers[register]) & bit)
                is_off = any(self._off_grid.get((name, each)) for each in (MODE, GRID_FAULTS))
                fact = self.facts.get(name, InverterFacts())
                self.facts[name] = replace(fact, is_off_grid=is_off)
        news = {field: numbers[register] for register, field in NEWS if register in numbers}
        if SOC in numbers:
            news["soc_s"] = readings.read_s
        if news:
            self.facts[name] = replace(self.facts.get(name, InverterFacts()), **news)

    def _note(self, name: str, read_s: float, times_s: dict[str, float], **news: float) -> None:
        times_s[name] = read_s
        older_s = min(self._pv_s.get(name, -math.inf), self._ac_s.get(name, -math.inf))
        fact = self.facts.get(name, InverterFacts())
        self.facts[name] = replace(fact, read_s=older_s, **news)


@lru_cache(LAYOUTS_MAX)
def _wanted_of(names: tuple[str, ...]) -> tuple[tuple[int, str], ...]:
    """Where in a poll group the wanted registers are."""
    return tuple((index, name) for index, name in enumerate(names) if name in _WANTED)


def _numbers(readings: Readings) -> dict[str, float]:
    """The good finite numbers among the wanted registers."""
    found = {}
    values, qualities = readings.values, readings.qualities
    for index, name in _wanted_of(readings.names):
        value = values[index]
        is_good = not qualities or qualities[index] is Quality.GOOD
        if not is_good or isinstance(value, bool) or not isinstance(value, float | int):
            continue
        if math.isfinite(value):
            found[name] = float(value)
    return found
