"""What a bus owner knows of one unit: its limits, its health, and what it refuses to be asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from grug.messages import Message, UnitChanged, WriteRegisters
from grug.model import Span, Table, UnitHealth
from grug.planner.plan import (
    BITS_MAX,
    REPLY_OVERHEAD_CHARACTERS,
    REQUEST_CHARACTERS,
    WORDS_MAX,
    ReadCost,
    ReadLimits,
    Transaction,
    plan_reads,
)

OFFLINE_FAILURES = 3
"""Failures in a row after which a unit is only probed: two may be bad luck on a noisy line."""

PROBE_S_FIRST = 1.0
PROBE_S_MAX = 60.0

PROBE_SHARE_MAX = 0.05
"""The part of the line's time that probes of all offline units together may take."""

PROBE_PATIENCE_S = 5.0
"""A probe lets healthy units go first, but no longer than this, so that a full line heals too."""

LATE_S_MAX = 2.0
"""A reply may come this long after its timeout and must not be taken for the next one's. Units
queue no requests; what comes later is a gateway's, which should have a longer timeout."""

PLANS_MAX = 1000
"""Plans kept per unit; which spans wait together repeats, so that more means a runaway asker."""


Look: TypeAlias = tuple[Table, int, int]
"""What tells one reply of a unit from another: table, address and length. A reply to a read does
not say its address (-1 here), which makes late ones dangerous."""


def look_of_read(span: Span) -> Look:
    """How the reply to a read looks."""
    return span.table, -1, (span.count + 7) // 8 if span.table.is_bits else span.count


def look_of_write(request: WriteRegisters) -> Look:
    """How the acknowledgement of a write looks."""
    return request.table, request.address, len(request.block)


@dataclass(frozen=True, slots=True)
class WireTiming:
    """How long things last on one line, in seconds."""

    character_s: float
    gap_s: float
    """Silence between any two frames."""
    reply_timeout_s: float
    """How long a unit may take to begin its reply."""


@dataclass(frozen=True, slots=True)
class UnitTraits:
    """What is known of a unit beforehand, from its map."""

    words_max: int = WORDS_MAX
    bits_max: int = BITS_MAX
    transaction_s_max: float = math.inf
    """Longest read that may hold the line, so that a fast group beside it meets its ticks."""
    reads_holes: bool = True
    """Whether registers that nobody wants may be read between those that are wanted."""
    forbidden: frozenset[tuple[Table, int]] = frozenset()
    """Addresses that are never read on the way to others, holes or not."""
    turnaround_s: float = 0.01
    """From the end of a request to the beginning of the reply; steers how large a hole pays."""
    gap_s: float = 0.0
    """Silence that this unit wants after a frame of its own, where more than the line's gap."""
    writes_multiple: bool = False
    """Whether it wants functions 15 and 16 for a single value too."""


class Unit:
    """One unit on the line; the bus owner's queue alone changes it."""

    def __init__(
        self,
        line: str,
        unit_id: int,
        traits: UnitTraits,
        timing: WireTiming,
        publish: Callable[[Message], None],
    ) -> None:
        self.unit_id = unit_id
        self.traits = traits
        self.limits = ReadLimits(
            words_max=traits.words_max,
            bits_max=traits.bits_max,
            transaction_s_max=traits.transaction_s_max,
            forbidden=traits.forbidden,
            has_holes=traits.reads_holes,
        )
        self.ready_s = -math.inf
        """It is not asked before this."""
        self.is_offline = False
        self.cause = ""
        """Why it is not healthy."""
        self._line = line
        self._timing = timing
        self._publish = publish
        self._cost = ReadCost(timing.character_s, timing.gap_s, traits.turnaround_s)
        self._plans: dict[frozenset[Span], tuple[Transaction, ...]] = {}
        self._failures = 0
        self._has_answered = False
        """Since the start; the first answer is news to those who knew it offline before."""
        self._probe_s = -math.inf
        self._probe_delay_s = PROBE_S_FIRST
        self._late: dict[Look, float] = {}
        self._refused_alone: set[Span] = set()
        self._splits: list[tuple[Span, ...]] = []

    # Plans

    def plan(self, spans: frozenset[Span]) -> tuple[Transaction, ...]:
        """The cheapest reads of these spans, remembered."""
        plan = self._plans.get(spans)
        if plan is None:
            if len(self._plans) >= PLANS_MAX:
                self._plans.clear()
            plan = self._plans[spans] = plan_reads(spans, self._cost, self.limits)
        return plan

    def split(self, refused: Transaction) -> bool:
        """Learn from a read that was refused for its addresses.

        A merged read may have been refused for a hole, for a border within it, or for one of the
        spans that are wanted: from now on its spans are not merged. A span that is refused alone is
        the culprit of every merger it was in: those may be tried again, without it.

        Returns:
            Whether it was merged, so that its spans are worth asking for one by one.
        """
        is_merged = refused.span not in refused.covers
        if is_merged:
            self._splits.append(refused.covers)
        else:
            self._refused_alone.add(refused.span)
            self._splits = [each for each in self._splits if refused.span not in each]
        self._learn()
        return is_merged

    def proved(self, span: Span) -> None:
        """A read of this span went well, whatever was thought of it before."""
        if self._refused_alone and span in self._refused_alone:
            self._refused_alone.discard(span)
            self._learn()

    def _learn(self) -> None:
        forbidden = set(self.traits.forbidden)
        barriers: set[tuple[Table, int]] = set()
        for covers in self._splits:
            end = covers[0].end
            for span in covers[1:]:
                forbidden.update((span.table, address) for address in range(end, span.address))
                barriers.add((span.table, span.address))
                end = max(end, span.end)
        for span in self._refused_alone:
            forbidden.update((span.table, address) for address in range(span.address, span.end))
        self.limits = replace(
            self.limits, forbidden=frozenset(forbidden), barriers=frozenset(barriers)
        )
        self._plans.clear()

    # Late replies

    def may_mistake(self, look: Look, now_s: float) -> bool:
        """Whether a reply that was given up could still come and look like this."""
        late = self._late
        return bool(late) and late.get(look, -math.inf) > now_s

    def distinct_read(self, table: Table, address: int, now_s: float) -> Span:
        """A short read near an address whose reply looks like none that may still come.

        Once the unit has answered that, with whatever it likes, it is past all that went before.
        """
        count = 1
        while self.may_mistake(look_of_read(Span(table, 0, count)), now_s):
            count += 8 if table.is_bits else 1
        return Span(table, min(address, 65536 - count), count)

    # Health

    def is_resting(self, now_s: float) -> bool:
        """Whether it is offline and its next probe is not due."""
        return self.is_offline and now_s < self._probe_s

    def line_opened(self, now_s: float) -> None:
        """A new adapter, perhaps a mended cable: what is offline may be tried at once."""
        self.ready_s = now_s
        self._probe_s = now_s
        self._probe_delay_s = PROBE_S_FIRST

    def lets_others_first(self, now_s: float) -> bool:
        """Whether it is offline and its probe can wait."""
        return self.is_offline and now_s < self._probe_s + PROBE_PATIENCE_S

    def answered(self, now_s: float) -> None:
        """It replied, be it with a refusal."""
        if self._failures or not self._has_answered:
            self._has_answered = True
            self._late.clear()
            self._failures = 0
            self._probe_delay_s = PROBE_S_FIRST
            self.is_offline = False
            self.cause = ""
            self._changed(UnitHealth.HEALTHY, "it answers", now_s)

    def missed(self, look: Look, cause: str, now_s: float, offline_others: int) -> None:
        """It did not reply, or not understandably.

        Args:
            look: how the reply would have looked.
            cause: what happened.
            now_s: now.
            offline_others: how many other units of the line are offline; all share the probes.
        """
        self._failures += 1
        self.cause = cause
        self._late[look] = now_s + LATE_S_MAX
        if self._failures == 1:
            self._changed(UnitHealth.SUSPECT, cause, now_s)
        if self._failures < OFFLINE_FAILURES:
            return
        probe_s = (
            self._timing.reply_timeout_s
            + (REQUEST_CHARACTERS + REPLY_OVERHEAD_CHARACTERS) * self._timing.character_s
            + self._timing.gap_s
        )
        share_s = probe_s * (offline_others + 1) / PROBE_SHARE_MAX
        self._probe_s = now_s + max(self._probe_delay_s, share_s)
        self._probe_delay_s = min(2 * self._probe_delay_s, PROBE_S_MAX)
        if not self.is_offline:
            self.is_offline = True
            self._changed(UnitHealth.OFFLINE, cause, now_s)

    def _changed(self, health: UnitHealth, cause: str, now_s: float) -> None:
        self._publish(UnitChanged(self._line, self.unit_id, health, cause, now_s))
