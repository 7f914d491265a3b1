"""A trial of small steps: what it asks for, and what ends it before anything is disturbed."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from grug.control.plant import Asking
from grug.control.powers import HeldWish, InverterPowers, Powers
from grug.control.trial import SIGNS, START, Ask, Done, Record, Trial, TrialSettings, advance

ME = "identify-plant/me/1"
SETTINGS = TrialSettings(("a", "b"), rounds=1)
MINE = HeldWish(ME, "a", 400.0)


def house(now_s: float, **others: object) -> Powers:
    """A calm house in which all is well."""
    inverters = tuple(
        InverterPowers(name, 0.0, 1000.0, now_s - 0.3, 50.0, now_s - 1.0) for name in ("a", "b")
    )
    powers = Powers(now_s, 5.0, now_s - 0.1, 0.7, now_s - 0.1, 0.0, "", inverters)
    return replace(powers, **others)


def with_first(powers: Powers, **news: object) -> Powers:
    first, *rest = powers.inverters
    return replace(powers, inverters=(replace(first, **news), *rest))


def play(until_s: float = 400.0) -> list[tuple[float, Ask | Done]]:
    """Everything that is asked for in a calm house, with its time."""
    trial, acts = START, []
    for tenth in range(round(until_s * 10)):
        wishes = (MINE,) if trial.step >= 0 else ()
        trial, act = advance(SETTINGS, trial, house(tenth / 10.0, wishes=wishes), ME)
        if act is not None:
            acts.append((tenth / 10.0, act))
        if isinstance(act, Done):
            break
    return acts


def test_one_inverter_after_the_other_is_asked_for_steps_that_sum_to_nothing() -> None:
    acts = play()
    assert acts[-1][1] == Done()
    asks = [act for _, act in acts if isinstance(act, Ask)]
    assert [ask.target for ask in asks] == ["a"] * (len(SIGNS) + 1) + ["b"] * len(SIGNS)
    assert sum(ask.power_w for ask in asks) == 0.0
    assert max(abs(ask.power_w) for ask in asks) == SETTINGS.step_w
    assert all(ask.for_s in (0.0, SETTINGS.step_s + SETTINGS.expiry_s) for ask in asks)
    assert asks[len(SIGNS)] == Ask("a", 0.0, 0.0), "its wish is ended before the next one's begin"
    times_s = [at_s for at_s, _ in acts]
    assert times_s[0] >= SETTINGS.quiet_s
    assert times_s[1] - times_s[0] == pytest.approx(SETTINGS.step_s)


@pytest.mark.parametrize(
    ("powers", "problem"),
    [
        (house(9.0, grid_w=None), "grid meter is not live"),
        (house(9.0, grid_s=8.2), "grid meter is not live"),
        (house(9.0, decided_s=None), "steers nothing"),
        (house(9.0, decided_s=7.0), "steers nothing"),
        (house(9.0, grid_w=-6100.0), "the grid is at -6100 W"),
        (with_first(house(9.0), told_w=None), "a is told nothing"),
        (with_first(house(9.0), ac_w=None), "a does not answer: its AC power was read never"),
        (with_first(house(9.0), ac_s=5.0), "a does not answer: its AC power was read 4 s ago"),
        (with_first(house(9.0), soc_pct=None), "does not tell its state of charge"),
        (with_first(house(9.0), soc_s=-500.0), "does not tell its state of charge"),
        (with_first(house(9.0), soc_pct=19.0), "19 % state of charge, outside of 20 to 90 %"),
        (with_first(house(9.0), soc_pct=91.0), "91 % state of charge"),
        (with_first(house(9.0), is_off_grid=True), "a is off grid"),
        (house(9.0, inverters=()), "no inverter 'a'"),
        (
            house(9.0, wishes=(HeldWish("cli/eve", "", 300.0, "cheap hour"),)),
            "a wish of cli/eve (cheap hour) for the house holds",
        ),
        (house(9.0, wishes=(MINE, HeldWish("schedule/night", "b", 0.0))), "schedule/night for b"),
    ],
)
@pytest.mark.parametrize("trial", [START, Trial(step=2, since_s=8.0, looked_s=8.9)])
def test_whatever_is_out_of_the_ordinary_ends_it_at_once(
    trial: Trial, powers: Powers, problem: str
) -> None:
    if trial.step >= 0 and not powers.wishes:
        powers = replace(powers, wishes=(MINE,))
    _, act = advance(SETTINGS, trial, powers, ME)
    assert isinstance(act, Done)
    assert problem in act.problem


def test_a_house_that_was_not_seen_or_forgot_our_wish_ends_it() -> None:
    trial = Trial(step=0, since_s=8.0, looked_s=8.0)
    assert "not seen" in str(advance(SETTINGS, trial, house(9.5, wishes=(MINE,)), ME)[1])
    assert "started again" in str(advance(SETTINGS, trial, house(8.2), ME)[1])


def test_an_uneasy_or_loaded_grid_is_waited_for_and_not_for_ever() -> None:
    settings = TrialSettings(("a", "b"), wait_s_max=60.0)
    for wave_w, level_w, why in ((400.0, 0.0, "varies"), (0.0, 2500.0, "is at 2500 W")):
        trial, act = START, None
        for tenth in range(700):
            grid_w = level_w + wave_w * math.sin(tenth)
            trial, act = advance(settings, trial, house(tenth / 10.0, grid_w=grid_w), ME)
            assert not isinstance(act, Ask)
            if act is not None:
                break
        assert trial.looked_s == pytest.approx(settings.wait_s_max, abs=0.5)
        assert isinstance(act, Done)
        assert "no calm moment" in act.problem
        assert why in act.problem


def test_the_record_has_every_reading_and_decision_once() -> None:
    record = Record()
    for tenth in range(20):
        now_s = tenth / 10.0
        seen = InverterPowers("a", now_s, 10.0, tenth // 5 / 2.0, asking=Asking(0.0, 0.07))
        decided_s = tenth // 2 / 5.0
        record.take(house(now_s, decided_s=decided_s, inverters=(seen,)))
    seen_of = record.seen("a")
    assert [at_s for at_s, _ in seen_of.told] == [step / 5.0 for step in range(10)]
    assert seen_of.ac == ((0.0, 10.0), (0.5, 10.0), (1.0, 10.0), (1.5, 10.0))
    assert seen_of.asking == (Asking(0.0, 0.07),)
    assert record.inverters(()) == ("a",)
    assert record.seen("b").told == ()
