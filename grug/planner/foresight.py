"""When the next requests will come to a line, as far as those that came before them tell.

Whoever polls asks for an answer before its next tick, since later it is worth nothing: so the
deadline of a request is the time at which its asker is expected again. Who does not come then does
no harm but that something less urgent has waited a moment for it.
"""

from __future__ import annotations

import math
from bisect import insort

from grug.messages import ReadRegisters

LATE_S_MAX = 0.02
"""How much later than expected an asker may come: a busy machine wakes it late."""

HOLD_S_MAX = 0.5
"""How long the line is held free in a row for requests that are expected: what takes long compared
with the times between them gets its turn after this."""

EXPECTED_MAX = 200
"""More than all polls of a full line. Who asks more often with far deadlines is no poll."""


class Foresight:
    """The times at which requests are expected."""

    def __init__(self) -> None:
        """Begin with expecting nobody."""
        self._expected: list[tuple[float, int]] = []
        """When and with which priority, in order of time."""
        self._held_s = math.inf
        """Since when the line is held free."""

    def came(self, priority: int, deadline_s: float, now_s: float) -> None:
        """A request came.

        Args:
            priority: its own.
            deadline_s: until when an answer is worth anything; infinite tells nothing.
            now_s: now.
        """
        expected = self._expected
        for at, (at_s, of) in enumerate(expected):
            if at_s > now_s + LATE_S_MAX:
                break
            if of == priority:
                del expected[at]
                break
        self._forget(now_s)
        if now_s < deadline_s < math.inf and len(expected) < EXPECTED_MAX:
            insort(expected, (deadline_s, priority))

    def next_s(self, priority: int, now_s: float) -> float:
        """When the next request is expected that goes before, or is as urgent as, this priority.

        Returns:
            A time that is not over; infinite where nobody is expected.
        """
        self._forget(now_s)
        for at_s, of in self._expected:
            if of <= priority:
                return max(at_s, now_s)
        return math.inf

    def held_until_s(self, request: ReadRegisters, read_s: float, now_s: float) -> float:
        """Until when a read has to wait that would delay more urgent ones that are expected.

        It waits for HOLD_S_MAX at most, and not at all where it is worth nothing after that.

        Args:
            request: what is wanted.
            read_s: how long it would hold the line, in seconds.
            now_s: now.

        Returns:
            When to look again; ``now_s`` where it may go now.
        """
        next_s = self.next_s(request.priority - 1, now_s)
        self._held_s = min(self._held_s, now_s)
        until_s = self._held_s + HOLD_S_MAX
        if now_s + read_s <= next_s or now_s >= until_s or request.deadline_s <= until_s:
            self._held_s = math.inf
            return now_s
        return min(next_s + LATE_S_MAX, until_s)

    def _forget(self, now_s: float) -> None:
        """Do not expect those any longer who are too late."""
        expected = self._expected
        while expected and expected[0][0] < now_s - LATE_S_MAX:
            del expected[0]
