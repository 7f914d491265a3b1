"""A unit that refuses holes, borders or values is read without them, and soon without refusals."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from grug.errors import ExceptionReply
from grug.messages import ReadFailed, ReadRegisters, RegistersRead
from grug.model import FailureKind, Span, Table
from grug.planner.plan import ReadCost, ReadLimits, Transaction, plan_reads, plan_s
from grug.planner.queue import BusQueue, ReadJob
from grug.planner.refusals import Refusals
from grug.planner.traits import UnitTraits, WireTiming

HOLDING = Table.HOLDING_REGISTER
TIMING = WireTiming(character_s=0.001, gap_s=0.005, reply_timeout_s=0.3)
COST = ReadCost(0.001, 0.005, 0.01)


def span(address: int, count: int = 1) -> Span:
    return Span(HOLDING, address, count)


class Asked:
    def __init__(self, *spans: Span) -> None:
        self.request = ReadRegisters(1, spans, 1e9)
        self.is_abandoned = False
        self.answer: object = None

    def reply(self, reply: object) -> None:
        assert self.answer is None
        self.answer = reply


class RefusingUnit:
    """Answers each read, unless one of its illegal addresses is in it."""

    def __init__(self, illegal: frozenset[int]) -> None:
        self.illegal = illegal
        self.queue = BusQueue(
            "line", TIMING, {1: UnitTraits(turnaround_s=0.01)}, lambda message: None
        )
        self.queue.line_opened(0.0)
        self.now_s = 0.0
        self.refused = 0
        self.read: list[Span] = []

    def cycle(self, spans: list[Span]) -> list[Asked]:
        asked = [Asked(each) for each in spans]
        for each in asked:
            self.queue.add(each, self.now_s)  # type: ignore[arg-type]
        self.refused = 0
        self.read = []
        while len(self.queue):
            job = self.queue.pick(self.now_s)
            assert isinstance(job, ReadJob)
            read = job.transaction.span
            self.read.append(read)
            if self.illegal.isdisjoint(range(read.address, read.end)):
                block = b"".join(at.to_bytes(2, "big") for at in range(read.address, read.end))
                self.queue.succeeded(job, block, self.now_s, self.now_s + 0.05)
            else:
                self.refused += 1
                self.queue.failed(job, ExceptionReply(2), self.now_s, self.now_s + 0.05)
            self.now_s += 0.06
            assert len(self.read) < 500, "it goes on for ever"
        return asked


values = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3)), min_size=1, max_size=12).map(
    lambda steps: [
        span(sum(gap + count for gap, count in steps[:at]) + steps[at][0], steps[at][1])
        for at in range(len(steps))
    ]
)


@given(values, st.frozensets(st.integers(0, 80), max_size=8))
def test_every_legal_value_is_delivered_at_once_and_soon_at_the_cost_of_knowing(
    spans: list[Span], illegal: frozenset[int]
) -> None:
    unit = RefusingUnit(illegal)
    dead = {each for each in spans if not illegal.isdisjoint(range(each.address, each.end))}
    for _ in range(5):
        for asked in unit.cycle(spans):
            (wanted,) = asked.request.spans
            if wanted in dead:
                assert isinstance(asked.answer, ReadFailed)
                assert asked.answer.kind is FailureKind.REFUSED
            else:
                assert isinstance(asked.answer, RegistersRead)
                assert asked.answer.blocks[0][:2] == wanted.address.to_bytes(2, "big")
    unit.cycle(spans)
    assert unit.refused == len(dead)
    knowing = plan_reads(
        spans, COST, ReadLimits(forbidden=frozenset((HOLDING, address) for address in illegal))
    )
    learned = sum(COST.read_s(HOLDING, read.count) for read in unit.read)
    assert learned == pytest.approx(plan_s(knowing, COST))


def test_one_illegal_hole_costs_one_refusal_and_two_reads_ever_after() -> None:
    unit = RefusingUnit(frozenset({7}))
    spans = [span(0, 2), span(2, 2), span(5), span(8, 2), span(12)]
    unit.cycle(spans)
    assert unit.refused == 1
    unit.cycle(spans)
    assert unit.read == [span(0, 6), span(8, 5)]


def test_a_unit_that_takes_less_at_once_than_its_map_says_is_read_in_parts() -> None:
    refusals = Refusals()
    covers = tuple(span(address) for address in range(8))
    assert refusals.refused(Transaction(span(0, 8), covers))
    assert refusals.avoided() == (set(), {(HOLDING, 4)})
    assert not refusals.proved(span(0, 4))
    assert not refusals.proved(span(4, 4))  # So the border is guilty, and is avoided as before.
    assert refusals.avoided() == (set(), {(HOLDING, 4)})


def test_a_value_that_is_answered_again_is_merged_again() -> None:
    refusals = Refusals()
    assert not refusals.refused(Transaction(span(3), (span(3),)))
    assert refusals.avoided() == ({(HOLDING, 3)}, set())
    assert refusals.proved(span(3))
    assert refusals.avoided() == (set(), set())


def test_what_was_proved_and_is_refused_all_the_same_is_tried_in_halves() -> None:
    refusals = Refusals()
    refusals.proved(span(0, 4))
    assert refusals.refused(Transaction(span(0, 4), (span(0), span(2), span(3))))
    forbidden, barriers = refusals.avoided()
    assert (forbidden, barriers) == ({(HOLDING, 1)}, set())


class PolledUnit(RefusingUnit):
    """The same, polled as pollers do: whole groups, which can do without some of their values."""

    def poll(self, groups: list[list[Span]], at_s: float) -> None:
        """Ask for all groups at once; every value that there is comes, and no other."""
        self.now_s = max(self.now_s, at_s)
        self.refused, self.read = 0, []
        asked = [Asked(*group) for group in groups]
        for each in asked:
            each.request = replace(each.request, is_partial=True)
            self.queue.add(each, self.now_s)  # type: ignore[arg-type]
        while len(self.queue):
            self.carry_out()
        for each, group in zip(asked, groups, strict=True):
            dead = [at for at, span in enumerate(group) if self.is_illegal(span)]
            if len(dead) == len(group):
                assert isinstance(each.answer, ReadFailed)
            else:
                assert isinstance(each.answer, RegistersRead)
                assert sorted(at for at, _ in each.answer.refused) == dead

    def is_illegal(self, read: Span) -> bool:
        return not self.illegal.isdisjoint(range(read.address, read.end))

    def carry_out(self) -> None:
        job = self.queue.pick(self.now_s)
        assert isinstance(job, ReadJob)
        read = job.transaction.span
        count = 0 if self.is_illegal(read) else read.count
        ended_s = self.now_s + COST.read_s(read.table, count) - TIMING.gap_s
        self.read.append(read)
        assert len(self.read) < 500, "it goes on for ever"
        if count:
            self.queue.succeeded(job, bytes(2 * count), self.now_s, ended_s)
        else:
            self.refused += 1
            self.queue.failed(job, ExceptionReply(2 + len(self.read) % 2), self.now_s, ended_s)
        self.now_s = ended_s + TIMING.gap_s


overlapping = st.lists(
    st.tuples(st.sampled_from((-1, -1, 0, 0, 0, 1, 2, 5, 20, 60)), st.integers(1, 4)),
    min_size=1,
    max_size=15,
).map(
    lambda steps: sorted(
        {
            span(max(0, sum(gap + count for gap, count in steps[:at]) + steps[at][0]), steps[at][1])
            for at in range(len(steps))
        }
    )
)


@given(
    overlapping,
    st.frozensets(st.integers(0, 120), max_size=12),
    st.lists(st.sets(st.integers(0, 14), min_size=1), min_size=1, max_size=3),
)
def test_whatever_overlaps_polls_are_quiet_soon_and_cost_what_knowing_costs(
    spans: list[Span], illegal: frozenset[int], choices: list[set[int]]
) -> None:
    unit = PolledUnit(illegal)
    groups = [sorted({spans[at % len(spans)] for at in chosen}) for chosen in choices]
    wanted = {each for group in groups for each in group}
    dead = {each for each in wanted if unit.is_illegal(each)}
    for number in range(5):
        unit.poll(groups, 5.0 * number)
    for number in range(5, 15):
        unit.poll(groups, 5.0 * number)
        assert {each for each in unit.read if unit.is_illegal(each)} <= dead  # Alone, now and then.
    knowing = plan_reads(
        wanted - dead,
        COST,
        ReadLimits(forbidden=frozenset((HOLDING, address) for address in illegal)),
    )
    learned_s = sum(COST.read_s(HOLDING, each.count) for each in unit.read if each not in dead)
    assert learned_s == pytest.approx(plan_s(knowing, COST))


def test_a_dead_value_is_tried_again_ever_more_seldom() -> None:
    unit = PolledUnit(frozenset({7}))
    groups = [[span(0, 2), span(7), span(12)]]
    tried_s: list[float] = []
    for at_s in range(0, 4 * 3600, 5):
        unit.poll(groups, float(at_s))
        if span(7) in unit.read:
            tried_s.append(at_s)
    pauses_s = [after - before for before, after in pairwise(tried_s)]
    assert pauses_s[:4] == pytest.approx([10, 20, 40, 80], abs=6)
    assert all(after >= before for before, after in pairwise(pauses_s))
    assert 3600 <= max(pauses_s) <= 3610
    unit.illegal = frozenset()
    unit.poll(groups, tried_s[-1] + 3605)
    unit.poll(groups, tried_s[-1] + 3610)
    assert unit.read == [span(0, 13)]  # It is there after all.


def test_of_values_that_overlap_the_one_that_is_there_is_merged() -> None:
    unit = RefusingUnit(frozenset({4}))
    spans = [span(0, 2), span(2, 2), span(3, 2)]
    unit.cycle(spans)
    unit.cycle(spans)
    assert span(0, 4) in unit.read
