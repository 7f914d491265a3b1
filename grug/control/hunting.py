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
    if abs(error_w) < settings.swing_w:
        return before
    side = math.copysign(1.0, error_w)
    if side == before.side or not before.side:
        return msgspec.structs.replace(before, side=side, side_s=now_s)
    score = before.score * math.exp(-(now_s - before.score_s) / settings.forget_s)
    if now_s - before.side_s <= settings.swing_s:
        score += 1.0
    seen = msgspec.structs.replace(before, side=side, side_s=now_s, score=score, score_s=now_s)
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
