"""Two times: a monotonic one that decisions use, and the wall's that people read.

The monotonic time is ``trio.current_time()``. ``MonotonicClock`` makes it the system's own clock
since boot, so that a reading's time means the same in each of grug's processes, and that time in
which the machine was suspended counts: a reading from before that is old.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import trio


class MonotonicClock(trio.abc.Clock):
    """trio's clock without its random offset: CLOCK_BOOTTIME, the same in all processes."""

    def start_clock(self) -> None:
        """Nothing to start. See ``trio.abc.Clock.start_clock``."""

    def current_time(self) -> float:
        """Seconds of CLOCK_BOOTTIME."""
        return boot_s()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Seconds from now to the deadline."""
        return deadline - boot_s()


def boot_s() -> float:
    """Seconds since boot, suspension included; never set back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


SLACK_MS = 0.05
"""Less than this before a whole millisecond counts as it: sums of floats are not exact."""


def whole_ms(at_s: float) -> float:
    """The millisecond that a moment lies in: what the log keeps of it.

    Readings carry such times, so that a replay of the log computes with the very numbers that were
    computed with. It never makes anything younger by more than ``SLACK_MS``.
    """
    return math.floor(at_s * 1000 + SLACK_MS) / 1000


@dataclass(frozen=True, slots=True)
class WallClock:
    """Turns monotonic seconds into UTC; virtual time has its own, fixed origin."""

    origin_s: float | None = None
    """UTC seconds at monotonic 0; None follows the system's clock, also when that is corrected."""

    def utc_ms(self, monotonic_s: float) -> int:
        """UTC in milliseconds at a moment of the monotonic clock."""
        origin_s = time.time() - boot_s() if self.origin_s is None else self.origin_s
        return round((origin_s + monotonic_s) * 1000)
