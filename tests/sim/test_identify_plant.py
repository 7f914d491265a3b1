"""The simulated house's inverters are recognised from small steps of offset."""

from __future__ import annotations

import itertools

import pytest

from grug.demo.evaluate import evaluation_house
from grug.demo.identify import EXPIRY_S, STEPS_W, fits_of, take_steps, truths_of, with_plants
from grug.messages import SetOffset
from grug.runtime.feed import Feed
from grug.sim.answering import true_answer
from grug.sim.inverter import InverterSetup
from grug.sim.scenarios import SCENARIOS

POLL_S = 0.2
"""Between two readings of the grid meter."""


@pytest.mark.slow
def test_two_inverters_of_different_dead_time_are_told_apart() -> None:
    scenario = next(each for each in SCENARIOS if each.name == "dead times")
    config = evaluation_house()
    fits, truths = fits_of(config, scenario, 1, 6.0), truths_of(config, scenario)
    for name, found in fits.items():
        gain_per_s, delay_s = truths[name]
        assert not found.problem
        assert found.plant.gain_per_s == pytest.approx(gain_per_s, rel=0.15)
        found_s = found.plant.dead_s + found.plant.lag_s
        assert found_s == pytest.approx(delay_s, rel=0.15, abs=POLL_S)
    known = with_plants(config, fits)
    assert known.inverter["solis1"].dead_time < known.inverter["solis2"].dead_time - 0.5


def test_truth_has_the_wire_and_the_step_of_the_physics_in_it() -> None:
    setup = InverterSetup(gain_per_s=0.4, dead_time_s=0.4, lag_s=0.3)
    gain_per_s, delay_s = true_answer(setup, 0.01)
    assert gain_per_s == pytest.approx(0.4, rel=1e-3)
    assert delay_s == pytest.approx(0.7, abs=0.02)
    assert true_answer(setup, 0.01, 0.14)[1] == pytest.approx(delay_s + 0.14)
    # Half a step until it is heard; and of a lag in steps the first part is there at once.
    assert true_answer(setup, 0.2)[1] == pytest.approx(0.1 + 0.4 + 0.1, abs=0.02)


async def test_every_step_is_small_and_ends_by_itself(autojump_clock) -> None:
    feed = Feed()
    with feed.subscribe("test", SetOffset) as heard:
        await take_steps(feed, 60.0)
        steps = [message for message in heard.drain() if isinstance(message, SetOffset)]
    assert {step.power_w for step in steps} == set(STEPS_W)
    gaps_s = [later.expires_s - sooner.expires_s for sooner, later in itertools.pairwise(steps)]
    assert all(gap_s > EXPIRY_S for gap_s in gaps_s)
