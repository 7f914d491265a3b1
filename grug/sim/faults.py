"""Faults of the simulated house: who misbehaves how, from when until when.

A fault is written ``target:kind@start+duration``: ``grid:silent@60+20`` is the unit of the device
``grid``, silent from 60 s after the start for 20 s. Without ``@start`` it begins at once, without
``+duration`` it stays.
"""

from __future__ import annotations

import enum
import math
import random
import re
from dataclasses import dataclass


class FaultKind(enum.StrEnum):
    """What goes wrong."""

    SILENT = "silent"
    """The unit does not answer; an inverter's meter port does not ask."""
    GARBAGE = "garbage"
    """Bytes of its replies are flipped."""
    LATE = "late"
    """Its replies come after any sensible timeout."""
    FOREIGN = "foreign"
    """It answers with another unit's id."""
    NOISE = "noise"
    """Some bytes of nonsense come before each reply."""
    SPLIT = "split"
    """Replies come in two pieces."""
    UNPLUG = "unplug"
    """The adapter is gone: the line breaks, and does not open until it is back."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    target: str
    """Name of a device, of a fake meter, or of a line."""
    kind: FaultKind
    start_s: float = 0.0
    """Since the start of the house."""
    duration_s: float = math.inf

    @property
    def end_s(self) -> float:
        """When it is over, since the start of the house."""
        return self.start_s + self.duration_s


_NUMBER = r"(\d+(?:\.\d+)?)"
_FAULT = re.compile(rf"([\w.-]+):(\w+)(?:@{_NUMBER})?(?:\+{_NUMBER})?")


def parse_fault(text: str, now_s: float = 0.0) -> Fault:
    """Read a fault as a person writes it.

    Args:
        text: ``target:kind``, then ``@start`` and ``+duration`` in seconds if wanted.
        now_s: the start where none is given.

    Raises:
        ValueError: it cannot be understood; the text says what would be.
    """
    match = _FAULT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no fault; one looks like grid:silent@60+20")
    target, kind, start, duration = match.groups()
    if kind not in list(FaultKind):
        raise ValueError(f"{kind!r} is no kind of fault; there are {', '.join(FaultKind)}")
    return Fault(
        target,
        FaultKind(kind),
        float(start) if start else now_s,
        float(duration) if duration else math.inf,
    )


class SimFaults:
    """All faults of a house, and the dice that garble bytes."""

    def __init__(self, seed: int, origin_s: float = 0.0) -> None:
        """Start without faults; ``origin_s`` is the clock's time at the house's start."""
        self.faults: list[Fault] = []
        self.origin_s = origin_s
        self._rng = random.Random(f"{seed} faults")

    def add(self, fault: Fault) -> None:
        """From now on this one holds as well."""
        self.faults.append(fault)

    def is_on(self, kind: FaultKind, now_s: float, *targets: str) -> bool:
        """Whether any of the targets has a fault of this kind now (the clock's time)."""
        elapsed_s = now_s - self.origin_s
        return any(
            fault.kind is kind
            and fault.target in targets
            and fault.start_s <= elapsed_s < fault.end_s
            for fault in self.faults
        )

    def garbled(self, data: bytes) -> bytes:
        """The same bytes with some bits flipped, so that no CRC holds."""
        garbled = bytearray(data)
        for _ in range(1 + len(garbled) // 16):
            garbled[self._rng.randrange(len(garbled))] ^= 1 << self._rng.randrange(8)
        return self.noise(len(data)) if garbled == data else bytes(garbled)

    def noise(self, count: int) -> bytes:
        """Some random bytes."""
        return self._rng.randbytes(count)
