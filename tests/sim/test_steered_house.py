"""What somebody would notice of the steering in a house whose inverters differ, or go away."""

from __future__ import annotations

from dataclasses import replace

import pytest
from steered import Steered, pair_of, steer_house, with_shares

from grug.sim.battery import BatterySetup
from grug.sim.dispatch import Dispatched, DispatchMode
from grug.sim.household import LoadSetup
from grug.sim.inverter import InverterSetup
from grug.sim.sky import BROKEN

pytestmark = pytest.mark.slow

BOUND_W, BOUND_S = 300.0, 20.0
"""What may go from battery to battery, and for how long: the defaults of ``offset``."""
SEEN_W = 100.0
"""Battery powers are the difference of two that are read at different times."""
USUAL = InverterSetup(converter_s=1.0, rescan_s=1e9)


def served(it: Steered) -> tuple[float, float]:
    """What the two fake meters said last."""
    first, second = (each for each in it.decided[-1].values[2:4])
    return first, second


@pytest.mark.parametrize("by_setting", [False, True])
def test_who_goes_off_grid_is_left_out_and_comes_back(by_setting: bool) -> None:
    async def check(it: Steered) -> None:
        first, second = it.house.inverters
        await it.go_on(60)
        assert first.ac_w == pytest.approx(500.0, abs=100.0)
        if by_setting:
            unit = it.simulated.units["solis1"]
            mode = unit.register_map.registers["energy_storage_mode_setting"]
            unit.written(mode, 1 << 2, 0.0)
        else:
            first.has_grid = False
        await it.go_on(30)
        assert first.ac_w == 0.0
        assert second.ac_w == pytest.approx(1000.0, abs=60.0)
        assert max(map(abs, it.grid_w[-50:])) < 60.0
        assert served(it)[0] == 0.0
        assert "off grid: solis1" in it.decided[-1].reason
        if by_setting:
            unit.written(mode, 1 << 0, 0.0)
        else:
            first.has_grid = True
        await it.go_on(120)
        assert first.ac_w == pytest.approx(second.ac_w, abs=120.0)
        assert max(map(abs, it.grid_w[-50:])) < 60.0
        assert "off grid" not in it.decided[-1].reason

    steer_house(pair_of(replace(USUAL, phase=0), replace(USUAL, phase=1)), check)


FULL = BatterySetup(start_soc_pct=99.5)
LIMITED = BatterySetup(charge_w_max=1000.0, discharge_w_max=1000.0)
QUICK = replace(USUAL, dead_time_s=0.2)
SLOW = replace(USUAL, dead_time_s=1.0, lag_s=0.6, phase=1)
STORM = LoadSetup(step_w=2000.0, step_every_s=40.0, kettle_every_s=30.0, kettle_s=(5.0, 40.0))


@pytest.mark.parametrize("hour", [0.0, 8.0, 13.0])
@pytest.mark.parametrize(
    ("quick", "slow"), [(FULL, LIMITED), (LIMITED, FULL)], ids=["quick full", "slow full"]
)
def test_no_battery_feeds_another_for_longer_than_allowed(
    quick: BatterySetup, slow: BatterySetup, hour: float
) -> None:
    async def check(it: Steered) -> None:
        await it.go_on(900)
        longest_s = it.longest_around_s(BOUND_W + SEEN_W)
        assert longest_s <= BOUND_S
        assert not any("held back" in each.reason for each in it.decided), (
            "it does not come to that"
        )

    pair = replace(QUICK, battery=quick), replace(SLOW, battery=slow)
    setup = pair_of(*pair, load=STORM, start_hour=hour, sky=BROKEN)
    steer_house(setup, check, seed=int(hour) + 1)


@pytest.mark.parametrize("battery_w", [2000.0, -2000.0])
def test_one_that_does_as_it_likes_is_not_fed_by_the_other_nor_feeds_it(battery_w: float) -> None:
    async def check(it: Steered) -> None:
        await it.go_on(60)
        it.house.inverters[0].dispatched = Dispatched(DispatchMode.BATTERY, battery_w, 1e9)
        await it.go_on(300)
        assert 1.0 < it.longest_around_s(BOUND_W + SEEN_W) <= BOUND_S
        assert any("held back" in each.reason for each in it.decided)

    load = LoadSetup(base_w=300.0, is_constant=True)
    steer_house(pair_of(USUAL, replace(USUAL, phase=1), load=load), check)


SMALL = BatterySetup(capacity_wh=1500.0, charge_w_max=1500.0, discharge_w_max=1600.0)
LARGE = BatterySetup(capacity_wh=4500.0)


def socs_after(
    hours: float, small: BatterySetup, large: BatterySetup, base_w: float
) -> tuple[float, float]:
    """States of charge after some hours of constant load at night, shares by capacity."""
    found: list[float] = []

    async def check(it: Steered) -> None:
        await it.go_on(hours * 3600.0)
        found.extend(it.socs_pct())

    setup = pair_of(
        replace(USUAL, battery=small),
        replace(USUAL, battery=large, phase=1),
        load=LoadSetup(base_w=base_w, is_constant=True),
    )
    steer_house(setup, check, config=with_shares(1.0, 3.0))
    first, second = found
    return first, second


def test_batteries_of_different_size_stay_equally_charged() -> None:
    first, second = socs_after(
        0.75, replace(SMALL, start_soc_pct=80.0), replace(LARGE, start_soc_pct=80.0), 3000.0
    )
    assert first < 50.0
    assert first == pytest.approx(second, abs=3.0)


@pytest.mark.parametrize("base_w", [2500.0, -2500.0])
@pytest.mark.parametrize(("first_pct", "second_pct"), [(80.0, 50.0), (50.0, 80.0)])
def test_states_of_charge_come_together(base_w: float, first_pct: float, second_pct: float) -> None:
    small, large = (
        replace(SMALL, start_soc_pct=first_pct),
        replace(LARGE, start_soc_pct=second_pct),
    )
    first, second = socs_after(0.5, small, large, base_w)
    assert (first + second < first_pct + second_pct) == (base_w > 0.0)
    assert 0.0 < (first - second) / (first_pct - second_pct) < 0.9


def test_what_a_saturated_one_cannot_give_the_other_gives() -> None:
    async def check(it: Steered) -> None:
        await it.go_on(120)
        first, second = it.house.inverters
        assert first.ac_w == pytest.approx(400.0, abs=5.0)
        assert second.ac_w == pytest.approx(2600.0, abs=60.0)
        assert max(map(abs, it.grid_w[-50:])) < 60.0

    weak = BatterySetup(start_soc_pct=70.0, discharge_w_max=400.0)
    setup = pair_of(
        replace(USUAL, battery=weak),
        replace(USUAL, phase=1),
        load=LoadSetup(base_w=3000.0, is_constant=True),
    )
    steer_house(setup, check, config=with_shares(1.0, 1.0))
