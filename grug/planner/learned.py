"""How long a unit's reads take, learned from those that happened: ``a + b * n`` for n bytes."""

from __future__ import annotations

import math

from grug.planner.plan import REPLY_OVERHEAD_CHARACTERS, REQUEST_CHARACTERS, ReadCost

SAMPLES_MIN = 20
"""Reads before what was learned counts for anything."""

FORGET = 0.99
"""Weight that a read keeps when the next one comes: the last hundred or so count."""

SPREAD_TRUSTED = 1000.0
"""Weighted sum of squared differences in length, in bytes², at which the measured slope counts as
much as the one of the line's speed. A unit that is always asked for the same length shows none."""

SURPRISE_MAX = 0.5
"""A read counts as at most this part longer or shorter than expected: some are merely delayed."""

CHANGE_MIN = 0.1
"""The cost in use is replaced when it is this part off: each change costs new plans."""

CHARACTERS = REQUEST_CHARACTERS + REPLY_OVERHEAD_CHARACTERS


class LearnedCost:
    """Least squares over (bytes, seconds), old reads forgotten exponentially.

    ``cost`` is what to plan with: the assumed cost until there are enough samples, then one that
    follows them in steps, rounded, so that plans can be remembered.
    """

    def __init__(self, assumed: ReadCost, rest_s: float = 0.0) -> None:
        """Begin with an assumption.

        Args:
            assumed: what reads cost as far as one knows beforehand.
            rest_s: the part of ``assumed.turnaround_s`` that comes after the reply and so is never
                measured: silence that the unit wants beyond the line's.
        """
        self.cost = assumed
        """What to plan with."""
        self._assumed = assumed
        self._rest_s = rest_s
        self._silence_s = assumed.interframe_delay_s
        self._samples = 0
        self._weight = 0.0
        self._mean_bytes = 0.0
        self._mean_s = 0.0
        self._spread = 0.0  # Weighted sum of (bytes - mean)².
        self._joint = 0.0  # Weighted sum of (bytes - mean) * (seconds - mean).

    @property
    def per_byte_s(self) -> float:
        """What one byte of data more costs, in seconds."""
        assumed_s = self._assumed.character_s
        slope = (self._joint + SPREAD_TRUSTED * assumed_s) / (self._spread + SPREAD_TRUSTED)
        # Request and frame have their characters too, which are sent no faster.
        return min(max(slope, 0.0), self._mean_s / (self._mean_bytes + CHARACTERS))

    @property
    def base_s(self) -> float:
        """What a read of nothing would take, in seconds, without the silence after it."""
        return self._mean_s - self.per_byte_s * self._mean_bytes

    def add(self, data_bytes: int, seconds: float) -> bool:
        """Learn from one read that went well.

        Args:
            data_bytes: bytes of data in the reply.
            seconds: from the beginning of the request to the end of the reply.

        Returns:
            Whether ``cost`` is another one now.
        """
        if self._samples >= SAMPLES_MIN:
            expected_s = self._mean_s
            if data_bytes != self._mean_bytes:
                expected_s += self.per_byte_s * (data_bytes - self._mean_bytes)
            if abs(seconds - expected_s) > SURPRISE_MAX * expected_s:
                seconds = expected_s * (1 + math.copysign(SURPRISE_MAX, seconds - expected_s))
        self._samples += 1
        self._weight = self._weight * FORGET + 1
        part = 1 / self._weight
        off_bytes, off_s = data_bytes - self._mean_bytes, seconds - self._mean_s
        self._mean_bytes += off_bytes * part
        self._mean_s += off_s * part
        off_bytes_kept = off_bytes * (1 - part)
        self._spread = self._spread * FORGET + off_bytes_kept * off_bytes
        self._joint = self._joint * FORGET + off_bytes_kept * off_s
        return self._samples % SAMPLES_MIN == 0 and self._adopt()

    def _adopt(self) -> bool:
        """Take over what was learned, if it differs enough from what is in use."""
        character_s, turnaround_s = self._learned()
        now = self.cost
        used_s = now.turnaround_s + CHARACTERS * now.character_s + 2 * now.interframe_delay_s
        learned_s = turnaround_s + CHARACTERS * character_s + 2 * self._silence_s
        if (
            abs(character_s - now.character_s) <= CHANGE_MIN * now.character_s
            and abs(learned_s - used_s) <= CHANGE_MIN * used_s
        ):
            return False
        self.cost = ReadCost(_rounded(character_s), self._silence_s, round(turnaround_s, 3))
        return True

    def _learned(self) -> tuple[float, float]:
        """Seconds of a character and of all that is no character, the unit's silence included."""
        character_s = self.per_byte_s
        # ``ReadCost`` counts two silences, and the one before the reply has been measured.
        other_s = self.base_s - CHARACTERS * character_s - self._silence_s + self._rest_s
        return character_s, other_s


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")
