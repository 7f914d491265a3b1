"""No battery feeds another for long: the guard alone, and with inverters that do as they like."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grug.control.balance import BalanceSettings, InverterFacts
from grug.control.circulation import NONE, CirculationSettings, circulating_w, guarded, watch
from grug.control.hunting import QUIET
from grug.control.plant import STILL, Plant
from grug.control.steering import DriveSettings, Inputs, Steered, steer

SETTINGS = CirculationSettings(power_w=300.0, time_s=20.0)
GAINS = {"a": 0.45, "b": 0.45, "c": 0.45}
POWERS = st.dictionaries(st.sampled_from("abc"), st.floats(-6000, 6000), min_size=1)


@given(POWERS)
def test_what_goes_around_is_what_one_gives_and_another_takes(charging_w: dict[str, float]) -> None:
    around_w = circulating_w(charging_w)
    assert around_w >= 0.0
    assert (around_w > 0.0) == (max(charging_w.values()) > 0.0 > min(charging_w.values()))


def test_power_that_goes_around_is_taken_back_on_both_sides_alike() -> None:
    charging_w = {"a": 1000.0, "b": -1000.0}
    state = watch(SETTINGS, NONE, charging_w, 0.0)
    told, reason = guarded(SETTINGS, state, {"a": 0.0, "b": 0.0}, charging_w, GAINS)
    assert told["a"] == -told["b"] > 500.0
    assert "1000 W from battery to battery" in reason
    calm = watch(SETTINGS, state, {"a": 1000.0, "b": -200.0}, 1.0)
    assert guarded(SETTINGS, calm, {"a": 5.0}, {"a": 1000.0, "b": -200.0}, GAINS) == (
        {"a": 5.0},
        "",
    )


def test_who_discharges_is_held_back_for_as_long_as_another_charges_from_it() -> None:
    charging_w, state = {"a": 2000.0, "b": -2000.0}, NONE
    for second in range(12):
        state = watch(SETTINGS, state, charging_w, float(second))
    assert state.held == {"b"}
    told, reason = guarded(SETTINGS, state, {"a": 4000.0, "b": 4000.0}, charging_w, GAINS)
    assert told["b"] < 0.0, "whatever the house takes from the grid"
    assert "held back while another does the opposite: b" in reason
    still = watch(SETTINGS, state, {"a": 2000.0, "b": 0.0}, 30.0)
    assert still.held == {"b"}
    assert watch(SETTINGS, still, {"a": 100.0, "b": 0.0}, 31.0).held == frozenset()
    assert watch(SETTINGS, still, {"a": 2000.0, "b": 0.0}, 140.0).held == frozenset(), "tried again"


class House:
    """Inverters of any dead time; some follow what they are told, one may do as it likes."""

    def __init__(
        self, dead_s: list[float], socs_pct: list[float], stubborn_w: float | None
    ) -> None:
        self.names = [f"i{number}" for number in range(len(dead_s))]
        self.there = [Steered(name, 1.0, Plant(dead_s=0.55)) for name in self.names]
        self.late = {
            name: deque([0.0] * max(1, round(dead / 0.2)))
            for name, dead in zip(self.names, dead_s, strict=True)
        }
        self.socs_pct = dict(zip(self.names, socs_pct, strict=True))
        self.stubborn_w = stubborn_w
        self.wanted = dict.fromkeys(self.names, 0.0)
        self.charging = dict.fromkeys(self.names, 0.0)
        self.told = dict.fromkeys(self.names, 0.0)
        self.memory = ({}, dict.fromkeys(self.names, STILL), NONE, QUIET)
        self.facts: dict[str, InverterFacts] = {}

    def limits_w(self, name: str) -> tuple[float, float]:
        """Most that the battery gives (as minus) and takes."""
        soc_pct = self.socs_pct[name]
        return (-4800.0 if soc_pct > 15.0 else 0.0), (4500.0 if soc_pct < 100.0 else 0.0)

    def run(self, load_w: float, seconds: float) -> float:
        """How long too much went around without a break, at the worst; no sun shines."""
        worst_s = since_s = 0.0
        for step in range(round(seconds * 5)):
            now_s = step * 0.2
            for name in self.names:
                low_w, high_w = self.limits_w(name)
                wanted_w = self.wanted[name] + 0.45 * self.told[name] * 0.2
                self.wanted[name] = wanted_w = min(max(wanted_w, -high_w), -low_w)
                self.late[name].append(wanted_w)
                self.charging[name] = -self.late[name].popleft()
            if self.stubborn_w is not None:
                self.charging["i0"] = self.stubborn_w
            if step % 4 == 0:
                self.look(now_s)
            self.decide(load_w + sum(self.charging.values()), now_s)
            is_much = circulating_w(self.charging) > SETTINGS.power_w + 50.0
            since_s = since_s + 0.2 if is_much else 0.0
            worst_s = max(worst_s, since_s)
        return worst_s

    def look(self, now_s: float) -> None:
        for name, charging_w in self.charging.items():
            low_w, high_w = self.limits_w(name)
            self.facts[name] = InverterFacts(
                pv_w=0.0,
                ac_w=-charging_w,
                soc_pct=self.socs_pct[name],
                charge_a_max=high_w / 50.0,
                discharge_a_max=-low_w / 50.0,
                read_s=now_s,
                ac_s=now_s,
            )

    def decide(self, grid_w: float, now_s: float) -> None:
        following, motions, circulation, hunting = self.memory
        inputs = Inputs(grid_w, self.facts, {}, following, motions, circulation, hunting, 0.2)
        told = steer(
            DriveSettings(circulation=SETTINGS), BalanceSettings(), self.there, inputs, now_s
        )
        self.told = dict(told.told_w)
        self.memory = (told.following, told.motions, told.circulation, told.hunting)


@pytest.mark.slow
@given(
    dead_s=st.lists(st.floats(0.2, 1.2), min_size=2, max_size=3),
    socs_pct=st.lists(st.sampled_from([5.0, 30.0, 60.0, 99.0, 100.0]), min_size=4, max_size=4),
    stubborn_w=st.sampled_from([None, 2000.0, -1500.0, 4000.0]),
    load_w=st.floats(-3000, 6000),
)
@example(dead_s=[1.0, 0.5], socs_pct=[5.0] * 4, stubborn_w=-1500.0, load_w=-1416.0)
@settings(max_examples=12, deadline=None)
def test_never_more_than_the_bound_for_longer_than_allowed(
    dead_s: list[float], socs_pct: list[float], stubborn_w: float | None, load_w: float
) -> None:
    house = House(dead_s, socs_pct[: len(dead_s)], stubborn_w)
    assert house.run(load_w, 50.0) <= SETTINGS.time_s


@pytest.mark.parametrize("stubborn_w", [2000.0, -1500.0])
def test_one_that_charges_from_the_grid_is_not_fed_and_one_that_gives_is_not_taken_from(
    stubborn_w: float,
) -> None:
    house = House([0.4, 0.4], [50.0, 50.0], stubborn_w)
    assert 1.0 < house.run(100.0, 60.0) <= SETTINGS.time_s
    assert house.charging["i1"] * stubborn_w > -SETTINGS.power_w * abs(stubborn_w)
