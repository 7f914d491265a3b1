"""May a register be written now, and what became of it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.control.writes import (
    LOOKS_S,
    Past,
    Target,
    Verdict,
    Wish,
    WriteRules,
    decide,
    judge,
    judge_later,
    next_look_s,
)
from grug.model import WriteState

WORN = Target("limit", "guarded", wears=True)
RAM = Target("power", "free", wears=False)
WISH = Wish(b"\0\1", b"\0\0", may_guarded=True)
RULES = WriteRules(interval_s=10.0, per_year=5, device_per_year=8)


@pytest.mark.parametrize(
    ("target", "past", "wish", "text"),
    [
        (Target("stop", "never", False, "burns"), Past(), WISH, "never written.*harm: burns"),
        (Target("volts", "read", False), Past(), WISH, "does not take writes"),
        (WORN, Past(), WISH._replace(may_guarded=False), "is guarded: whoever asks was not told"),
        (WORN, Past(), WISH._replace(keeps_alive=True), "not to be sent again and again"),
        (WORN, Past(sent_s=95.0), WISH, "written 5 s ago; the least interval is 10 s"),
        (WORN, Past(in_year=5), WISH, "5 times in 365 days; its budget is 5"),
        (WORN, Past(device_in_year=8), WISH, "the device's registers were, 8 times"),
        (WORN, Past(is_recorded=False), WISH, "ledger"),
    ],
)
def test_what_is_refused_says_why(target: Target, past: Past, wish: Wish, text: str) -> None:
    decision = decide(RULES, target, past, wish, 100.0)
    assert decision.verdict is Verdict.REFUSE
    assert pytest.raises(AssertionError, match=text).matches(AssertionError(decision.reason))


def test_what_is_held_already_is_not_written_again() -> None:
    same = WISH._replace(old=WISH.new)
    assert decide(RULES, WORN, Past(sent_s=99.0), same, 100.0).verdict is Verdict.UNCHANGED
    forgetful = same._replace(keeps_alive=True)
    assert decide(RULES, RAM, Past(sent_s=99.0), forgetful, 100.0).verdict is Verdict.SEND


def test_force_lifts_interval_and_budget_but_not_harm() -> None:
    forced = WISH._replace(is_forced=True)
    spent = Past(99.0, 5, 8, is_recorded=False)
    assert decide(RULES, WORN, spent, forced, 100.0).verdict is Verdict.SEND
    harmful = Target("stop", "never", wears=True)
    assert decide(RULES, harmful, Past(), forced, 100.0).verdict is Verdict.REFUSE


def test_what_is_kept_in_ram_may_be_written_at_any_rate() -> None:
    spent = Past(100.0, 10_000, 10_000, is_recorded=False)
    assert decide(RULES, RAM, spent, WISH, 100.0).verdict is Verdict.SEND


@given(
    pauses_s=st.lists(st.floats(0.0, 40.0), max_size=60),
    interval_s=st.floats(0.0, 30.0),
    per_year=st.integers(0, 10),
    device_per_year=st.integers(0, 10),
)
def test_no_asker_ever_beats_interval_or_budget(
    pauses_s: list[float], interval_s: float, per_year: int, device_per_year: int
) -> None:
    rules = WriteRules(interval_s, per_year, device_per_year)
    now_s, sent_s = 0.0, {"a": [], "b": []}
    for turn, pause_s in enumerate(pauses_s):
        now_s += pause_s
        name = "ab"[turn % 2]
        last_s = sent_s[name][-1] if sent_s[name] else None
        past = Past(last_s, len(sent_s[name]), len(sent_s["a"]) + len(sent_s["b"]))
        wish = WISH._replace(new=bytes((0, turn % 250 + 1)))
        if decide(rules, WORN, past, wish, now_s).verdict is Verdict.SEND:
            sent_s[name].append(now_s)
    assert len(sent_s["a"]) + len(sent_s["b"]) <= device_per_year
    for times_s in sent_s.values():
        assert len(times_s) <= per_year
        gaps_s = [later - sooner for sooner, later in pairwise(times_s)]
        assert all(gap_s >= interval_s for gap_s in gaps_s)


@pytest.mark.parametrize(
    ("is_acknowledged", "is_new", "is_old", "state", "text"),
    [
        (True, True, False, WriteState.APPLIED, ""),
        (False, True, False, WriteState.APPLIED, "taken, though not said so"),
        (True, None, False, WriteState.PENDING, "acknowledged, and not read back"),
        (False, None, False, WriteState.PENDING, "whether it was taken is unknown"),
        (True, False, True, WriteState.REFUSED, "acknowledged and ignored: it is still 5 A"),
        (False, False, True, WriteState.REFUSED, "not taken: it is still 5 A"),
        (True, False, False, WriteState.REFUSED, "the device made 5 A of it"),
    ],
)
def test_what_was_seen_afterwards_decides(
    is_acknowledged: bool, is_new: bool | None, is_old: bool, state: WriteState, text: str
) -> None:
    judgement = judge(is_acknowledged, is_new, is_old, "5 A")
    assert judgement.state is state
    assert text in judgement.reason


def test_later_readings_revert_confirm_and_settle() -> None:
    def later(state: WriteState, is_new: bool) -> WriteState | None:
        found = judge_later(state, is_new, "5 A")
        return None if found is None else found.state

    assert later(WriteState.APPLIED, False) is WriteState.REVERTED
    assert later(WriteState.REVERTED, True) is WriteState.APPLIED
    assert later(WriteState.PENDING, True) is WriteState.APPLIED
    assert later(WriteState.PENDING, False) is WriteState.REFUSED
    assert later(WriteState.REFUSED, True) is WriteState.APPLIED
    assert later(WriteState.APPLIED, True) is None
    assert later(WriteState.REFUSED, False) is None
    assert later(WriteState.REVERTED, False) is None


@given(sent_s=st.floats(0, 1e6), after_s=st.floats(0, 1e6))
def test_the_next_look_is_always_to_come_and_within_an_hour(sent_s: float, after_s: float) -> None:
    now_s = sent_s + after_s
    assert now_s < next_look_s(sent_s, now_s) <= now_s + LOOKS_S[-1]
