"""How wrong the model of the inverters may be before the house swings: the law is played. Pure.

Toy inverters integrate what they are told, with a dead time and a lag, in a house whose load jumps;
the law steers them and believes in the plants that it is given. Then all of them get another gain,
or another dead time, than it believes: the last factor at which the house still comes to rest after
each jump, without hunting having been noticed, is the margin.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from grug.control.balance import BalanceSettings, Following, InverterFacts
from grug.control.circulation import NONE
from grug.control.hunting import QUIET
from grug.control.plant import STILL, Motion, Plant
from grug.control.steering import DriveSettings, Inputs, Steered, steer

FACTORS = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
"""Those that are tried, and one over each."""
LOADS_W = (1500.0, 300.0, 2300.0)
"""One after the other; the first comes out of the blue."""
STEP_S = 0.05
DECIDE_STEPS, READ_STEPS, LOAD_STEPS = 4, 10, 500
"""Of ``STEP_S``: between decisions, readings of AC powers, and loads (25 s)."""
REST_S = 8.0
REST_W = 100.0
"""For the last seconds of each load the grid has to be within this."""


class Margin(msgspec.Struct, frozen=True):
    """From which to which part of what is believed the truth may be; 1 is what is believed."""

    gain: tuple[float, float]
    dead: tuple[float, float]
    is_steady: bool = True
    """Whether the house comes to rest when all is as believed; if not, the rest says nothing."""


def margin_of(plants: Mapping[str, Plant]) -> Margin:
    """Play the law with these inverters, whose gains or dead times are not what it believes."""
    if not swings(plants, 1.0, 1.0):
        gain = _range(lambda factor: swings(plants, factor, 1.0))
        return Margin(gain, _range(lambda factor: swings(plants, 1.0, factor)))
    return Margin((1.0, 1.0), (1.0, 1.0), is_steady=False)


def _range(is_swinging: Callable[[float], bool]) -> tuple[float, float]:
    """The farthest factors, down and up, before the first that swings."""
    low = high = 1.0
    for factor in FACTORS:
        if is_swinging(factor):
            break
        high = factor
    for factor in FACTORS:
        if is_swinging(1.0 / factor):
            break
        low = 1.0 / factor
    return low, high


def swings(plants: Mapping[str, Plant], gain_factor: float, dead_factor: float) -> bool:
    """Whether the house does not come to rest after a jump of load, or hunts."""
    toy = _Toy(plants, gain_factor, dead_factor)
    return not all(toy.comes_to_rest(load_w) for load_w in LOADS_W)


class _Toy:
    """Inverters, and the law that steers them."""

    def __init__(self, plants: Mapping[str, Plant], gain_factor: float, dead_factor: float) -> None:
        self._there = [Steered(name, 1.0, plant) for name, plant in plants.items()]
        self._gain = {name: gain_factor * plant.gain_per_s for name, plant in plants.items()}
        self._late = {
            name: deque([0.0] * max(1, round(dead_factor * plant.dead_s / STEP_S)))
            for name, plant in plants.items()
        }
        self._follows = {
            name: -math.expm1(-STEP_S / plant.lag_s) if plant.lag_s else 1.0
            for name, plant in plants.items()
        }
        self._wanted_w = dict.fromkeys(plants, 0.0)
        self._ac_w = dict.fromkeys(plants, 0.0)
        self._told_w: Mapping[str, float] = dict.fromkeys(plants, 0.0)
        self._motions: Mapping[str, Motion] = dict.fromkeys(plants, STILL)
        self._following: Mapping[str, Following] = {}
        self._facts: dict[str, InverterFacts] = {}
        self._circulation, self._hunting = NONE, QUIET
        self._step = 0
        self._drive, self._balance = DriveSettings(), BalanceSettings()

    def comes_to_rest(self, load_w: float) -> bool:
        """Whether it is quiet at the end of this load."""
        is_quiet = True
        for step in range(LOAD_STEPS):
            self._move()
            grid_w = load_w - sum(self._ac_w.values())
            is_end = step >= LOAD_STEPS - round(REST_S / STEP_S)
            is_quiet = is_quiet and not (is_end and abs(grid_w) > REST_W)
            if self._step % DECIDE_STEPS == 0:
                self._decide(grid_w)
        return is_quiet and self._hunting.gentle_until_s < 0.0

    def _move(self) -> None:
        """One step of every inverter."""
        self._step += 1
        for name, told_w in self._told_w.items():
            self._wanted_w[name] += self._gain[name] * told_w * STEP_S
            late = self._late[name]
            late.append(self._wanted_w[name])
            self._ac_w[name] += (late.popleft() - self._ac_w[name]) * self._follows[name]

    def _decide(self, grid_w: float) -> None:
        """One decision, with AC powers as they were read last."""
        now_s = self._step * STEP_S
        if self._step % READ_STEPS < DECIDE_STEPS:
            self._facts = {
                name: InverterFacts(pv_w=2000.0, ac_w=ac_w, read_s=now_s, ac_s=now_s)
                for name, ac_w in self._ac_w.items()
            }
        inputs = Inputs(
            grid_w,
            self._facts,
            {},
            self._following,
            self._motions,
            self._circulation,
            self._hunting,
            DECIDE_STEPS * STEP_S,
        )
        told = steer(self._drive, self._balance, self._there, inputs, now_s)
        self._told_w, self._motions = told.told_w, told.motions
        self._following, self._circulation = told.following, told.circulation
        self._hunting = told.hunting
