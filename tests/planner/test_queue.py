"""What the bus owner decides, without a bus: who is next, who is answered what, who is alive."""

from __future__ import annotations

import math

import pytest

from grug.errors import ExceptionReply, NoReplyError
from grug.messages import (
    Message,
    ReadFailed,
    ReadRegisters,
    RegistersRead,
    UnitChanged,
    WriteDone,
    WriteFailed,
    WriteRegisters,
)
from grug.model import FailureKind, Span, Table, UnitHealth
from grug.planner.queue import BusQueue, ReadJob, WriteJob
from grug.planner.traits import UnitTraits, WireTiming
from grug.planner.units import look_of_read

HOLDING = Table.HOLDING_REGISTER
TIMING = WireTiming(character_s=0.001, gap_s=0.005, reply_timeout_s=0.3)
PROBE_S = 0.3 + 13 * 0.001 + 0.005


class Asked:
    """A call, without anybody who waits."""

    def __init__(self, request: ReadRegisters | WriteRegisters) -> None:
        self.request = request
        self.is_abandoned = False
        self.answer: RegistersRead | ReadFailed | WriteDone | WriteFailed | None = None

    def reply(self, reply: RegistersRead | ReadFailed | WriteDone | WriteFailed) -> None:
        assert self.answer is None
        self.answer = reply

    @property
    def kind(self) -> FailureKind | None:
        answer = self.answer
        return answer.kind if isinstance(answer, ReadFailed | WriteFailed) else None


def span(address: int, count: int = 1) -> Span:
    return Span(HOLDING, address, count)


class Bench:
    """A queue on an open line, and what it published."""

    def __init__(self, traits: dict[int, UnitTraits] | None = None) -> None:
        self.facts: list[Message] = []
        self.queue = BusQueue("line", TIMING, traits or {}, self.facts.append)
        self.queue.line_opened(0.0)

    def read(self, unit_id: int, *spans: Span, now_s: float = 0.0, until_s: float = 1e9) -> Asked:
        asked = Asked(ReadRegisters(unit_id, spans, until_s))
        self.queue.add(asked, now_s)
        return asked

    def write(self, address: int, words: int, now_s: float = 0.0) -> Asked:
        request = WriteRegisters(1, HOLDING, address, bytes(2 * words), 1e9, "me", "to see")
        asked = Asked(request)
        self.queue.add(asked, now_s)
        return asked

    def reading(self, now_s: float) -> Span:
        job = self.queue.pick(now_s)
        assert isinstance(job, ReadJob)
        return job.transaction.span

    def fail_next(self, now_s: float) -> None:
        job = self.queue.pick(now_s)
        assert job is not None
        self.queue.failed(job, NoReplyError("silence"), now_s, now_s + 0.3)

    @property
    def healths(self) -> list[tuple[int, UnitHealth]]:
        return [(fact.unit_id, fact.health) for fact in self.facts if isinstance(fact, UnitChanged)]


def make_offline(bench: Bench, unit_id: int, now_s: float) -> float:
    for _ in range(3):
        bench.read(unit_id, span(0), now_s=now_s)
        bench.fail_next(now_s)
        now_s += 0.6
    return now_s - 0.3


def test_after_silence_a_unit_must_first_answer_what_cannot_be_mistaken() -> None:
    bench = Bench()
    bench.read(1, span(0))
    bench.fail_next(0.0)
    asked = bench.read(1, span(7), now_s=0.3)
    job = bench.queue.pick(0.3)
    assert isinstance(job, ReadJob)
    assert job.transaction.span == span(7, 2)  # The late reply has one word.
    bench.queue.succeeded(job, bytes(4), 0.3, 0.4)
    assert asked.answer is None
    assert bench.reading(0.4) == span(7)


def test_a_reply_of_another_length_needs_no_such_care() -> None:
    bench = Bench()
    bench.read(1, span(0))
    bench.fail_next(0.0)
    bench.read(1, span(7, 3), now_s=0.3)
    assert bench.reading(0.3) == span(7, 3)


def test_another_unit_and_a_later_time_need_no_such_care() -> None:
    bench = Bench()
    bench.read(1, span(0))
    bench.fail_next(0.0)
    bench.read(2, span(7), now_s=0.3)
    assert bench.reading(0.3) == span(7)
    bench = Bench()
    bench.read(1, span(0))
    bench.fail_next(0.0)
    bench.read(1, span(7), now_s=3.0)
    assert bench.reading(3.0) == span(7)


def test_a_write_whose_acknowledgement_may_be_an_old_one_is_not_sent_before_a_reply() -> None:
    bench = Bench()
    bench.write(0, 2)
    bench.fail_next(0.0)
    second = bench.write(0, 2, 0.3)
    assert bench.reading(0.3) == span(0)
    bench.fail_next(0.3)
    assert isinstance(second.answer, WriteFailed)
    assert "not sent" in second.answer.text
    bench.write(0, 2, 0.6)
    job = bench.queue.pick(0.6)
    assert isinstance(job, ReadJob)
    assert job.transaction.span == span(0, 2)
    bench.queue.failed(job, ExceptionReply(2), 0.6, 0.7)  # A refusal is an answer.
    assert isinstance(bench.queue.pick(0.7), WriteJob)


def test_probes_of_offline_units_share_five_percent_of_the_line() -> None:
    bench = Bench()
    now_s = 0.0
    for unit_id in (1, 2, 3):
        now_s = make_offline(bench, unit_id, now_s)
    probes = 0
    begin_s = now_s
    while now_s < begin_s + 1000:
        for unit_id in (1, 2, 3):
            asked = bench.read(unit_id, span(0, 50), now_s=now_s)
            job = bench.queue.pick(now_s)
            if job is not None:
                probes += 1
                bench.queue.failed(job, NoReplyError("silence"), now_s, now_s + 0.3)
                now_s += 0.3
            assert asked.kind in (FailureKind.UNIT_OFFLINE, FailureKind.NO_REPLY)
        now_s += 0.1
    assert 10 < probes * PROBE_S < 0.05 * 1000
    assert bench.healths == [
        (unit_id, health)
        for unit_id in (1, 2, 3)
        for health in (UnitHealth.SUSPECT, UnitHealth.OFFLINE)
    ]


def test_a_probe_is_one_span_and_success_brings_the_rest() -> None:
    bench = Bench()
    now_s = make_offline(bench, 1, 0.0) + 20
    asked = bench.read(1, span(5), span(6, 2), now_s=now_s)
    job = bench.queue.pick(now_s)
    assert isinstance(job, ReadJob)
    assert job.transaction.span == span(5)
    bench.queue.succeeded(job, b"\0\5", now_s, now_s + 0.01)
    assert bench.healths[-1] == (1, UnitHealth.HEALTHY)
    job = bench.queue.pick(now_s + 0.02)
    assert isinstance(job, ReadJob)
    bench.queue.succeeded(job, b"\0\6\0\7", now_s + 0.02, now_s + 0.03)
    assert asked.answer == RegistersRead((b"\0\5", b"\0\6\0\7"), now_s + 0.01)


def test_most_probes_are_short_and_some_are_patient() -> None:
    bench = Bench()
    make_offline(bench, 1, 0.0)
    unit = bench.queue._unit(1)
    waits_s = []
    for _ in range(8):
        waits_s.append(unit.reply_timeout_s(is_write=False))
        unit.missed(look_of_read(span(0)), "silence", 0.0, 0)
    assert sorted(set(waits_s)) == [pytest.approx(0.15), TIMING.reply_timeout_s]
    assert waits_s.count(TIMING.reply_timeout_s) == 2
    assert unit.reply_timeout_s(is_write=True) == TIMING.reply_timeout_s


def test_a_reopened_line_is_reason_to_try_what_was_offline() -> None:
    bench = Bench()
    now_s = make_offline(bench, 1, 0.0)
    assert bench.queue.pick(now_s) is None
    bench.queue.line_lost("unplugged", now_s)
    assert bench.read(1, span(0)).kind is FailureKind.LINE_DOWN
    bench.queue.line_opened(now_s + 1)
    bench.read(1, span(0))
    assert bench.reading(now_s + 1) == span(0)


def test_a_write_may_be_the_probe() -> None:
    bench = Bench()
    now_s = make_offline(bench, 1, 0.0)
    assert bench.queue.pick(now_s) is None
    early = bench.write(0, 1, now_s)
    assert bench.queue.pick(now_s) is None
    assert early.kind is FailureKind.UNIT_OFFLINE
    bench.write(0, 1, now_s + 20)
    assert isinstance(bench.queue.pick(now_s + 20), WriteJob)


def test_a_write_supersedes_only_what_it_overwrites_wholly() -> None:
    bench = Bench()
    long, short, other = bench.write(0, 2), bench.write(0, 1), bench.write(5, 1)
    assert long.answer is None
    assert len(bench.queue) == 3
    last = bench.write(0, 3)
    assert long.kind is FailureKind.EXPIRED
    assert (short.answer, other.answer, last.answer) == (None, None, None)


def test_a_refused_span_fails_for_those_who_want_it_alone() -> None:
    bench = Bench()
    wide, inner = bench.read(1, span(0, 10)), bench.read(1, span(2, 2))
    job = bench.queue.pick(0.0)
    assert job is not None
    bench.queue.failed(job, ExceptionReply(2), 0.0, 0.1)
    assert wide.kind is FailureKind.REFUSED
    assert inner.answer is None
    assert bench.reading(0.2) == span(2, 2)


def test_a_busy_unit_s_refusal_fails_all_that_were_merged_and_teaches_nothing() -> None:
    bench = Bench()
    both = [bench.read(1, span(0)), bench.read(1, span(3))]
    job = bench.queue.pick(0.0)
    assert job is not None
    bench.queue.failed(job, ExceptionReply(6), 0.0, 0.1)
    assert [each.kind for each in both] == [FailureKind.REFUSED] * 2
    bench.read(1, span(0), span(3))
    assert bench.reading(0.2) == span(0, 4)


def test_what_the_map_forbids_is_never_read_over_whatever_is_learned() -> None:
    bench = Bench({1: UnitTraits(forbidden=frozenset({(HOLDING, 2)}))})

    def next_read(now_s: float, error: ExceptionReply | None = None) -> Span:
        job = bench.queue.pick(now_s)
        assert isinstance(job, ReadJob)
        if error is None:
            block = bytes(2 * job.transaction.span.count)
            bench.queue.succeeded(job, block, now_s, now_s + 0.1)
        else:
            bench.queue.failed(job, error, now_s, now_s + 0.1)
        return job.transaction.span

    bench.read(1, span(0), span(3), span(5))
    assert next_read(0.0) == span(0)
    assert next_read(1.0, ExceptionReply(2)) == span(3, 3)  # So nothing is read over 4 either.
    assert [next_read(2.0), next_read(3.0)] == [span(3), span(5)]
    bench.read(1, span(0), span(3), now_s=4.0)
    assert [next_read(4.0), next_read(5.0)] == [span(0), span(3)]


def test_bits_are_cut_out_of_a_merged_read() -> None:
    bench = Bench()
    coils = [Span(Table.COIL, 3, 2), Span(Table.COIL, 6, 1)]
    first, second = bench.read(1, coils[0]), bench.read(1, coils[1])
    job = bench.queue.pick(0.0)
    assert job is not None
    bench.queue.succeeded(job, b"\1\0\0\1", 0.0, 0.1)
    assert first.answer == RegistersRead((b"\1\0",), 0.1)
    assert second.answer == RegistersRead((b"\1",), 0.1)


def test_abandoned_requests_are_dropped_unanswered() -> None:
    bench = Bench()
    asked = [bench.read(1, span(0)), bench.write(0, 1)]
    for each in asked:
        each.is_abandoned = True
    assert bench.queue.pick(0.0) is None
    assert len(bench.queue) == 0
    assert bench.queue.wake_s == math.inf
    assert [each.answer for each in asked] == [None, None]


def test_reads_are_cut_between_neighbouring_values_and_put_together_again() -> None:
    bench = Bench({1: UnitTraits(words_max=4)})
    asked = bench.read(1, span(0, 3), span(3, 2), span(5, 3))
    lengths: list[int] = []
    while asked.answer is None:
        job = bench.queue.pick(1.0 + len(lengths))
        assert isinstance(job, ReadJob)
        read = job.transaction.span
        lengths.append(read.count)
        words = [at.to_bytes(2, "big") for at in range(read.address, read.end)]
        bench.queue.succeeded(job, b"".join(words), 1.0, 1.1)
    assert lengths == [3, 2, 3]
    assert asked.answer == RegistersRead((b"\0\0\0\1\0\2", b"\0\3\0\4", b"\0\5\0\6\0\7"), 1.1)


def test_overlapping_values_of_two_askers_come_out_of_one_read() -> None:
    bench = Bench()
    first, second = bench.read(1, span(0, 2), span(4)), bench.read(1, span(1, 3), span(0))
    job = bench.queue.pick(0.0)
    assert isinstance(job, ReadJob)
    assert job.transaction.span == span(0, 5)
    bench.queue.succeeded(job, b"\0\0\0\1\0\2\0\3\0\4", 0.0, 0.1)
    assert first.answer == RegistersRead((b"\0\0\0\1", b"\0\4"), 0.1)
    assert second.answer == RegistersRead((b"\0\1\0\2\0\3", b"\0\0"), 0.1)


def test_at_the_very_moment_of_a_deadline_the_queue_does_not_wait_for_that_moment() -> None:
    """In virtual time nothing else would ever happen."""
    bench = Bench(traits={1: UnitTraits(gap_s=0.5)})
    bench.read(1, span(0))
    job = bench.queue.pick(0.0)
    assert isinstance(job, ReadJob)
    bench.queue.succeeded(job, bytes(2), 0.0, 0.1)
    asked = bench.read(1, span(7), now_s=0.2, until_s=0.3)
    assert bench.queue.pick(0.3) is None
    assert bench.queue.wake_s > 0.3
    assert bench.queue.pick(bench.queue.wake_s) is None
    assert asked.kind is FailureKind.EXPIRED
