"""What is known beforehand of a line's timing and of a unit's limits.

Values only; what is learned of a unit while it is asked is in ``planner.units``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from grug.model import Span, Table
from grug.planner.plan import BITS_MAX, WORDS_MAX, ReadCost, ReadLimits


@dataclass(frozen=True, slots=True)
class WireTiming:
    """How long things last on one line, in seconds."""

    character_s: float
    gap_s: float
    """Silence between any two frames."""
    reply_timeout_s: float
    """How long a unit may take to begin its reply."""
    has_numbers: bool = False
    """Whether replies say which request they answer, so that late ones are never mistaken."""


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
    functions: frozenset[int] = frozenset()
    """Which it has of those that few units have; see ``planner.writes``."""
    identity: str = ""
    """What the verdicts on its addresses are kept under; empty keeps none."""
    identity_spans: tuple[Span, ...] = ()
    """Where it says which unit it is, with which firmware: that is part of the identity then."""

    def rest_s(self, timing: WireTiming) -> float:
        """Silence after a frame of this unit beyond the line's own."""
        return max(0.0, self.gap_s - timing.gap_s)

    def read_cost(self, timing: WireTiming) -> ReadCost:
        """What a read costs as far as is known beforehand: each one costs the unit's rest too."""
        turnaround_s = self.turnaround_s + self.rest_s(timing)
        return ReadCost(timing.character_s, timing.gap_s, turnaround_s)

    @property
    def limits(self) -> ReadLimits:
        """What one transaction may be, as far as is known beforehand."""
        return ReadLimits(
            words_max=self.words_max,
            bits_max=self.bits_max,
            transaction_s_max=self.transaction_s_max,
            forbidden=self.forbidden,
            has_holes=self.reads_holes,
        )
