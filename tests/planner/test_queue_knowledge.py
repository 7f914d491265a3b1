"""What the bus owner's queue learns of units, and what it does with that."""

from __future__ import annotations

from itertools import pairwise

import pytest
from test_queue import TIMING, Asked, Bench, make_offline, span

from grug.errors import ExceptionReply, NoReplyError
from grug.messages import ReadFailed, ReadRegisters, RegistersRead, WriteFailed
from grug.model import FailureKind, Span, Table, UnitHealth
from grug.planner.queue import BusQueue, ReadJob
from grug.planner.traits import UnitTraits, WireTiming
from grug.planner.units import (
    LATENCIES_MIN,
    QUARANTINE_S_FIRST,
    TIMEOUT_S_MIN,
)


def ask(bench: Bench, *spans: Span, now_s: float = 0.0, **more: object) -> Asked:
    asked = Asked(ReadRegisters(1, spans, 1e9, **more))  # type: ignore[arg-type]
    bench.queue.add(asked, now_s)
    return asked


def answer_all(bench: Bench, now_s: float, illegal: frozenset[int] = frozenset()) -> list[Span]:
    """Carry everything out; a read of an illegal address is refused. Gives what was read."""
    reads = []
    while (job := bench.queue.pick(now_s)) is not None:
        assert isinstance(job, ReadJob)
        asked = job.transaction.span
        reads.append(asked)
        if illegal.intersection(range(asked.address, asked.end)):
            bench.queue.failed(job, ExceptionReply(2), now_s, now_s + 0.1)
        else:
            words = b"".join(at.to_bytes(2, "big") for at in range(asked.address, asked.end))
            bench.queue.succeeded(job, words, now_s, now_s + 0.1)
        now_s += 0.2
    return reads


# Values of a moment ago


def test_a_value_fresh_enough_is_answered_without_the_wire() -> None:
    bench = Bench()
    ask(bench, span(0, 10))
    answer_all(bench, 0.0)  # Its transaction ended at 0.1.
    asked = ask(bench, span(3, 2), span(5), now_s=0.6, max_age_s=0.5)
    assert asked.answer == RegistersRead((b"\0\3\0\4", b"\0\5"), 0.1)
    assert bench.queue.pick(0.6) is None


@pytest.mark.parametrize("max_age_s", [0.0, 0.4])
def test_a_value_older_than_asked_is_read_again(max_age_s: float) -> None:
    bench = Bench()
    ask(bench, span(0, 10))
    answer_all(bench, 0.0)
    asked = ask(bench, span(3), now_s=0.6, max_age_s=max_age_s)
    assert asked.answer is None
    assert answer_all(bench, 0.6) == [span(3)]


def test_only_what_is_not_fresh_is_read() -> None:
    bench = Bench()
    ask(bench, span(0, 10))
    answer_all(bench, 0.0)
    asked = ask(bench, span(2), span(500), now_s=0.5, max_age_s=1.0)
    assert answer_all(bench, 0.5) == [span(500)]
    assert asked.answer == RegistersRead((b"\0\2", b"\1\xf4"), 0.1), "the age is the oldest's"


def test_after_a_write_nothing_is_fresh() -> None:
    bench = Bench()
    ask(bench, span(0, 10))
    answer_all(bench, 0.0)
    bench.write(3, 1, 0.2)
    job = bench.queue.pick(0.2)
    assert job is not None
    bench.queue.failed(job, NoReplyError("silence"), 0.2, 0.5)  # It may have been taken.
    assert ask(bench, span(3, 3), now_s=0.6, max_age_s=10).answer is None


# Registers that a unit does not have


def test_a_refused_register_does_not_spoil_those_asked_for_with_it() -> None:
    bench = Bench()
    asked = ask(bench, span(0, 2), span(4), span(6, 2), is_partial=True)
    answer_all(bench, 0.0, frozenset({4}))
    assert isinstance(asked.answer, RegistersRead)
    assert asked.answer.blocks == (b"\0\0\0\1", b"", b"\0\6\0\7")
    assert asked.answer.refused == ((1, 2),)


def test_a_refused_register_is_left_alone_for_longer_each_time() -> None:
    bench = Bench()
    tries = []
    for second in range(200):
        asked = ask(bench, span(0), span(4), now_s=second, is_partial=True)
        if span(4) in answer_all(bench, second, frozenset({4})):
            tries.append(second)
        assert isinstance(asked.answer, RegistersRead)
        assert asked.answer.refused == ((1, 2),)
    pauses = [after - before for before, after in pairwise(tries)]
    assert len(tries) == 5
    assert pauses == pytest.approx([QUARANTINE_S_FIRST * factor for factor in (1, 2, 4, 8)], abs=2)


def test_whoever_needs_a_refused_register_asks_the_unit_again() -> None:
    bench = Bench()
    ask(bench, span(4), is_partial=True)
    answer_all(bench, 0.0, frozenset({4}))
    whole = ask(bench, span(4), now_s=1.0)
    answer_all(bench, 1.0)
    assert whole.answer == RegistersRead((b"\0\4",), 1.1)
    assert ask(bench, span(4), now_s=2.0, is_partial=True).answer is None, "it was proved"


def test_when_all_is_refused_the_failure_says_the_code() -> None:
    bench = Bench()
    asked = ask(bench, span(4), is_partial=True)
    answer_all(bench, 0.0, frozenset({4}))
    assert isinstance(asked.answer, ReadFailed)
    assert (asked.answer.kind, asked.answer.code) == (FailureKind.REFUSED, 2)


def test_refusals_carry_their_code() -> None:
    bench = Bench()
    read, write = ask(bench, span(4)), bench.write(9, 1)
    for code in (6, 4):
        job = bench.queue.pick(0.0)
        assert job is not None
        bench.queue.failed(job, ExceptionReply(code), 0.0, 0.0)
    assert isinstance(read.answer, ReadFailed)
    assert isinstance(write.answer, WriteFailed)
    assert (write.answer.code, read.answer.code) == (6, 4)


def test_traits_may_become_known_at_any_time() -> None:
    traits: dict[int, UnitTraits] = {2: UnitTraits()}
    bench = Bench(traits)
    ask(bench, span(0), span(3))
    assert answer_all(bench, 0.0) == [span(0, 4)]
    traits[1] = UnitTraits(reads_holes=False)
    ask(bench, span(0), span(3), now_s=1.0)
    assert answer_all(bench, 1.0) == [span(0), span(3)]


# Timeouts


def proved_quick(latency_s: float) -> Bench:
    bench = Bench()
    for at in range(LATENCIES_MIN):
        ask(bench, span(0), now_s=at)
        job = bench.queue.pick(at)
        assert job is not None
        bench.queue.succeeded(job, b"\0\0", at, at + 15 * TIMING.character_s + latency_s)
    return bench


@pytest.mark.parametrize(
    ("latency_s", "timeout_s"), [(0.001, TIMEOUT_S_MIN), (0.05, 0.2), (0.2, TIMING.reply_timeout_s)]
)
def test_a_unit_that_long_answered_quickly_is_waited_for_less(
    latency_s: float, timeout_s: float
) -> None:
    bench = proved_quick(latency_s)
    unit = bench.queue._unit(1)
    assert unit.reply_timeout_s(is_write=False) == pytest.approx(timeout_s)
    assert unit.reply_timeout_s(is_write=True) == TIMING.reply_timeout_s
    ask(bench, span(0), now_s=100)
    bench.fail_next(100)
    assert unit.reply_timeout_s(is_write=False) == TIMING.reply_timeout_s
    assert Bench().queue._unit(1).reply_timeout_s(is_write=False) == TIMING.reply_timeout_s


# Gateways


def test_a_gateway_that_says_the_unit_is_silent_is_no_sign_of_its_life() -> None:
    bench = Bench()
    for at in range(3):
        ask(bench, span(0), now_s=at)
        job = bench.queue.pick(at)
        assert job is not None
        bench.queue.failed(job, ExceptionReply(11), at, at + 0.01)
    assert bench.healths == [(1, UnitHealth.SUSPECT), (1, UnitHealth.OFFLINE)]


def test_numbered_replies_need_no_care_after_a_silence() -> None:
    bench = Bench()
    timing = WireTiming(0.001, 0.0, 0.3, has_numbers=True)
    bench.queue = BusQueue("line", timing, {}, bench.facts.append)
    bench.queue.line_opened(0.0)
    bench.read(1, span(0))
    bench.fail_next(0.0)
    bench.read(1, span(7), now_s=0.3)
    assert bench.reading(0.3) == span(7)


def test_coils_are_fresh_too() -> None:
    bench = Bench()
    coils = Span(Table.COIL, 3, 4)
    ask(bench, coils)
    job = bench.queue.pick(0.0)
    assert job is not None
    bench.queue.succeeded(job, b"\1\0\0\1", 0.0, 0.1)
    asked = ask(bench, Span(Table.COIL, 5, 2), now_s=0.2, max_age_s=1.0)
    assert asked.answer == RegistersRead((b"\0\1",), 0.1)


def test_an_offline_unit_is_known_as_such_whatever_is_fresh() -> None:
    bench = Bench()
    now_s = make_offline(bench, 1, 0.0)
    asked = ask(bench, span(0), now_s=now_s, max_age_s=1.0)
    assert bench.queue.pick(now_s) is None
    assert asked.kind is FailureKind.UNIT_OFFLINE
