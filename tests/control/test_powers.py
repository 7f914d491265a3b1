"""What a house tells of its powers at this moment: the latest that was good, with its time."""

from __future__ import annotations

import math

import msgspec

from grug.control.offset import OffsetSettings, SteeredInverter
from grug.control.powers import HeldWish, Powers, PowersBook
from grug.messages import Decided, Readings
from grug.model import Quality

SETTINGS = OffsetSettings(
    "grid", "total_power", (SteeredInverter("solis1", "fake1", device="solis1", meter="ac1"),)
)
NAMES = ("grid_power_w", "offset_w", "served_w/solis1")


def test_nothing_is_known_at_first_and_no_number_is_made_up() -> None:
    powers = PowersBook(SETTINGS).now(5.0, ())
    (inverter,) = powers.inverters
    assert (powers.grid_w, powers.decided_s, powers.offset_w) == (None, None, None)
    assert (inverter.told_w, inverter.ac_w, inverter.soc_pct) == (None, None, None)


def test_the_latest_good_values_are_told_with_their_times() -> None:
    book = PowersBook(SETTINGS)
    for message in (
        Readings("grid", 1.0, ("total_power",), (230.0,)),
        Readings("grid", 1.2, ("total_power",), (999.0,), (Quality.MISSING,)),
        Readings("grid", 1.3, ("frequency",), (50.0,)),
        Readings("ac1", 1.1, ("active_power",), (-800.0,)),
        Readings("solis1", 0.9, ("bms_battery_soc",), (64,)),
        Decided("offset", 1.0, NAMES, (230.0, 400.0, 630.0), "because"),
    ):
        book.take(message)
    powers = book.now(1.4, (HeldWish("me", "solis1", 400.0),))
    (inverter,) = powers.inverters
    assert (powers.grid_w, powers.grid_s, powers.offset_w) == (230.0, 1.0, 400.0)
    assert (inverter.ac_w, inverter.ac_s) == (800.0, 1.1)
    assert (inverter.soc_pct, inverter.soc_s, inverter.told_w) == (64, 0.9, 630.0)
    assert msgspec.json.decode(msgspec.json.encode(powers), type=Powers) == powers
    book.take(Decided("offset", 1.4, NAMES, (math.nan, 0.0, math.nan), "no image"))
    assert book.now(1.5, ()).inverters[0].told_w is None


def test_only_the_grid_and_the_inverters_are_wanted() -> None:
    book = PowersBook(SETTINGS)
    assert book.is_wanted(Readings("grid", 1.0, (), ()))
    assert book.is_wanted(Readings("ac1", 1.0, (), ()))
    assert not book.is_wanted(Readings("evse", 1.0, (), ()))
