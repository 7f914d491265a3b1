"""What kind of plant an inverter is: fitted to what it was told and what its AC port did. Pure.

The model is that of ``plant``: it moves by a gain times what it is told, after a dead time, with a
lag. Changes of AC power from reading to reading are compared with the model's, so that a slow
drift (the sun, another offset) hardly matters. Dead time and lag are searched on a grid, and for
each pair the gain follows by least squares.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from grug.control.plant import Asking, Plant, heard

DEAD_S = tuple(round(0.05 * step, 2) for step in range(1, 61))
LAG_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2)
CHANGES_MIN = 40
"""Fewer changes of AC power are not fitted: half a minute of readings twice a second has more."""
EXPLAINED_MIN = 0.5
"""A fit that explains less of what the AC port did is not proposed."""


class Seen(msgspec.Struct, frozen=True):
    """What was recorded of one inverter, each in order of time."""

    told: tuple[tuple[float, float], ...]
    """(since when, W that its meter said)."""
    ac: tuple[tuple[float, float], ...]
    """(time, W out of its AC port)."""
    asking: tuple[Asking, ...] = ()
    """When it asked its meter; empty when that is not known."""


class Fit(msgspec.Struct, frozen=True):
    """The plant that explains best what was seen."""

    plant: Plant
    explained: float
    """Part of the AC port's changes (of their squares) that it explains, at most 1."""
    changes: int
    """How many were compared."""
    problem: str = ""
    """Why it must not be used; empty when it may."""


def fit(seen: Seen) -> Fit:
    """Find gain, dead time and lag."""
    moves = _moves(seen)
    changes = [
        (first_s, second_s, second_w - first_w)
        for (first_s, first_w), (second_s, second_w) in pairwise(seen.ac)
        if 0.0 < second_s - first_s <= 2.0
    ]
    if len(changes) < CHANGES_MIN or not moves:
        return Fit(Plant(), 0.0, len(changes), f"only {len(changes)} changes of AC power were seen")
    best, best_error = Plant(), math.inf
    total = sum(change_w * change_w for _, _, change_w in changes)
    for dead_s in DEAD_S:
        for lag_s in LAG_S:
            gain, error = _error(moves, changes, dead_s, lag_s)
            if error < best_error and gain > 0.0:
                best, best_error = Plant(gain, dead_s, lag_s), error
    explained = 1.0 - best_error / total if total and best_error < math.inf else 0.0
    problem = ""
    if explained < EXPLAINED_MIN:
        problem = f"it explains only {100.0 * max(explained, 0.0):.0f} % of what the AC port did"
    return Fit(best, explained, len(changes), problem)


def _moves(seen: Seen) -> list[tuple[float, float]]:
    """(time of an answer, W s that it told), as the inverter heard them."""
    times_s = [asking.asked_s for asking in seen.asking]
    moves = []
    for (from_s, told_w), (until_s, _) in pairwise(seen.told):
        at = bisect_right(times_s, from_s)
        asking = seen.asking[min(at, len(times_s) - 1)] if times_s else None
        moves += [(at_s, told_w * for_s) for at_s, for_s in heard(asking, from_s, until_s)]
    return moves


def _error(
    moves: Sequence[tuple[float, float]],
    changes: Sequence[tuple[float, float, float]],
    dead_s: float,
    lag_s: float,
) -> tuple[float, float]:
    """The best gain for this dead time and lag, and the squares that it leaves unexplained."""
    products = squares = total = 0.0
    begin, far_s = 0, dead_s + 8.0 * lag_s
    for first_s, second_s, change_w in changes:
        while begin < len(moves) and moves[begin][0] < first_s - far_s:
            begin += 1
        modelled = 0.0
        for at_s, told_ws in moves[begin:]:
            if at_s + dead_s >= second_s:
                break
            done = -math.expm1(-(second_s - at_s - dead_s) / lag_s)
            if first_s > at_s + dead_s:
                done += math.expm1(-(first_s - at_s - dead_s) / lag_s)
            modelled += told_ws * done
        products += modelled * change_w
        squares += modelled * modelled
        total += change_w * change_w
    gain = products / squares if squares else 0.0
    return gain, total - gain * products


def margin(plant: Plant, per_s: float) -> tuple[float, float]:
    """How wrong the model may be before the plain part of the loop swings.

    Args:
        plant: what was fitted.
        per_s: part of what is left that is done in a second.

    Returns:
        Phase in degrees that is left with the model's own dead time and no prediction at all, and
        how many times as large the gain may be then. 90 degrees less the dead time's own phase is
        what an integrator has.
    """
    angle = per_s * (plant.dead_s + plant.lag_s)
    return 90.0 - math.degrees(angle), math.inf if not angle else math.pi / 2.0 / angle
