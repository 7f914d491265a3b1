"""The offset law: what the fake meters say, and when they must say nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.control.carried import Carrier
from grug.control.images import IMAGE_NAMES, GridOthers
from grug.control.offset import (
    GridReading,
    OffsetSettings,
    OffsetState,
    SteeredInverter,
    decide,
    decide_stop,
    take_dispatch,
    take_health,
)
from grug.control.wishes import WishLimits, problem_of, take_wish
from grug.messages import DispatchChanged, MeterImage, SetOffset

SOLIS = (
    SteeredInverter("solis1", "fake1", image_names=IMAGE_NAMES),
    SteeredInverter("solis2", "fake2", image_names=IMAGE_NAMES),
)
SETTINGS = OffsetSettings("grid", "total_power", SOLIS)
WATTS = st.floats(-30_000, 30_000)


def ask(power_w: float, expires_s: float = 1e6, who: str = "cli", why: str = "") -> SetOffset:
    return SetOffset(power_w, expires_s, who, why)


def wish_for(state: OffsetState, wish: SetOffset) -> OffsetState:
    return msgspec.structs.replace(state, wishes=take_wish(state.wishes, wish))


def power_of(image: MeterImage) -> float:
    return image.values[image.names.index("active_power")]


def serve(
    settings: OffsetSettings, state: OffsetState, power_w: float, now_s: float
) -> tuple[OffsetState, float, str]:
    """One decision; returns the state, the sum of the images and the reason."""
    outcome = decide(settings, state, GridReading(power_w, now_s), GridOthers(), now_s)
    return outcome.state, sum(map(power_of, outcome.images)), outcome.decided.reason


def settled(
    settings: OffsetSettings, *commands: SetOffset, until_s: float = 60.0
) -> tuple[OffsetState, str]:
    state, reason = OffsetState(), ""
    for command in commands:
        state = wish_for(state, command)
    for second in range(int(until_s) + 1):
        state, _, reason = serve(settings, state, 0.0, float(second))
    return state, reason


@given(
    WATTS,
    st.floats(-5000, 5000),
    st.lists(st.floats(0.1, 10), min_size=1, max_size=5),
    st.sets(st.integers(0, 4)),
)
def test_images_sum_to_grid_power_plus_offset(
    power_w: float, offset_w: float, shares: list[float], gone: set[int]
) -> None:
    inverters = tuple(
        SteeredInverter(f"i{n}", f"f{n}", share, power_w_min=-1e6, power_w_max=1e6)
        for n, share in enumerate(shares)
    )
    settings = replace(SETTINGS, inverters=inverters)
    state = OffsetState(offset_w, 0.0, (ask(offset_w),))
    for number in gone:
        state = take_health(state, f"i{number}", is_offline=True)
    outcome = decide(settings, state, GridReading(power_w, 1.0), GridOthers(), 1.0)
    assert sum(map(power_of, outcome.images)) == pytest.approx(
        power_w + offset_w, abs=0.06 * len(shares)
    ), "each is told in tenths of a watt"
    if gone < set(range(len(shares))):
        told = {image.fakemeter for image in outcome.images}
        assert told == {f"f{number}" for number in range(len(shares)) if number not in gone}


def test_shares_divide_the_power() -> None:
    settings = replace(SETTINGS, inverters=(replace(SOLIS[0], share=3.0), SOLIS[1]))
    outcome = decide(settings, OffsetState(), GridReading(1000.0, 1.0), GridOthers(), 1.0)
    assert [power_of(image) for image in outcome.images] == [750.0, 250.0]


def test_inverter_that_comes_back_takes_its_share_again() -> None:
    state = take_health(OffsetState(), "solis1", is_offline=True)
    grid = GridReading(1000.0, 1.0)
    outcome = decide(SETTINGS, state, grid, GridOthers(), 1.0)
    assert [(image.fakemeter, power_of(image)) for image in outcome.images] == [("fake2", 1000.0)]
    assert "offline, told nothing and carried by the others: solis1" in outcome.decided.reason
    state = take_health(outcome.state, "solis1", is_offline=False)
    outcome = decide(SETTINGS, state, grid, GridOthers(), 1.0)
    assert [power_of(image) for image in outcome.images] == [500.0, 500.0]


@pytest.mark.parametrize("carrier", [Carrier.REGISTERS, Carrier.BOTH])
@pytest.mark.parametrize("is_doubt", [False, True])
def test_what_an_offline_inverters_registers_carry_changes_nothing_for_the_others(
    carrier: Carrier, is_doubt: bool
) -> None:
    settings = replace(SETTINGS, inverters=(replace(SOLIS[0], carrier=carrier), SOLIS[1]))
    state = OffsetState(-2000.0, 1.0, (ask(-2000.0),))
    change = DispatchChanged("solis1", -1000.0, 60.0, "", 1.0, is_doubt=is_doubt)
    state = take_health(take_dispatch(state, change), "solis1", is_offline=True)
    outcome = decide(settings, state, GridReading(2500.0, 1.0), GridOthers(), 1.0)
    assert [(image.fakemeter, power_of(image)) for image in outcome.images] == [("fake2", 500.0)]
    stopped = decide_stop(settings, outcome.state, GridReading(300.0, 1.0), GridOthers(), 1.0)
    assert [(image.fakemeter, power_of(image)) for image in stopped.images] == [("fake2", 300.0)]


@given(
    st.lists(st.tuples(st.floats(0.01, 30), st.floats(-1e9, 1e9)), max_size=20),
    st.floats(1, 5000),
    st.floats(0, 8000),
)
def test_offset_never_outruns_slew_or_limit(
    steps: list[tuple[float, float]], slew: float, limit: float
) -> None:
    settings = replace(SETTINGS, slew_w_per_s=slew, limits=WishLimits(limit_w=limit))
    state, now_s = OffsetState(), 0.0
    for pause_s, wish_w in steps:
        now_s += pause_s
        before = state
        state = wish_for(state, ask(wish_w, now_s + 10))
        state, _, _ = serve(settings, state, 0.0, now_s)
        assert abs(state.offset_w) <= limit
        moved_s = 0.0 if before.moved_s is None else min(now_s - before.moved_s, 1.0)
        assert abs(state.offset_w - before.offset_w) <= slew * moved_s + 1e-6


def test_offset_is_reached_held_and_ramped_back_at_expiry() -> None:
    state = wish_for(OffsetState(), ask(-2000, 10.0, "cli", "absorb"))
    course = []
    for second in range(15):
        state, _, reason = serve(SETTINGS, state, 0.0, float(second))
        course.append(state.offset_w)
        if second == 5:
            assert reason == "offset -2000 W by cli (absorb)"
    assert course == [0, -1000, *[-2000] * 8, -1000, 0, 0, 0, 0]
    assert state.wishes == ()
    assert reason == "offset 0 W from the config"


def test_reason_says_that_the_offset_is_under_way() -> None:
    state = wish_for(OffsetState(), ask(-2000))
    _, _, reason = serve(SETTINGS, state, 0.0, 0.0)
    assert reason.startswith("moving to: offset -2000 W by cli")


def test_newest_wish_wins_and_its_end_uncovers_the_one_before() -> None:
    wishes = (ask(1000, 100.0, "schedule"), ask(-500, 30.0, "cli"))
    state, reason = settled(SETTINGS, *wishes, until_s=20)
    assert state.offset_w == -500
    assert "by cli" in reason
    state, reason = settled(SETTINGS, *wishes, until_s=60)
    assert state.offset_w == 1000
    assert "by schedule" in reason


def test_same_source_replaces_its_wish_and_ends_it_by_a_past_expiry() -> None:
    state, _ = settled(SETTINGS, ask(1000), ask(300))
    assert state.offset_w == 300
    assert len(state.wishes) == 1
    state, reason = settled(SETTINGS, ask(1000), ask(0, expires_s=-1.0))
    assert (state.offset_w, state.wishes) == (0.0, ())
    assert reason == "offset 0 W from the config"


def test_config_offset_holds_when_nobody_asks() -> None:
    state, reason = settled(replace(SETTINGS, limits=WishLimits(power_w=-1500.0)))
    assert state.offset_w == -1500
    assert reason == "offset -1500 W from the config"


def test_absurd_wish_is_limited_and_says_so() -> None:
    state, reason = settled(SETTINGS, ask(1e9))
    assert state.offset_w == 6000
    assert "limited from 1e+09 W" in reason


@pytest.mark.parametrize(
    "wish",
    [
        ask(math.nan),
        ask(math.inf),
        ask(0.0, math.inf),
        ask(0.0, math.nan),
    ],
)
def test_wish_without_a_number_or_an_end_is_ignored(wish: SetOffset) -> None:
    state = wish_for(OffsetState(), ask(100))
    assert "ignored" in problem_of(wish)
    assert wish_for(state, wish) == state


def test_sources_without_end_do_not_fill_the_memory() -> None:
    state = OffsetState()
    for number in range(1000):
        state = wish_for(state, ask(number, who=str(number)))
    assert len(state.wishes) == 32
    assert state.wishes[-1].who == "999"


@pytest.mark.parametrize(
    "grid",
    [
        GridReading(math.nan, 10.0),
        GridReading(math.inf, 10.0),
        GridReading(-100_001.0, 10.0),
        GridReading(0.0, 10.0, "reading is bad"),
    ],
)
def test_bad_reading_gives_no_image_and_says_why(grid: GridReading) -> None:
    for outcome in (
        decide(SETTINGS, OffsetState(), grid, GridOthers(), 10.0),
        decide_stop(SETTINGS, OffsetState(), grid, GridOthers(), 10.0),
    ):
        assert outcome.images == ()
        assert outcome.decided.reason.startswith("no image: ")
        assert all(math.isnan(value) for value in outcome.decided.values[2:])


def test_after_a_silence_the_offset_begins_anew_at_the_slew() -> None:
    state = msgspec.structs.replace(wish_for(OffsetState(), ask(-5000.0, 1000.0)), offset_w=-5000.0)
    for second in range(11):
        lost = GridReading(math.nan, 10.0, "grid not read")
        outcome = decide(SETTINGS, state, lost, GridOthers(), 10.0 + second)
        state = outcome.state
    assert outcome.decided.reason == "no image: grid not read; offset 0 W, nothing is told"
    back = decide(SETTINGS, state, GridReading(0.0, 20.2), GridOthers(), 20.2)
    assert back.state.offset_w == pytest.approx(-0.2 * SETTINGS.slew_w_per_s)


@given(st.floats(0, 100), st.floats(0.1, 5))
def test_image_lives_as_long_as_its_reading_and_no_longer(age_s: float, max_age_s: float) -> None:
    settings = replace(SETTINGS, inverters=(replace(SOLIS[0], max_age_s=max_age_s),))
    grid = GridReading(100.0, 1000.0)
    outcome = decide(settings, OffsetState(), grid, GridOthers(), 1000.0 + age_s)
    if 1000.0 + age_s > 1000.0 + max_age_s:
        assert outcome.images == ()
        assert "too old" in outcome.decided.reason
    else:
        (image,) = outcome.images
        assert (image.read_s, image.valid_until_s) == (1000.0, 1000.0 + max_age_s)


POLLED = replace(
    SETTINGS,
    voltage_register="volts",
    frequency_register="hertz",
    import_energy_register="import",
    export_energy_register="export",
)


def test_image_passes_on_what_the_meter_says_and_counters_of_long_ago() -> None:
    others = GridOthers((230.0, 9.0), (50.02, 9.0), (1234.5, 1.0), (99.0, 1.0))
    settings = replace(POLLED, inverters=(SOLIS[0],))
    outcome = decide(settings, OffsetState(), GridReading(-460.0, 10.0), others, 10.0)
    image = dict(zip(IMAGE_NAMES, outcome.images[0].values, strict=True))
    assert image == {
        "voltage": 230.0,
        "current": 2.0,
        "active_power": -460.0,
        "reactive_power": 0.0,
        "apparent_power": 460.0,
        "power_factor": -1.0,
        "frequency": 50.02,
        "import_active_energy": 1234.5,
        "export_active_energy": 99.0,
    }


@pytest.mark.parametrize(
    ("others", "why"),
    [
        (GridOthers(), "volts not read lately"),
        (GridOthers((230.0, 1.0), (50.0, 9.0), (1.0, 1.0), (1.0, 1.0)), "volts not read lately"),
        (GridOthers((230.0, 9.0), (50.0, 9.0), (1.0, 1.0)), "export not read lately"),
        (GridOthers((math.nan, 9.0)), "volts is implausible"),
        (GridOthers((-230.0, 9.0)), "volts is implausible"),
        (GridOthers((1e9, 9.0)), "volts is implausible"),
    ],
)
def test_nothing_is_served_in_the_place_of_what_is_not_known(others: GridOthers, why: str) -> None:
    outcome = decide(POLLED, OffsetState(), GridReading(500.0, 10.0), others, 10.0)
    assert outcome.images == ()
    assert why in outcome.decided.reason


def test_what_the_house_does_not_poll_is_zero() -> None:
    outcome = decide(SETTINGS, OffsetState(), GridReading(500.0, 10.0), GridOthers(), 10.0)
    image = dict(zip(IMAGE_NAMES, outcome.images[0].values, strict=True))
    assert (image["voltage"], image["current"], image["import_active_energy"]) == (0.0, 0.0, 0.0)
    assert image["active_power"] == 250.0


def test_only_registers_that_an_image_can_fill_are_in_it() -> None:
    inverter = SteeredInverter("i", "f", image_names=("baud_rate", "active_power", "current"))
    settings = replace(SETTINGS, inverters=(inverter,))
    outcome = decide(settings, OffsetState(), GridReading(500.0, 1.0), GridOthers(), 1.0)
    assert outcome.images[0].names == ("current", "active_power")


def test_power_is_limited_to_what_the_profile_carries() -> None:
    outcome = decide(SETTINGS, OffsetState(), GridReading(80_000.0, 1.0), GridOthers(), 1.0)
    assert [power_of(image) for image in outcome.images] == [32767.0, 32767.0]
    assert "fake1 limited to what its register carries" in outcome.decided.reason


def test_stop_serves_the_grid_as_it_is() -> None:
    state = OffsetState(-2000.0, 9.0, (ask(-2000.0),))
    outcome = decide_stop(SETTINGS, state, GridReading(300.0, 9.0), GridOthers(), 9.5)
    assert [power_of(image) for image in outcome.images] == [150.0, 150.0]
    assert {image.valid_until_s for image in outcome.images} == {10.5}
    assert outcome.state.wishes == ()


def test_decision_names_grid_offset_and_every_inverter() -> None:
    outcome = decide(SETTINGS, OffsetState(), GridReading(300.0, 9.0), GridOthers(), 9.5)
    decided = outcome.decided
    assert decided.names == ("grid_power_w", "offset_w", "served_w/solis1", "served_w/solis2")
    assert decided.values == (300.0, 0.0, 150.0, 150.0)


def test_reason_stays_the_same_while_nothing_changes() -> None:
    state = OffsetState()
    reasons = set()
    for second in range(20):
        state, _, reason = serve(SETTINGS, state, 100.0 * second, float(second))
        reasons.add(reason)
    assert len(reasons) == 1


def test_house_without_inverters_is_decided_too() -> None:
    settings = replace(SETTINGS, inverters=())
    outcome = decide(settings, OffsetState(), GridReading(300.0, 9.0), GridOthers(), 9.5)
    assert outcome.images == ()
    assert "no inverter" in outcome.decided.reason
