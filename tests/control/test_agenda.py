"""The schedule: entries hold while the clock shows their times, whatever the clock does."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.control.agenda import Entry, is_over, next_change_s, step
from grug.model import Aim

PARIS = ZoneInfo("Europe/Paris")
NIGHT = Entry("night", dt.time(22, 30), dt.time(6, 0), -2000.0)


def at(text: str, zone: dt.tzinfo = PARIS) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone)


def holds(entry: Entry, text: str) -> bool:
    return bool(step([entry], {}, at(text), 0.0).held)


@pytest.mark.parametrize(
    ("text", "is_on"),
    [
        ("2026-11-22 22:29:59", False),
        ("2026-11-22 22:30", True),
        ("2026-11-23 05:59:59", True),
        ("2026-11-23 06:00", False),
        ("2026-11-23 12:00", False),
    ],
)
def test_entry_over_midnight_holds_between_its_times(text: str, is_on: bool) -> None:
    assert holds(NIGHT, text) is is_on


def test_weekday_and_dates_are_those_of_the_start() -> None:
    sunday = Entry("n", dt.time(22, 0), dt.time(6, 0), 1.0, days=frozenset({6}))
    assert holds(sunday, "2026-11-23 05:00")  # Monday morning, begun on Sunday.
    assert not holds(sunday, "2026-11-24 05:00")
    dated = Entry(
        "n",
        dt.time(22, 0),
        dt.time(6, 0),
        1.0,
        first=dt.date(2026, 11, 1),
        last=dt.date(2026, 11, 2),
    )
    assert not holds(dated, "2026-11-01 05:00")
    assert holds(dated, "2026-11-03 05:00")
    assert not holds(dated, "2026-11-03 22:00")
    assert not is_over(dated, at("2026-11-03 05:00"))
    assert is_over(dated, at("2026-11-04 00:00"))


def test_whole_day_has_no_gap_at_midnight() -> None:
    always = Entry("a", dt.time(0, 0), dt.time(0, 0), 1.0)
    for text in ("2026-11-22 00:00", "2026-11-22 12:00", "2026-11-22 23:59:59"):
        assert holds(always, text)


def test_wish_ends_with_its_entry() -> None:
    (wish,) = step([NIGHT], {}, at("2026-11-23 05:00"), 100.0).wishes
    assert wish.expires_s == 100.0 + 3600.0
    assert (wish.power_w, wish.who, wish.aim) == (-2000.0, "schedule/night", Aim.OFFSET)


def test_nothing_is_asked_twice() -> None:
    first = step([NIGHT], {}, at("2026-11-23 01:00"), 0.0)
    again = step([NIGHT], first.held, at("2026-11-23 01:00:20"), 20.0)
    assert len(first.wishes) == 1
    assert again.wishes == ()


def test_night_of_the_change_to_winter_is_an_hour_longer() -> None:
    (wish,) = step([NIGHT], {}, at("2026-10-24 22:30"), 0.0).wishes
    assert wish.expires_s == 8.5 * 3600
    (wish,) = step([NIGHT], {}, at("2026-03-28 22:30"), 0.0).wishes
    assert wish.expires_s == 6.5 * 3600


def test_entry_in_the_hour_that_summer_skips_does_not_hold_for_ever() -> None:
    skipped = Entry("s", dt.time(2, 15), dt.time(2, 45), 1.0)
    now = at("2026-03-29 00:00", dt.UTC)
    held_s = 0
    for minute in range(240):
        local = (now + dt.timedelta(minutes=minute)).astimezone(PARIS)
        held_s += 60 * bool(step([skipped], {}, local, 0.0).held)
    assert held_s == 1800


def test_clock_that_is_set_moves_the_end_or_ends_it() -> None:
    held = step([NIGHT], {}, at("2026-11-23 01:00"), 0.0).held
    # NTP says that it is 03:00 already: two hours less are left.
    moved = step([NIGHT], held, at("2026-11-23 03:00"), 10.0)
    assert [wish.expires_s for wish in moved.wishes] == [10.0 + 3 * 3600]
    # No: it is noon.
    ended = step([NIGHT], moved.held, at("2026-11-23 12:00"), 20.0)
    assert [wish.expires_s for wish in ended.wishes] == [20.0]
    assert ended.held == {}


def test_of_two_that_hold_the_later_begun_is_asked_for_last() -> None:
    evening = Entry("evening", dt.time(17, 0), dt.time(23, 0), 500.0)
    done = step([NIGHT, evening], {}, at("2026-11-22 22:45"), 0.0)
    assert [wish.who for wish in done.wishes] == ["schedule/evening", "schedule/night"]


@given(
    st.times(),
    st.times(),
    st.datetimes(dt.datetime(2026, 1, 1), dt.datetime(2026, 12, 31)),
    st.data(),
)
def test_nothing_changes_before_the_next_change(
    start: dt.time, end: dt.time, now: dt.datetime, data: st.DataObject
) -> None:
    """Between a look and the next change an entry holds throughout, or not at all."""
    entry = Entry("e", start, end, 1.0)
    utc = now.replace(tzinfo=dt.UTC)
    wait_s = next_change_s([entry], utc.astimezone(PARIS), 86_400.0)
    part = data.draw(st.floats(0.0, 1.0, exclude_max=True))
    later = utc + dt.timedelta(seconds=(wait_s - 1e-3) * part)
    is_held = [bool(step([entry], {}, each.astimezone(PARIS), 0.0).held) for each in (utc, later)]
    assert is_held[0] == is_held[1]


def test_what_began_later_stays_first_when_an_earlier_one_is_asked_for_anew() -> None:
    day = Entry("day", dt.time(9, 0), dt.time(18, 0), 1.0)
    noon = Entry("noon", dt.time(12, 0), dt.time(13, 0), 2.0)
    now = at("2026-11-22 12:30")
    held = step([day, noon], {}, now, 0.0).held
    moved = {**held, "day": held["day"] + 5.0}  # The clock was set while only this one held.
    assert [wish.who for wish in step([day, noon], moved, now, 0.0).wishes] == [
        "schedule/day",
        "schedule/noon",
    ]
