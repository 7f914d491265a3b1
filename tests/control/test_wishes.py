"""Wishes: who is obeyed, what aims come to, and bounds that nobody passes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.control.balance import InverterFacts
from grug.control.wishes import (
    WISHES_MAX,
    Known,
    Wanted,
    WishLimits,
    problem_of,
    take_wish,
    wanted,
    without_expired,
)
from grug.messages import SetOffset
from grug.model import Aim

WATTS = st.floats(-1e9, 1e9)


def ask(
    power_w: float,
    aim: Aim = Aim.OFFSET,
    *,
    who: str = "cli",
    target: str = "",
    per_soc_w: float = 0.0,
    expires_s: float = 100.0,
) -> SetOffset:
    return SetOffset(power_w, expires_s, who, "", target, aim, per_soc_w)


def battery(charging_w: float, soc_pct: float = 50.0, read_s: float = 0.0) -> InverterFacts:
    return InverterFacts(charging_w, 0.0, soc_pct, soc_s=read_s, read_s=read_s)


def house(
    grid_w: float = 0.0, *, charging: tuple[float, ...] = (0.0, 0.0), soc_pct: float = 50.0
) -> Known:
    names = [f"solis{number + 1}" for number in range(len(charging))]
    facts = {name: battery(w, soc_pct) for name, w in zip(names, charging, strict=True)}
    return Known(grid_w, dict.fromkeys(names, 1.0), facts)


def ask_all(
    *wishes: SetOffset, known: Known | None = None, limits: WishLimits | None = None
) -> Wanted:
    held: tuple[SetOffset, ...] = ()
    for wish in wishes:
        held = take_wish(held, wish)
    return wanted(limits or WishLimits(), held, known or house(), 1.0)


def test_without_wishes_the_config_holds() -> None:
    assert ask_all(limits=WishLimits(power_w=-300.0)).offset_w == -300.0


def test_newest_wish_wins_and_a_person_comes_before_the_schedule() -> None:
    assert ask_all(ask(100), ask(200, who="mqtt")).offset_w == 200.0
    late_schedule = ask(-2000, who="schedule/night")
    assert ask_all(ask(100), late_schedule).offset_w == 100.0
    assert ask_all(late_schedule).offset_w == -2000.0


def test_grid_aim_is_a_power_at_the_grid_with_import_as_plus() -> None:
    assert ask_all(ask(-500, Aim.GRID)).offset_w == 500.0


def test_grid_may_follow_the_state_of_charge() -> None:
    wish = ask(0, Aim.GRID, per_soc_w=-50.0)
    assert ask_all(wish, known=house(soc_pct=80.0)).offset_w == 4000.0
    assert ask_all(wish, known=house(soc_pct=10.0)).offset_w == 500.0


@given(st.floats(-6000, 6000), st.floats(-3000, 3000), st.floats(-3000, 3000))
def test_battery_aim_asks_the_grid_for_what_the_house_leaves(
    load_w: float, first_w: float, second_w: float
) -> None:
    """Whatever the batteries do at the moment, the aim comes to the same offset."""
    known = house(load_w + first_w + second_w, charging=(first_w, second_w))
    limits = WishLimits(limit_w=1e6)
    found = ask_all(ask(1500, Aim.BATTERY), known=known, limits=limits)
    assert found.offset_w == pytest.approx(-(load_w + 1500))


@given(st.floats(-3000, 3000), st.floats(-3000, 3000), st.floats(-4000, 4000))
def test_one_batterys_aim_leaves_the_other_its_own_work(
    first_w: float, second_w: float, load_w: float
) -> None:
    """The grid, not the other battery, gives what one battery is to take."""
    known = house(load_w + first_w + second_w, charging=(first_w, second_w))
    wish = ask(1500, Aim.BATTERY, target="solis1")
    found = ask_all(wish, known=known, limits=WishLimits(limit_w=1e6))
    # Alike, the two batteries would share the load; the second still carries its half.
    assert found.shifts_w["solis1"] == pytest.approx(-load_w / 2 - 1500, abs=2.0)
    grid_w = -found.offset_w
    assert grid_w - load_w - 1500 == pytest.approx(-load_w / 2, abs=2.0)


@pytest.mark.parametrize("wish", [ask(1500, Aim.BATTERY), ask(0, Aim.GRID, per_soc_w=-50.0)])
def test_aim_that_needs_unknown_batteries_falls_back_on_the_config(wish: SetOffset) -> None:
    old = Known(0.0, {"solis1": 1.0}, {"solis1": battery(0.0, read_s=-60.0)})
    for known in (old, Known(0.0, {"solis1": 1.0}, {}), Known(0.0, {}, {})):
        found = ask_all(wish, known=known, limits=WishLimits(power_w=40.0))
        assert found.offset_w == 40.0
        assert "not known" in found.text


def test_strictest_bound_holds_whoever_set_it() -> None:
    limits = WishLimits(export_w_max=3500.0)
    bounds = (ask(3000, Aim.EXPORT_MAX, who="mqtt"), ask(2000, Aim.EXPORT_MAX, who="schedule/noon"))
    found = ask_all(*bounds, ask(5000), limits=limits)
    assert found.offset_w == 2000.0
    assert "limited from 5000 W" in found.text
    assert "by schedule/noon, export max 2000 W" in found.text
    assert ask_all(ask(-9000), ask(800, Aim.IMPORT_MAX)).offset_w == -800.0


@given(
    st.lists(st.tuples(WATTS, st.sampled_from(Aim), st.sampled_from(["", "solis1"]), WATTS)),
    st.floats(0, 1e5),
    st.floats(0, 1e5),
)
def test_nobody_passes_a_bound_of_the_config(
    wishes: list[tuple[float, Aim, str, float]], export_w: float, import_w: float
) -> None:
    limits = WishLimits(limit_w=6000.0, export_w_max=export_w, import_w_max=import_w)
    asked = [
        ask(power_w, aim, who=str(number), target=target, per_soc_w=per_soc_w)
        for number, (power_w, aim, target, per_soc_w) in enumerate(wishes)
    ]
    found = ask_all(*asked, limits=limits)
    assert max(-6000.0, -import_w) <= found.offset_w <= min(6000.0, export_w)


def test_a_source_keeps_its_bound_beside_its_aim() -> None:
    found = ask_all(ask(1000, Aim.EXPORT_MAX), ask(5000))
    assert found.offset_w == 1000.0


def test_expired_wishes_are_gone() -> None:
    held = (ask(1, expires_s=5.0), ask(2, expires_s=50.0, who="mqtt"))
    assert without_expired(held, 5.0) == held[1:]
    assert without_expired(held, 4.0) is held


@pytest.mark.parametrize(
    "wish",
    [
        ask(math.nan),
        ask(1.0, per_soc_w=math.inf),
        ask(1.0, expires_s=math.inf),
        ask(-1.0, Aim.EXPORT_MAX),
        ask(1.0, Aim.IMPORT_MAX, target="solis1"),
    ],
)
def test_senseless_wishes_change_nothing(wish: SetOffset) -> None:
    assert "ignored" in problem_of(wish)
    assert take_wish((), wish) == ()


@pytest.mark.parametrize("soc_s", [-1e9, -400.0])
@pytest.mark.parametrize("target", ["", "solis1"])
def test_state_of_charge_that_is_not_known_is_not_followed(soc_s: float, target: str) -> None:
    fact = InverterFacts(0.0, 0.0, 50.0, soc_s, read_s=0.0)
    known = Known(0.0, {"solis1": 1.0}, {"solis1": fact})
    found = ask_all(ask(0, per_soc_w=-50.0, target=target), known=known)
    assert (found.offset_w, found.shifts_w) == (0.0, {})
    assert "not known" in found.text


def test_what_a_bound_forbids_no_battery_does_for_another() -> None:
    bound = ask(1000, Aim.EXPORT_MAX, who="page")
    alone = ask_all(ask(4000, target="solis1"), bound)
    assert (alone.offset_w, alone.shifts_w) == (1000.0, {"solis1": 1000.0})
    beside = ask_all(ask(-2000), ask(4000, target="solis1"), bound)
    assert (beside.offset_w, beside.shifts_w) == (1000.0, {"solis1": 3000.0})
    apart = ask_all(ask(3000, target="solis1"), ask(-500, target="solis2"), bound)
    assert apart.shifts_w == {"solis1": 1500.0, "solis2": -500.0}
    by_house = ask_all(ask(5000), ask(500, target="solis1"), bound)
    assert (by_house.offset_w, by_house.shifts_w) == (1000.0, {"solis1": 0.0})


def test_many_wishes_do_not_lift_a_bound() -> None:
    held = take_wish((), ask(0, Aim.EXPORT_MAX, who="page"))
    for number in range(2 * WISHES_MAX):
        held = take_wish(held, ask(5000, who=f"script {number}"))
    assert len(held) == WISHES_MAX
    assert held[-1].who == f"script {2 * WISHES_MAX - 1}"
    assert wanted(WishLimits(), held, house(), 1.0).offset_w == 0.0
