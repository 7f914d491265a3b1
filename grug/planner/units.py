"""What a bus owner knows of one unit: its limits, its health, and what it refuses to be asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from grug.messages import Message, UnitChanged, WriteRegisters
from grug.model import Span, Table, UnitHealth
from grug.planner.learned import LearnedCost
from grug.planner.plan import (
    REPLY_OVERHEAD_CHARACTERS,
    REQUEST_CHARACTERS,
    Transaction,
    check_span,
    plan_reads,
)
from grug.planner.probing import Probes
from grug.planner.refusals import Refusals
from grug.planner.traits import UnitTraits, WireTiming
from grug.planner.verdicts import Memory, VerdictStore
from grug.planner.writes import READ_WRITE, write_function

OFFLINE_FAILURES = 3
"""Failures in a row after which a unit is only probed: two may be bad luck on a noisy line."""

PATIENT_PROBE_EVERY = 4
"""Probes until one waits for as long as is configured: the others are short, so that a fast group
beside them meets its ticks, but a unit may have become slow."""

PROBE_SHARE_MIN = 2 / 3
"""A probe between two ticks waits for no less than this part of its timeout, and for no less than
the unit is known to take: it may have become slower, or nobody knows how slow it is."""

PROBE_LATENCIES = 1.5
"""What a probe between two ticks allows for, over the longest latency seen before the silence."""

LATE_S_MAX = 2.0
"""A reply may come this long after its timeout and must not be taken for the next one's. Units
queue no requests; what comes later is a gateway's, which should have a longer timeout."""

TIMEOUT_S_MIN = 0.15
"""Least reply timeout that is ever learned: adapters and schedulers add this much on a bad day."""

TIMEOUT_SHARE_MIN = 1 / 3
"""Least part of the configured timeout that is ever waited: who configures more expects hiccups."""

TIMEOUT_LATENCIES = 4.0
"""The learned timeout over the longest latency seen lately."""

LATENCIES_MIN = 50
"""Replies in a row until a latency is believed, and for how long the longest is remembered."""

LATENCY_S_MIN = 1e-6
"""Least latency that is known; 0 says that none is."""

QUARANTINE_S_FIRST = 10.0
QUARANTINE_S_MAX = 3600.0
"""How long a register that was refused alone is not asked for by those who can do without it."""

FRESH_MAX = 64
"""Reads of a unit that are remembered for those who accept what is not quite new."""

PLANS_MAX = 1000
"""Plans kept per unit; which spans wait together repeats, so that more means a runaway asker."""


Look: TypeAlias = tuple[Table, int, int]
"""What tells one reply of a unit from another: table, address and length. A reply to a read does
not say its address (-1 or -2 here), which makes late ones dangerous."""


PlanKey: TypeAlias = frozenset[Span] | tuple[object, ...]
"""Spans that are wanted, or those of whole requests, and which of them at once."""


def look_of_read(span: Span) -> Look:
    """How the reply to a read looks."""
    return span.table, -1, (span.count + 7) // 8 if span.table.is_bits else span.count


def look_of_write(request: WriteRegisters, function: int) -> Look:
    """How the acknowledgement of a write by that function looks; one with contents has no place."""
    address = -2 if function == READ_WRITE else request.address
    return request.table, address, len(request.block)


class _Refused(NamedTuple):
    """A span that was refused alone."""

    code: int
    until_s: float
    delay_s: float


class Unit:
    """One unit on the line; the bus owner's queue alone changes it."""

    def __init__(
        self,
        line: str,
        unit_id: int,
        traits: UnitTraits,
        timing: WireTiming,
        publish: Callable[[Message], None],
        store: VerdictStore | None = None,
    ) -> None:
        self.unit_id = unit_id
        self.ready_s = -math.inf
        """It is not asked before this."""
        self.is_offline = False
        self.cause = ""
        """Why it is not healthy."""
        self._line = line
        self._timing = timing
        self._timeout_s_min = min(
            timing.reply_timeout_s,
            max(TIMEOUT_S_MIN, TIMEOUT_SHARE_MIN * timing.reply_timeout_s),
        )
        self._publish = publish
        self._plans: dict[PlanKey, tuple[Transaction, ...]] = {}
        self._checked: set[tuple[Span, ...]] = set()
        self._failures = 0
        self._has_answered = False
        """Since the start; the first answer is news to those who knew it offline before."""
        self._probes = Probes()
        self._late: dict[Look, float] = {}
        self._refusals = Refusals()
        self._quarantine: dict[Span, _Refused] = {}
        self._latencies = 0
        """Replies in a row."""
        self._latency_s_max = 0.0
        self._latency_s_max_before = 0.0
        """The same of the round of replies before this one."""
        self._latency_s_known = 0.0
        """The longest of both when it last fell silent."""
        self._fresh: dict[Span, tuple[bytes, float]] = {}
        self._lacking: set[int] = set()
        self._memory = Memory(store)
        self.take_traits(traits)

    def take_traits(self, traits: UnitTraits) -> None:
        """Go by these from now on, and by what was learned of a unit of that identity."""
        self.traits = traits
        self.rest_s = traits.rest_s(self._timing)
        """Silence that it wants after a read, beyond the line's: others may be asked then."""
        self._forget_costs()
        if self._memory.expect(traits.identity, self._plan_of_identity()):
            self._refusals.believe(self._memory.ages_s)
        self._learn()

    def _plan_of_identity(self) -> tuple[Transaction, ...]:
        cost = self.traits.read_cost(self._timing)
        return plan_reads(self.traits.identity_spans, cost, self.traits.limits)

    def _forget_costs(self) -> None:
        traits, timing = self.traits, self._timing
        self.limits = traits.limits
        self._lacking.clear()
        self._learned = LearnedCost(traits.read_cost(timing), self.rest_s)

    # Which unit it is

    @property
    def identity_read(self) -> Transaction | None:
        """What to read next to know which unit this is; None when that is known, or unknowable."""
        reads = self._memory.reads
        return reads[0] if reads and not self.is_offline else None

    def identity_took(self, block: bytes) -> None:
        """That read brought this, or nothing where the unit refuses to say.

        Of another unit than before nothing is believed that was learned of that one.
        """
        if self._memory.took(block):
            self._refusals = Refusals()
            self._quarantine.clear()
            self._fresh.clear()
            self._forget_costs()
            self._refusals.believe(self._memory.ages_s)
            self._learn()

    def grow_older(self, now_s: float) -> None:
        """Time has passed: verdicts that are too old are not believed any longer."""
        expired = self._memory.expired(now_s)
        if expired:
            self._refusals.forget(expired)
            self._learn()
            self._keep()

    # Plans

    def plan(
        self,
        spans: tuple[Span, ...] | frozenset[Span],
        snapshots: frozenset[tuple[Span, ...]] = frozenset(),
    ) -> tuple[Transaction, ...]:
        """The cheapest reads of these spans, remembered; each snapshot in one of them."""
        key: PlanKey = (spans, snapshots) if snapshots else spans
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= PLANS_MAX:
                self._plans.clear()
            plan = plan_reads(spans, self._learned.cost, self.limits, snapshots)
            self._plans[key] = plan
        return plan

    def plan_together(
        self, wanted: frozenset[tuple[Span, ...]], snapshots: frozenset[tuple[Span, ...]]
    ) -> tuple[Transaction, ...]:
        """The same for whole requests; what is remembered is found without looking at each span."""
        key: PlanKey = (wanted, snapshots)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self.plan(frozenset().union(*wanted), snapshots)
        return plan

    def plan_within(self, spans: Iterable[Span], held_s_max: float) -> tuple[Transaction, ...]:
        """The cheapest reads of which none holds the line for longer, if values are that short."""
        most_s = held_s_max + self.rest_s
        most_s = min(self.limits.transaction_s_max, most_s)
        return plan_reads(spans, self._learned.cost, replace(self.limits, transaction_s_max=most_s))

    def read_s(self, span: Span) -> float:
        """How long a read is expected to take, with all silence that has to follow."""
        return self._learned.cost.read_s(span.table, span.count)

    def held_s(self, span: Span) -> float:
        """For how long a read is expected to hold the line, the gap after it included."""
        return self._learned.cost.read_s(span.table, span.count) - self.rest_s

    def check(self, spans: tuple[Span, ...]) -> None:
        """Look whether each can be read at all; remembered, since polls repeat.

        Raises:
            LocalProtocolError: one of them cannot.
        """
        if spans in self._checked:
            return
        for span in spans:
            check_span(span, self.limits)
        if len(self._checked) >= PLANS_MAX:
            self._checked.clear()
        self._checked.add(spans)

    def refused(self, transaction: Transaction, code: int, now_s: float) -> bool:
        """Learn from a read that was refused for its addresses.

        Args:
            transaction: what was read.
            code: the exception code.
            now_s: now.

        Returns:
            Whether it was merged, so that its spans are worth asking for in pieces.
        """
        is_merged = self._refusals.refused(transaction)
        if not is_merged:
            span = transaction.span
            before = self._quarantine.get(span)
            delay_s = QUARANTINE_S_FIRST
            if before is not None:
                delay_s = min(2 * before.delay_s, QUARANTINE_S_MAX)
            self._quarantine[span] = _Refused(code, now_s + delay_s, delay_s)
        self._learn()
        self._keep()
        return is_merged

    @property
    def refuses_some(self) -> bool:
        """Whether anything was refused alone."""
        return bool(self._quarantine)

    def quarantined(self, span: Span, now_s: float) -> int:
        """The exception code that a span was refused with, while it need not be tried again; or 0.

        A span that lies within a refused one has not been refused itself.
        """
        refused = self._quarantine.get(span)
        return refused.code if refused is not None and now_s < refused.until_s else 0

    def took(self, span: Span, block: bytes, data: int, read_s: float, elapsed_s: float) -> None:
        """A read went well, whatever was thought of its span before.

        Args:
            span: what was read.
            block: what it brought.
            data: bytes of that on the wire, where eight bits are one.
            read_s: when it ended.
            elapsed_s: how long it took, from the beginning of the request.
        """
        if self._quarantine:
            self._quarantine.pop(span, None)
        if self._refusals.proved(span):
            self._learn()
        if len(self._refusals.guilty) != len(self._memory.ages_s):
            self._keep()
        if self._learned.add(data, elapsed_s):
            self._plans.clear()
        fresh = self._fresh
        fresh.pop(span, None)
        if len(fresh) >= FRESH_MAX:
            del fresh[next(iter(fresh))]
        fresh[span] = block, read_s

    def _keep(self) -> None:
        """Store the verdicts if there are new ones."""
        self._memory.keep(self._refusals.guilty)

    def _learn(self) -> None:
        forbidden, barriers = self._refusals.avoided()
        self.limits = replace(
            self.limits,
            forbidden=self.traits.forbidden | forbidden,
            barriers=frozenset(barriers),
        )
        self._plans.clear()
        self._checked.clear()

    # What was read a moment ago

    def fresh(self, span: Span, since_s: float) -> tuple[bytes, float] | None:
        """What the unit held there, read no earlier than ``since_s``, and when; or None."""
        for read, (block, read_s) in reversed(self._fresh.items()):
            if read_s < since_s:
                return None  # The others are older still.
            if read.table is span.table and read.address <= span.address and span.end <= read.end:
                width = 1 if span.table.is_bits else 2
                first = (span.address - read.address) * width
                return block[first : first + span.count * width], read_s
        return None

    def forget(self) -> None:
        """Something was written: nothing that was read before needs be true any more."""
        self._fresh.clear()

    # Writes

    def write_function(self, request: WriteRegisters, *, knows_bits: bool) -> int:
        """By which function to write; 0 where the register's other bits must be read first.

        Args:
            request: what is to be written.
            knows_bits: the other bits have been read and are in what is written.
        """
        width = 1 if request.table.is_bits else 2
        return write_function(
            request.table,
            len(request.block) // width,
            functions=self.traits.functions - self._lacking,
            is_multiple=self.traits.writes_multiple,
            is_masked=bool(request.mask) and not knows_bits,
            reads_back=request.reads_back,
        )

    def lacks(self, function: int) -> None:
        """It does not know a function that its map says it has."""
        self._lacking.add(function)

    # Latency

    def reply_timeout_s(self, *, is_write: bool) -> float:
        """How long to wait for the beginning of a reply.

        Never longer than configured; less for reads from a unit that has long answered faster, and
        for most probes of one that is offline. A write may take its time, since units store what
        they are told; and after a silence nothing is taken for granted.
        """
        configured_s = self._timing.reply_timeout_s
        if is_write:
            return configured_s
        if not self.is_offline and (self._failures or not self._latency_s_max_before):
            return configured_s
        if self.is_offline:
            return configured_s if self._is_patient() else self._timeout_s_min
        longest_s = max(self._latency_s_max, self._latency_s_max_before)
        return min(configured_s, max(self._timeout_s_min, TIMEOUT_LATENCIES * longest_s))

    def _is_patient(self) -> bool:
        return self._failures % PATIENT_PROBE_EVERY == OFFLINE_FAILURES - 1

    def probe_timeout_s(self, free_s: float, now_s: float) -> float:
        """How long the next probe may wait for the beginning of its reply.

        Args:
            free_s: what others leave for that, until they come again.
            now_s: now.

        Returns:
            0 where the probe had better wait until there is more time.
        """
        self._probes.asked(now_s)
        usual_s = self.reply_timeout_s(is_write=False)
        if usual_s <= free_s or now_s >= self.overruns_s:
            return usual_s
        if self._is_patient():
            return 0.0
        enough_s = max(PROBE_SHARE_MIN * usual_s, PROBE_LATENCIES * self._latency_s_known)
        return free_s if free_s >= enough_s else 0.0

    def measured(self, latency_s: float) -> None:
        """A reply came so long after its request, the time of its characters aside."""
        if latency_s > self._latency_s_max:
            self._latency_s_max = latency_s
        self._latencies += 1
        if self._latencies >= LATENCIES_MIN:
            self._latencies = 0
            self._latency_s_max_before = max(self._latency_s_max, LATENCY_S_MIN)
            self._latency_s_max = 0.0

    # Late replies

    @property
    def has_late(self) -> bool:
        """Whether any reply was given up that could still come."""
        return bool(self._late)

    def may_mistake(self, look: Look, now_s: float) -> bool:
        """Whether a reply that was given up could still come and look like this."""
        return self._late.get(look, -math.inf) > now_s

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
        return self.is_offline and not self._probes.is_due(now_s)

    def line_opened(self, now_s: float) -> None:
        """A new adapter, perhaps a mended cable: what is offline may be tried at once."""
        self._memory.doubt()
        self.ready_s = now_s
        self._probes.begin_anew(now_s)

    def lets_others_first(self, now_s: float) -> bool:
        """Whether it is offline and its probe can wait."""
        return self.is_offline and self._probes.is_patient(now_s)

    @property
    def overruns_s(self) -> float:
        """From when on its probe takes its time from others, if need be."""
        return self._probes.overruns_s

    def answered(self, now_s: float) -> None:
        """It replied, be it with a refusal."""
        if self._failures or not self._has_answered:
            self._has_answered = True
            self._late.clear()
            self._failures = 0
            self._probes.begin_anew(now_s)
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
        self._latencies = 0
        longest_s = max(self._latency_s_max, self._latency_s_max_before)
        self._latency_s_known = longest_s or self._latency_s_known
        self._latency_s_max = self._latency_s_max_before = 0.0
        if not self._timing.has_numbers:
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
        self._probes.failed(now_s, probe_s * (offline_others + 1))
        if not self.is_offline:
            self.is_offline = True
            self._memory.doubt()  # It may be another unit that comes back, or a newer firmware.
            self._changed(UnitHealth.OFFLINE, cause, now_s)

    def _changed(self, health: UnitHealth, cause: str, now_s: float) -> None:
        self._publish(UnitChanged(self._line, self.unit_id, health, cause, now_s))
