"""How well a house was steered: the score of a run. Pure.

Everything is measured against a perfect controller: one that knows load and sun at once and moves
every inverter at once, within the limits of ports, sun and batteries. What the grid carries beyond
what it would carry then is the *error*; when the house could not do better there is none. Signs as
everywhere: grid plus = import, so an error of plus is too much import.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, fields

from grug.sim.house import House

SAMPLE_S = 0.2
"""Between two looks at the house; its physics have no smaller step."""
SETTLED_W = 150.0
"""A step is over when the error stays below this for ``SETTLED_S``."""
SETTLED_S = 2.0
SETTLE_S_MAX = 20.0
"""A step is watched for this long; what has not settled by then counts as this."""
OVERSHOOT_S_MAX = 10.0
SWING_W = 100.0
"""The error has to go this far beyond zero on both sides to count as a reversal."""
SWING_S_MAX = 4.0
"""Longer between the two sides, and it is no swing of the loop but another load's doing."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a run was like; smaller is better everywhere."""

    grid_w: float
    """Mean of the grid's absolute power."""
    import_wh: float
    """Per hour, what a perfect controller would not have imported."""
    export_wh: float
    """Per hour, what it would not have exported."""
    settle_s: float
    """Median over the load's clockwork steps."""
    overshoot_w: float
    """Median over the same steps of the error's largest value on the other side."""
    oscillation_w: float
    """Reversals of the error's sign, each by the smaller of the two peaks, summed, per minute."""
    circulating_wh: float
    """Per hour, what went from one battery into another."""
    stale: float = 0.0
    """Images that said more, or for longer, than their reading allows; must be 0."""
    eeprom: float = 0.0
    """Writes to registers that are not known to be in RAM."""


def perfect_grid_w(house: House) -> float:
    """What the grid would carry now under a perfect controller, in W."""
    load_w = house.grid_w + sum(inverter.ac_w for inverter in house.inverters)
    reaches = [inverter.reach_w for inverter in house.inverters]
    low_w = sum(reach[0] for reach in reaches)
    high_w = sum(reach[1] for reach in reaches)
    return load_w - min(max(load_w, low_w), high_w)


class Scorer:
    """Looks at a house every ``SAMPLE_S`` and keeps what the score needs."""

    def __init__(self, step_w: float, step_every_s: float) -> None:
        """Take the clockwork load's data; a step of 0 W has no steps to measure."""
        self._samples = 0
        self._grid_ws = self._import_ws = self._export_ws = self._circulating_ws = 0.0
        self._reversals = Reversals()
        self._steps = Steps(step_w, step_every_s)

    def look(self, house: House) -> None:
        """Count the house as it is now."""
        grid_w, perfect_w = house.grid_w, perfect_grid_w(house)
        self._samples += 1
        self._grid_ws += abs(grid_w) * SAMPLE_S
        # A battery that a poor controller has filled leaves the perfect one less room just now, so
        # the two may differ the other way round; that is no merit.
        self._import_ws += max(0.0, max(grid_w, 0.0) - max(perfect_w, 0.0)) * SAMPLE_S
        self._export_ws += max(0.0, min(perfect_w, 0.0) - min(grid_w, 0.0)) * SAMPLE_S
        powers_w = [inverter.battery.power_w for inverter in house.inverters]
        charging_w = sum(power_w for power_w in powers_w if power_w > 0.0)
        discharging_w = -sum(power_w for power_w in powers_w if power_w < 0.0)
        self._circulating_ws += min(charging_w, discharging_w) * SAMPLE_S
        error_w = grid_w - perfect_w
        self._reversals.take(error_w)
        self._steps.take(house.elapsed_s, error_w)

    def score(self, stale: int, eeprom: int) -> Score:
        """The score of everything seen until now."""
        seconds = max(self._samples, 1) * SAMPLE_S
        self._steps.end()
        return Score(
            self._grid_ws / seconds,
            self._import_ws / seconds,
            self._export_ws / seconds,
            statistics.median(self._steps.settled_s or [math.nan]),
            statistics.median(self._steps.overshoot_w or [math.nan]),
            self._reversals.sum_w * 60.0 / seconds,
            self._circulating_ws / seconds,
            float(stale),
            float(eeprom),
        )


class Reversals:
    """Swings of a signal from beyond ``SWING_W`` on one side to beyond it on the other."""

    def __init__(self) -> None:
        self.sum_w = 0.0
        """Over all reversals, the smaller of the peaks before and after."""
        self._peak_w = 0.0
        self._before_w = 0.0
        self._quiet_s = 0.0
        """Since the signal was beyond ``SWING_W`` last."""

    def take(self, error_w: float) -> None:
        """The next sample."""
        if abs(error_w) < SWING_W:
            self._quiet_s += SAMPLE_S
            return
        if error_w * self._peak_w < 0.0 or self._quiet_s > SWING_S_MAX:
            is_swing = self._quiet_s <= SWING_S_MAX
            self._before_w = abs(self._peak_w) if is_swing else 0.0
            self._peak_w = 0.0
        self._quiet_s = 0.0
        if abs(error_w) > abs(self._peak_w):
            # Counted as it grows, so that the last swing of a run is not forgotten.
            grown_w = min(abs(error_w), self._before_w) - min(abs(self._peak_w), self._before_w)
            self.sum_w += grown_w
            self._peak_w = error_w


class Steps:
    """Watches the seconds after each change of the clockwork load."""

    def __init__(self, step_w: float, every_s: float) -> None:
        self.settled_s: list[float] = []
        self.overshoot_w: list[float] = []
        self._every_s = every_s if step_w else math.inf
        self._next_s = self._every_s
        self._side = 1.0
        """Sign of the error that the step makes: going on makes import."""
        self._begin_s: float | None = None
        self._calm_s = 0.0
        """Since when the error has been small, in seconds after the step."""
        self._is_calm = False
        self._worst_w = 0.0

    def take(self, elapsed_s: float, error_w: float) -> None:
        """The next sample."""
        if elapsed_s >= self._next_s:
            self.end()
            self._side = 1.0 if round(self._next_s / self._every_s) % 2 else -1.0
            self._begin_s, self._next_s = self._next_s, self._next_s + self._every_s
            self._is_calm, self._calm_s, self._worst_w = False, math.inf, 0.0
        if self._begin_s is None:
            return
        since_s = elapsed_s - self._begin_s
        if since_s <= OVERSHOOT_S_MAX:
            self._worst_w = max(self._worst_w, -self._side * error_w)
        if abs(error_w) >= SETTLED_W:
            self._calm_s = math.inf
        elif self._calm_s == math.inf:
            self._calm_s = since_s
        if since_s - self._calm_s >= SETTLED_S or since_s > SETTLE_S_MAX:
            self._is_calm = self._is_calm or self._note(self._calm_s)
            if since_s > OVERSHOOT_S_MAX:
                self.end()

    def end(self) -> None:
        """No more samples of this step will come."""
        if self._begin_s is not None:
            if not self._is_calm:
                self._note(math.inf)
            self.overshoot_w.append(self._worst_w)
        self._begin_s = None

    def _note(self, settled_s: float) -> bool:
        self.settled_s.append(min(settled_s, SETTLE_S_MAX))
        return True


def mean_score(scores: Iterable[Score]) -> Score:
    """The mean over several seeds; violations and writes are summed."""
    every = list(scores)
    names = [each.name for each in fields(Score)]
    values = {name: [float(getattr(score, name)) for score in every] for name in names}
    means = {name: statistics.fmean(values[name]) for name in names}
    return Score(**means | {name: sum(values[name]) for name in ("stale", "eeprom")})
