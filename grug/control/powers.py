"""What a house knows of its powers at this moment, for programs that ask it again and again. Pure.

A program that acts on a running house has to see what it does as it happens: the log is some
seconds late. ``{"command": "powers"}`` on the command socket is answered with ``Powers``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from grug.control.balance import InverterFacts
from grug.control.facts import FactsBook
from grug.control.offset import OffsetSettings
from grug.control.plant import Asking
from grug.messages import Decided, Message, Readings
from grug.model import Quality


class InverterPowers(msgspec.Struct, frozen=True):
    """What is known of one inverter; None is not known."""

    name: str
    told_w: float | None = None
    """What its meter says by the last decision; None when it says nothing."""
    ac_w: float | None = None
    """Out of its AC port."""
    ac_s: float = -1e9
    """When that was read."""
    soc_pct: float | None = None
    """State of charge of its battery."""
    soc_s: float = -1e9
    """When that was read."""
    asking: Asking | None = None
    """When it asks its meter; None when it does not ask regularly."""
    is_off_grid: bool = False


class HeldWish(msgspec.Struct, frozen=True):
    """A wish that holds now."""

    who: str
    target: str
    """An inverter, or empty for the house."""
    power_w: float
    why: str = ""


class Powers(msgspec.Struct, frozen=True):
    """The house at one moment; all times are seconds of its own monotonic clock."""

    now_s: float
    grid_w: float | None
    """As read from the grid meter last, plus = import."""
    grid_s: float
    """When that was read."""
    live_s: float
    """A reading of the grid that is older than this is not live."""
    decided_s: float | None
    """When it was decided last what is told; None before the first time."""
    offset_w: float | None
    reason: str
    inverters: tuple[InverterPowers, ...]
    wishes: tuple[HeldWish, ...] = ()


class PowersBook:
    """The latest of everything that ``Powers`` has."""

    def __init__(self, settings: OffsetSettings) -> None:
        self._settings = settings
        self._facts = FactsBook(settings.inverters)
        self._grid: tuple[float | None, float] = (None, -1e9)
        self._decided: Decided | None = None

    def is_wanted(self, message: Message) -> bool:
        """Whether it is about the grid or an inverter."""
        if not isinstance(message, Readings):
            return False
        return message.device == self._settings.grid_device or message.device in self._facts.devices

    def take(self, message: Message) -> None:
        """Note readings, or a decision of the offset controller."""
        if isinstance(message, Decided):
            self._decided = message
        elif isinstance(message, Readings):
            self._facts.take(message)
            if message.device == self._settings.grid_device:
                self._take_grid(message)

    def now(self, now_s: float, wishes: Sequence[HeldWish]) -> Powers:
        """Everything as it is known now."""
        decided = self._decided
        values = {} if decided is None else dict(zip(decided.names, decided.values, strict=True))
        names = [inverter.name for inverter in self._settings.inverters]
        return Powers(
            now_s,
            *self._grid,
            self._settings.ladder.live_s,
            None if decided is None else decided.decided_s,
            _known(values.get("offset_w")),
            "nothing decided yet" if decided is None else decided.reason,
            tuple(self._inverter(name, _known(values.get(f"served_w/{name}"))) for name in names),
            tuple(wishes),
        )

    def _take_grid(self, readings: Readings) -> None:
        register = self._settings.grid_register
        if register not in readings.names:
            return
        index = readings.names.index(register)
        value = readings.values[index]
        is_good = not readings.qualities or readings.qualities[index] is Quality.GOOD
        if is_good and not isinstance(value, bool | str) and math.isfinite(value):
            self._grid = (float(value), readings.read_s)

    def _inverter(self, name: str, told_w: float | None) -> InverterPowers:
        fact = self._facts.facts.get(name, InverterFacts())
        soc_s = self._facts.soc_s.get(name)
        return InverterPowers(
            name,
            told_w,
            fact.ac_w,
            fact.ac_s,
            None if soc_s is None else fact.soc_pct,
            -1e9 if soc_s is None else soc_s,
            fact.asking,
            fact.is_off_grid,
        )


def _known(value: float | None) -> float | None:
    """A finite number, or None."""
    return value if value is not None and math.isfinite(value) else None
