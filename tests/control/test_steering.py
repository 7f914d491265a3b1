"""The law: surges and plain powers, by whom they are done, and that it stays stable."""

from __future__ import annotations

import math
from collections import deque

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grug.control.balance import BalanceSettings, Following, InverterFacts
from grug.control.circulation import NONE
from grug.control.hunting import QUIET
from grug.control.plant import STILL, UNTAUGHT, Plant
from grug.control.steering import (
    DriveSettings,
    Inputs,
    Steered,
    Told,
    reserve_w,
    room_w,
    shared,
    steer,
    surer,
    surge_of,
)

DRIVE = DriveSettings()
BALANCE = BalanceSettings()
PAIR = (Steered("a", 1.0, Plant()), Steered("b", 1.0, Plant()))


def fact(now_s: float = 0.0, charging_w: float = 0.0, **others: float) -> InverterFacts:
    facts = {"pv_w": 2000.0, "ac_w": 2000.0 - charging_w, "read_s": now_s, "ac_s": now_s}
    return InverterFacts(**facts | others)


def decide(
    wanted_w: float, facts: dict[str, InverterFacts], there: tuple[Steered, ...] = PAIR
) -> Told:
    inputs = Inputs(wanted_w, facts, {}, {}, {}, NONE, QUIET, 0.2)
    return steer(DRIVE, BALANCE, there, inputs, 0.0)


def test_a_step_of_load_is_told_as_a_surge_and_not_told_again_while_it_is_under_way() -> None:
    facts = {"a": fact(), "b": fact()}
    first = decide(2000.0, facts)
    assert first.surging == {"a", "b"}
    assert sum(first.told_w.values()) > 4 * 2000.0
    inputs = Inputs(
        2000.0, facts, {}, first.following, first.motions, first.circulation, QUIET, 0.2
    )
    second = steer(DRIVE, BALANCE, PAIR, inputs, 0.2)
    assert sum(second.told_w.values()) < 2000.0


def test_where_it_is_not_seen_what_inverters_do_they_are_told_the_plain_power() -> None:
    told = decide(2000.0, {"a": fact()})
    assert (dict(told.told_w), told.surging) == ({"a": 1000.0, "b": 1000.0}, frozenset())
    old = steer(
        DRIVE,
        BALANCE,
        PAIR,
        Inputs(2000.0, {"a": fact(), "b": fact()}, {}, {}, {}, NONE, QUIET, 2.0),
        0.0,
    )
    assert dict(old.told_w) == {"a": 1000.0, "b": 1000.0}


def test_readings_once_a_second_tell_no_surge_and_nothing_twice() -> None:
    facts = {"a": fact(), "b": fact()}
    inputs = Inputs(2000.0, facts, {}, {}, {}, NONE, QUIET, 1.0)
    first = steer(DRIVE, BALANCE, PAIR, inputs, 0.0)
    assert not first.surging
    assert sum(first.told_w.values()) == pytest.approx(2000.0 * DRIVE.slow_per_s / 0.45)
    inputs = msgspec.structs.replace(inputs, wanted_w=1950.0, motions=first.motions)
    second = steer(DRIVE, BALANCE, PAIR, inputs, 1.0)
    assert sum(second.told_w.values()) < 0.7 * sum(first.told_w.values())


def test_an_inverter_that_was_not_measured_makes_all_be_told_the_plain_power() -> None:
    there = (PAIR[0], Steered("b", 1.0, Plant(is_measured=False)))
    told = decide(2000.0, {"a": fact(), "b": fact()}, there)
    assert (dict(told.told_w), told.surging) == ({"a": 1000.0, "b": 1000.0}, frozenset())


def test_what_was_told_is_remembered_for_as_long_as_the_slowest_that_may_be_believed() -> None:
    """Else one that is believed to be quick could never be found to be slow."""
    plant = Plant(0.45, 3.0, 0.1)
    quick = msgspec.structs.replace(UNTAUGHT, at=0)
    move = (0.0, 1500.0)
    motion = msgspec.structs.replace(STILL, moves=(move,), told_s=6.2, learned=quick)
    inputs = Inputs(0.0, {"a": fact(6.4)}, {}, {}, {"a": motion}, NONE, QUIET, 0.2)
    told = steer(DRIVE, BALANCE, (Steered("a", 1.0, plant),), inputs, 6.4)
    assert move in told.motions["a"].moves


@given(st.floats(-30_000, 30_000), st.floats(-6000, 6000), st.floats(-6000, 6000))
def test_a_surge_is_bounded_and_never_the_wrong_way(
    left_w: float, coming_w: float, recent_w: float
) -> None:
    surge_w = surge_of(DRIVE, left_w, coming_w, recent_w)
    assert surge_w * left_w >= 0.0
    assert abs(surge_w) <= DRIVE.surge_w
    if surge_w > 0.0:
        assert surge_w + max(0.0, coming_w, recent_w) <= DRIVE.surge_w + 1e-6


def test_an_import_is_answered_sooner_than_an_export_and_an_inrush_hardly() -> None:
    assert surge_of(DRIVE, 1500.0, 0.0, 0.0) > 2 * -surge_of(DRIVE, -1500.0, 0.0, 0.0) > 0.0
    inrush_w = surge_of(DRIVE, 4000.0, 0.0, 0.0, is_inrush=True)
    assert inrush_w < surge_of(DRIVE, 2000.0, 0.0, 0.0)
    assert surge_of(DRIVE, 200.0, 0.0, 0.0) == surge_of(DRIVE, -200.0, 0.0, 0.0) == 0.0


def begun_by(wanted_w: list[float]) -> list[float]:
    """What each decision sets going, for what is wanted one after the other."""
    facts = {"a": fact(), "b": fact()}
    inputs = Inputs(0.0, facts, {}, {}, {}, NONE, QUIET, 0.2)
    begun = []
    for step, each_w in enumerate(wanted_w):
        inputs = msgspec.structs.replace(inputs, wanted_w=each_w)
        found = steer(DRIVE, BALANCE, PAIR, inputs, 0.2 * step)
        begun.append(0.2 * 0.45 * sum(found.told_w.values()))
        inputs = msgspec.structs.replace(
            inputs, motions=found.motions, large_s=found.large_s, rest_w=found.rest_w
        )
    return begun


def test_a_motors_inrush_is_hardly_answered_and_a_large_load_soon_is() -> None:
    begun = begun_by([4000.0] * 6)
    assert sum(begun[:3]) < 900.0, "a motor takes this for 0.4 s"
    assert max(begun[4:]) > 2 * max(begun[1:3])


def test_an_inrush_out_of_an_export_is_one_by_its_jump() -> None:
    begun = begun_by([-1500.0, *[2300.0] * 6])
    assert 0.0 < max(begun[1:5]) < 700.0, "a motor takes this for 0.4 s"
    assert begun[5] > 1.5 * max(begun[1:5]), "and a load for longer"
    assert begun_by([0.0, 2300.0])[1] > 2 * begun[1], "without the export it is a load at once"


def test_what_is_under_way_beyond_what_is_seen_is_taken_back() -> None:
    assert surer(600.0, -900.0, 0.5) == -450.0
    assert surer(600.0, 300.0, 0.5) == 300.0
    assert surer(-600.0, 200.0, 0.5) == 100.0
    assert surer(600.0, 1500.0, 0.5) == 1050.0, "whichever way the grid happens to be just now"
    assert surge_of(DRIVE, 310.0, 0.0, 0.0) == 0.0, "the plain part does so little"


@given(st.floats(-9000.0, 9000.0), st.floats(-9000.0, 9000.0), st.floats(-10.0, 10.0))
def test_a_little_more_or_less_at_the_grid_is_no_other_answer(
    seen_w: float, coming_w: float, more_w: float
) -> None:
    answer_w = surer(seen_w, seen_w - coming_w, DRIVE.doubt)
    other_w = surer(seen_w + more_w, seen_w + more_w - coming_w, DRIVE.doubt)
    assert abs(other_w - answer_w) <= abs(more_w) + 1e-6


@given(
    st.floats(-20_000, 20_000),
    st.dictionaries(
        st.text(max_size=2), st.tuples(st.floats(0.1, 10), st.floats(0, 6000)), min_size=1
    ),
)
def test_sharing_leaves_nothing_out_and_keeps_to_rooms_where_it_can(
    total_w: float, each: dict[str, tuple[float, float]]
) -> None:
    weights = {name: weight for name, (weight, _) in each.items()}
    rooms = {name: room for name, (_, room) in each.items()}
    parts = shared(total_w, weights, rooms)
    assert sum(parts.values()) == pytest.approx(total_w, abs=1e-3)
    if abs(total_w) <= sum(rooms.values()):
        assert all(abs(parts[name]) <= rooms[name] + len(each) + 1.0 for name in each)


def test_full_battery_is_not_asked_to_charge_nor_an_empty_one_to_give() -> None:
    full = fact(charge_a_max=0.0, battery_v=50.0)
    empty = fact(discharge_a_max=0.0, battery_v=50.0)
    assert room_w(full, is_more=False) == 0.0
    assert room_w(empty, is_more=True) == 0.0
    assert room_w(fact(), is_more=True) == math.inf
    told = decide(-4000.0, {"a": full, "b": fact(charge_a_max=90.0, battery_v=50.0)})
    assert told.told_w["b"] < told.told_w["a"] < 0.0


@pytest.mark.parametrize("power_w", [2000.0, 30_000.0])
def test_a_meter_that_jumps_in_sign_is_soon_told_on_as_it_is(power_w: float) -> None:
    """Whatever made it do so, nobody is driven to and fro by more than what it says."""
    facts = {"a": fact(), "b": fact()}
    told, largest_w = decide(0.0, facts), 0.0
    for step in range(1, 60):
        now_s = 0.2 * step
        facts = {name: fact(now_s) for name in "ab"}
        inputs = Inputs(
            power_w if step % 2 else -power_w,
            facts,
            {},
            told.following,
            told.motions,
            told.circulation,
            told.hunting,
            0.2,
            told.large_s,
        )
        told = steer(DRIVE, BALANCE, PAIR, inputs, now_s)
        largest_w = max(largest_w, *map(abs, told.told_w.values()))
        if step > 10:
            assert "hunting" in told.reason
            assert set(map(abs, told.told_w.values())) == {power_w / 2.0}
    assert largest_w <= max(DRIVE.told_w_max, power_w / 2.0)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_what_a_full_or_empty_battery_cannot_do_is_not_waited_for(side: float) -> None:
    """A load that comes while the sun has filled the batteries is answered as any other."""
    limits = {"charge_a_max": 0.0} if side < 0.0 else {"discharge_a_max": 0.0}
    facts = {name: fact(0.0, 0.0, **limits) for name in "ab"}
    at_limit = decide(side * 3000.0, facts)
    assert max(abs(told_w) for told_w in at_limit.told_w.values()) == DRIVE.limit_told_w
    inputs = Inputs(-side * 1000.0, facts, {}, {}, {}, NONE, QUIET, 0.2)
    fresh = steer(DRIVE, BALANCE, PAIR, inputs, 0.2)
    before = at_limit.motions
    later = steer(DRIVE, BALANCE, PAIR, msgspec.structs.replace(inputs, motions=before), 0.2)
    assert later.told_w == fresh.told_w


def test_the_quick_one_takes_the_step() -> None:
    pair = (Steered("a", 1.0, Plant(dead_s=0.35)), Steered("b", 1.0, Plant(dead_s=1.2, lag_s=0.5)))
    told = decide(2000.0, {"a": fact(), "b": fact()}, pair)
    assert told.told_w["a"] > 3 * told.told_w["b"] > 0.0


def test_reserve_is_only_for_a_full_battery_and_too_much_sun() -> None:
    assert reserve_w(DRIVE, {"a": fact(charging_w=2000.0, soc_pct=99.0)}) == DRIVE.reserve_w
    assert reserve_w(DRIVE, {"a": fact(charging_w=2000.0, soc_pct=60.0)}) == 0.0
    assert reserve_w(DRIVE, {"a": fact(charging_w=-2000.0, soc_pct=99.0)}) == 0.0
    assert reserve_w(DRIVE, {}) == 0.0


class Loop:
    """Two inverters that integrate what they are told, and a house; steps of 0.1 s."""

    def __init__(self, gain: float, dead_s: float, other_dead_s: float | None = None) -> None:
        self.gain = gain
        self.wanted = {"a": 0.0, "b": 0.0}
        delays_s = {"a": dead_s, "b": dead_s if other_dead_s is None else other_dead_s}
        self.late = {
            name: deque([0.0] * max(1, round(delay_s / 0.1))) for name, delay_s in delays_s.items()
        }
        self.ac = dict.fromkeys(self.wanted, 0.0)
        self.facts: dict[str, InverterFacts] = {}
        self.motions = dict.fromkeys(self.wanted, STILL)
        self.following: dict[str, Following] = {}
        self.told = dict.fromkeys(self.wanted, 0.0)
        self.circulation = NONE
        self.hunting = QUIET
        self.now_s = 0.0

    def run(self, load_w: float, seconds: float) -> list[float]:
        """The grid's power at each decision."""
        grid = []
        for step in range(round(seconds * 10)):
            self.now_s += 0.1
            for name, told_w in self.told.items():
                self.wanted[name] += self.gain * told_w * 0.1
                self.late[name].append(self.wanted[name])
                self.ac[name] = self.late[name].popleft()
            if step % 5 == 0:
                self.facts = {
                    name: fact(self.now_s, charging_w=2000.0 - ac_w)
                    for name, ac_w in self.ac.items()
                }
            if step % 2 == 0:
                grid.append(load_w - sum(self.ac.values()))
                self.decide(grid[-1])
        return grid

    def decide(self, wanted_w: float) -> None:
        inputs = Inputs(
            wanted_w,
            self.facts,
            {},
            self.following,
            self.motions,
            self.circulation,
            self.hunting,
            0.2,
        )
        told = steer(DRIVE, BALANCE, PAIR, inputs, self.now_s)
        self.told, self.motions = dict(told.told_w), dict(told.motions)
        self.following, self.circulation = dict(told.following), told.circulation
        self.hunting = told.hunting


@pytest.mark.parametrize("gain", [0.225, 0.45, 0.9])
@pytest.mark.parametrize("dead_s", [0.3, 0.6, 1.2])
def test_it_settles_with_half_and_twice_the_gain_and_dead_time(gain: float, dead_s: float) -> None:
    loop = Loop(gain, dead_s)
    for load_w in (2000.0, 300.0, 3000.0):
        grid = loop.run(load_w, 60.0)
        assert max(map(abs, grid[-50:])) < 60.0, "quiet for the last ten seconds"


def test_a_quick_and_a_slow_one_do_not_swing_against_each_other() -> None:
    loop = Loop(0.45, 0.2, 1.0)
    for load_w, seconds in ((300.0, 20.0), (2300.0, 0.4), (900.0, 20.0)):
        grid = loop.run(load_w, seconds)
    assert max(map(abs, grid[-50:])) < 60.0, "quiet after a load that was gone before any answer"
    assert loop.hunting.gentle_until_s < 0.0, "and not because hunting was noticed"


@given(st.lists(st.floats(-8000, 8000), min_size=1, max_size=12))
@settings(max_examples=20, deadline=None)
def test_what_is_told_is_bounded_whatever_the_house_does(loads_w: list[float]) -> None:
    loop = Loop(0.45, 0.6)
    for load_w in loads_w:
        loop.run(load_w, 0.6)
        most_w = DRIVE.told_w_max + BALANCE.correction_w_max + DRIVE.circulation.told_w_max
        assert all(abs(told_w) <= most_w for told_w in loop.told.values())
