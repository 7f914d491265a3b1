"""What kind of plant an inverter is: fitted to what it was told and what its AC port did. Pure.

The model is that of ``plant``: it moves by a gain times what it is told, after a dead time, with a
lag. Changes of AC power from reading to reading are compared with the model's, so that a slow
drift (the sun, another offset) hardly matters. Dead time and lag are searched on a grid, and for
each pair the gain follows by least squares. How sure that is, is found by leaving out one part of
the record after the other (the jackknife): noise of clouds and loads is not independent from
reading to reading, so that the formulas of least squares would promise too much.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

from grug.control.plant import Asking, Plant, heard

DEAD_S = tuple(round(0.05 * step, 2) for step in range(1, 61))
LAG_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2)
CHANGES_MIN = 40
"""Fewer changes of AC power are not fitted: half a minute of readings twice a second has more."""
EXPLAINED_MIN = 0.5
"""A fit that explains less of what the AC port did is not proposed."""
PARTS = 8
"""In which the record is cut to see how sure a fit is."""
GAIN_DOUBT_MAX = 0.15
"""A gain that is less sure than this part of itself is not proposed."""
DELAY_DOUBT_S_MAX = 0.2
"""Nor is a delay that is less sure than this."""
CHANGE_S_MAX = 2.0
"""Two readings of AC power that are further apart are not compared."""


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
    gain_doubt_per_s: float = math.nan
    """Standard error of the gain; NaN when it is not known."""
    delay_doubt_s: float = math.nan
    """Standard error of dead time and lag together: of the two apart less is known."""
    slew_w_per_s: float = 0.0
    """The fastest change between two readings. Its slew limit is at least that: small steps do not
    reach the limit."""


class _Change(NamedTuple):
    """Of AC power, from one reading to the next."""

    first_s: float
    second_s: float
    change_w: float


class _Model(NamedTuple):
    """One dead time and lag, and what a gain of 1 would explain in each part of the record."""

    dead_s: float
    lag_s: float
    products: tuple[float, ...]
    squares: tuple[float, ...]


def fit(seen: Seen) -> Fit:
    """Find gain, dead time and lag, and how sure they are."""
    moves = _moves(seen)
    changes = [
        _Change(first_s, second_s, second_w - first_w)
        for (first_s, first_w), (second_s, second_w) in pairwise(seen.ac)
        if 0.0 < second_s - first_s <= CHANGE_S_MAX
    ]
    if len(changes) < CHANGES_MIN or not moves:
        return Fit(Plant(), 0.0, len(changes), f"only {len(changes)} changes of AC power were seen")
    models = [_model(moves, changes, dead_s, lag_s) for dead_s in DEAD_S for lag_s in LAG_S]
    everything = frozenset(range(PARTS))
    best, explained_w2 = _best(models, everything)
    if best is None:
        return Fit(Plant(), 0.0, len(changes), "it explains only 0 % of what the AC port did")
    total = sum(each.change_w * each.change_w for each in changes)
    explained = explained_w2 / total
    without = [_best(models, everything - {part})[0] for part in everything]
    gain_doubt_per_s = _doubt([each.gain_per_s if each else math.inf for each in without])
    # On a grid of delays it may be the same one each time: no less than a step of it is sure.
    delays_s = [each.dead_s + each.lag_s if each else math.inf for each in without]
    delay_doubt_s = max(_doubt(delays_s), DEAD_S[1] - DEAD_S[0])
    slew_w_per_s = max(abs(each.change_w) / (each.second_s - each.first_s) for each in changes)
    problem = ""
    if explained < EXPLAINED_MIN:
        problem = f"it explains only {100.0 * max(explained, 0.0):.0f} % of what the AC port did"
    elif not gain_doubt_per_s <= GAIN_DOUBT_MAX * best.gain_per_s:
        problem = f"its gain of {best.gain_per_s:.2f} is only known to {gain_doubt_per_s:.2f}"
    elif not delay_doubt_s <= DELAY_DOUBT_S_MAX:
        problem = f"its delay is only known to {delay_doubt_s:.1f} s"
    elif best.dead_s >= DEAD_S[-1] or best.lag_s >= LAG_S[-1]:
        problem = f"its dead time or lag is beyond {DEAD_S[-1]:.0f} s or {LAG_S[-1]:.1f} s"
    return Fit(
        best, explained, len(changes), problem, gain_doubt_per_s, delay_doubt_s, slew_w_per_s
    )


def _moves(seen: Seen) -> list[tuple[float, float]]:
    """(time of an answer, W s that it told), as the inverter heard them."""
    times_s = [asking.asked_s for asking in seen.asking]
    moves = []
    for (from_s, told_w), (until_s, _) in pairwise(seen.told):
        at = bisect_right(times_s, from_s)
        asking = seen.asking[min(at, len(times_s) - 1)] if times_s else None
        moves += [(at_s, told_w * for_s) for at_s, for_s in heard(asking, from_s, until_s)]
    return moves


def _best(models: Sequence[_Model], parts: Collection[int]) -> tuple[Plant | None, float]:
    """The plant that explains most in these parts of the record, and how many W^2 that is."""
    best, best_w2 = None, 0.0
    for model in models:
        products = sum(model.products[part] for part in parts)
        squares = sum(model.squares[part] for part in parts)
        if products > 0.0 and products * products / squares > best_w2:
            best_w2 = products * products / squares
            best = Plant(products / squares, model.dead_s, model.lag_s)
    return best, best_w2


def _doubt(without: Sequence[float]) -> float:
    """The standard error, by what is found when one part is left out after the other."""
    mean = sum(without) / len(without)
    if not math.isfinite(mean):
        return math.inf
    squares = sum((each - mean) ** 2 for each in without)
    return math.sqrt(squares * (len(without) - 1) / len(without))


def _model(
    moves: Sequence[tuple[float, float]],
    changes: Sequence[_Change],
    dead_s: float,
    lag_s: float,
) -> _Model:
    """What this dead time and lag, with a gain of 1, have to do with what was seen."""
    products, squares = [0.0] * PARTS, [0.0] * PARTS
    begin, far_s = 0, dead_s + 8.0 * lag_s
    for number, (first_s, second_s, change_w) in enumerate(changes):
        while begin < len(moves) and moves[begin][0] < first_s - far_s:
            begin += 1
        modelled = 0.0
        for index in range(begin, len(moves)):
            at_s, told_ws = moves[index]
            if at_s + dead_s >= second_s:
                break
            done = -math.expm1(-(second_s - at_s - dead_s) / lag_s)
            if first_s > at_s + dead_s:
                done += math.expm1(-(first_s - at_s - dead_s) / lag_s)
            modelled += told_ws * done
        part = number * PARTS // len(changes)
        products[part] += modelled * change_w
        squares[part] += modelled * modelled
    return _Model(dead_s, lag_s, tuple(products), tuple(squares))


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
