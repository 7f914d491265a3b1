"""Two times: a monotonic one that decisions use, and the wall's that people read.

The monotonic time is ``trio.current_time()``. ``MonotonicClock`` makes it the system's own
monotonic clock, so that a reading's time means the same in each of grug's processes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import trio


class MonotonicClock(trio.abc.Clock):
    """trio's clock without its random offset: CLOCK_MONOTONIC, the same in all processes."""

    def start_clock(self) -> None:
        """Nothing to start. See ``trio.abc.Clock.start_clock``."""

    def current_time(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Seconds from now to the deadline."""
        return deadline - time.monotonic()


@dataclass(frozen=True, slots=True)
class WallClock:
    """Turns monotonic seconds into UTC; virtual time has its own, fixed origin."""

    origin_s: float | None = None
    """UTC seconds at monotonic 0; None follows the system's clock, also when that is corrected."""

    def utc_ms(self, monotonic_s: float) -> int:
        """UTC in milliseconds at a moment of the monotonic clock."""
        origin_s = time.time() - time.monotonic() if self.origin_s is None else self.origin_s
        return round((origin_s + monotonic_s) * 1000)
