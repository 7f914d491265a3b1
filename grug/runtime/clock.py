"""Two times: a monotonic one that decisions use, and the wall's that people read.

The monotonic time is ``trio.current_time()``. ``MonotonicClock`` makes it the system's own clock
since boot, so that a reading's time means the same in each of grug's processes, and that time in
which the machine was suspended counts: a reading from before that is old.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import trio


class MonotonicClock(trio.abc.Clock):
    """trio's clock without its random offset: CLOCK_BOOTTIME, the same in all processes."""

    def start_clock(self) -> None:
        """Nothing to start. See ``trio.abc.Clock.start_clock``."""

    def current_time(self) -> float:
        """Seconds of CLOCK_BOOTTIME."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Seconds from now to the deadline."""
        return deadline - time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_s() -> float:
    """Seconds since boot, suspension included; never set back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wall_s() -> float:
    """UTC in seconds since 1970, as the system's clock has it: it may be wrong, and be set."""
    return time.time()


SLACK_MS = 0.05
"""Less than this before a whole millisecond counts as it: sums of floats are not exact."""


def whole_ms(at_s: float) -> float:
    """The millisecond that a moment lies in: what the log keeps of it.

    Readings carry such times, so that a replay of the log computes with the very numbers that were
    computed with. It never makes anything younger by more than ``SLACK_MS``.
    """
    return math.floor(at_s * 1000 + SLACK_MS) / 1000


_TIME_SERVICES = (
    "/run/systemd/timesync",
    "/run/chrony",
    "/run/chronyd.pid",
    "/run/ntpd.pid",
    "/run/openntpd.pid",
)
"""What those who set a clock leave there while they run."""


@dataclass(frozen=True, slots=True)
class WallClock:
    """Turns monotonic seconds into UTC; virtual time has its own, fixed origin."""

    origin_s: float | None = None
    """UTC seconds at monotonic 0; None follows the system's clock, also when that is corrected."""

    def utc_ms(self, monotonic_s: float) -> int:
        """UTC in milliseconds at a moment of the monotonic clock."""
        origin_s = _origin_s() if self.origin_s is None else self.origin_s
        return round((origin_s + monotonic_s) * 1000)

    def is_synchronised(self) -> bool:
        """Whether UTC is what it says: a time service has set it, or time is virtual."""
        return self.origin_s is not None or is_clock_set()

    def will_be_set(self) -> bool:
        """Whether a time service runs that may still set it."""
        return any(Path(path).exists() for path in _TIME_SERVICES)


READ_S_MAX = 0.001
"""Longer between two readings of a clock: others had the processor in between."""
_READS_MAX = 5


def _origin_s() -> float:
    """UTC at monotonic zero. Being held up between the two clocks is no step of one of them."""
    found: list[tuple[float, float]] = []
    for _ in range(_READS_MAX):
        before_s, utc_s, after_s = boot_s(), wall_s(), boot_s()
        found.append((after_s - before_s, utc_s - (before_s + after_s) / 2))
        if found[-1][0] <= READ_S_MAX:
            break
    return min(found)[1]


LOCAL_ZONE = Path("/etc/localtime")
_TIMEX_BYTES = 1024
"""More than ``struct timex`` has on any machine; all zero, it asks and changes nothing."""
_TIME_ERROR = 5
"""Source: adjtimex(2): the system clock is not synchronised to a reliable server."""


def is_clock_set() -> bool:
    """Whether something trusted, as a rule NTP, keeps the wall clock right.

    A machine without a battery-backed clock starts with the time at which it was switched off.
    """
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjtimex is None:
        return True  # Not Linux: a desktop, which keeps its clock.
    state: int = adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return 0 <= state < _TIME_ERROR


def local_zone() -> dt.tzinfo:
    """The system's time zone, with its summer times; UTC where none is set."""
    name = os.environ.get("TZ", "").lstrip(":")
    try:
        if name:
            return ZoneInfo(name)
        with LOCAL_ZONE.open("rb") as file:
            return ZoneInfo.from_file(file, "local")
    except (ZoneInfoNotFoundError, OSError, ValueError):
        return dt.UTC
