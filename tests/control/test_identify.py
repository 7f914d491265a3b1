"""An inverter is recognised by what it was told and did."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from grug.control.identify import Seen, fit, margin
from grug.control.plant import Plant, done, heard


def recorded(plant: Plant, *, seconds: float = 60.0, noise_w: float = 0.0, seed: int = 1) -> Seen:
    """Steps of some seconds, answered exactly as the model does, with noise and a drift."""
    rng = random.Random(seed)
    told, power_w = [], 0.0
    for step in range(round(seconds * 5)):
        if step % 15 == 0:
            power_w = rng.choice((-500.0, 0.0, 500.0))
        told.append((0.2 * step, power_w if step % 15 < 8 else 0.0))
    moves = [
        (at_s, plant.gain_per_s * told_w * for_s)
        for (from_s, told_w), (until_s, _) in pairwise(told)
        for at_s, for_s in heard(None, from_s, until_s)
    ]
    ac = []
    for reading in range(round(seconds * 2)):
        now_s = 0.5 * reading
        ac_w = sum(moved_w * done(plant, now_s - at_s) for at_s, moved_w in moves if at_s < now_s)
        ac.append((now_s, 1000.0 + 3.0 * now_s + ac_w + rng.gauss(0.0, noise_w)))
    return Seen(tuple(told), tuple(ac))


@pytest.mark.parametrize(
    "plant", [Plant(0.45, 0.55, 0.1), Plant(0.9, 0.3, 0.3), Plant(0.2, 1.2, 0.5)]
)
@pytest.mark.slow
def test_gain_and_dead_time_are_found_in_noise(plant: Plant) -> None:
    found = fit(recorded(plant, noise_w=10.0))
    assert not found.problem
    assert found.plant.gain_per_s == pytest.approx(plant.gain_per_s, rel=0.15)
    delay_s = plant.dead_s + plant.lag_s
    assert found.plant.dead_s + found.plant.lag_s == pytest.approx(delay_s, abs=0.2)


def test_too_little_and_nonsense_are_not_proposed() -> None:
    assert "only" in fit(recorded(Plant(), seconds=5.0)).problem
    told = recorded(Plant(), seconds=30.0).told
    rng = random.Random(2)
    noise = tuple((0.5 * step, rng.gauss(0.0, 300.0)) for step in range(60))
    assert "explains only" in fit(Seen(told, noise)).problem


def test_margin_falls_with_dead_time() -> None:
    quick, slow = margin(Plant(dead_s=0.3), 0.8), margin(Plant(dead_s=1.5), 0.8)
    assert quick[0] > slow[0] > 0.0
    assert quick[1] > slow[1] > 1.0
    assert margin(Plant(), 0.0) == (90.0, math.inf)
