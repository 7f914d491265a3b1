"""The silence between two frames where nobody has said how long: as short as goes well.

Some units lose a request that comes too soon after another frame, and on most lines it would cost a
tenth of the time to wait for those few. So it begins with what nearly all are content with, becomes
the shortest that Modbus allows once replies have long been good, and goes back at the first
trouble. A line that does not bear the short one loses a reply after 500 good ones, and then each
time after four times as many: seven in the first million.
"""

from __future__ import annotations

GAP_S_MIN = 0.005
"""Many units need more than 3.5 characters; 5 ms is what most of those that do are content with."""

GOOD_MIN = 500
"""Replies in a row until the shorter silence is tried."""
GOOD_MIN_MAX = 500 * 2**12
"""The same after many failures: a day or more of a busy line."""


class LearnedGap:
    """Decides between a safe and a short silence."""

    def __init__(self, safe_s: float, short_s: float) -> None:
        """Begin with the safe one.

        Args:
            safe_s: what nearly all units are content with, in seconds.
            short_s: the least that the protocol allows; no longer than ``safe_s``.
        """
        self.gap_s = safe_s
        """What to wait for now, in seconds."""
        self._safe_s = safe_s
        self._short_s = short_s
        self._good = 0
        self._good_min = GOOD_MIN

    def replied(self) -> None:
        """A request was answered."""
        self._good += 1
        if self._good == self._good_min:
            self.gap_s = self._short_s

    def failed(self) -> None:
        """A request to a unit that answered before got no reply, or a damaged one."""
        if self.gap_s < self._safe_s:
            self.gap_s = self._safe_s
            if self._good < 2 * self._good_min:  # Later it will have had another reason.
                self._good_min = min(4 * self._good_min, GOOD_MIN_MAX)
        self._good = 0
