"""What current a charger is allowed: pure decisions, with their reasons.

For now a fixed limit from the config; what decides by excess comes in its place.
"""

from __future__ import annotations

import math
from typing import NamedTuple

CURRENT_A_MIN = 6.0
"""The least a car charges with. Source: IEC 61851-1, 6 A as the lowest pilot signal."""

CURRENT_A_PAUSE = 5.0
"""What is sent to pause: any limit under 6 A pauses an ABB Terra AC, and 5 A is the one that was
tried for years. Source: field notes of the seed system."""

CURRENT_A_MAX = 32.0
"""The most that a Terra AC of any rating takes."""


class Limit(NamedTuple):
    """A current limit, as it is to be written."""

    current_a: float
    reason: str


def decide_limit(wanted_a: float, source: str = "fixed limit from the config") -> Limit:
    """Turn a wanted limit into one that may be sent.

    Args:
        wanted_a: in A; under 6 pauses, and so does what is no number.
        source: who wants it, for the reason.
    """
    if math.isnan(wanted_a):
        return Limit(CURRENT_A_PAUSE, f"paused: {source} is not a number")
    if wanted_a < CURRENT_A_MIN:
        return Limit(CURRENT_A_PAUSE, f"paused: {source} of {wanted_a:g} A is under 6 A")
    if wanted_a > CURRENT_A_MAX:
        return Limit(CURRENT_A_MAX, f"{source}, cut from {wanted_a:g} A to 32 A")
    return Limit(wanted_a, source)
