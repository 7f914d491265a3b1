"""The simulated house's inverters are recognised from small steps of offset."""

from __future__ import annotations

import itertools

import pytest

from grug.demo.evaluate import evaluation_house
from grug.demo.identify import EXPIRY_S, STEPS_W, fits_of, take_steps, with_plants
from grug.messages import SetOffset
from grug.runtime.feed import Feed
from grug.sim.scenarios import SCENARIOS

TRANSPORT_S = 0.25
"""From an answer's begin until the inverter acts on it: 135 bytes at 9600 baud, and half a step of
the physics."""
STEP_S = 0.2
"""A lag in steps of this has its first part at once."""


@pytest.mark.slow
def test_two_inverters_of_different_dead_time_are_told_apart() -> None:
    scenario = next(each for each in SCENARIOS if each.name == "dead times")
    config = evaluation_house()
    fits = fits_of(config, scenario, 1)
    for setup, found in zip(scenario.inverters, fits.values(), strict=True):
        assert not found.problem
        assert found.plant.gain_per_s == pytest.approx(setup.gain_per_s, rel=0.16)
        delay_s = TRANSPORT_S + setup.dead_time_s + setup.lag_s - STEP_S
        assert found.plant.dead_s + found.plant.lag_s == pytest.approx(delay_s, abs=0.2)
    known = with_plants(config, fits)
    assert known.inverter["solis1"].dead_time < known.inverter["solis2"].dead_time - 0.5


async def test_every_step_is_small_and_ends_by_itself(autojump_clock) -> None:
    feed = Feed()
    with feed.subscribe("test", SetOffset) as heard:
        await take_steps(feed, 60.0)
        steps = [message for message in heard.drain() if isinstance(message, SetOffset)]
    assert {step.power_w for step in steps} == set(STEPS_W)
    gaps_s = [later.expires_s - sooner.expires_s for sooner, later in itertools.pairwise(steps)]
    assert all(gap_s > EXPIRY_S for gap_s in gaps_s)
