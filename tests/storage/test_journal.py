"""The journal gives back in which order things came, at which times, and what was said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grug.messages import Decided, Message, Readings, RunStarted, SetOffset
from grug.storage.block import decode_block, decode_samples
from grug.storage.collect import Collector
from grug.storage.journal import (
    Journal,
    JournalWriter,
    decode_journal,
    encode_journal,
    in_order,
    messages_of,
    pairs_of,
    run_of,
)
from grug.storage.segment import Event, Frame, FrameKind, decode_events, scan_frames

STARTED = RunStarted("1.0", "{}", "abc", {}, 0.0)


def through_bytes(journal: Journal | None) -> Journal:
    if journal is None:
        return Journal(None, [], [], [], [], [])
    return decode_journal(encode_journal(journal))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), unique=True, max_size=60))
def test_any_order_comes_back(arrivals: list[tuple[int, int]]) -> None:
    writer = JournalWriter()
    for time_ms, group in arrivals:
        writer.add_readings(group, time_ms, 0)
    journal = through_bytes(writer.cut())
    assert list(in_order(journal, sorted(arrivals))) == arrivals


def test_what_comes_in_the_order_of_its_times_costs_nothing() -> None:
    writer = JournalWriter()
    for time_ms in range(100):
        writer.add_readings(0, time_ms, 0)
        writer.add_readings(1, time_ms, 0)
        writer.add_decision(time_ms)
    assert writer.cut() is None


def test_a_reading_after_a_later_decision_says_so() -> None:
    writer = JournalWriter()
    writer.add_readings(0, 1000, 0)
    writer.add_decision(1700)  # By the clock: the reading has grown old.
    writer.add_readings(0, 1650, 0)
    writer.add_readings(0, 1800, 0)
    journal = through_bytes(writer.cut())
    assert list(pairs_of(journal.late)) == [(1, 50)]


@given(st.lists(st.integers(-5000, 5000), min_size=1, max_size=20))
def test_every_change_of_the_clock_comes_back(zeros: list[int]) -> None:
    writer = JournalWriter()
    expected = []
    for index, zero_ms in enumerate(zeros):
        writer.set_zero(zero_ms + 7)  # While something else was recorded.
        writer.set_zero(zero_ms)
        writer.add_readings(0, index, 0)
        expected.append(zero_ms)
    journal = through_bytes(writer.cut())
    changes = dict(pairs_of(journal.zeros))
    found, zero_ms = [], journal.zero_ms
    assert zero_ms == zeros[0] + 7
    for position in range(len(zeros)):
        zero_ms += changes.get(position, 0)
        found.append(zero_ms)
    assert found == expected


def cut(collector: Collector, *, is_first: bool = False) -> list[Frame]:
    if is_first:
        collector.table_frame(1, boot_id="b", time_ms=0)
    data = b"".join(collector.cut(1, boot_id="b"))
    return scan_frames(data, seq_after=0).frames


def journal_in(frames: list[Frame]) -> Journal:
    (samples,) = [frame for frame in frames if frame.kind == FrameKind.SAMPLES]
    return decode_journal(decode_block(samples.unpack())[1])


def add(collector: Collector, *messages: Message, at_ms: int = 1000) -> None:
    for message in messages:
        collector.add(message, at_ms)


def test_the_journal_stands_behind_samples_that_read_as_before() -> None:
    collector = Collector()
    collector.set_zero(500)
    wish = SetOffset(-100.0, 123.456789, "cli", "test")
    add(collector, STARTED, Readings("grid", 0.5, ("power",), (7.0,)), wish)
    (table, samples, _) = cut(collector)
    assert table.kind == FrameKind.SERIES
    (column,) = decode_samples(samples.unpack())
    assert column.values() == [7.0]
    journal = journal_in([samples])
    assert [each.message for each in messages_of(journal)] == [STARTED, wish], "word for word"
    assert journal.zero_ms == 500


def test_a_block_without_samples_has_its_journal_in_a_frame() -> None:
    collector = Collector()
    wish = SetOffset(-100.0, 123.456789, "cli", "test")
    add(collector, wish)
    (journal, _) = cut(collector)
    assert journal.kind == FrameKind.JOURNAL
    (found,) = messages_of(decode_journal(journal.unpack()))
    assert found == (1000, wish)


def test_every_segment_says_of_which_run_it_is_and_what_the_clock_is() -> None:
    collector = Collector()
    collector.set_zero(500)
    reading = Readings("grid", 0.5, ("power",), (7.0,))
    add(collector, STARTED, reading)
    cut(collector)
    add(collector, reading, at_ms=2000)
    frames = cut(collector)
    assert not decode_block(frames[0].unpack())[1], "nothing is new"
    add(collector, reading, at_ms=3000)
    journal = journal_in(cut(collector, is_first=True))
    assert (run_of(journal), journal.zero_ms) == (STARTED, 500)


def test_two_decisions_in_a_millisecond_keep_their_reasons_apart() -> None:
    collector = Collector()
    for reason in ("one", "two"):
        add(collector, Decided("offset", 1.0, ("w",), (1.0,), reason))
    frames = cut(collector)
    (column,) = decode_samples(frames[1].unpack())
    assert column.times == [1000, 1001]
    reasons = [event for event in collector_events(frames) if event.kind == "reason"]
    assert [event.time_ms for event in reasons] == [1000, 1001]


def collector_events(frames: list[Frame]) -> list[Event]:
    return [
        event
        for frame in frames
        if frame.kind == FrameKind.EVENTS
        for event in decode_events(frame.unpack())
    ]
