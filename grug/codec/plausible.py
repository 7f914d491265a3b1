"""Whether a value is plausible after those before it: largest steps, counters that only grow.

A value that is not is bad: it is logged, but nobody acts on it. What it is compared with stays the
last good value, until several readings in a row agree with each other on the new level; then that
is the truth, be it a counter that began anew or a step that really happened.
"""

from __future__ import annotations

from collections.abc import Sequence

from grug.codec.block import raw_value_of
from grug.codec.registers import Register
from grug.model import Quality, Value

AGREEING = 3
"""Readings on a new level that make it the truth, for what is no counter."""


class Plausibility:
    """Remembers the last values of the registers of one device, or one poll of it."""

    def __init__(self, registers: Sequence[Register]) -> None:
        self._watches = [
            (index, _Watch(register))
            for index, register in enumerate(registers)
            if register.is_watched
        ]

    @property
    def is_needed(self) -> bool:
        """Whether any of the registers has a largest step or is a counter."""
        return bool(self._watches)

    def judge(
        self, values: tuple[Value, ...], qualities: tuple[Quality, ...], read_s: float
    ) -> tuple[tuple[Value, ...], tuple[Quality, ...]]:
        """Compare with what was before.

        Args:
            values: in the order of the registers, as decoded.
            qualities: likewise; ``()`` when all are good.
            read_s: when they were read; never less than the time before.

        Returns:
            Values and qualities; of what is not plausible, the raw number, and bad.
        """
        for index, watch in self._watches:
            if qualities and qualities[index] is not Quality.GOOD:
                continue
            value = values[index]
            assert isinstance(value, int | float), "only numbers have steps"
            if watch.takes(value, read_s):
                continue
            raw = raw_value_of(watch.register, value)
            values = (*values[:index], raw, *values[index + 1 :])
            marks = qualities or (Quality.GOOD,) * len(values)
            qualities = (*marks[:index], Quality.BAD, *marks[index + 1 :])
        return values, qualities


class _Watch:
    """What is remembered of one register."""

    def __init__(self, register: Register) -> None:
        self.register = register
        self._is_counter = bool(register.confirmations)
        self._needed = register.confirmations or AGREEING
        self._step = None if register.step_max is None else float(register.step_max)
        self._rate = None if register.rate_max is None else float(register.rate_max)
        self._good: tuple[float, float] | None = None
        """The last plausible value and its time."""
        self._doubted: tuple[float, float] | None = None
        """The last value on a level that is not believed yet."""
        self._agreed = 0
        """How many readings in a row were on that level."""

    def takes(self, value: float, read_s: float) -> bool:
        """Whether the value is plausible; remembers it either way."""
        if self._good is None or self._follows(self._good, value, read_s):
            self._believe(value, read_s)
            return True
        agrees = self._doubted is not None and self._follows(self._doubted, value, read_s)
        self._agreed = self._agreed + 1 if agrees else 1
        self._doubted = (value, read_s)
        if self._agreed < self._needed:
            return False
        self._believe(value, read_s)
        return True

    def _believe(self, value: float, read_s: float) -> None:
        self._good = (value, read_s)
        self._doubted = None
        self._agreed = 0

    def _follows(self, before: tuple[float, float], value: float, read_s: float) -> bool:
        """Whether a value may come after another."""
        change = value - before[0]
        if self._is_counter and change < 0:
            return False
        if self._step is not None and abs(change) > self._step:
            return False
        return self._rate is None or abs(change) <= self._rate * (read_s - before[1])
