"""Balance and quickness: who does how much, and what is never done."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from grug.control.balance import (
    NEW,
    BalanceSettings,
    Following,
    InverterFacts,
    corrections_w,
    follow,
    free_of,
    targets_w,
)
from grug.control.facts import FactsBook
from grug.control.images import GridOthers
from grug.control.offset import (
    GridReading,
    OffsetSettings,
    OffsetState,
    SteeredInverter,
    decide,
)
from grug.control.wishes import take_wish
from grug.messages import Readings, SetOffset
from grug.model import Quality

PLAIN = BalanceSettings()
SHARES = {"a": 1.0, "b": 1.0}


def charging(power_w: float, soc_pct: float = 50.0, **others: float) -> InverterFacts:
    return InverterFacts(pv_w=1000.0, ac_w=1000.0 - power_w, soc_pct=soc_pct, read_s=0.0, **others)


FACTS = st.builds(
    InverterFacts,
    soc_pct=st.floats(0, 100),
    battery_v=st.just(50.0),
    charge_a_max=st.floats(0, 100),
    discharge_a_max=st.floats(0, 100),
)


@given(st.floats(-20_000, 20_000), st.lists(FACTS, min_size=1, max_size=5))
def test_targets_have_one_sign_keep_to_limits_and_leave_nothing_that_can_be_done(
    total_w: float, facts: list[InverterFacts]
) -> None:
    named = {str(number): fact for number, fact in enumerate(facts)}
    targets = targets_w(total_w, dict.fromkeys(named, 1.0), named)
    is_charging = total_w >= 0.0
    limits = {
        name: 50.0 * (fact.charge_a_max if is_charging else fact.discharge_a_max)
        for name, fact in named.items()
    }
    for name, target_w in targets.items():
        assert target_w * total_w >= 0.0, "never one charging while another discharges"
        assert abs(target_w) <= limits[name] + 1e-6
    possible_w = min(abs(total_w), sum(limits.values()))
    assert abs(sum(targets.values())) == pytest.approx(possible_w, abs=2.0 * len(facts))


def test_emptier_battery_charges_more_and_discharges_less() -> None:
    facts = {"a": charging(0.0, soc_pct=20.0), "b": charging(0.0, soc_pct=80.0)}
    up, down = targets_w(2000.0, SHARES, facts), targets_w(-2000.0, SHARES, facts)
    assert up["a"] > up["b"] > 0.0
    assert down["b"] < down["a"] < 0.0


def test_battery_that_charges_from_the_other_is_told_to_export_more() -> None:
    facts = {"a": charging(800.0), "b": charging(-800.0)}
    told = corrections_w(PLAIN, SHARES, facts, {}, 0.0)
    assert told == {"a": pytest.approx(120.0), "b": pytest.approx(-120.0)}


@given(st.lists(st.floats(-5000, 5000), min_size=2, max_size=5))
def test_corrections_sum_to_zero_and_are_bounded(powers_w: list[float]) -> None:
    facts = {str(number): charging(power_w) for number, power_w in enumerate(powers_w)}
    told = corrections_w(PLAIN, dict.fromkeys(facts, 1.0), facts, {}, 0.0)
    assert sum(told.values()) == pytest.approx(0.0, abs=1e-6)
    assert max(map(abs, told.values())) <= PLAIN.correction_w_max + 1e-6


def test_old_or_missing_facts_leave_an_inverter_alone() -> None:
    facts = {"a": charging(800.0), "b": charging(-800.0)}
    assert corrections_w(PLAIN, SHARES, facts, {}, 5.1) == {}
    assert corrections_w(PLAIN, SHARES, {"a": facts["a"]}, {}, 0.0) == {}
    assert (
        corrections_w(
            PLAIN, SHARES, {**facts, "b": structs.replace(facts["b"], pv_w=None)}, {}, 0.0
        )
        == {}
    )


def test_offset_of_one_inverter_is_carried_by_that_one() -> None:
    facts = {"a": charging(1000.0), "b": charging(-1000.0)}
    told = corrections_w(PLAIN, SHARES, facts, {"a": -2000.0}, 0.0)
    assert told["a"] == pytest.approx(0.0, abs=60.0), "a already absorbs 2 kW more than b"
    facts = {"a": charging(0.0), "b": charging(0.0)}
    told = corrections_w(PLAIN, SHARES, facts, {"a": -2000.0}, 0.0)
    assert told["a"] < 0.0 < told["b"]


def test_inverter_that_does_not_follow_is_left_out_for_a_while() -> None:
    stuck = NEW
    for step in range(40):
        stuck = follow(PLAIN, stuck, 500.0, 0.2 * step)
    now_s = 0.2 * 39
    assert free_of(["a", "b"], {"a": stuck}, now_s) == ["b"]
    assert free_of(["a"], {"a": stuck}, now_s) == ["a"], "nothing tells them apart"
    assert free_of(["a", "b"], {"a": stuck}, now_s + PLAIN.retry_s) == ["a", "b"]


def test_inverter_that_answers_now_and_then_is_not_stuck() -> None:
    moving = NEW
    for step in range(400):
        moving = follow(PLAIN, moving, 500.0 if step % 20 < 15 else -50.0, 0.2 * step)
    assert free_of(["a", "b"], {"a": moving}, 80.0) == ["a", "b"]


def test_others_do_the_work_of_one_that_is_stuck() -> None:
    inverters = (SteeredInverter("a", "fa"), SteeredInverter("b", "fb"))
    settings = OffsetSettings("grid", "total_power", inverters)
    state = OffsetState(following={"a": Following(stuck_until_s=100.0)})
    outcome = decide(settings, state, GridReading(1000.0, 1.0), GridOthers(), 1.0)
    told = {image.fakemeter: image.values[0] for image in outcome.images}
    assert told == {"fa": 500.0, "fb": 1000.0}


def test_wish_for_one_inverter_moves_the_grid_by_as_much() -> None:
    inverters = (SteeredInverter("a", "fa"), SteeredInverter("b", "fb"))
    settings = OffsetSettings("grid", "total_power", inverters, slew_w_per_s=1e9)
    state = OffsetState(moved_s=0.0)
    for power_w, target in ((300.0, ""), (-2000.0, "a")):
        wish = SetOffset(power_w, 1e3, "cli", "", target)
        state = msgspec.structs.replace(state, wishes=take_wish(state.wishes, wish))
    outcome = decide(settings, state, GridReading(0.0, 1.0), GridOthers(), 1.0)
    assert outcome.state.offset_w == -1700.0
    assert "-2000 W for a" in outcome.decided.reason


def test_facts_come_from_com_port_and_ac_meter_and_bad_ones_do_not_count() -> None:
    book = FactsBook((SteeredInverter("a", "fa", device="com", meter="ac"),))
    names = ("pv_power", "bms_battery_soc", "bms_battery_voltage", "active_power")
    book.take(Readings("com", 1.0, names, (3000.0, 70, 51.0, 5.0)))
    book.take(Readings("ac", 2.0, ("active_power",), (-2500.0,)))
    book.take(Readings("ac", 3.0, ("active_power",), (9.0,), (Quality.BAD,)))
    book.take(Readings("other", 3.0, ("active_power",), (9.0,)))
    fact = book.facts["a"]
    assert fact.charging_w == 500.0
    assert (fact.soc_pct, fact.battery_v, fact.read_s) == (70.0, 51.0, 1.0)


def test_inverter_without_ac_meter_is_believed_itself() -> None:
    book = FactsBook((SteeredInverter("a", "fa", device="com"),))
    book.take(Readings("com", 1.0, ("pv_power", "active_power"), (3000.0, 2000.0)))
    assert book.facts["a"].charging_w == 1000.0
