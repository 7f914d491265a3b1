"""What controllers know survives as bytes, to the last bit."""

from __future__ import annotations

import math

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from grug.control.clockwork import ClockState
from grug.control.dispatch import DispatchState, Phase
from grug.control.facts import FactsBook
from grug.control.images import GridOthers
from grug.control.ladder import GridReading, LadderSettings, Readings, Rung, choose
from grug.control.memory import (
    REMEMBER_EVERY_S,
    DispatchKnown,
    KeeperKnown,
    OffsetKnown,
    decode_known,
    encode_known,
    remember_next_s,
)
from grug.control.offset import OffsetSettings, OffsetState, SteeredInverter, decide
from grug.control.plant import Plant
from grug.control.power_save import PowerState
from grug.messages import DispatchChanged, Remembered, decode_message, encode_message
from grug.messages import Readings as DeviceReadings
from grug.model import Quality

INVERTERS = (
    SteeredInverter("solis1", "fake1", device="com1", plant=Plant()),
    SteeredInverter("solis2", "", device="com2", meter="ac2"),
)
SETTINGS = OffsetSettings("grid", "total_power", INVERTERS)
LADDER = LadderSettings()


def known_after(powers_w: list[float]) -> tuple[OffsetKnown, FactsBook]:
    """What is known after some readings, a dispatch that is in doubt among them."""
    book, readings, state = FactsBook(INVERTERS), Readings(), OffsetState()
    now_s = 0.1
    for number, power_w in enumerate(powers_w):
        now_s = 0.1 + 0.2 * number
        book.take(DeviceReadings("com1", now_s, ("active_power", "pv_power"), (power_w, 1e3 / 3)))
        book.take(DeviceReadings("com2", now_s, ("fault_status_1_grid",), (number % 2,)))
        book.take(DeviceReadings("fake1", now_s, ("answers",), (3 * number,)))
        readings.take_first(GridReading(power_w, now_s))
        change = DispatchChanged("solis2", power_w, now_s + 60.0, "so", now_s, is_doubt=True)
        state = OffsetState(**{**_fields(state), "carried": {"solis2": change}})
        step = choose(LADDER, readings, now_s)
        outcome = decide(SETTINGS, state, step.reading, GridOthers(), now_s, facts=book.facts)
        state = outcome.state
    known = OffsetKnown(
        state, book.known(), readings, GridOthers((230.1, now_s)), Rung.LIVE, now_s, math.inf
    )
    return known, book


def _fields(state: OffsetState) -> dict[str, object]:
    return {name: getattr(state, name) for name in state.__struct_fields__}


@given(st.lists(st.floats(-9e3, 9e3), min_size=1, max_size=30), st.floats(-9e3, 9e3))
def test_who_reads_it_decides_the_same_from_then_on(powers_w: list[float], next_w: float) -> None:
    known, book = known_after(powers_w)
    read = decode_known(encode_known(known))
    assert read == known
    other = FactsBook(INVERTERS)
    other.recall(read.facts)
    now_s = known.now_s + 0.2
    for each in (book, other):
        each.take(DeviceReadings("com1", now_s, ("active_power",), (next_w,)))
        each.take(DeviceReadings("fake1", now_s, ("answers",), (100,)))
    assert other.known() == book.known()
    grid, others = GridReading(next_w, now_s), GridOthers()
    assert decide(SETTINGS, read.state, grid, others, now_s, facts=other.facts) == decide(
        SETTINGS, known.state, grid, others, now_s, facts=book.facts
    )


def test_the_latest_good_reading_is_still_known_to_be_the_latest() -> None:
    known, _ = known_after([100.0])
    read = decode_known(encode_known(known))
    assert read is not None
    assert choose(LADDER, read.readings, 0.2).rung is Rung.LIVE


def test_a_bad_reading_after_a_good_one_stays_bad() -> None:
    known, _ = known_after([100.0])
    known.readings.take_first(GridReading(0.0, 0.2, f"reading is {Quality.BAD}"))
    read = decode_known(encode_known(known))
    assert read is not None
    assert choose(LADDER, read.readings, 0.3).rung is Rung.RAMP


def test_what_another_version_wrote_is_not_known() -> None:
    known, _ = known_after([100.0])
    data = encode_known(known)
    assert decode_known(b"") is None
    assert decode_known(data[:-1]) is None
    assert decode_known(data.replace(b"offset_w\xcb", b"offset_w\xc3", 1)) is None


def test_what_the_others_know_is_told_apart() -> None:
    state = DispatchState(Phase.ACTIVE, 150.0, 100.1, 101.2)
    dispatch = DispatchKnown(state, None, -math.inf, may_hold=True, was_offline=False)
    power = PowerState(was_on=True, wanted=False, since_s=1 / 3)
    keeper = KeeperKnown(power, 30.7, ClockState(600.0, math.inf))
    for known in (dispatch, keeper):
        assert decode_known(encode_known(known)) == known
    assert decode_known(b"") is None


def test_what_was_told_before_it_said_who_is_the_offset_controllers() -> None:
    before = msgspec.msgpack.encode(["OffsetRemembered", b"memory", 12.5])
    assert decode_message(before) == Remembered(b"memory", 12.5, "offset")
    now = Remembered(b"memory", 12.5, "dispatch/solis1")
    assert decode_message(encode_message(now)) == now


@given(st.floats(0.0, 1e7), st.sampled_from([0.0, 5.0]))
def test_all_tell_by_the_same_clock(now_s: float, after_s: float) -> None:
    next_s = remember_next_s(now_s, after_s)
    assert now_s < next_s <= now_s + REMEMBER_EVERY_S + 1e-6
    assert (next_s - after_s) % REMEMBER_EVERY_S == 0.0
