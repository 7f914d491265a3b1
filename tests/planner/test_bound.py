"""The bound is the cheapest set of reads that brings each value as often as it is needed."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grug.model import Span, Table
from grug.planner.bound import Needed, least_s
from grug.planner.plan import ReadCost, ReadLimits, plan_reads, plan_s

HOLDING = Table.HOLDING_REGISTER
COST = ReadCost(character_s=0.001, interframe_delay_s=0.005, turnaround_s=0.01)


def value(address: int, times: int, count: int = 1) -> Needed:
    return Needed(Span(HOLDING, address, count), times)


def aligned_s(values: list[Needed], limits: ReadLimits) -> float:
    """As if whatever is needed j times were read together whenever it is needed the j-th time."""
    return sum(
        plan_s(plan_reads([each.span for each in values if each.times >= j], COST, limits), COST)
        for j in range(1, max(each.times for each in values) + 1)
    )


def tried_s(values: list[Needed], limits: ReadLimits) -> float:
    """The cheapest of all multisets of reads, step by step from what is still needed."""
    spans = [each.span for each in values]
    reads: dict[tuple[int, ...], float] = {}
    for size in range(1, len(spans) + 1):
        for chosen in itertools.combinations(spans, size):
            start = min(span.address for span in chosen)
            end = max(span.end for span in chosen)
            if end - start > limits.words_max:
                continue
            inside = tuple(int(start <= span.address and span.end <= end) for span in spans)
            reads[inside] = COST.read_s(HOLDING, end - start)
    best: dict[tuple[int, ...], float] = {}

    def least(needed: tuple[int, ...]) -> float:
        if not any(needed):
            return 0.0
        if needed not in best:
            best[needed] = min(
                read_s + least(tuple(max(0, n - i) for n, i in zip(needed, inside, strict=True)))
                for inside, read_s in reads.items()
                if any(n and i for n, i in zip(needed, inside, strict=True))
            )
        return best[needed]

    return least(tuple(each.times for each in values))


lines = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=5
).map(
    lambda steps: [
        value(sum(gap + count for gap, count, _ in steps[:at]) + gap, times, count)
        for at, (gap, count, times) in enumerate(steps)
    ]
)


@settings(deadline=None)
@given(lines)
def test_no_set_of_reads_of_any_length_is_cheaper(values: list[Needed]) -> None:
    limits = ReadLimits()
    bound_s = least_s(values, COST, limits)
    assert bound_s == pytest.approx(tried_s(values, limits))
    assert bound_s == pytest.approx(aligned_s(values, limits))


crowds = st.lists(
    st.builds(value, st.integers(0, 12), st.integers(1, 3), st.integers(1, 9)),
    min_size=1,
    max_size=4,
    unique_by=lambda each: each.span,
)


@settings(deadline=None)
@given(crowds)
def test_values_within_each_other_count_all(values: list[Needed]) -> None:
    limits = ReadLimits()
    assert least_s(values, COST, limits) == pytest.approx(tried_s(values, limits))


@settings(deadline=None)
@given(crowds, st.sampled_from([9, 12]))
def test_with_a_limit_the_bound_is_still_one(values: list[Needed], words_max: int) -> None:
    limits = ReadLimits(words_max=words_max)
    assert least_s(values, COST, limits) <= tried_s(values, limits) + 1e-9


@settings(deadline=None)
@given(lines, st.sampled_from([4, 8, 14]))
def test_with_a_limit_neither(values: list[Needed], words_max: int) -> None:
    limits = ReadLimits(words_max=words_max)
    bound_s = least_s(values, COST, limits)
    assert bound_s == pytest.approx(tried_s(values, limits))
    assert bound_s <= aligned_s(values, limits) + 1e-9


def test_slow_values_on_both_sides_of_a_fast_one_may_ride_in_turns() -> None:
    # Read together they would be 29 words; each with the fast value it is 14 or 16.
    values = [value(0, 1), value(13, 2), value(28, 1)]
    limits = ReadLimits(words_max=20)
    in_turns_s = COST.read_s(HOLDING, 14) + COST.read_s(HOLDING, 16)
    assert least_s(values, COST, limits) == pytest.approx(in_turns_s)
    assert aligned_s(values, limits) == pytest.approx(in_turns_s + 0.005)


def test_of_values_within_each_other_the_one_needed_more_often_counts() -> None:
    limits = ReadLimits()
    outer, inner = value(0, 1, 10), value(2, 3, 2)
    together_s = COST.read_s(HOLDING, 10) + 2 * COST.read_s(HOLDING, 2)
    assert least_s([outer, inner], COST, limits) == pytest.approx(together_s)
    short = ReadLimits(transaction_s_max=COST.read_s(HOLDING, 9))
    assert least_s([outer, inner], COST, short) == pytest.approx(3 * COST.read_s(HOLDING, 2))
    often = [value(0, 3, 10), value(2, 1, 2), value(0, 3, 10)]
    assert least_s(often, COST, limits) == pytest.approx(3 * COST.read_s(HOLDING, 10))


def test_tables_are_counted_apart_and_nothing_costs_nothing() -> None:
    coil = Needed(Span(Table.COIL, 0, 9), 2)
    both_s = least_s([value(0, 1), coil], COST, ReadLimits())
    assert both_s == pytest.approx(COST.read_s(HOLDING, 1) + 2 * COST.read_s(Table.COIL, 9))
    assert least_s([], COST, ReadLimits()) == 0
