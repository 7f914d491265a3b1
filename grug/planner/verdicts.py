"""What is kept of a unit's refusals over restarts: for which unit, and for how long.

A verdict holds for one unit with one firmware. Where the map says which registers tell that (serial
number, version), they are read when the unit is first heard on a line, and after it was away; what
was learned of another unit is not believed. And a verdict ends: after a week it is found out anew,
which costs a few refused reads.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from grug.model import Span
from grug.planner.plan import Transaction

VERDICT_S_MAX = 7 * 86_400.0
"""How old a verdict may become: firmware is updated now and then, and not every unit tells."""


class Verdict(NamedTuple):
    """One thing that a unit does not let be read."""

    suspect: Span
    """A hole or a value that it does not have; without length, a border that no read may cross."""
    age_s: float
    """How long that has been known."""


class VerdictStore(Protocol):
    """Where verdicts survive a restart."""

    def load(self, identity: str) -> tuple[Verdict, ...]:
        """What is known; empty when that is nothing."""

    def save(self, identity: str, verdicts: tuple[Verdict, ...]) -> None:
        """Keep this in place of what was known."""


class Memory:
    """The verdicts on one unit, and under which identity they are kept."""

    def __init__(self, store: VerdictStore | None) -> None:
        """Begin without any; without a store nothing is kept, and nobody asked who he is."""
        self.reads: list[Transaction] = []
        """What is still to be read to know which unit this is."""
        self._store = store
        self._base = ""
        self._plan: Sequence[Transaction] = ()
        self._told: list[bytes] = []
        self._identity: str | None = None
        self.ages_s: dict[Span, float] = {}
        """What the unit does not let be read, and for how long that has been known."""
        self._aged_s: float | None = None

    def expect(self, base: str, plan: Sequence[Transaction]) -> bool:
        """From now on it is a unit of this kind at this place.

        Args:
            base: what is known of its identity beforehand; empty keeps nothing.
            plan: the reads that tell the rest.

        Returns:
            Whether there are other verdicts now.
        """
        if base == self._base and plan == self._plan:
            return False
        self._base, self._plan = base, plan if base and self._store else ()
        self.doubt()
        return not self._plan and self._is(base)

    def doubt(self) -> None:
        """It may be another unit now: it is asked again."""
        self.reads = list(self._plan)
        self._told = []

    def took(self, block: bytes) -> bool:
        """The next of the reads brought this, or nothing where the unit refuses.

        Returns:
            Whether it is known now that it is another unit than the one before.
        """
        del self.reads[0]
        self._told.append(block)
        return not self.reads and self._is(" ".join([self._base, *map(bytes.hex, self._told)]))

    def _is(self, identity: str) -> bool:
        if identity == self._identity:
            return False
        self._identity = identity
        known = self._store.load(identity) if self._store and self._base else ()
        self.ages_s = {each.suspect: each.age_s for each in known if each.age_s <= VERDICT_S_MAX}
        return True

    def keep(self, guilty: Collection[Span]) -> None:
        """Take over what is known now, and store it if there is news."""
        if guilty == self.ages_s.keys():
            return
        self.ages_s = {span: self.ages_s.get(span, 0.0) for span in sorted(guilty)}
        if self._store and self._base and self._identity is not None:
            kept = tuple(Verdict(span, age_s) for span, age_s in self.ages_s.items())
            self._store.save(self._identity, kept)

    def expired(self, now_s: float) -> list[Span]:
        """Let the verdicts grow older; returns those that are too old now."""
        elapsed_s = 0.0 if self._aged_s is None else now_s - self._aged_s
        self._aged_s = now_s
        for span in self.ages_s:
            self.ages_s[span] += elapsed_s
        return [span for span, age_s in self.ages_s.items() if age_s > VERDICT_S_MAX]
