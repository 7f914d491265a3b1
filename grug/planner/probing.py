"""When a unit that is offline is probed: ever more rarely, and not for the others' time."""

from __future__ import annotations

import math

PROBE_S_FIRST = 1.0
PROBE_S_MAX = 60.0

PROBE_SHARE_MAX = 0.05
"""The part of the line's time that probes of all offline units together may take."""

PROBE_PATIENCE_S = 5.0
"""A probe lets healthy units go first, but no longer than this, so that a full line heals too."""

PROBE_OVERRUN_S = 10.0
"""So long a probe looks for time that is free; then it goes all the same."""


class Probes:
    """The probes of one unit."""

    def __init__(self) -> None:
        """Begin with one that may be sent at once."""
        self._due_s = -math.inf
        self._asked_s = math.inf
        """Since when one that is due has been asked for."""
        self._delay_s = PROBE_S_FIRST

    def is_due(self, now_s: float) -> bool:
        """Whether one may be sent, as far as this unit goes."""
        return now_s >= self._due_s

    def asked(self, now_s: float) -> None:
        """Somebody wants it sent; what is counted is since when."""
        self._asked_s = min(self._asked_s, now_s)

    def is_patient(self, now_s: float) -> bool:
        """Whether it lets healthy units go first."""
        return now_s < self._asked_s + PROBE_PATIENCE_S

    @property
    def overruns_s(self) -> float:
        """From when on it takes its time from others, if need be."""
        return self._asked_s + PROBE_OVERRUN_S

    def failed(self, now_s: float, probes_s: float) -> None:
        """It was in vain: the next one is due later still.

        Args:
            now_s: now.
            probes_s: what a probe of each of the line's offline units costs together, in seconds.
        """
        self._asked_s = math.inf
        self._due_s = now_s + max(self._delay_s, probes_s / PROBE_SHARE_MAX)
        self._delay_s = min(2 * self._delay_s, PROBE_S_MAX)

    def begin_anew(self, now_s: float) -> None:
        """The unit answered, or the line is a new one: the next is due at once."""
        self._due_s = now_s
        self._delay_s = PROBE_S_FIRST
