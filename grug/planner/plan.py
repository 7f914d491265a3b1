"""Which transactions read a set of spans in the least time on the wire.

Takes plain values (spans, a line's timing, limits) and returns transactions. A span is one value,
and never split. The plan is a minimum over all legal groupings, found by dynamic programming. That
works on sorted spans because some minimal grouping always keeps them in order: a span that lies
within another is read for nothing with it, and of two transactions that overlap, one can take over
what it covers of the other without becoming longer. Legality depends on the addresses read, not on
who wants them, so a transaction that shrinks stays legal.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache

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


def data_bytes(span: Span) -> int:
    """Bytes of contents in the reply to a read."""
    return (span.count + 7) // 8 if span.table.is_bits else 2 * span.count


@dataclass(frozen=True, slots=True)
class ReadCost:
    """What a read costs on one line, from one unit; all in seconds."""

    character_s: float
    interframe_delay_s: float
    turnaround_s: float
    """From the end of the request to the beginning of the reply, and whatever else a read from this
    unit costs however long it is: the silence it wants beyond the line's."""

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
    """Addresses that are not read, except where a span that was asked for has them itself; that is
    then read alone, which is also what an address that wants to be read alone needs."""
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
    spans: Iterable[Span],
    cost: ReadCost,
    limits: ReadLimits = NO_LIMITS,
    snapshots: Iterable[Sequence[Span]] = (),
) -> tuple[Transaction, ...]:
    """Group spans into the transactions that take the least wire time together.

    Args:
        spans: what is wanted, in any order; they may overlap and repeat. None is ever split.
        cost: what a read costs.
        limits: what a transaction may be.
        snapshots: groups of spans whose contents have to be of one moment, and so are read in one
            transaction each. They need not be among ``spans``.

    Returns:
        Transactions by table and address; each wanted span is in the ``covers`` of exactly one, or
        of one for each snapshot that it is in.

    Raises:
        LocalProtocolError: a single span is empty, outside the address space or over the limit; or
            a snapshot cannot be read at once.
    """
    wanted = set(spans)
    members: dict[Span, set[Span]] = {}
    for snapshot in snapshots:
        if snapshot:
            whole = whole_of(snapshot, limits)
            members.setdefault(whole, set()).update(snapshot)
    if members:
        members = {
            whole: group | {whole} if whole in wanted else group for whole, group in members.items()
        }
        wanted = wanted.difference(*members.values()).union(members)
    by_table: dict[Table, list[Span]] = {}
    for span in sorted(wanted, key=_by_start_longest_first):
        check_span(span, limits)
        by_table.setdefault(span.table, []).append(span)
    plan = tuple(
        transaction
        for table in sorted(by_table)
        for transaction in _plan_table(table, by_table[table], cost, limits)
    )
    return tuple(_with_members(each, members) for each in plan) if members else plan


def hull_of(spans: Collection[Span]) -> Span:
    """From the first address of several spans to their last, in the table of one of them."""
    start = min(span.address for span in spans)
    table = next(iter(spans)).table
    return Span(table, start, max(span.end for span in spans) - start)


def whole_of(snapshot: Sequence[Span], limits: ReadLimits) -> Span:
    """The span that a snapshot is read with.

    Raises:
        LocalProtocolError: no single transaction can read it; the text says why, with numbers.
    """
    whole = hull_of(snapshot)
    problem = _why_apart(snapshot, whole, limits)
    if problem:
        what = f"a snapshot of {whole.table} {whole.address}+{whole.count}"
        raise LocalProtocolError(f"{what} cannot be read at once: {problem}")
    check_span(whole, limits)
    return whole


def _why_apart(snapshot: Sequence[Span], whole: Span, limits: ReadLimits) -> str:
    """Why no single transaction can read these; empty where one can."""
    tables = sorted({span.table for span in snapshot})
    if len(tables) > 1:
        return f"it is of {len(tables)} tables ({', '.join(tables)})"
    is_bits = whole.table.is_bits
    count_max = limits.bits_max if is_bits else limits.words_max
    if whole.count > count_max:
        return f"it has {whole.count} {'bits' if is_bits else 'words'}, and a read {count_max}"
    if whole in snapshot:
        return ""
    reached = _Stops(whole.table, limits).end_max(whole.address)
    if reached < whole.end:
        return f"no read goes over address {reached}"
    within = {address for span in snapshot for address in range(span.address, span.end)}
    if not limits.has_holes and len(within) < whole.count:
        holes = whole.count - len(within)
        return f"it has {holes} addresses between its registers, and holes are not read here"
    return ""


def _with_members(
    transaction: Transaction, members: Mapping[Span, AbstractSet[Span]]
) -> Transaction:
    covers = {span for each in transaction.covers for span in members.get(each, (each,))}
    in_order = tuple(sorted(covers, key=_by_start_longest_first))
    return Transaction(transaction.span, in_order)


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
    prices = _prices(cost, table.is_bits, limits.bits_max if table.is_bits else limits.words_max)
    starts = [span.address for span in outer]
    ends = [span.end for span in outer]
    stops = legal_ends(outer, cost, limits)
    total = len(outer)
    best_s = [0.0] + [math.inf] * total  # Of the first k spans.
    cut = [0] * (total + 1)
    for first in range(total):
        so_far_s = best_s[first]
        start = starts[first]
        for last in range(first + 1, stops[first] + 1):
            ends_s = so_far_s + prices[ends[last - 1] - start]
            if ends_s < best_s[last]:
                best_s[last] = ends_s
                cut[last] = first
    groups: list[tuple[int, int]] = []
    at = total
    while at:
        groups.append((cut[at], at - 1))
        at = cut[at]
    groups.reverse()
    return groups


def legal_ends(outer: Sequence[Span], cost: ReadCost, limits: ReadLimits) -> list[int]:
    """How far a transaction may reach that begins with each span.

    Args:
        outer: spans of one table by address, none within another.
        cost: what a read costs.
        limits: what a transaction may be.

    Returns:
        For each span the index after the last that may be read with it; its own is always legal.
    """
    table = outer[0].table
    prices = _prices(cost, table.is_bits, limits.bits_max if table.is_bits else limits.words_max)
    merged_max = bisect_right(prices, limits.transaction_s_max) - 1
    stops = _Stops(table, limits)
    block_ends = _block_ends(outer) if not limits.has_holes else [65536] * len(outer)
    ends = [span.end for span in outer]
    reach: list[int] = []
    for at, span in enumerate(outer):
        start = span.address
        end_max = min(start + merged_max, stops.end_max(start), block_ends[at])
        reach.append(max(at + 1, bisect_right(ends, end_max)))
    return reach


@lru_cache(maxsize=64)
def _prices(cost: ReadCost, is_bits: bool, count_max: int) -> list[float]:
    """What reads of 0 to ``count_max`` addresses cost, in seconds; nobody changes the list."""
    table = Table.COIL if is_bits else Table.HOLDING_REGISTER
    return [cost.read_s(table, count) for count in range(count_max + 1)]


def _block_ends(outer: Sequence[Span]) -> list[int]:
    """Where the addresses end that follow each span without a hole."""
    block_ends = [span.end for span in outer]
    for at in range(len(outer) - 2, -1, -1):
        if outer[at + 1].address <= outer[at].end:
            block_ends[at] = block_ends[at + 1]
    return block_ends


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
