"""A charger like the ABB Terra AC, and the car on its cable. Pure.

Source: the seed's notes on its own charger: below 6 A pauses; 10 to 30 s from paused to charging;
then the car follows in 2 to 3 s, in steps of 1 A; a limit is forgotten now and then; silence for
longer than the communication timeout stops it.
"""

from __future__ import annotations

import enum
import math
import random
from dataclasses import dataclass

LIMIT_A_MIN = 6.0
"""Below this the car pauses. Source: IEC 61851-1, control pilot."""


@dataclass(frozen=True, slots=True)
class ChargerSetup:
    """One charger and the car that comes to it, once a day."""

    phase: int = 2
    plug_hour: float = 10.0
    """Hour of the day at which the car is plugged in."""
    unplug_hour: float = 21.0
    wanted_wh: float = 18_000.0
    """What the car takes before it is full, each time."""
    voltage_v: float = 230.0
    hard_a_max: float = 32.0
    car_a_max: float = 16.0
    default_a: float = 16.0
    """The limit that is in force until one is written, and after it was forgotten."""
    comm_timeout_s: float = 1200.0
    forget_s: float = 7200.0
    """Mean time until a written limit is forgotten."""


class ChargeState(enum.IntEnum):
    """What the charger reports as its state. Source: seed's notes."""

    IDLE = 0
    PLUGGED = 1
    READY = 2
    CAR_READY = 3
    CHARGING = 4
    OTHER = 5


class Charger:
    """State of one charger with its car."""

    def __init__(self, setup: ChargerSetup, rng: random.Random) -> None:
        self.setup = setup
        self._rng = rng
        self.limit_a = setup.default_a
        self.comm_timeout_s = setup.comm_timeout_s
        self.state = ChargeState.IDLE
        self.current_a = 0.0
        self.power_w = 0.0
        self.session_wh = 0.0
        """Energy of this visit, counted once a step by the house."""
        self.energy_ws = 0.0
        """Energy since the start of the simulation."""
        self._heard_s = 0.0
        self._forget_due_s = rng.expovariate(1.0 / setup.forget_s)
        self._follow_due_s = math.inf
        self.is_enabled = True
        """A hidden switch of the ABB Terra: a write to its stop register clears it for good."""
        self.due_s = 0.0
        """When ``think`` is to be called next."""

    @property
    def is_plugged(self) -> bool:
        """Whether the cable is locked in the car."""
        return self.state is not ChargeState.IDLE

    def hear(self, elapsed_s: float) -> None:
        """Any request from the controller keeps the charger content."""
        self._heard_s = elapsed_s

    def set_limit(self, limit_a: float, elapsed_s: float) -> None:
        """Write the current limit, in A."""
        self._heard_s = elapsed_s
        self.limit_a = min(max(limit_a, 0.0), self.setup.hard_a_max)
        self.due_s = elapsed_s

    def think(self, elapsed_s: float, second_of_day: float) -> None:
        """Decide what the car does next; at least once a second."""
        setup, rng = self.setup, self._rng
        self.due_s = elapsed_s + 1.0
        if elapsed_s >= self._forget_due_s:
            self.limit_a = setup.default_a
            self._forget_due_s = elapsed_s + rng.expovariate(1.0 / setup.forget_s)
        is_here = setup.plug_hour <= second_of_day / 3600.0 < setup.unplug_hour
        if not is_here or not self.is_plugged:
            self._take(0.0)
            self._follow_due_s = math.inf
            self.session_wh = 0.0
            self.state = ChargeState.READY if is_here else ChargeState.IDLE
            return
        target_a = self._target_a(elapsed_s)
        if target_a == self.current_a:
            self._follow_due_s = math.inf
            self.state = ChargeState.CHARGING if target_a else self._waiting()
            return
        if self._follow_due_s == math.inf:
            is_starting = not self.current_a
            self._follow_due_s = elapsed_s + (
                rng.uniform(10.0, 30.0) if is_starting else rng.uniform(2.0, 3.0)
            )
            if is_starting:
                self.state = ChargeState.CAR_READY
        if elapsed_s >= self._follow_due_s:
            self._follow_due_s = math.inf
            self._take(target_a)
            self.state = ChargeState.CHARGING if target_a else self._waiting()
        else:
            self.due_s = min(self.due_s, self._follow_due_s)

    def _target_a(self, elapsed_s: float) -> float:
        """The whole A that the car would take now, 0 when it pauses or is full."""
        setup = self.setup
        is_silent = elapsed_s - self._heard_s > self.comm_timeout_s
        is_full = self.session_wh >= setup.wanted_wh
        if self.limit_a < LIMIT_A_MIN or is_silent or is_full or not self.is_enabled:
            return 0.0
        return float(math.floor(min(self.limit_a, setup.car_a_max) + 1e-6))

    def _waiting(self) -> ChargeState:
        is_full = self.session_wh >= self.setup.wanted_wh
        return ChargeState.CAR_READY if is_full else ChargeState.READY

    def _take(self, current_a: float) -> None:
        self.current_a = current_a
        self.power_w = current_a * self.setup.voltage_v
