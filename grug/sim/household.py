"""What the people in the house switch on: base load, fridge, motors, kettle, evening. Pure.

Each appliance is a generator of (duration in s, power in W); a step costs nothing until the next
of them changes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from grug.sim.sky import DAY_S

Segments: TypeAlias = Iterator[tuple[float, float]]

PHASES = 3


@dataclass(frozen=True, slots=True)
class LoadSetup:
    """How much the household takes."""

    base_w: float = 260.0
    evening_w: float = 900.0
    """Height of the hump around 20 h; the one around 7 h has a third of it."""
    kettle_w: float = 2000.0
    kettle_every_s: float = 5400.0
    """Mean pause between two uses of one kettle while people are awake."""
    kettle_s: tuple[float, float] = (120.0, 240.0)
    """Shortest and longest use."""
    step_w: float = 0.0
    """A load that goes on and off like clockwork, to see how the house follows; 0 has none."""
    step_every_s: float = 120.0
    """Between two of its changes; the first is so long after the start."""
    motor_w: float = 700.0
    """A pump or a tool; its inrush is some five times that for 0.4 s."""
    is_constant: bool = False
    """Only the base load, without noise: for tests that want a quiet house."""


class Household:
    """All single-phase loads of the house."""

    def __init__(self, setup: LoadSetup, rng: random.Random, start_second: float) -> None:
        """Start at a second of the day (0..86400)."""
        self._setup = setup
        self._rng = rng
        self._drift_w = 0.0
        self._on_w = [0.0] * PHASES
        third = setup.base_w / PHASES
        self.phase_w = [third] * PHASES
        """Power of each phase in W; the same list for ever."""
        self.due_s = math.inf
        """When the next appliance changes; ``switch`` is to be called then."""
        self._appliances: list[_Appliance] = []
        if not setup.is_constant:
            self._appliances = [
                _Appliance(0, _fridge(rng, 95.0, 720.0, 1500.0)),
                _Appliance(1, _fridge(rng, 120.0, 900.0, 2700.0)),
                _Appliance(2, _motor(rng, setup.motor_w)),
                _Appliance(0, _kettle(rng, setup, setup.kettle_w, start_second)),
                _Appliance(1, _kettle(rng, setup, setup.kettle_w * 0.9, start_second)),
            ]
        if setup.step_w:
            self._appliances.append(_Appliance(2, _clockwork(setup.step_w, setup.step_every_s)))
        if self._appliances:
            self.due_s = 0.0

    def switch(self, elapsed_s: float) -> None:
        """Let the appliances that are due change their power."""
        on_w = [0.0] * PHASES
        due_s = math.inf
        for appliance in self._appliances:
            while appliance.due_s <= elapsed_s:
                duration_s, appliance.power_w = next(appliance.segments)
                appliance.due_s += duration_s
            on_w[appliance.phase] += appliance.power_w
            due_s = min(due_s, appliance.due_s)
        self.due_s = due_s
        for phase in range(PHASES):
            self.phase_w[phase] += on_w[phase] - self._on_w[phase]
        self._on_w = on_w

    def drift(self, second_of_day: float) -> None:
        """Go on by one second of everything that changes slowly."""
        setup = self._setup
        if setup.is_constant:
            return
        self._drift_w += 2.0 * self._rng.uniform(-1.0, 1.0) - 0.002 * self._drift_w
        hour = second_of_day / 3600.0
        hump = math.exp(-(((hour - 20.0) / 1.8) ** 2)) + math.exp(-(((hour - 7.0) / 1.2) ** 2)) / 3
        total_w = max(60.0, setup.base_w + self._drift_w + setup.evening_w * hump)
        on_w, phase_w = self._on_w, self.phase_w
        phase_w[0] = on_w[0] + 0.45 * total_w
        phase_w[1] = on_w[1] + 0.30 * total_w
        phase_w[2] = on_w[2] + 0.25 * total_w


class _Appliance:
    """One generator and what it gives just now."""

    __slots__ = ("due_s", "phase", "power_w", "segments")

    def __init__(self, phase: int, segments: Segments) -> None:
        self.phase = phase
        self.segments = segments
        self.power_w = 0.0
        self.due_s = 0.0


def _fridge(rng: random.Random, power_w: float, on_s: float, off_s: float) -> Segments:
    """A compressor with its inrush, again and again."""
    yield rng.uniform(0.0, off_s), 0.0
    while True:
        yield 0.4, power_w * rng.uniform(5.0, 8.0)
        yield on_s * rng.uniform(0.8, 1.2), power_w
        yield off_s * rng.uniform(0.8, 1.2), 0.0


def _motor(rng: random.Random, power_w: float) -> Segments:
    """A pump or a tool that is used for a while, about every half hour."""
    while True:
        yield rng.expovariate(1.0 / 1800.0) + 60.0, 0.0
        for _ in range(rng.randint(1, 6)):
            running_w = power_w * rng.uniform(0.7, 1.6)
            yield 0.4, running_w * rng.uniform(3.5, 6.0)
            yield rng.uniform(5.0, 120.0), running_w
            yield rng.uniform(5.0, 60.0), 0.0


def _clockwork(power_w: float, every_s: float) -> Segments:
    """Off and on in turn."""
    while True:
        yield every_s, 0.0
        yield every_s, power_w


def _kettle(rng: random.Random, setup: LoadSetup, power_w: float, start_second: float) -> Segments:
    """Some minutes of full power, mostly while people are awake."""
    second = start_second
    while True:
        hour = second % DAY_S / 3600.0
        mean_s = setup.kettle_every_s if 6.0 <= hour <= 22.5 else 20000.0
        wait_s = rng.expovariate(1.0 / mean_s) + min(120.0, mean_s)
        boils_s = rng.uniform(*setup.kettle_s)
        yield wait_s, 0.0
        yield boils_s, power_w
        second += wait_s + boils_s
