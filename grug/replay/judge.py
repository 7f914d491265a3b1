"""Recorded and replayed decisions and writes side by side. Pure.

Decisions are compared one by one, for each controller in its order: numbers and reasons must be
equal, times may differ by what a task was late. Where the recording has a gap nobody knows what a
controller remembered; after it differences are let pass, for ``SETTLE_S``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from grug.messages import Decided, Message
from grug.replay.session import Noticed, Said, SessionBlock

LATE_S_MAX = 1.0
"""Times of one decision may differ by this: one made by the clock was made by a task too late."""
LATE_PART = 0.5
"""But by no more of the time until the next one."""
LOOSE_S_MAX = 30.0
"""The same, when the replay begins in the middle of a run: nobody knows the phase of its clocks."""
SETTLE_S = 60.0
"""A controller that has not come to the same after this is different; those that tell what they
know only where the recording does not tell it later."""
STOPPING_S = 1e-3
"""Times of stopping and of a decision that are closer are one moment."""
OFFSET = "offset"
"""Name of the offset controller in its decisions."""
WRITES = "writes"
"""Who wrote, where that is not said."""
IMAGES_S_MAX = 2.0
"""An inverter may be told an image that is this old."""
WRITE_LATE_S_MAX = 2.5
"""A write may take this long until it is acknowledged, or refused."""
SHOWN_MAX = 20
"""Divergences that are kept in full; the others are counted."""
INPUTS_MAX = 6
"""Of what was heard before a divergence."""

Series: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One number or text that is not the same."""

    series: str
    recorded: str
    replayed: str


@dataclass(frozen=True, slots=True)
class Divergence:
    """The replay does something else than the recording."""

    at_s: float
    """Monotonic."""
    zero_ms: int
    """UTC at monotonic zero."""
    controller: str
    differences: tuple[Difference, ...]
    inputs: tuple[Message, ...]
    """What was heard last, the newest at the end."""

    @property
    def time_ms(self) -> int:
        """UTC."""
        return round(self.at_s * 1000) + self.zero_ms


@dataclass(slots=True)
class _Side:
    """The decisions of one controller that wait for their counterparts."""

    recorded: deque[Said] = field(default_factory=deque)
    replayed: deque[tuple[Said, str]] = field(default_factory=deque)
    reasons: deque[tuple[float, str]] = field(default_factory=deque)
    reason: str = ""
    is_replayed: bool = False
    """Whether anything of it was decided in the replay."""


class Judge:
    """Takes both sides as they come, and says where they differ."""

    def __init__(self, since_s: float = -math.inf, *, is_loose: bool = False) -> None:
        """Begin.

        Args:
            since_s: nothing is judged before it.
            is_loose: what is done by the clock has another phase.
        """
        self.is_loose = is_loose
        self.equal = 0
        """Decisions and writes that were the same."""
        self.answers = 0
        """Answers to inverters that were the same."""
        self.passed = 0
        """Decisions that differed after a gap."""
        self.gaps: list[Noticed] = []
        self.divergences: list[Divergence] = []
        self.divergence_count = 0
        self._since_s = since_s
        self._zero_ms = 0
        self._gap_s = -math.inf
        self._stopping_s = math.inf
        self._recalled_s: dict[str, float] = {}
        """When a controller was told last what it knew."""
        self._unrecalled: dict[str, int] = {}
        """Divergences of each since the last gap, as long as it was not told."""
        self._sides: dict[Series, _Side] = {}
        self._by_controller: dict[str, _Side] = {}
        self._reasons: dict[str, str] = {}
        self._heard: deque[Message] = deque(maxlen=INPUTS_MAX)

    def expect(self, block: SessionBlock) -> None:
        """Take what was recorded."""
        self._zero_ms = block.zero_ms
        for side in self._sides.values():
            if not (side.is_replayed or side.reasons or side.reason):
                side.recorded.clear()  # Counted or estimated, not decided: see ``_lacks``.
        for said in block.said:
            self._side(said.series).recorded.append(said)
        for noticed in block.noticed:
            if noticed.kind == "reason":
                decider = self._by_controller.get(noticed.source)
                if decider is not None:
                    decider.reasons.append((noticed.at_s, noticed.text))

    def pass_over(self, gap: Noticed) -> None:
        """From here on differences pass, for ``SETTLE_S``."""
        self.gaps.append(gap)
        self._gap_s = gap.at_s
        self._unrecalled.clear()

    def recalled(self, who: str, at_s: float) -> None:
        """A controller was told what it knew then: from there on it has to be itself.

        Whatever it did since the last gap was done without knowing.
        """
        self._recalled_s[who] = at_s
        if who == OFFSET and self._gap_s + SETTLE_S < self._since_s:
            self.gaps.clear()  # All is known again before anything is judged.
        self.divergences = [
            each
            for each in self.divergences
            if each.at_s <= self._gap_s or _teller_of(each.controller) != who
        ]
        unrecalled = self._unrecalled.pop(who, 0)
        self.divergence_count -= unrecalled
        self.passed += unrecalled

    def stopping(self, at_s: float) -> None:
        """The run was asked to stop: what was due at that very moment may be done, or not."""
        self._stopping_s = at_s

    def heard(self, message: Message) -> None:
        """Note what controllers are told."""
        self._heard.append(message)

    def decided(self, decided: Decided) -> None:
        """Take what was decided in the replay."""
        series = tuple([f"{decided.controller}/{name}" for name in decided.names])
        side = self._side(series)
        side.is_replayed = True
        side.replayed.append((Said(decided.decided_s, series, decided.values), decided.reason))
        self._compare(side)

    def answered(self, at_s: float, fakemeter: str, recorded: str, replayed: str) -> None:
        """Take one answer to an inverter; both texts are empty when it is the same."""
        if recorded == replayed:
            self.answers += at_s >= self._since_s
        else:
            difference = Difference("answer", recorded, replayed)
            self._differ_unless_passed(at_s, f"fakemeter/{fakemeter}", (difference,))

    def wrote(
        self, at_s: float, text: str, *, is_equal: bool, problem: str = "", who: str = WRITES
    ) -> None:
        """Take a write of the replay, or one that it should have made."""
        if is_equal:
            self.equal += at_s >= self._since_s
            return
        recorded, replayed = ("nothing", text) if not problem else (text, problem)
        self._differ_unless_passed(at_s, who, (Difference("write", recorded, replayed),))

    def end(self, at_s: float) -> None:
        """No more comes; what waits until a moment before has no counterpart."""
        late_s = LOOSE_S_MAX if self.is_loose else LATE_S_MAX
        for side in self._sides.values():
            while side.recorded and side.recorded[0].at_s < at_s - late_s:
                self._lacks(side, side.recorded.popleft())
            while side.replayed and side.replayed[0][0].at_s < at_s - late_s:
                self._exceeds(*side.replayed.popleft())

    def _side(self, series: Series) -> _Side:
        side = self._sides.get(series)
        if side is None:
            side = self._sides[series] = _Side()
            self._by_controller[_controller_of(series)] = side
        return side

    def _compare(self, side: _Side) -> None:
        """Compare as far as both sides are known."""
        while side.replayed and side.recorded:
            (ours, reason), theirs = side.replayed[0], side.recorded[0]
            late_s = LOOSE_S_MAX if self.is_loose else LATE_S_MAX
            if len(side.recorded) == 1 and abs(ours.at_s - theirs.at_s) > LATE_S_MAX:
                if self.is_loose:
                    return  # It may be the next one's counterpart.
            elif len(side.recorded) > 1:
                late_s = min(late_s, LATE_PART * (side.recorded[1].at_s - theirs.at_s) + 0.002)
            if ours.at_s < theirs.at_s - late_s:
                self._exceeds(*side.replayed.popleft())
            elif theirs.at_s < ours.at_s - late_s:
                self._lacks(side, side.recorded.popleft())
            else:
                side.replayed.popleft()
                side.recorded.popleft()
                self._compare_two(side, theirs, ours, reason)

    def _exceeds(self, ours: Said, reason: str) -> None:
        """The replay decides what was not decided."""
        only = Difference("decision", "none", _text_of(ours, reason))
        self._differ_unless_passed(ours.at_s, _controller_of(ours.series), (only,))

    def _lacks(self, side: _Side, theirs: Said) -> None:
        expected = self._reason_at(side, theirs.at_s)
        if not expected and not side.is_replayed:
            return  # Nobody decided this, it was counted or estimated: decisions have reasons.
        recorded = _text_of(theirs, expected)
        lacking = Difference("decision", recorded, "none")
        self._differ_unless_passed(theirs.at_s, _controller_of(theirs.series), (lacking,))

    def _compare_two(self, side: _Side, theirs: Said, ours: Said, reason: str) -> None:
        expected = self._reason_at(side, theirs.at_s)
        if ours.values == theirs.values and reason == expected:
            self.equal += ours.at_s >= self._since_s
            return
        found = [
            Difference(series, f"{one:.10g}", f"{other:.10g}")
            for series, one, other in zip(theirs.series, theirs.values, ours.values, strict=True)
            if one != other and not (math.isnan(one) and math.isnan(other))
        ]
        if expected and reason != expected:
            found.append(Difference(f"{_controller_of(ours.series)} reason", expected, reason))
        if found:
            self._differ_unless_passed(theirs.at_s, _controller_of(theirs.series), tuple(found))
        else:
            self.equal += ours.at_s >= self._since_s

    def _reason_at(self, side: _Side, at_s: float) -> str:
        """The recorded reason of that moment; empty when it is not known."""
        while side.reasons and side.reasons[0][0] <= at_s + 1e-9:
            side.reason = side.reasons.popleft()[1]
        return side.reason

    def _differ_unless_passed(
        self, at_s: float, controller: str, differences: tuple[Difference, ...]
    ) -> None:
        teller = _teller_of(controller)
        recalled_s = self._recalled_s.get(teller, -math.inf)
        settled_s = self._gap_s + SETTLE_S
        is_told = recalled_s >= self._gap_s and recalled_s > -math.inf
        if is_told:
            settled_s = recalled_s + _until_settled_s(controller)
        is_end = abs(at_s - self._stopping_s) < STOPPING_S
        if at_s <= settled_s or is_end:
            self.passed += at_s >= self._since_s
        elif at_s >= self._since_s:
            if not is_told:
                self._unrecalled[teller] = self._unrecalled.get(teller, 0) + 1
            self._differ(at_s, controller, differences)

    def _differ(self, at_s: float, controller: str, differences: tuple[Difference, ...]) -> None:
        if at_s < self._since_s:
            return
        self.divergence_count += 1
        if len(self.divergences) < SHOWN_MAX:
            inputs = tuple(self._heard)
            self.divergences.append(
                Divergence(at_s, self._zero_ms, controller, differences, inputs)
            )


def _teller_of(controller: str) -> str:
    """Who tells what this follows from: of what fake meters say that is the offset controller."""
    return OFFSET if controller.startswith("fakemeter/") else controller


def _until_settled_s(controller: str) -> float:
    """How long after it was told what it knew a controller may still do something else."""
    if controller == OFFSET:
        return 0.0
    # What others did by the clock, unknowing, may have been taken for what comes next.
    return IMAGES_S_MAX if controller.startswith("fakemeter/") else LOOSE_S_MAX


def _controller_of(series: Sequence[str]) -> str:
    """Who decided: what the names of its numbers begin with."""
    first = series[0].split("/")
    shared = 0
    for part in first[:-1]:
        if all(each.split("/")[shared : shared + 1] == [part] for each in series):
            shared += 1
    return "/".join(first[:shared])


def _text_of(said: Said, reason: str) -> str:
    values = ", ".join(f"{value:.6g}" for value in said.values)
    return f"{values}: {reason}" if reason else values


def differing_keys(one: object, other: object, path: str = "") -> Iterable[str]:
    """Where two configurations, as plain values, differ: each key with both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            where = f"{path}.{key}" if path else str(key)
            yield from differing_keys(one.get(key), other.get(key), where)
    elif one != other:
        yield f"{path}: {one!r} -> {other!r}"
