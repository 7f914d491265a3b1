"""When a connection is worth replacing; times are given, nothing waits."""

from __future__ import annotations

import math

from grug.planner.renewal import CARRIES_S_MIN, LAST_REPLY_S_MAX, Renewals


def test_a_gateway_that_closes_after_each_reply_is_left_before_it_does() -> None:
    renewals = Renewals(math.inf, 0.0)
    for now_s in (0.0, 1.0):
        renewals.begun(now_s, is_first=now_s == 0)
        assert not renewals.is_worn_out(now_s + 0.1, is_answered=True)
        assert not renewals.is_refused(now_s + 0.2)
        renewals.ended(now_s + 0.2)
    renewals.begun(2.0, is_first=False)
    assert renewals.is_worn_out(2.1, is_answered=True)


def test_one_that_bears_two_replies_is_used_on() -> None:
    renewals = Renewals(math.inf, 0.0)
    for now_s in range(5):
        renewals.begun(now_s, is_first=now_s == 0)
        assert not renewals.is_worn_out(now_s + 0.1, is_answered=True)
        assert not renewals.is_worn_out(now_s + 0.2, is_answered=True)
        renewals.ended(now_s + 0.3)


def test_one_that_ends_long_after_its_only_reply_ended_for_want_of_work() -> None:
    renewals = Renewals(math.inf, 0.0)
    for now_s in (0.0, 100.0, 200.0):
        renewals.begun(now_s, is_first=now_s == 0)
        assert not renewals.is_worn_out(now_s, is_answered=True)
        renewals.ended(now_s + LAST_REPLY_S_MAX + 0.1)


def test_a_connection_that_carried_nothing_is_refused_and_not_opened_again_at_once() -> None:
    renewals = Renewals(math.inf, 0.0)
    renewals.begun(10.0, is_first=True)
    assert renewals.is_refused(10.0 + CARRIES_S_MIN / 2)
    assert not renewals.is_refused(10.0 + CARRIES_S_MIN)
    assert not renewals.is_worn_out(10.1, is_answered=True)
    assert not renewals.is_refused(10.2)


def test_a_line_that_hears_nothing_for_long_is_mute_once_each_time() -> None:
    renewals = Renewals(60.0, 0.0)
    renewals.begun(5.0, is_first=True)
    assert not renewals.is_mute(65.0)
    assert renewals.is_mute(65.1)
    renewals.begun(65.2, is_first=False)
    assert not renewals.is_mute(100.0)
    assert not renewals.is_worn_out(110.0, is_answered=False)  # Noise is something.
    assert not renewals.is_mute(170.0)
    assert renewals.is_mute(171.0)


def test_a_lost_line_says_nothing_of_what_gateways_do() -> None:
    renewals = Renewals(math.inf, 0.0)
    for now_s in (0.0, 1.0):
        renewals.begun(now_s, is_first=now_s == 0)
        renewals.is_worn_out(now_s + 0.1, is_answered=True)
        renewals.ended(now_s + 0.2)
    renewals.line_lost()
    renewals.begun(50.0, is_first=True)
    assert not renewals.is_worn_out(50.1, is_answered=True)
