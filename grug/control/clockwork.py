"""Whether an inverter's clock is worth setting. Pure.

Its slots of time follow its own clock, which drifts and knows no summer time. Each setting may
wear its memory, so it is set seldom: only when it is wrong by a minute or more, and two looks an
hour apart agree on by how much. A machine without a clock of its own starts with a wrong time and
jumps when it hears of the right one: then the two looks differ.
"""

from __future__ import annotations

import math
from typing import NamedTuple

DRIFT_S_MAX = 60.0
FIRST_LOOK_S = 600.0
"""After the start: by then most machines know the time."""
LOOK_S = 21_600.0
CONFIRM_S = 3600.0
"""Between a look that finds it wrong, and the one that must agree."""
AGREEMENT_S = 10.0


class ClockState(NamedTuple):
    """What is remembered; times are monotonic."""

    look_s: float
    """When to look next."""
    drift_s: float = math.nan
    """What the last look found, if that was too much; NaN if not."""


class ClockPlan(NamedTuple):
    """Whether to set it, why, and what to remember."""

    sets: bool
    reason: str
    state: ClockState


def started(now_s: float) -> ClockState:
    """What is known at the start."""
    return ClockState(now_s + FIRST_LOOK_S)


def decide(state: ClockState, drift_s: float | None, now_s: float) -> ClockPlan:
    """Decide after a look.

    Args:
        state: as the last decision left it.
        drift_s: how far the inverter's clock is ahead of this machine's local time; NaN when it
            shows no time at all; None when it could not be read, or nobody knows the time.
        now_s: monotonic time.
    """
    if drift_s is None:
        return ClockPlan(False, "its clock could not be compared", ClockState(now_s + CONFIRM_S))
    if abs(drift_s) <= DRIFT_S_MAX:
        return ClockPlan(False, f"its clock is right within {abs(drift_s):.0f} s", _later(now_s))
    shown_s = math.inf if math.isnan(drift_s) else drift_s
    text = "shows no time" if math.isnan(drift_s) else f"is wrong by {drift_s:.0f} s"
    # Equal infinities differ by NaN, so that they are compared first.
    if shown_s == state.drift_s or abs(shown_s - state.drift_s) <= AGREEMENT_S:
        return ClockPlan(True, f"its clock {text}, and was an hour ago", _later(now_s))
    again = ClockState(now_s + CONFIRM_S, shown_s)
    return ClockPlan(False, f"its clock {text}; in an hour it is looked at again", again)


def _later(now_s: float) -> ClockState:
    return ClockState(now_s + LOOK_S)
