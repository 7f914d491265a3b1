"""What a unit refuses to be asked, found out from what it refused: holes, borders, dead values.

A refused read has suspects: the holes in it, the borders between its values, the values themselves;
all that no read has ever proved harmless. At least one is guilty. Until it is known which, no read
goes over the middle one, so that the refused read comes again as two halves, and those show more.
The last suspect left is guilty, and explains every refusal that it was part of: what was avoided on
mere suspicion may then be read over again. So all legal values are had at once, and in the end
reads are merged as if the guilty had been known from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import TypeAlias

from grug.model import Span, Table
from grug.planner.cuts import lies_within
from grug.planner.plan import Transaction

PROOFS_MAX = 1000
"""Successful reads remembered as proofs; what a unit is asked repeats."""

Suspect: TypeAlias = Span
"""A hole or a wanted value; without length, the border before its address."""


class _Refusal:
    """One refused read that nothing explains yet."""

    __slots__ = ("span", "split", "suspects", "values")

    def __init__(self, span: Span, joints: list[Suspect], values: list[Suspect]) -> None:
        self.span = span
        self.suspects = joints
        """Holes and borders, by address."""
        self.values = values
        self.split: Suspect | None = None
        """What is not read over for now: the middle hole, or the middle border without holes."""
        self.choose()

    def choose(self) -> None:
        """Split somewhere else once the present place is no longer suspect."""
        if self.split not in self.suspects:
            holes = [each for each in self.suspects if each.count] or self.suspects
            self.split = holes[len(holes) // 2] if holes else None


class Refusals:
    """What one unit has refused, and what that means for its next reads."""

    def __init__(self) -> None:
        self._proofs: set[Span] = set()
        self._open: list[_Refusal] = []
        self.guilty: set[Suspect] = set()
        """What is known to be the cause of refusals."""

    def believe(self, guilty: Iterable[Suspect]) -> None:
        """Take over what was known in an earlier run; a read that goes well still refutes it."""
        self.guilty.update(guilty)

    def forget(self, guilty: Iterable[Suspect]) -> None:
        """Nothing is known of these any more; the next read that goes over them tells."""
        self.guilty.difference_update(guilty)

    def proved(self, read: Span) -> bool:
        """A read went well.

        Returns:
            Whether that changes what may be read over.
        """
        is_news = read not in self._proofs
        if is_news:
            if len(self._proofs) >= PROOFS_MAX:
                self._proofs.clear()
            self._proofs.add(read)
        if not self._open and not (self.guilty and is_news):
            return False
        before = self.avoided()
        self.guilty = {each for each in self.guilty if not _is_in(each, read)}
        for refusal in self._open:
            refusal.suspects = [each for each in refusal.suspects if not _is_in(each, read)]
            refusal.values = [each for each in refusal.values if not _is_in(each, read)]
            refusal.choose()
        self._conclude()
        return self.avoided() != before

    def refused(self, transaction: Transaction) -> bool:
        """A read was refused for its addresses.

        Returns:
            Whether it was merged, so that its values are worth asking for in pieces.
        """
        span = transaction.span
        self._proofs = {each for each in self._proofs if not lies_within(span, each)}
        if span in transaction.covers:
            self.guilty.add(span)
            self._conclude()
            return False
        outer = _outer(transaction.covers)
        # What other reads have shown to be there is no part of a hole.
        joints = list(_joints(_outer([*outer, *self._proved_in(span)])))
        unproved = [each for each in joints if not self._is_proved(each)]
        values = [each for each in outer if not self._is_proved(each)]
        # Where all is proved the unit has changed, or cannot take so much at once.
        self._open.append(_Refusal(span, unproved or joints, values))
        self._conclude()
        return True

    def avoided(self) -> tuple[set[tuple[Table, int]], set[tuple[Table, int]]]:
        """Addresses that no merged read may have, and borders that none may cross."""
        forbidden: set[tuple[Table, int]] = set()
        barriers: set[tuple[Table, int]] = set()
        for each in self._avoided_suspects():
            forbidden.update((each.table, address) for address in self._unproved_in(each))
            if not each.count:
                barriers.add((each.table, each.address))
        return forbidden, barriers

    def _avoided_suspects(self) -> Iterator[Suspect]:
        yield from self.guilty
        for refusal in self._open:
            if refusal.split is not None:
                yield refusal.split

    def _proved_in(self, span: Span) -> Iterator[Span]:
        """The parts of a read that other reads have proved harmless."""
        for proof in self._proofs:
            start, end = max(span.address, proof.address), min(span.end, proof.end)
            if proof.table is span.table and start < end:
                yield Span(span.table, start, end - start)

    def _unproved_in(self, suspect: Suspect) -> AbstractSet[int]:
        """The addresses of a suspect that no other read has proved harmless; if none is left, all.

        Of two values that overlap, one may be there and the other not.
        """
        whole = set(range(suspect.address, suspect.end))
        proved = (range(each.address, each.end) for each in self._proved_in(suspect))
        return whole.difference(*proved) or whole

    def _is_proved(self, suspect: Suspect) -> bool:
        return any(_is_in(suspect, read) for read in self._proofs)

    def _conclude(self) -> None:
        """Find the guilty, and drop every refusal that they explain."""
        has_news = True
        while has_news:
            has_news = False
            for refusal in self._open:
                suspects = refusal.suspects + refusal.values
                if len(suspects) == 1 and suspects[0] not in self.guilty:
                    self.guilty.add(suspects[0])
                    has_news = True
            self._open = [each for each in self._open if not self._is_explained(each)]

    def _is_explained(self, refusal: _Refusal) -> bool:
        """Nothing is left to suspect, or one that is known to be guilty was in it."""
        return not refusal.suspects or any(_is_in(each, refusal.span) for each in self.guilty)


def _outer(covers: Iterable[Span]) -> list[Span]:
    """The values that lie in no other one, by address."""
    outer: list[Span] = []
    for span in sorted(covers, key=lambda each: (each.address, -each.count)):
        if not outer or span.end > outer[-1].end:
            outer.append(span)
    return outer


def _joints(outer: Sequence[Span]) -> Iterator[Suspect]:
    """The holes and borders between values."""
    for before, after in pairwise(outer):
        start = min(before.end, after.address)
        yield Span(after.table, start, after.address - start)


def _is_in(suspect: Suspect, read: Span) -> bool:
    """Whether the read goes over the suspect."""
    if suspect.count:
        return lies_within(suspect, read)
    return suspect.table is read.table and read.address < suspect.address < read.end
