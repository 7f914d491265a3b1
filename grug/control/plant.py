"""How an inverter answers to what its meter says, and what of that is still to come. Pure.

An inverter moves its AC power by ``gain_per_s`` of what its meter shows, for as long as that is
shown; the AC port follows after a dead time, with a lag. So what was told and is not seen yet is
known: it is *under way*. What the AC port did beyond that, it did by itself (a cloud, a rescan of
its trackers, a limit): its battery takes most of that back within a moment, and so it is *passing*.
Both are kept apart from what the house does, which is what has to be answered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

HOLD_S_MAX = 0.5
"""What is told counts for no longer than this: an inverter that hears nothing stands still."""
DONE_LAGS = 5.0
"""After so many lags nothing of a move is missing any more."""
MOVES_MAX = 64
"""Moves that are remembered, at five a second: longer than any inverter takes."""
ASKING_S_MAX = 3.0
"""For so long after one question the times of the next ones are known well enough."""
DOUBT = 0.5
"""Part of what moves just now by which the model may be wrong."""
DOUBT_W = 50.0
"""What an AC port does beyond the model without anything being behind it."""


@dataclass(frozen=True, slots=True)
class Plant:
    """One inverter with its fake meter, as seen from grug."""

    gain_per_s: float = 0.45
    """W per second that it changes for each W that its meter shows."""
    dead_s: float = 0.55
    """From an answer of its meter until its AC port begins to move."""
    lag_s: float = 0.1
    """Time constant of the move itself."""
    passing_s: float = 1.5
    """In this time the AC port takes back what it did by itself."""
    is_measured: bool = True
    """Whether this is known of the inverter, and not just assumed: then it may be told surges."""


class Asking(msgspec.Struct, frozen=True):
    """When an inverter asks its meter: it acts on each answer, for as long as until the next."""

    asked_s: float
    """One of the times."""
    every_s: float
    """Between two of them."""


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

Answers: TypeAlias = Sequence[tuple[float, float]]
"""(time, s for which it counts) of each."""


def heard(asking: Asking | None, from_s: float, until_s: float) -> list[tuple[float, float]]:
    """When what is told in a time is heard, and for how long it counts: (time, s) of each answer.

    Without knowing when the inverter asks, all of it is heard half way.
    """
    until_s = min(until_s, from_s + HOLD_S_MAX)
    if until_s <= from_s:
        return []
    if asking is None or not -ASKING_S_MAX <= from_s - asking.asked_s <= ASKING_S_MAX:
        return [((from_s + until_s) / 2.0, until_s - from_s)]
    every_s = asking.every_s
    first = math.ceil((from_s - asking.asked_s) / every_s)
    last = math.ceil((until_s - asking.asked_s) / every_s)
    return [(asking.asked_s + number * every_s, every_s) for number in range(first, last)]


def done(plant: Plant, age_s: float) -> float:
    """The part of a move that is seen, 0..1, so long after it was told."""
    after_s = age_s - plant.dead_s
    return 1.0 - math.exp(-after_s / plant.lag_s) if after_s > 0.0 else 0.0


def answers_of(motion: Motion, now_s: float, asking: Asking | None) -> Answers:
    """When what is told was heard since it is told, as ``heard`` says."""
    return () if motion.told_s is None else heard(asking, motion.told_s, now_s)


def tell(plant: Plant, motion: Motion, told_w: float, now_s: float, answers: Answers) -> Motion:
    """Note that from now on something else is told.

    Args:
        plant: how it answers.
        motion: until now.
        told_w: what its meter says from now on.
        now_s: monotonic time.
        answers: until now, as ``answers_of`` says.
    """
    if motion.told_s is None:
        return msgspec.structs.replace(motion, told_w=told_w, told_s=now_s)
    # Kept for one dead time more than it takes to be seen: AC power is read less often.
    oldest_s = now_s - 2.0 * plant.dead_s - DONE_LAGS * plant.lag_s - 1.0
    gain_w = plant.gain_per_s * motion.told_w
    moves = [(at_s, gain_w * for_s) for at_s, for_s in answers]
    kept = tuple([each for each in motion.moves if each[0] >= oldest_s] + moves)
    return Motion(kept[-MOVES_MAX:], told_w, now_s, motion.ac_w, motion.ac_s, motion.passing_w)


def under_way_w(plant: Plant, motion: Motion, now_s: float, answers: Answers) -> float:
    """What was told and is not seen at the AC port yet; answers are as ``answers_of`` says."""
    total_w = 0.0
    gain_w = plant.gain_per_s * motion.told_w
    for at_s, for_s in answers:
        total_w += gain_w * for_s * (1.0 - done(plant, now_s - at_s))
    # Written out, since this is asked at every decision: what is over is passed by.
    begun_s = now_s - plant.dead_s
    over_s = begun_s - DONE_LAGS * plant.lag_s
    for at_s, moves_w in motion.moves:
        if at_s >= begun_s:
            total_w += moves_w
        elif at_s > over_s:
            total_w += moves_w * math.exp((at_s - begun_s) / plant.lag_s)
    return total_w


def recent(plant: Plant, motion: Motion, now_s: float) -> float:
    """W that were set going so lately that they might not be seen yet, were it twice as slow."""
    oldest_s = now_s - 2.0 * (plant.dead_s + plant.lag_s)
    return sum([moves_w for at_s, moves_w in motion.moves if at_s >= oldest_s])


def passing_w(plant: Plant, motion: Motion, now_s: float) -> float:
    """What the AC port gives now that it will take back by itself; plus = into the house."""
    if motion.ac_s is None:
        return 0.0
    return motion.passing_w * math.exp(-max(now_s - motion.ac_s, 0.0) / plant.passing_s)


def _moved_w(
    plant: Plant, moves: tuple[tuple[float, float], ...], from_s: float, until_s: float
) -> float:
    """What moves made the AC port do between two times."""
    total_w = 0.0
    over_s = from_s - plant.dead_s - DONE_LAGS * plant.lag_s
    for at_s, moves_w in moves:
        if over_s < at_s < until_s - plant.dead_s:
            total_w += moves_w * (done(plant, until_s - at_s) - done(plant, from_s - at_s))
    return total_w


def see(plant: Plant, motion: Motion, ac_w: float, read_s: float) -> Motion:
    """Note an AC power that was read; what was not to be expected is passing.

    What may be the model's own error is not: it stays in the grid's power and is answered there.
    """
    if motion.ac_s is not None and read_s <= motion.ac_s:
        return motion
    found_w = 0.0
    if motion.ac_s is not None and read_s - motion.ac_s <= 2.0 * plant.passing_s:
        moved_w = _moved_w(plant, motion.moves, motion.ac_s, read_s)
        unexplained_w = ac_w - motion.ac_w - moved_w
        young_s = plant.dead_s + 3.0 * plant.lag_s + (read_s - motion.ac_s)
        doubt_w = DOUBT_W + DOUBT * sum(
            [abs(moves_w) for at_s, moves_w in motion.moves if read_s - at_s < young_s]
        )
        found_w = passing_w(plant, motion, read_s)
        found_w += math.copysign(max(0.0, abs(unexplained_w) - doubt_w), unexplained_w)
    return msgspec.structs.replace(motion, ac_w=ac_w, ac_s=read_s, passing_w=found_w)
