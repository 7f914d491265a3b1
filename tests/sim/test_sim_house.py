"""The simulated house's physics: conserved, repeatable, and good enough to be steered."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perfect import quiet_house, regulate

from grug.sim.house import House, HouseSetup


def mean_abs(values: list[float]) -> float:
    return sum(map(abs, values)) / len(values)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_house_with_pv_is_regulated_near_zero(seed: int) -> None:
    house = House(HouseSetup(start_hour=8.0), seed)
    regulate(house, 30)
    assert mean_abs(regulate(house, 1800)) < 60.0


def test_step_of_two_kilowatts_settles_within_seconds() -> None:
    house = quiet_house()
    regulate(house, 30)
    house.load_w[0] += 2000.0
    after = regulate(house, 30)
    assert max(after) > 1900.0
    assert min(after) > -500.0, "overshoot stays below a quarter"
    assert mean_abs(after[24:32]) < 300.0, "six seconds later most of it is gone"
    assert mean_abs(after[48:]) < 20.0, "twelve seconds later all of it"


def test_loop_does_not_hunt_at_rest() -> None:
    house = quiet_house()
    regulate(house, 60)
    rest = regulate(house, 60)
    assert max(rest) - min(rest) < 5.0


def test_negative_offset_is_absorbed_by_the_batteries() -> None:
    house = quiet_house()
    regulate(house, 30)
    before = house.truth()
    regulate(house, 30, offset_w=-2000.0)
    after = house.truth()
    assert after["grid_power_w"] - before["grid_power_w"] == pytest.approx(2000.0, abs=20)
    assert after["battery_power_w"] - before["battery_power_w"] == pytest.approx(2000.0, abs=20)


def test_positive_offset_is_exported() -> None:
    house = quiet_house()
    regulate(house, 40, offset_w=1000.0)
    assert house.grid_w == pytest.approx(-1000.0, abs=20)


def test_surplus_charges_first_and_is_exported_when_the_batteries_are_full() -> None:
    house = quiet_house(start_hour=12.0, soc_pct=60.0)
    regulate(house, 60)
    assert house.truth()["battery_power_w"] > 500.0
    assert abs(house.grid_w) < 50.0
    full = quiet_house(start_hour=12.0, soc_pct=100.0)
    regulate(full, 60)
    assert full.grid_w < -500.0
    assert abs(full.truth()["battery_power_w"]) < 50.0


def test_curtailing_inverter_throws_surplus_away_instead() -> None:
    house = quiet_house(start_hour=12.0, soc_pct=100.0, curtails=True)
    regulate(house, 60)
    assert abs(house.grid_w) < 50.0
    assert house.truth()["pv_power_w"] == pytest.approx(300.0, abs=60.0)


def test_lost_meter_stops_battery_work_and_its_return_starts_it_again() -> None:
    house = quiet_house(base_w=2000.0)
    regulate(house, 30)
    assert house.truth()["battery_power_w"] == pytest.approx(-2000.0, abs=30)
    lost_s = house.elapsed_s
    house.advance(lost_s + 4.0)
    assert not any(inverter.is_meter_lost for inverter in house.inverters)
    house.advance(lost_s + 20.0)
    assert all(inverter.is_meter_lost for inverter in house.inverters)
    assert house.truth()["battery_power_w"] == pytest.approx(0.0, abs=1.0)
    assert house.grid_w == pytest.approx(2000.0, abs=1.0)
    regulate(house, 20)
    assert abs(house.grid_w) < 30.0


def test_lost_meter_leaves_the_pv_on_the_grid() -> None:
    house = quiet_house(start_hour=12.0)
    house.advance(60.0)
    for inverter in house.inverters:
        assert inverter.pv_w > 100.0
        assert inverter.ac_w == pytest.approx(inverter.pv_w, rel=0.05)


def test_gap_in_the_answers_does_not_wind_the_loop_up() -> None:
    house = quiet_house()
    regulate(house, 30)
    house.advance(house.elapsed_s + 4.0)
    for inverter in house.inverters:
        inverter.believe(1000.0, house.elapsed_s + 0.1)
    before_w = house.inverters[0].ac_w
    house.advance(house.elapsed_s + 3.0)
    assert house.inverters[0].ac_w - before_w < 250.0


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    hour=st.floats(0, 23.9),
    offset_w=st.sampled_from([0.0, -4000.0, 4000.0]),
)
def test_no_energy_is_made_or_lost(seed: int, hour: float, offset_w: float) -> None:
    house = House(HouseSetup(start_hour=hour), seed)
    stored_wh = [inverter.battery.stored_wh for inverter in house.inverters]
    regulate(house, 120, offset_w)
    truth = house.truth()
    made_wh = truth["pv_wh"] + truth["import_wh"] + truth["battery_out_wh"]
    used_wh = truth["load_wh"] + truth["car_wh"] + truth["export_wh"] + truth["battery_in_wh"]
    assert made_wh == pytest.approx(used_wh, abs=1e-6)
    for inverter, before_wh in zip(house.inverters, stored_wh, strict=True):
        battery = inverter.battery
        efficiency = battery.setup.efficiency
        gained_wh = (battery.in_ws * efficiency - battery.out_ws / efficiency) / 3600
        assert battery.stored_wh - before_wh == pytest.approx(gained_wh, abs=1e-6)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), gaps=st.lists(st.floats(0.0, 7.0), max_size=60))
def test_house_is_the_same_whoever_asks_when(seed: int, gaps: list[float]) -> None:
    often, once = House(HouseSetup(), seed), House(HouseSetup(), seed)
    now_s = 0.0
    for gap_s in gaps:
        now_s += gap_s
        often.advance(now_s)
    once.advance(now_s)
    assert often.truth() == once.truth()


def test_seeds_make_different_days() -> None:
    first, second = House(HouseSetup(), 1), House(HouseSetup(), 2)
    for house in (first, second):
        house.advance(600.0)
    assert first.truth() != second.truth()


@pytest.mark.parametrize(("soc_pct", "offset_w"), [(99.5, -9000.0), (15.5, 9000.0)])
def test_battery_stays_within_its_limits(soc_pct: float, offset_w: float) -> None:
    house = quiet_house(soc_pct=soc_pct)
    regulate(house, 900, offset_w)
    for inverter in house.inverters:
        assert 14.99 <= inverter.battery.soc_pct <= 100.01
        assert abs(inverter.battery.power_w) < 1000.0, "the limit tapers towards full and empty"


@pytest.mark.slow
def test_sun_rises_peaks_at_noon_and_sets() -> None:
    house = House(HouseSetup(start_hour=0.0), 1)
    by_hour = []
    for hour in range(1, 25):
        before_wh = house.truth()["pv_wh"]
        house.advance(hour * 3600.0)
        by_hour.append(house.truth()["pv_wh"] - before_wh)
    assert sum(by_hour[:3]) == 0.0
    assert sum(by_hour[21:]) == 0.0
    assert 20_000 < sum(by_hour) < 60_000
    assert by_hour.index(max(by_hour)) in range(9, 16)


def test_rescan_drops_one_tracker_for_about_three_seconds() -> None:
    house = House(HouseSetup(start_hour=12.0), 4)
    inverter = house.inverters[0]
    dark_s = [0.0, 0.0]
    lengths: list[float] = []
    while len(lengths) < 3:
        house.advance(house.elapsed_s + 0.2)
        for index, power_w in enumerate(inverter.string_w):
            if power_w == 0.0:
                dark_s[index] += 0.2
            elif dark_s[index]:
                lengths.append(dark_s[index])
                dark_s[index] = 0.0
    assert all(2.3 <= length <= 3.7 for length in lengths)


def test_inverter_that_is_off_gives_and_takes_nothing() -> None:
    house = quiet_house(start_hour=12.0)
    regulate(house, 20)
    house.inverters[0].is_on = False
    regulate(house, 20)
    assert house.inverters[0].ac_w == 0.0
    assert house.inverters[0].pv_w == 0.0
    assert abs(house.grid_w) < 60.0, "the other one takes over"
