"""Whether the loop hunts, and for how long it is then driven gently. Pure.

A model that is wrong (another firmware, another gain) makes a quick loop swing: too far one way,
too far the other, again and again. Loads and clouds swing too, but not for long. So reversals of
the error are counted, and forgotten with time; when there are many, the inverters are told the
plain power for a while, as a meter would: that swings with no inverter that works without grug.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class HuntingSettings:
    """What counts as hunting."""

    swing_w: float = 300.0
    """The grid's error has to go this far to both sides."""
    swing_s: float = 3.0
    """A reversal that took longer is somebody's doing."""
    grave_w: tuple[float, float] = (1800.0, 400.0)
    """Beyond the first of both peaks a reversal counts as one more for each of the second, so that
    a loop that swings by kilowatts is noticed within seconds."""
    grave_w_max: float = 2600.0
    """Peaks count no further than this: larger ones are jumps of a load."""
    forget_s: float = 15.0
    """Time constant with which reversals are forgotten."""
    reversals: float = 5.5
    """So many of them are hunting."""
    hold_s: float = 60.0
    """For so long the inverters are driven gently; twice as long when it happens again."""
    hold_s_max: float = 3600.0


class Hunting(msgspec.Struct, frozen=True):
    """What was seen of it."""

    side: float = 0.0
    """+1 or -1: where the error was last, beyond the swing."""
    side_s: float = -math.inf
    peak_w: float = 0.0
    """The largest on this side, without its sign."""
    before_w: float = 0.0
    """The same of the side before; 0 when it was too long ago."""
    score: float = 0.0
    """Reversals, of which the older ones count less, at ``score_s``."""
    score_s: float = 0.0
    gentle_until_s: float = -math.inf
    holds: int = 0
    """How often in a row it happened."""


QUIET = Hunting()


def note(settings: HuntingSettings, before: Hunting, error_w: float, now_s: float) -> Hunting:
    """Look at the error of this moment.

    Args:
        settings: what counts.
        before: what was seen until now.
        error_w: by how much the house imports (plus) more than it shall.
        now_s: monotonic time.
    """
    size_w = abs(error_w)
    if size_w < settings.swing_w:
        return before
    side, peak_w, before_w, score = math.copysign(1.0, error_w), before.peak_w, before.before_w, 0.0
    if side != before.side:
        is_quick = now_s - before.side_s <= settings.swing_s
        before_w, peak_w = (peak_w if is_quick else 0.0), 0.0
        score = 1.0 if is_quick else 0.0
    # Counted as it grows, and no larger than the one before.
    grave_w, each_w = settings.grave_w
    most_w = min(before_w, settings.grave_w_max)
    score += max(0.0, min(size_w, most_w) - max(peak_w, grave_w)) / each_w
    if score:
        score += before.score * math.exp(-(now_s - before.score_s) / settings.forget_s)
    seen = Hunting(
        side,
        now_s,
        max(peak_w, size_w),
        before_w,
        score or before.score,
        now_s if score else before.score_s,
        before.gentle_until_s,
        before.holds,
    )
    if score < settings.reversals or is_gentle(before, now_s):
        return seen
    is_again = now_s - before.gentle_until_s <= settings.hold_s_max
    holds = before.holds + 1 if is_again else 0
    hold_s = min(settings.hold_s * 2.0**holds, settings.hold_s_max)
    return msgspec.structs.replace(
        seen, score=0.0, gentle_until_s=now_s + hold_s, holds=min(holds, 20)
    )


def is_gentle(hunting: Hunting, now_s: float) -> bool:
    """Whether the inverters are driven gently now."""
    return now_s < hunting.gentle_until_s
