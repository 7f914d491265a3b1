"""The yardstick: what it counts, and what it does not."""

from __future__ import annotations

import math

import pytest

from grug.demo.evaluate import LAWS, Run, evaluation_house, score_of
from grug.sim.baselines import NoControl, SeedLaw
from grug.sim.evaluate import SAMPLE_S, Reversals, Score, Steps, mean_score, perfect_grid_w
from grug.sim.scenarios import SCENARIOS, Scenario
from tests.sim.perfect import quiet_house, regulate


def reversals_of(*powers_w: float) -> float:
    reversals = Reversals()
    for power_w in powers_w:
        reversals.take(power_w)
    return reversals.sum_w


def test_swing_counts_by_its_smaller_peak() -> None:
    assert reversals_of(500.0, 2000.0, 700.0, -300.0, -150.0, 0.0) == 300.0
    assert reversals_of(-300.0, 500.0, 2000.0) == 300.0


def test_swing_and_back_count_twice() -> None:
    assert reversals_of(400.0, -300.0, 200.0) == 300.0 + 200.0


def test_what_stays_near_zero_or_on_one_side_is_no_swing() -> None:
    assert reversals_of(90.0, -90.0, 90.0, 2000.0, 0.0, 1500.0) == 0.0


def test_two_loads_far_apart_are_no_swing() -> None:
    assert reversals_of(2000.0, *[0.0] * 30, -2000.0) == 0.0
    assert reversals_of(2000.0, *[0.0] * 10, -2000.0) == 2000.0


def steps_of(errors_w: list[float]) -> Steps:
    """A load that goes on after 30 s; the errors are those from then on."""
    steps = Steps(2000.0, 30.0)
    for index, error_w in enumerate([0.0] * 149 + errors_w):
        steps.take((index + 1) * SAMPLE_S, error_w)
    steps.end()
    return steps


def test_step_is_settled_when_the_error_stays_small() -> None:
    steps = steps_of([2000.0] * 5 + [0.0] * 2 + [-400.0] * 3 + [0.0] * 100)
    assert steps.settled_s == [pytest.approx(2.0)]
    assert steps.overshoot_w == [400.0]


def test_step_that_never_settles_counts_as_the_longest() -> None:
    steps = steps_of([2000.0] * 140)
    assert steps.settled_s == [20.0]
    assert steps.overshoot_w == [0.0]


def test_perfect_controller_does_no_better_than_ports_and_batteries() -> None:
    house = quiet_house(base_w=1500.0)
    assert perfect_grid_w(house) == 0.0
    house = quiet_house(base_w=15_000.0)
    most_w = sum(inverter.setup.battery.discharge_w_max for inverter in house.inverters)
    assert perfect_grid_w(house) == pytest.approx(15_000.0 - most_w)
    house.inverters[0].is_on = False
    assert perfect_grid_w(house) == pytest.approx(15_000.0 - most_w / 2)


def test_full_batteries_at_noon_excuse_the_export() -> None:
    house = quiet_house(start_hour=12.0, soc_pct=100.0)
    regulate(house, 60.0)
    assert house.grid_w < -3000.0
    assert perfect_grid_w(house) == pytest.approx(house.grid_w, abs=20.0)


def test_mean_over_seeds_sums_what_must_be_zero() -> None:
    one = Score(10.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1.0, 2.0)
    other = Score(30.0, 1.0, 2.0, 5.0, 4.0, 5.0, 6.0, 2.0, 0.0)
    mean = mean_score([one, other])
    assert (mean.grid_w, mean.settle_s, mean.stale, mean.eeprom) == (20.0, 4.0, 3.0, 2.0)


def test_uncontrolled_inverters_all_see_the_whole_grid() -> None:
    assert NoControl().told_w(700.0, {"a": 0.0, "b": 0.0}, 0.0) == [700.0, 700.0]


def test_seed_halves_balances_and_boosts_until_it_tires() -> None:
    law = SeedLaw()
    assert law.told_w(300.0, {"a": 500.0, "b": 100.0}, 0.0) == [170.0, 130.0]
    for second in range(1, 5):
        law.told_w(0.0, {"a": 0.0, "b": 0.0}, float(second))
    first_w, _ = law.told_w(3000.0, {"a": 0.0, "b": 0.0}, 5.0)
    assert first_w == 1500.0 + 2 * 1300.0 + 1000.0 + 500.0
    for second in range(6, 12):
        law.told_w(3000.0, {"a": 0.0, "b": 0.0}, float(second))
    assert law.told_w(3000.0, {"a": 0.0, "b": 0.0}, 12.0) == [1500.0, 1500.0]
    assert law.told_w(-3000.0, {"a": 0.0}, 13.0) == [-3000.0]


def test_scenario_places_its_faults_within_the_run() -> None:
    scenario = Scenario("x", faults=(("grid:silent", 0.25, 0.5),), lost="solis1")
    assert scenario.fault_texts(1.0) == [
        "grid:silent@900.0+1800.0",
        "solis1:silent@1800.0+1800.0",
        "solis1_meter:silent@1800.0+1800.0",
    ]
    assert scenario.setup(2.0).start_hour == 11.0


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
def test_same_scenario_and_seed_give_the_same_score(law: str) -> None:
    run = Run(SCENARIOS[0], law, 3, 0.1)
    config = evaluation_house()
    score = score_of(config, run)
    assert score == score_of(config, run)
    assert score.stale == score.eeprom == 0.0
    assert math.isfinite(score.settle_s)
