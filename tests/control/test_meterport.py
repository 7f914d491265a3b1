"""What a meter port remembers, and when a reply is too late."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from grug.control.meterport import (
    LATENCIES_MAX,
    LOOK_EVERY_S,
    QUESTIONS_MAX,
    REPLY_LATE_S_MAX,
    Answer,
    MeterTally,
    Punctuality,
)

CHARACTER_S = 10 / 9600


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), max_size=30))
def test_no_reply_leaves_later_than_the_limit_after_the_question_could_have_come(
    waits: list[tuple[float, float]],
) -> None:
    """Whatever holds us up, before the read or after it."""
    now_s = 100.0
    port = Punctuality(0.0, now_s)
    empty_s = now_s
    for before_read_s, before_write_s in waits:
        now_s += before_read_s
        is_usable = port.received(now_s)
        earliest_s, empty_s = empty_s, now_s
        now_s += before_write_s
        if is_usable and not port.is_late(now_s):
            assert now_s - earliest_s <= REPLY_LATE_S_MAX
            port.sent(8, now_s)


def test_port_that_is_looked_at_answers_whenever_it_is_asked() -> None:
    port = Punctuality(CHARACTER_S, 0.0)
    port.empty_until(LOOK_EVERY_S)
    assert port.received(1.99 * LOOK_EVERY_S)
    assert not port.is_late(1.99 * LOOK_EVERY_S + 0.004)


def test_replies_do_not_wait_for_each_other_on_the_wire() -> None:
    port = Punctuality(CHARACTER_S, 0.0)
    port.received(0.0)
    port.sent(256, 0.0)
    assert port.received(0.05)
    assert port.is_late(0.05), "the wire is taken until 0.27 s"
    port.empty_until(0.2)
    assert port.received(0.27)
    assert not port.is_late(0.27)


def test_questions_are_listed_by_how_often_they_come_and_news_are_told_once() -> None:
    tally = MeterTally()
    for number in range(10):
        for request, address in ((b"a", 0), (b"b", 5)):
            if request == b"a" or number == 0:
                is_news = tally.note(request, 3, address, 2, Answer.ANSWERED, float(number))
                assert is_news == (number == 0)
    first, second = tally.questions()
    assert (first.address, first.asked, first.per_s) == (0, 10, 1.0)
    assert (second.address, second.asked, second.per_s) == (5, 1, 0.0)
    assert not tally.note(b"a", 3, 0, 2, Answer.STALE, 11.0)
    assert tally.questions()[0].answer == Answer.ANSWERED
    assert tally.note(b"a", 3, 0, 2, Answer.UNKNOWN_ZEROS, 12.0), "another profile, perhaps"


def test_noise_that_looks_like_ever_new_questions_does_not_fill_the_memory() -> None:
    tally = MeterTally()
    for number in range(1000):
        tally.note(number.to_bytes(4, "big"), 3, number, 1, Answer.ANSWERED, 1.0)
        tally.took(0.001 * number)
    assert len(tally.questions()) == QUESTIONS_MAX
    assert tally.other_questions == 1000 - QUESTIONS_MAX
    p50_ms, p99_ms, longest_ms = tally.latencies_ms()
    assert (p50_ms, p99_ms, longest_ms) == (500.0, 990.0, 999.0)
    tally.took(0.0)
    assert tally.latencies_ms()[2] == 999.0
    assert len(tally._latencies_s) == LATENCIES_MAX


def test_nothing_is_known_of_latencies_before_the_first_reply() -> None:
    assert all(math.isnan(each) for each in MeterTally().latencies_ms())
