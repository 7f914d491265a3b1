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


def cheapest_cover_s(spans: Sequence[Span], cost: ReadCost, limits: ReadLimits) -> float:
    """The cheapest of all sets of transactions, wherever each of them begins and ends."""
    wanted = sorted(set(spans))
    prices: dict[int, float] = {}  # Of reading these values at once, a bit for each.
    for table in {span.table for span in wanted}:
        ends = [span.end for span in wanted if span.table is table]
        starts = [span.address for span in wanted if span.table is table]
        for start in range(min(starts), max(starts) + 1):
            for end in range(start + 1, max(ends) + 1):
                inside = [
                    span
                    for span in wanted
                    if span.table is table and start <= span.address and span.end <= end
                ]
                is_tight = inside and hull(inside) == Span(table, start, end - start)
                if is_tight and is_legal(inside, cost, limits):
                    mask = sum(1 << wanted.index(span) for span in inside)
                    prices[mask] = cost.read_s(table, end - start)
    best = [0.0] + [math.inf] * ((1 << len(wanted)) - 1)
    for mask in range(1, 1 << len(wanted)):
        best[mask] = min(
            best[mask & ~read] + price for read, price in prices.items() if read & mask
        )
    return best[-1]


@given(
    st.lists(st.builds(holding, st.integers(0, 40), st.integers(1, 6)), min_size=2, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=2),
    costs,
    st.sampled_from([math.inf, 0.05]),
)
def test_with_snapshots_no_legal_set_of_reads_is_cheaper(
    spans: list[Span], pairs: list[tuple[int, int]], cost: ReadCost, longest_s: float
) -> None:
    limits = ReadLimits(transaction_s_max=longest_s)
    snapshots = [tuple({spans[at % len(spans)] for at in pair}) for pair in pairs]
    plan = plan_reads(spans, cost, limits, snapshots)
    # Who has to come whole is one value, whatever it is made of.
    lonely = set(spans).difference(*snapshots)
    whole = lonely.union(hull(snapshot) for snapshot in snapshots)
    assert plan_s(plan, cost) == pytest.approx(cheapest_cover_s(sorted(whole), cost, limits))


def test_the_two_yardsticks_agree() -> None:
    spans = [holding(0, 3), holding(2, 4), holding(4, 1), holding(9, 2), Span(COIL, 3, 9)]
    limits = ReadLimits(words_max=6)
    assert cheapest_cover_s(spans, AT_9600, limits) == cheapest_s(spans, AT_9600, limits)


neighbours = st.lists(st.integers(1, 4), min_size=2, max_size=8).map(
    lambda widths: [holding(sum(widths[:at]), width) for at, width in enumerate(widths)]
)


@given(neighbours | small_spans | crowded_spans, costs, limits_of)
def test_neighbouring_values_are_cut_apart_where_that_is_cheapest(
    spans: list[Span], cost: ReadCost, limits: ReadLimits
) -> None:
    plan = plan_reads(spans, cost, limits)
    check_plan(plan, spans, cost, limits)
    assert plan_s(plan, cost) == pytest.approx(cheapest_cover_s(spans, cost, limits))


@given(
    st.lists(st.builds(Span, st.just(COIL), st.integers(0, 60), st.integers(1, 9)), max_size=7),
    st.sampled_from([1, 7, 8, 9, 17, 33]),
    costs,
)
def test_bits_are_cut_where_a_byte_is_saved(
    spans: list[Span], bits_more: int, cost: ReadCost
) -> None:
    # The turnaround is made worth so many bits, so that rounding up to bytes decides.
    cheap = ReadCost(cost.character_s, 0.0, cost.character_s * (bits_more / 8 - 13))
    wanted = [*spans, Span(COIL, 3, 2)]
    plan = plan_reads(wanted, cheap)
    check_plan(plan, wanted, cheap, ReadLimits())
    assert plan_s(plan, cheap) == pytest.approx(cheapest_cover_s(wanted, cheap, ReadLimits()))


def test_a_run_longer_than_the_limit_is_cut_where_the_rest_fits_too() -> None:
    limits = ReadLimits(words_max=40)
    values = [holding(0, 1), *(holding(address, 1) for address in range(5, 45)), holding(50, 1)]
    assert len(plan_reads(values, AT_9600, limits)) == 2
    as_runs = [holding(0, 1), holding(5, 40), holding(50, 1)]
    assert len(plan_reads(as_runs, AT_9600, limits)) == 3


def test_a_snapshot_is_read_at_once_though_it_costs_more() -> None:
    far = [holding(0, 2), holding(60, 2)]
    plan = plan_reads([*far, holding(30, 1)], AT_9600, snapshots=[far])
    assert plan == (Transaction(holding(0, 62), (holding(0, 2), holding(30, 1), holding(60, 2))),)


@given(crowded_spans, st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=2))
def test_snapshots_stay_whole_and_nothing_else_is_lost(
    spans: list[Span], pairs: list[tuple[int, int]]
) -> None:
    snapshots = [tuple({spans[at % len(spans)] for at in pair}) for pair in pairs]
    plan = plan_reads(spans, AT_9600, snapshots=snapshots)
    assert {span for each in plan for span in each.covers} == set(spans)
    for snapshot in snapshots:
        assert any(set(snapshot) <= set(each.covers) for each in plan)
    lonely = set(spans).difference(*snapshots)
    assert all(sum(span in each.covers for each in plan) == 1 for span in lonely)
    assert plan_s(plan, AT_9600) >= plan_s(plan_reads(spans, AT_9600), AT_9600) - 1e-9


@pytest.mark.parametrize(
    ("snapshot", "limits"),
    [
        ([holding(0, 1), holding(125, 1)], ReadLimits()),
        ([holding(0, 1), holding(9, 1)], ReadLimits(forbidden=frozenset({(HOLDING, 5)}))),
        ([holding(0, 1), holding(1, 1)], ReadLimits(barriers=frozenset({(HOLDING, 1)}))),
        ([holding(0, 1), holding(2, 1)], ReadLimits(has_holes=False)),
        ([holding(0, 1), Span(INPUT, 1, 1)], ReadLimits()),
    ],
)
def test_a_snapshot_that_no_read_can_serve_is_refused(
    snapshot: list[Span], limits: ReadLimits
) -> None:
    with pytest.raises(LocalProtocolError):
        plan_reads(snapshot, AT_9600, limits, [snapshot])


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
