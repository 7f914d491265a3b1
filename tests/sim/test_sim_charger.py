"""The simulated charger and its car."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.sim.charger import Charger, ChargerSetup, ChargeState
from grug.sim.house import House, HouseSetup
from grug.sim.household import LoadSetup

ALWAYS = ChargerSetup(plug_hour=0.0, unplug_hour=24.0, forget_s=1e9)


def house_with(setup: ChargerSetup, seed: int = 1, start_hour: float = 12.0) -> House:
    load = LoadSetup(is_constant=True)
    return House(
        HouseSetup(inverters=(), chargers=(setup,), load=load, start_hour=start_hour), seed
    )


def time_until_current(house: House, current_a: float, limit_s: float = 60.0) -> float:
    """Seconds until the car takes this much."""
    start_s = house.elapsed_s
    while house.chargers[0].current_a != current_a:
        house.advance(house.elapsed_s + 0.2)
        assert house.elapsed_s - start_s < limit_s, "never"
    return house.elapsed_s - start_s


@given(seed=st.integers(0, 1000))
def test_car_takes_ten_to_thirty_seconds_to_start_and_three_to_follow(seed: int) -> None:
    house = house_with(ALWAYS, seed)
    charger = house.chargers[0]
    charger.set_limit(10.0, 0.0)
    assert 9.9 <= time_until_current(house, 10.0) <= 31.5, "a second to be plugged in"
    charger.set_limit(13.7, house.elapsed_s)
    assert 1.9 <= time_until_current(house, 13.0) <= 3.3, "in whole A"


def test_limit_below_six_ampere_pauses() -> None:
    house = house_with(ALWAYS)
    charger = house.chargers[0]
    charger.set_limit(16.0, 0.0)
    time_until_current(house, 16.0)
    assert charger.state is ChargeState.CHARGING
    charger.set_limit(5.9, house.elapsed_s)
    time_until_current(house, 0.0)
    assert charger.state is not ChargeState.CHARGING
    assert house.grid_w == pytest.approx(260.0)


def test_car_stops_when_it_has_what_it_wants() -> None:
    house = house_with(ChargerSetup(plug_hour=0.0, unplug_hour=24.0, wanted_wh=50.0, forget_s=1e9))
    house.advance(300.0)
    assert house.truth()["car_wh"] == pytest.approx(50.0, abs=4.0)
    assert house.chargers[0].power_w == 0.0


def test_car_comes_and_goes_at_its_hours() -> None:
    house = house_with(ChargerSetup(plug_hour=12.1, unplug_hour=12.3), start_hour=12.0)
    states = []
    for minute in range(1, 25):
        house.advance(60.0 * minute)
        states.append(house.chargers[0].is_plugged)
    assert states[3] is False
    assert states[8] is True
    assert states[23] is False


def test_silence_of_the_controller_stops_the_car() -> None:
    house = house_with(ALWAYS)
    charger = house.chargers[0]
    charger.comm_timeout_s = 60.0
    house.advance(50.0)
    assert charger.power_w > 0.0
    house.advance(70.0)
    assert charger.power_w == 0.0
    charger.hear(house.elapsed_s)
    house.advance(110.0)
    assert charger.power_w > 0.0


def test_limit_is_forgotten_now_and_then() -> None:
    charger = Charger(ChargerSetup(forget_s=100.0), random.Random(1))
    charger.set_limit(0.0, 0.0)
    for second in range(1000):
        charger.think(float(second), 0.0)
    assert charger.limit_a == charger.setup.default_a


def test_stop_register_disables_for_good() -> None:
    house = house_with(ALWAYS)
    charger = house.chargers[0]
    charger.is_enabled = False
    charger.set_limit(16.0, 0.0)
    house.advance(120.0)
    assert charger.power_w == 0.0
