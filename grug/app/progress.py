"""How far a log has been shipped, in words: a bar that moves, or a line now and then. Pure."""

from __future__ import annotations

from typing import NamedTuple

_BAR_WIDTH = 24
_RATE_S_MIN = 1.0
"""Before that no rate means anything."""


class Arrived(NamedTuple):
    """What has arrived in the database at some moment."""

    seq: int
    """Last block of the log."""
    rows: int
    """Since shipping began."""
    size_bytes: int
    """Of the log, fetched since shipping began."""
    at_s: float


class CatchUp:
    """From where a log was to where it was when shipping began."""

    def __init__(self, begin_seq: int, goal_seq: int, started_s: float) -> None:
        """Begin.

        Args:
            begin_seq: last block that the database had.
            goal_seq: last block that the log had.
            started_s: now.
        """
        self.begin_seq = max(0, begin_seq)
        self.goal_seq = goal_seq
        self._started_s = started_s

    def is_done(self, arrived: Arrived) -> bool:
        """Whether all that was there at the beginning has arrived."""
        return arrived.seq >= self.goal_seq

    def share(self, arrived: Arrived) -> float:
        """From 0 to 1."""
        blocks = self.goal_seq - self.begin_seq
        done = arrived.seq - self.begin_seq
        return 1.0 if blocks <= 0 else min(1.0, max(0.0, done / blocks))

    def line(self, arrived: Arrived) -> str:
        """Share, rows, MB, rate and what time is left."""
        share, elapsed_s = self.share(arrived), arrived.at_s - self._started_s
        parts = [
            f"{share:4.0%}",
            f"block {max(0, arrived.seq)} of {self.goal_seq}",
            f"{_grouped(arrived.rows)} rows",
            f"{arrived.size_bytes / 1e6:.1f} MB",
        ]
        if elapsed_s >= _RATE_S_MIN:
            parts.append(f"{_grouped(arrived.rows / elapsed_s)} rows/s")
            if 0.0 < share < 1.0:
                parts.append(f"{_span(elapsed_s * (1 - share) / share)} left")
        return ", ".join(parts)

    def bar(self, arrived: Arrived) -> str:
        """The line with a bar before it."""
        full = round(self.share(arrived) * _BAR_WIDTH)
        return f"[{'#' * full}{'.' * (_BAR_WIDTH - full)}] {self.line(arrived)}"

    def end(self, arrived: Arrived) -> str:
        """What is said when it is done."""
        elapsed_s = arrived.at_s - self._started_s
        return (
            f"caught up: {_grouped(arrived.rows)} rows, {arrived.size_bytes / 1e6:.1f} MB"
            f" in {_span(elapsed_s)}"
        )


def live_line(arrived: Arrived) -> str:
    """What is said while a log is followed."""
    return f"following: block {arrived.seq}, {_grouped(arrived.rows)} rows"


def _grouped(number: float) -> str:
    return f"{number:,.0f}".replace(",", " ")


def _span(seconds: float) -> str:
    """Hours, minutes and seconds, as few as it takes."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, seconds_left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds_left:02} s" if minutes else f"{seconds_left} s"
