"""UTC timestamps that never go back by little, whatever the system's clock does.

Two samples of one series must not share a millisecond, since the database keeps only one of them.
So when the clock is set back, the log's time first runs ahead of it by the size of the step, and
then 5 % slower until both agree. A step back of more than an hour is obeyed at once: before it the
clock was plainly wrong, and following it for days would be worse. Steps forward are obeyed.
"""

from __future__ import annotations

STEP_MS_MIN = 20
"""Below this a difference is jitter of reading two clocks, not a step."""
STEP_BACK_MS_MAX = 3_600_000
_SLOWER = 0.05


class Timeline:
    """Turns monotonic times into the log's."""

    def __init__(self, last_ms: int | None = None) -> None:
        """Begin.

        Args:
            last_ms: the newest time in the log, UTC; times start after it unless it is more than an
                hour away.
        """
        self._last_ms = last_ms
        self._ahead_ms = 0.0
        self._seen_s = 0.0
        self._wall_zero_ms: int | None = None
        """UTC at monotonic zero by the wall's clock, as it was set last."""
        self.zero_ms = 0
        """UTC at monotonic zero by the log. It stays what it is while nobody sets the clock, so
        that the monotonic time of everything in the log is known to the millisecond."""
        self.steps: list[int] = []
        """Steps of the wall's clock that were seen, in ms; take them and clear."""

    def at(self, monotonic_s: float, wall_ms: int) -> int:
        """The log's time of a moment.

        Args:
            monotonic_s: the moment; nearly in order, as messages are.
            wall_ms: the same moment by the wall's clock as it is set now, UTC.
        """
        monotonic_ms = round(monotonic_s * 1000)
        zero_ms = wall_ms - monotonic_ms
        if self._wall_zero_ms is None:
            self._wall_zero_ms = zero_ms
            if self._last_ms is not None and 0 <= self._last_ms - wall_ms < STEP_BACK_MS_MAX:
                self._ahead_ms = self._last_ms + 1 - wall_ms
        else:
            step_ms = zero_ms - self._wall_zero_ms
            if abs(step_ms) >= STEP_MS_MIN:
                self._wall_zero_ms = zero_ms
                self._step(step_ms)
            elif self._ahead_ms:
                elapsed_ms = (monotonic_s - self._seen_s) * 1000
                self._ahead_ms = max(0.0, self._ahead_ms - max(elapsed_ms, 0.0) * _SLOWER)
        self._seen_s = monotonic_s
        self.zero_ms = self._wall_zero_ms + round(self._ahead_ms)
        return monotonic_ms + self.zero_ms

    def _step(self, step_ms: float) -> None:
        self.steps.append(round(step_ms))
        ahead_ms = max(0.0, self._ahead_ms - step_ms)
        self._ahead_ms = ahead_ms if ahead_ms < STEP_BACK_MS_MAX else 0.0
