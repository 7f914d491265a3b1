"""The plan of one unit's reads is the cheapest there is, and legal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.errors import LocalProtocolError
from grug.model import Span, Table
from grug.planner.plan import ReadCost, ReadLimits, Transaction, plan_reads, plan_s

AT_9600 = ReadCost(character_s=11 / 9600, interframe_delay_s=0.004, turnaround_s=0.02)
HOLDING = Table.HOLDING_REGISTER
INPUT = Table.INPUT_REGISTER
COIL = Table.COIL


def holding(address: int, count: int) -> Span:
    return Span(HOLDING, address, count)


def hull(group: Sequence[Span]) -> Span:
    start = min(span.address for span in group)
    return Span(group[0].table, start, max(span.end for span in group) - start)


def is_legal(group: Sequence[Span], cost: ReadCost, limits: ReadLimits) -> bool:
    """The rules said once more, plainly."""
    whole = hull(group)
    if len({span.table for span in group}) > 1:
        return False
    if whole.count > (limits.bits_max if whole.table.is_bits else limits.words_max):
        return False
    if whole in group:  # Somebody asked for exactly this.
        return True
    addresses = range(whole.address, whole.end)
    wanted = {address for span in group for address in range(span.address, span.end)}
    return (
        cost.read_s(whole.table, whole.count) <= limits.transaction_s_max
        and not any((whole.table, address) in limits.forbidden for address in addresses)
        and not any((whole.table, address) in limits.barriers for address in addresses[1:])
        and (limits.has_holes or len(wanted) == whole.count)
    )


def partitions(spans: list[Span]) -> Iterator[list[list[Span]]]:
    if not spans:
        yield []
        return
    first, *rest = spans
    for groups in partitions(rest):
        yield [[first], *groups]
        for at, group in enumerate(groups):
            yield [*groups[:at], [first, *group], *groups[at + 1 :]]


def cheapest_s(spans: list[Span], cost: ReadCost, limits: ReadLimits) -> float:
    return min(
        sum(cost.read_s(hull(group).table, hull(group).count) for group in groups)
        for groups in partitions(spans)
        if all(is_legal(group, cost, limits) for group in groups)
    )


def check_plan(
    plan: Sequence[Transaction], spans: Sequence[Span], cost: ReadCost, limits: ReadLimits
) -> None:
    covered = [span for transaction in plan for span in transaction.covers]
    assert sorted(covered) == sorted(set(spans))
    for transaction in plan:
        assert hull(transaction.covers) == transaction.span
        assert is_legal(transaction.covers, cost, limits)


tables = st.sampled_from([HOLDING, INPUT, COIL])
small_spans = st.lists(
    st.builds(Span, tables, st.integers(0, 40), st.integers(1, 9)), min_size=1, max_size=6
)
crowded_spans = st.lists(
    st.builds(Span, st.just(HOLDING), st.integers(0, 25), st.integers(1, 9)), min_size=1, max_size=6
)
bit_spans = st.lists(
    st.builds(Span, st.just(COIL), st.integers(0, 300), st.integers(1, 20)), min_size=1, max_size=6
)
costs = st.builds(
    ReadCost,
    character_s=st.sampled_from([11 / 2400, 11 / 9600, 11 / 115200]),
    interframe_delay_s=st.sampled_from([0.00175, 0.01]),
    turnaround_s=st.sampled_from([0.0, 0.005, 0.05]),
)
limits_of = st.builds(
    ReadLimits,
    words_max=st.sampled_from([9, 12, 125]),
    bits_max=st.sampled_from([20, 64, 2000]),
    transaction_s_max=st.sampled_from([0.05, 0.1, math.inf]),
    forbidden=st.frozensets(st.tuples(tables, st.integers(0, 40)), max_size=3),
    barriers=st.frozensets(st.tuples(tables, st.integers(0, 40)), max_size=3),
    has_holes=st.booleans(),
)


@given(small_spans | crowded_spans | bit_spans, costs, limits_of)
def test_no_legal_grouping_is_cheaper(
    spans: list[Span], cost: ReadCost, limits: ReadLimits
) -> None:
    plan = plan_reads(spans, cost, limits)
    check_plan(plan, spans, cost, limits)
    assert plan_s(plan, cost) == pytest.approx(cheapest_s(sorted(set(spans)), cost, limits))


def test_a_cheap_hole_is_read_over_and_a_dear_one_is_not() -> None:
    # A transaction costs 13 characters, two gaps and the turnaround: 43 ms, or 18 words' time.
    near = plan_reads([holding(0, 2), holding(20, 2)], AT_9600)
    assert near == (Transaction(holding(0, 22), (holding(0, 2), holding(20, 2))),)
    far = plan_reads([holding(0, 2), holding(21, 2)], AT_9600)
    assert [each.span for each in far] == [holding(0, 2), holding(21, 2)]


def test_tables_are_never_mixed() -> None:
    plan = plan_reads([holding(0, 2), Span(INPUT, 2, 2)], AT_9600)
    assert len(plan) == 2


def test_what_lies_within_another_span_rides_with_it() -> None:
    plan = plan_reads([holding(0, 10), holding(2, 2), holding(2, 2)], AT_9600)
    assert plan == (Transaction(holding(0, 10), (holding(0, 10), holding(2, 2))),)


def test_a_unit_that_wants_no_holes_gets_none() -> None:
    plan = plan_reads(
        [holding(0, 2), holding(2, 2), holding(5, 1)], AT_9600, ReadLimits(has_holes=False)
    )
    assert [each.span for each in plan] == [holding(0, 4), holding(5, 1)]


def test_a_span_over_the_time_limit_is_read_alone() -> None:
    limits = ReadLimits(transaction_s_max=0.1)
    plan = plan_reads([holding(0, 100), holding(100, 1)], AT_9600, limits)
    assert [each.span for each in plan] == [holding(0, 100), holding(100, 1)]


def test_a_span_with_a_forbidden_address_is_read_when_asked_for_and_merged_with_nothing() -> None:
    limits = ReadLimits(forbidden=frozenset({(HOLDING, 1)}))
    plan = plan_reads([holding(0, 2), holding(2, 2)], AT_9600, limits)
    assert [each.span for each in plan] == [holding(0, 2), holding(2, 2)]


@pytest.mark.parametrize(
    "span",
    [holding(0, 0), holding(0, 126), holding(65530, 7), holding(-1, 1), Span(COIL, 0, 2001)],
)
def test_a_span_that_no_read_can_serve_is_our_own_bug(span: Span) -> None:
    with pytest.raises(LocalProtocolError):
        plan_reads([span], AT_9600)
