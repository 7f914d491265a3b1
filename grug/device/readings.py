"""What a person wants to know of one register: its value, how far to trust it, how to show it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from grug.codec.registers import Register
from grug.model import Quality, Value
from grug.runtime.steps import show_value


@dataclass(frozen=True, slots=True)
class Reading:
    """One register, read or not."""

    register: Register
    value: Value | None
    """In the register's unit; None unless the quality is GOOD."""
    quality: Quality
    """GOOD; BAD: the device says that it has no value, or it is implausible; MISSING: no answer."""
    read_s: float
    """When it was read, by trio's clock; NaN when it was not."""
    problem: str = ""
    """Why it is not good."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What the value says in words, where the map has labels."""
        return () if self.value is None else self.register.labels_of(self.value)

    def __str__(self) -> str:
        """Show it with as many decimals as the map says, its unit, and its labels."""
        if self.value is None:
            return f"{self.quality}: {self.problem}"
        text = show_value(self.register, self.value)
        return f"{text} ({', '.join(self.labels)})" if self.labels else text


def missing(register: Register, problem: str) -> Reading:
    """The reading of a register that was not read."""
    return Reading(register, None, Quality.MISSING, math.nan, problem)
