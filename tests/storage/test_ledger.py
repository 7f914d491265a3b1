"""The ledger of writes: what is counted, for how long, and what a power cut leaves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grug.model import WriteState
from grug.storage.ledger import (
    KEEP_ROUTINE_MS,
    YEAR_MS,
    LedgerBook,
    LedgerEntry,
    decode_entries,
    encode_entry,
    worth_keeping,
)

NOW_MS = 1_800_000_000_000


def entry(number: int, utc_ms: int = NOW_MS, **more: object) -> LedgerEntry:
    values = {"register": "limit", "wears": True, "state": WriteState.APPLIED, **more}
    return LedgerEntry(
        str(number), utc_ms, "port#1", "solis1", who="me", why="test", new=5.0, **values
    )


def test_the_second_line_of_a_write_holds_and_counts_once() -> None:
    intent = entry(1, state=WriteState.PENDING)
    entries, bad = decode_entries(b"".join(map(encode_entry, (intent, entry(2), entry(1)))))
    assert [(each.id, each.state) for each in entries] == [("1", "applied"), ("2", "applied")]
    assert bad == 0
    assert LedgerBook([intent, entry(2), entry(1)]).in_year("port#1", "limit", NOW_MS) == 2


@given(cut=st.integers(0, 400), text=st.text(max_size=20))
def test_a_torn_tail_costs_its_own_line_alone(cut: int, text: str) -> None:
    lines = [encode_entry(entry(number, reason=text)) for number in range(3)]
    whole = b"".join(lines)
    kept = whole[: max(0, len(whole) - cut)]
    entries, bad = decode_entries(kept)
    assert len(entries) >= kept.count(b"\n")
    assert [each.id for each in entries] == [str(number) for number in range(len(entries))]
    assert bad <= 1


@given(ages_days=st.lists(st.integers(-800, 800), max_size=30))
def test_a_year_counts_and_so_does_the_future(ages_days: list[int]) -> None:
    entries = [entry(n, NOW_MS - days * 86_400_000) for n, days in enumerate(ages_days)]
    expected = sum(days < 365 for days in ages_days)
    book = LedgerBook(entries)
    assert book.in_year("port#1", "limit", NOW_MS) == expected
    assert book.unit_in_year("port#1", NOW_MS) == expected
    kept = worth_keeping([*entries, entry(99)], NOW_MS)
    assert len(kept) == expected + 1


def test_a_clock_that_jumps_ahead_and_back_costs_nothing_of_the_count() -> None:
    entries = [entry(1), entry(2, NOW_MS - YEAR_MS)]
    wrong_ms = NOW_MS + 20 * YEAR_MS
    assert worth_keeping(entries, wrong_ms) == entries[:1]
    book = LedgerBook(entries)
    assert book.in_year("port#1", "limit", wrong_ms) == 0
    assert book.in_year("port#1", "limit", NOW_MS) == 1


def test_units_and_registers_are_counted_apart() -> None:
    book = LedgerBook([entry(1), entry(2, register="mode"), entry(3, register="mode")])
    assert book.in_year("port#1", "mode", NOW_MS) == 2
    assert book.in_year("port#2", "mode", NOW_MS) == 0
    assert book.unit_in_year("port#1", NOW_MS) == 3


def test_what_was_not_sent_costs_nothing() -> None:
    book = LedgerBook([entry(1, sends=0, state=WriteState.REFUSED)])
    assert book.in_year("port#1", "limit", NOW_MS) == 0
    assert book.last("port#1", "limit") is None


def test_lines_about_ram_go_after_a_month() -> None:
    young, old = NOW_MS - KEEP_ROUTINE_MS + 1, NOW_MS - KEEP_ROUTINE_MS
    entries = [entry(1, young, wears=False), entry(2, old, wears=False), entry(3, old), entry(4)]
    assert [each.id for each in worth_keeping(entries, NOW_MS)] == ["1", "3", "4"]
    assert YEAR_MS > KEEP_ROUTINE_MS
