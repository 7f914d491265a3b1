"""What a person tells a Solis, as registers; and what of it makes no sense."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.control import solis
from grug.control.solis import Change, SolisError
from grug.transport.maps import load_map

MAP = load_map("solis_s5_eh1p")
STORAGE = "energy_storage_mode_setting"


@given(
    name=st.sampled_from([None, *solis.MODES]),
    timed=st.sampled_from([None, True, False]),
    grid_charge=st.sampled_from([None, True, False]),
    before=st.integers(0, 0xFFFF),
)
def test_a_mode_changes_its_own_bits_and_no_others(
    name: str | None, timed: bool | None, grid_charge: bool | None, before: int
) -> None:
    try:
        change = solis.mode(name, timed=timed, grid_charge=grid_charge)
    except SolisError:
        assert (name, timed, grid_charge) == (None,) * 3 or (name, timed) == ("off-grid", True)
        return
    mask = change.masks[STORAGE]
    after = before & ~mask | int(change.values[STORAGE])
    labels = MAP[STORAGE].labels_of(after)
    if timed is not None:
        assert ("Time-charging optimized revenue mode" in labels) is timed
    if grid_charge is not None:
        assert ("Allow charge from grid" in labels) is grid_charge
    if name is None:
        assert not mask & 0b1000_0101_0101
    else:
        assert ("Off grid" in labels) is (name == "off-grid")
        assert ("Backup" in labels) is (name == "backup")
        assert ("Peak shaving" in labels) is (name == "peak-shaving")
        assert ("Feed-in priority" in labels) is (name == "feed-in")
    kept = 1 << 3 | 0xF780  # Wake-up of the battery, and what nobody knows the meaning of.
    assert after & kept == before & kept


def test_solis_clouds_own_values_come_out() -> None:
    """Source: values that SolisCloud was seen to write, in issue 413 of Pho3niX90/solis_modbus."""
    for value, change in (
        (33, solis.mode("self-use", timed=False, grid_charge=True)),
        (35, solis.mode("self-use", timed=True, grid_charge=True)),
        (51, solis.mode("backup", timed=True, grid_charge=True)),
        (96, solis.mode("feed-in", timed=False, grid_charge=True)),
        (2080, solis.mode("peak-shaving", timed=False, grid_charge=True)),
    ):
        assert change.values[STORAGE] == value


def test_a_slot_is_written_currents_first_and_to_the_maps_registers() -> None:
    change = solis.slot(2, charge="23:30-5:05", discharge="off", charge_current_a=20.0)
    assert list(change.values.items()) == [
        ("timed_charge_current", 20.0),
        ("timed_charge_start_hour_2", 23),
        ("timed_charge_start_minute_2", 30),
        ("timed_charge_end_hour_2", 5),
        ("timed_charge_end_minute_2", 5),
        ("timed_discharge_start_hour_2", 0),
        ("timed_discharge_start_minute_2", 0),
        ("timed_discharge_end_hour_2", 0),
        ("timed_discharge_end_minute_2", 0),
    ]
    assert change.is_ordered


@pytest.mark.parametrize(
    "make",
    [
        lambda: solis.charge_limit(50.0),
        lambda: solis.discharge_limit(0.0),
        lambda: solis.power(True),
        lambda: solis.power(False),
        lambda: solis.backup(True),
        lambda: solis.meter("eastron", "grid"),
        lambda: solis.meter("acrel-1-phase", "load"),
        lambda: solis.mode("self-use"),
        lambda: solis.clock(datetime.datetime(2026, 7, 1, 12, 30, 5)),
        *(lambda number=number: solis.slot(number, charge="1:00-2:00") for number in solis.SLOTS),
    ],
)
def test_every_change_fits_the_map(make: Callable[[], Change]) -> None:
    change = make()
    assert change.text
    for name in change.values:
        assert MAP[name].is_writable, name
    for name in (*solis.SETTINGS, solis.PROBE):
        assert name in MAP.registers


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: solis.charge_limit(-1.0), "no current limit"),
        (lambda: solis.charge_limit(float("nan")), "no current limit"),
        (lambda: solis.mode("selfuse"), "no mode 'selfuse'; there are self-use, feed-in"),
        (solis.mode, "nothing to change"),
        (solis.slot, "nothing to change"),
        (lambda: solis.slot(4, charge="1:00-2:00"), "no slot 4"),
        (lambda: solis.slot(1, charge="25:00-2:00"), "hours go to 23"),
        (lambda: solis.slot(1, charge="at noon"), "no time such as"),
        (lambda: solis.slot(1, charge="2:00-2:00"), "no length; say off"),
        (lambda: solis.meter("fronius", "grid"), "no meter 'fronius'"),
    ],
)
def test_what_makes_no_sense_says_so(make: Callable[[], Change], text: str) -> None:
    with pytest.raises(SolisError, match=text):
        make()


def test_the_clocks_drift_has_a_sign_and_needs_a_clock() -> None:
    now = datetime.datetime(2026, 7, 1, 12, 0, 0)
    assert solis.drift_s("2026-07-01T12:01:30", now) == 90.0
    assert solis.drift_s("2026-07-01T11:59:00", now) == -60.0
    with pytest.raises(SolisError, match="no time"):
        solis.drift_s("0000 0000 0000", now)
