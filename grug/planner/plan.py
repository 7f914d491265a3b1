"""Which transactions read a set of spans in the least time on the wire.

The plan is a minimum over all legal groupings, found by dynamic programming. That works on sorted
spans because some minimal grouping always keeps them in order: a span that lies within another is
read for nothing with it, and of two transactions that overlap, one can take over what it covers of
the other without becoming longer. Legality depends on the addresses read, not on who wants them, so
a transaction that shrinks stays legal.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from grug.errors import LocalProtocolError
from grug.model import Span, Table

REQUEST_CHARACTERS = 8
"""Unit id, function, address, count, CRC. Source: MODBUS Application Protocol V1.1b3, 6.1-6.4."""

REPLY_OVERHEAD_CHARACTERS = 5
"""Unit id, function, byte count, CRC around the data. Source: as above."""

BITS_MAX = 2000
"""Most bits in one read. Source: MODBUS Application Protocol V1.1b3, 6.1 and 6.2."""

WORDS_MAX = 125
"""Most words in one read. Source: MODBUS Application Protocol V1.1b3, 6.3 and 6.4."""


@dataclass(frozen=True, slots=True)
class ReadCost:
    """What a read costs on one line, from one unit; all in seconds."""

    character_s: float
    interframe_delay_s: float
    turnaround_s: float
    """From the end of the request to the beginning of the reply."""

    def read_s(self, table: Table, count: int) -> float:
        """Wire time of one read of ``count`` words or bits, both gaps included."""
        data = (count + 7) // 8 if table.is_bits else 2 * count
        characters = REQUEST_CHARACTERS + REPLY_OVERHEAD_CHARACTERS + data
        return characters * self.character_s + 2 * self.interframe_delay_s + self.turnaround_s


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """What one transaction may be."""

    words_max: int = WORDS_MAX
    bits_max: int = BITS_MAX
    transaction_s_max: float = math.inf
    """Longest transaction; a single span that takes longer is read alone, since it is atomic."""
    forbidden: frozenset[tuple[Table, int]] = frozenset()
    """Addresses that are not read, except where a span that was asked for has them itself."""
    barriers: frozenset[tuple[Table, int]] = frozenset()
    """No transaction has the address before and this one, except within one asked span."""
    has_holes: bool = True
    """Whether addresses that nobody asked for may be read between those that are wanted."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One read on the wire, and the wanted spans that it serves."""

    span: Span
    covers: tuple[Span, ...]


NO_LIMITS = ReadLimits()


def plan_reads(
    spans: Iterable[Span], cost: ReadCost, limits: ReadLimits = NO_LIMITS
) -> tuple[Transaction, ...]:
    """Group spans into the transactions that take the least wire time together.

    Args:
        spans: what is wanted, in any order; they may overlap and repeat. None is ever split.
        cost: what a read costs.
        limits: what a transaction may be.

    Returns:
        Transactions by table and address; each wanted span is in the ``covers`` of exactly one.

    Raises:
        LocalProtocolError: a single span is empty, outside the address space or over the limit.
    """
    by_table: dict[Table, list[Span]] = {}
    for span in sorted(set(spans), key=_by_start_longest_first):
        check_span(span, limits)
        by_table.setdefault(span.table, []).append(span)
    return tuple(
        transaction
        for table in sorted(by_table)
        for transaction in _plan_table(table, by_table[table], cost, limits)
    )


def plan_s(transactions: Iterable[Transaction], cost: ReadCost) -> float:
    """Wire time of a plan, in seconds."""
    return sum(cost.read_s(each.span.table, each.span.count) for each in transactions)


def _by_start_longest_first(span: Span) -> tuple[int, int]:
    return span.address, -span.count


def check_span(span: Span, limits: ReadLimits) -> None:
    """Refuse a span that no single transaction can read.

    Raises:
        LocalProtocolError: it is empty, outside the address space or over the limit.
    """
    count_max = limits.bits_max if span.table.is_bits else limits.words_max
    if not 1 <= span.count <= count_max:
        raise LocalProtocolError(
            f"{span.count} addresses of {span.table} from {span.address} in one span;"
            f" 1 to {count_max} can be read at once"
        )
    if not 0 <= span.address <= 65536 - span.count:
        raise LocalProtocolError(f"{span.table} {span.address}+{span.count}: no such addresses")


def _plan_table(
    table: Table, spans: Sequence[Span], cost: ReadCost, limits: ReadLimits
) -> list[Transaction]:
    outer: list[Span] = []
    for span in spans:  # Sorted: what ends no later than the one before it lies within that.
        if not outer or span.end > outer[-1].end:
            outer.append(span)
    groups = _cheapest_groups(table, outer, cost, limits)
    plan: list[Transaction] = []
    following = 0
    for first, last in groups:
        address = outer[first].address
        end = outer[last].end
        covers: list[Span] = []
        while following < len(spans) and spans[following].end <= end:
            covers.append(spans[following])
            following += 1
        plan.append(Transaction(Span(table, address, end - address), tuple(covers)))
    return plan


def _cheapest_groups(
    table: Table, outer: Sequence[Span], cost: ReadCost, limits: ReadLimits
) -> list[tuple[int, int]]:
    """First and last index of each group of the cheapest partition into runs of neighbours."""
    count_max = limits.bits_max if table.is_bits else limits.words_max
    stops = _Stops(table, limits)
    total = len(outer)
    best_s = [0.0] + [math.inf] * total  # Of the first k spans.
    cut = [0] * (total + 1)
    for first in range(total):
        so_far_s = best_s[first]
        start = outer[first].address
        end_max = min(start + count_max, stops.end_max(start))
        reached = start
        for last in range(first, total):
            span = outer[last]
            is_alone = last == first
            if not is_alone and (
                span.end > end_max or (span.address > reached and not limits.has_holes)
            ):
                break
            reached = span.end
            read_s = cost.read_s(table, span.end - start)
            if not is_alone and read_s > limits.transaction_s_max:
                break
            if so_far_s + read_s < best_s[last + 1]:
                best_s[last + 1] = so_far_s + read_s
                cut[last + 1] = first
    groups: list[tuple[int, int]] = []
    at = total
    while at:
        groups.append((cut[at], at - 1))
        at = cut[at]
    groups.reverse()
    return groups


class _Stops:
    """Where a merged transaction that begins somewhere has to end."""

    def __init__(self, table: Table, limits: ReadLimits) -> None:
        self._forbidden = sorted(address for of, address in limits.forbidden if of is table)
        self._barriers = sorted(address for of, address in limits.barriers if of is table)

    def end_max(self, start: int) -> int:
        """The furthest end of a transaction of several spans from ``start``."""
        end = 65536
        at = bisect_left(self._forbidden, start)
        if at < len(self._forbidden):
            end = self._forbidden[at]
        at = bisect_right(self._barriers, start)
        if at < len(self._barriers):
            end = min(end, self._barriers[at])
        return end
