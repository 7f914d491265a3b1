"""How an inverter answers to what its meter says, and what of that is still to come. Pure.

An inverter moves its AC power by ``gain_per_s`` of what its meter shows, for as long as it shows it;
that is seen after a dead time, with a lag. So what was told and is not seen yet is known: it is
*under way*. What the AC port did beyond that, it did by itself (a cloud, a rescan of its trackers,
a limit): its battery takes most of that back within a moment, and so it is a *passing* power.
Both are kept apart from what the house does, which is what has to be answered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec

HOLD_S_MAX = 0.5
"""What is told counts for no longer than this: an inverter that hears nothing stands still."""
DONE_LAGS = 5.0
"""After so many lags nothing of a move is missing any more."""
MOVES_MAX = 64
"""Moves that are remembered, at five a second: longer than any inverter takes."""


DOUBT = 0.5
DOUBT_W = 50.0


@dataclass(frozen=True, slots=True)
class Plant:
    """One inverter with its fake meter, as seen from grug."""

    gain_per_s: float = 0.45
    """W per second that it changes for each W that its meter shows."""
    dead_s: float = 0.55
    """From the moment in which something is told until the AC port begins to move."""
    lag_s: float = 0.1
    """Time constant of the move itself."""
    passing_s: float = 2.0
    """In this time the AC port takes back what it did by itself."""


class Motion(msgspec.Struct, frozen=True):
    """What one inverter was told, and what its AC port did."""

    moves: tuple[tuple[float, float], ...] = ()
    """(time at which it was told, W that it moves the AC port), the newest last."""
    told_w: float = 0.0
    told_s: float | None = None
    """Since when ``told_w`` is told; None before the first time."""
    ac_w: float = 0.0
    ac_s: float | None = None
    """When the AC power was read; None before the first time."""
    passing_w: float = 0.0
    """What it did by itself, at ``ac_s``."""


STILL = Motion()


def done(plant: Plant, age_s: float) -> float:
    """The part of a move that is seen, 0..1, so long after it was told."""
    after_s = age_s - plant.dead_s
    return 1.0 - math.exp(-after_s / plant.lag_s) if after_s > 0.0 else 0.0


def tell(plant: Plant, motion: Motion, told_w: float, now_s: float) -> Motion:
    """Note that from now on something else is told.

    Args:
        plant: how it answers.
        motion: until now.
        told_w: what its meter says from now on.
        now_s: monotonic time.
    """
    if motion.told_s is None:
        return msgspec.structs.replace(motion, told_w=told_w, told_s=now_s)
    held_s = min(max(now_s - motion.told_s, 0.0), HOLD_S_MAX)
    move = (motion.told_s + held_s / 2.0, plant.gain_per_s * motion.told_w * held_s)
    # Kept for one dead time more than it takes to be seen: AC power is read less often.
    oldest_s = now_s - 2.0 * plant.dead_s - DONE_LAGS * plant.lag_s - 1.0
    kept = [each for each in motion.moves if each[0] >= oldest_s]
    moves = (*kept, move)[-MOVES_MAX:]
    return Motion(moves, told_w, now_s, motion.ac_w, motion.ac_s, motion.passing_w)


def under_way_w(plant: Plant, motion: Motion, now_s: float) -> float:
    """What was told and is not seen at the AC port yet, what is told just now included."""
    told_s = now_s if motion.told_s is None else motion.told_s
    held_s = min(max(now_s - told_s, 0.0), HOLD_S_MAX)
    total_w = plant.gain_per_s * motion.told_w * held_s
    for at_s, moves_w in motion.moves:
        total_w += moves_w * (1.0 - done(plant, now_s - at_s))
    return total_w


def passing_w(plant: Plant, motion: Motion, now_s: float) -> float:
    """What the AC port gives now that it will take back by itself; plus = into the house."""
    if motion.ac_s is None:
        return 0.0
    return motion.passing_w * math.exp(-max(now_s - motion.ac_s, 0.0) / plant.passing_s)


def see(plant: Plant, motion: Motion, ac_w: float, read_s: float) -> Motion:
    """Note an AC power that was read; what was not to be expected is passing."""
    if motion.ac_s is not None and read_s <= motion.ac_s:
        return motion
    if motion.ac_s is None or read_s - motion.ac_s > 3.0 * plant.passing_s:
        found_w = 0.0
    else:
        moved_w = sum(
            moves_w * (done(plant, read_s - at_s) - done(plant, motion.ac_s - at_s))
            for at_s, moves_w in motion.moves
        )
        unexplained_w = ac_w - motion.ac_w - moved_w
        doubt_w = DOUBT_W + DOUBT * sum(
            abs(moves_w)
            for at_s, moves_w in motion.moves
            if read_s - at_s < plant.dead_s + 3.0 * plant.lag_s + 0.6
        )
        found_w = passing_w(plant, motion, read_s)
        found_w += math.copysign(max(0.0, abs(unexplained_w) - doubt_w), unexplained_w)
    return msgspec.structs.replace(motion, ac_w=ac_w, ac_s=read_s, passing_w=found_w)
