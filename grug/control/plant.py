"""How an inverter answers to what its meter says, and what of that is still to come. Pure.

An inverter moves its AC power by ``gain_per_s`` of what its meter shows, for as long as that is
shown; the AC port follows after a dead time, with a lag. So what was told and is not seen yet is
known: it is *under way*. What the AC port did beyond that, it did by itself (a cloud, a rescan of
its trackers, a limit): its battery takes most of that back within a moment, and so it is *passing*.
Both are kept apart from what the house does, which is what has to be answered.

What was measured of an inverter need not be true for ever (a battery that is nearly full, another
firmware). So gain and dead time are learned on from every large move, within bounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

HOLD_S_MAX = 0.5
"""What is told counts for no longer than this, unless its image holds longer: an inverter that
hears nothing stands still."""
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
DEAD_FACTORS = (0.5, 0.7, 1.0, 1.4, 2.0)
"""Of the dead time that was measured: one of these is believed, the one that explains most."""
NOMINAL = DEAD_FACTORS.index(1.0)
GAIN_FACTORS = (1.0, 3.0)
"""Of the gain that was measured: the least and the largest that is believed. An inverter that seems
weaker is rather at a limit, and one that is weaker is just slow."""
GAIN_DOUBT = 0.25
"""A gain that is this near to the measured one is the measured one."""
PRIOR_W2 = 2.5e5
"""What was measured weighs as much as one move of 500 W."""
LEARNED_W2_MAX = 4e6
"""All that was learned weighs no more than one move of 2 kW: older moves are forgotten."""
SQUARE_W2_MIN = 1.0
"""A dead time by which nothing ever moved is forgotten down to this, and not to nothing."""
LEARN_W = 100.0
"""Smaller changes between two readings drown in clouds and teach nothing."""
STRANGE_W = 200.0
STRANGE = (-0.5, 3.5)
"""A change that is beyond these parts of what was expected, and this much, is the sun's doing."""
STRANGE_S = 5.0
"""For so long after it nothing is learned: the battery takes over, and a rescan ends."""
HALF_S = 2.0
"""A move is judged when it is over, or has lasted for so long."""
PREFERENCE = 1.6
"""Another dead time has to explain so many times as much as the one that is believed, and as the
one that was measured."""


class Plant(msgspec.Struct, frozen=True):
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


class Learned(msgspec.Struct, frozen=True):
    """What the moves of one inverter say of its gain and dead time, as factors of the measured."""

    products: tuple[float, ...] = (PRIOR_W2,) * len(DEAD_FACTORS)
    """By dead time: sum of what the model expected times what was seen, of each reading."""
    squares: tuple[float, ...] = (PRIOR_W2,) * len(DEAD_FACTORS)
    """By dead time: sum of what the model expected, squared."""
    at: int = NOMINAL
    """The dead time that is believed."""
    gain: float = 1.0
    """The gain that is believed, as a factor."""
    strange_s: float = -math.inf
    """When the AC port did last what no move explains."""
    begun_s: float | None = None
    """Since when it has been moving; None while it is not."""
    expected_w: tuple[float, ...] = (0.0,) * len(DEAD_FACTORS)
    """By dead time: what the moves should have done between the last reading and the one before."""
    seen_w: float = 0.0
    """What they did."""


UNTAUGHT = Learned()


class Asking(msgspec.Struct, frozen=True):
    """When an inverter asks its meter: it acts on each answer, for as long as until the next."""

    asked_s: float
    """One of the times."""
    every_s: float
    """Between two of them."""


class Motion(msgspec.Struct, frozen=True):
    """What one inverter was told, and what its AC port did."""

    moves: tuple[tuple[float, float], ...] = ()
    """(time of an answer, W s that it told), the newest last."""
    told_w: float = 0.0
    told_s: float | None = None
    """Since when ``told_w`` is told; None before the first time."""
    ac_w: float = 0.0
    ac_s: float | None = None
    """When the AC power was read; None before the first time."""
    passing_w: float = 0.0
    """What it did by itself, at ``ac_s``."""
    hold_s: float = HOLD_S_MAX
    """For so long at most ``told_w`` is said."""
    learned: Learned = UNTAUGHT


STILL = Motion()

Answers: TypeAlias = Sequence[tuple[float, float]]
"""(time, s for which it counts) of each."""


def heard(
    asking: Asking | None, from_s: float, until_s: float, hold_s: float = HOLD_S_MAX
) -> list[tuple[float, float]]:
    """When what is told in a time is heard, and for how long it counts: (time, s) of each answer.

    Without knowing when the inverter asks, all of it is heard half way. It is said for ``hold_s``.
    """
    until_s = min(until_s, from_s + hold_s)
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
    return () if motion.told_s is None else heard(asking, motion.told_s, now_s, motion.hold_s)


def tell(
    plant: Plant,
    motion: Motion,
    told_w: float,
    now_s: float,
    answers: Answers,
    hold_s: float = HOLD_S_MAX,
) -> Motion:
    """Note that from now on something else is told.

    Args:
        plant: as it was measured, not as it is believed.
        motion: until now.
        told_w: what its meter says from now on.
        now_s: monotonic time.
        answers: until now, as ``answers_of`` says.
        hold_s: for how long it is told at most.
    """
    if motion.told_s is None:
        return replace(motion, told_w=told_w, told_s=now_s, hold_s=hold_s)
    # Kept for one dead time more than it takes to be seen: AC power is read less often. And for as
    # long as the slowest plant takes that may be believed next, however quick this one seems now.
    dead_s = plant.dead_s * max(1.0, DEAD_FACTORS[motion.learned.at])
    oldest_s = now_s - 2.0 * dead_s - DONE_LAGS * plant.lag_s - 1.0
    moves = [(at_s, motion.told_w * for_s) for at_s, for_s in answers]
    kept = tuple([each for each in motion.moves if each[0] >= oldest_s] + moves)[-MOVES_MAX:]
    ac_w, ac_s = motion.ac_w, motion.ac_s
    return Motion(kept, told_w, now_s, ac_w, ac_s, motion.passing_w, hold_s, motion.learned)


def under_way_w(plant: Plant, motion: Motion, now_s: float, answers: Answers) -> float:
    """What was told and is not seen at the AC port yet; answers are as ``answers_of`` says."""
    total_ws = 0.0
    for at_s, for_s in answers:
        total_ws += motion.told_w * for_s * (1.0 - done(plant, now_s - at_s))
    # Written out, since this is asked at every decision: what is over is passed by.
    begun_s = now_s - plant.dead_s
    over_s = begun_s - DONE_LAGS * plant.lag_s
    for at_s, told_ws in motion.moves:
        if at_s >= begun_s:
            total_ws += told_ws
        elif at_s > over_s:
            total_ws += told_ws * math.exp((at_s - begun_s) / plant.lag_s)
    return total_ws * plant.gain_per_s


def recent(plant: Plant, motion: Motion, now_s: float) -> float:
    """W that were set going so lately that they might not be seen yet, were it twice as slow."""
    oldest_s = now_s - 2.0 * (plant.dead_s + plant.lag_s)
    return plant.gain_per_s * sum([each for at_s, each in motion.moves if at_s >= oldest_s])


def passing_w(plant: Plant, motion: Motion, now_s: float) -> float:
    """What the AC port gives now that it will take back by itself; plus = into the house."""
    if motion.ac_s is None:
        return 0.0
    return motion.passing_w * math.exp(-max(now_s - motion.ac_s, 0.0) / plant.passing_s)


def _moved_w(
    plant: Plant,
    moves: tuple[tuple[float, float], ...],
    from_s: float,
    until_s: float,
    dead_s: float,
) -> float:
    """What moves made the AC port do between two times, if it begins to after ``dead_s``."""
    total_ws, lag_s, exp = 0.0, plant.lag_s, math.exp
    over_s, begun_s = from_s - dead_s - DONE_LAGS * lag_s, until_s - dead_s
    for at_s, told_ws in moves:
        if over_s < at_s < begun_s:
            # As ``done`` has it, twice; written out, since this is asked most often of all.
            until_age_s, from_age_s = until_s - at_s - dead_s, from_s - at_s - dead_s
            until_part = 1.0 - exp(-until_age_s / lag_s) if until_age_s > 0.0 else 0.0
            from_part = 1.0 - exp(-from_age_s / lag_s) if from_age_s > 0.0 else 0.0
            total_ws += told_ws * (until_part - from_part)
    return total_ws * plant.gain_per_s


def learn(plant: Plant, motion: Motion, ac_w: float, read_s: float) -> Learned:
    """What a reading of AC power adds to what is known of gain and dead time.

    Args:
        plant: as it was measured, not as it is believed.
        motion: until the reading before.
        ac_w: that was read.
        read_s: when.
    """
    before, from_s = motion.learned, motion.ac_s
    if from_s is None or read_s - from_s > 2.0 * plant.passing_s:
        return before
    expected_w = tuple(
        [
            _moved_w(plant, motion.moves, from_s, read_s, factor * plant.dead_s)
            for factor in DEAD_FACTORS
        ]
    )
    seen_w = ac_w - motion.ac_w
    if _is_strange(expected_w, seen_w):
        return replace(before, strange_s=read_s, expected_w=expected_w, seen_w=seen_w)
    is_moving = max(map(abs, expected_w)) >= LEARN_W
    begun_s = (read_s if before.begun_s is None else before.begun_s) if is_moving else None
    learned = replace(before, expected_w=expected_w, seen_w=seen_w, begun_s=begun_s)
    # A move that is blurred over two readings is whole in the sum of both.
    expected_w = tuple([a_w + b_w for a_w, b_w in zip(before.expected_w, expected_w, strict=True)])
    seen_w += before.seen_w
    if max(map(abs, expected_w)) < LEARN_W or read_s - before.strange_s < STRANGE_S:
        return learned
    squares = [old + each * each for old, each in zip(before.squares, expected_w, strict=True)]
    products = [old + each * seen_w for old, each in zip(before.products, expected_w, strict=True)]
    kept = min(1.0, LEARNED_W2_MAX / max(squares))
    learned = replace(
        learned,
        products=tuple([kept * each for each in products]),
        squares=tuple([max(kept * each, SQUARE_W2_MIN) for each in squares]),
    )
    # The first half of a move looks like a slow one.
    return learned if begun_s is not None and read_s - begun_s < HALF_S else _judged(learned)


def _judged(learned: Learned) -> Learned:
    """The same with the gain and dead time that explain most."""
    explained_w2 = [
        max(product, 0.0) ** 2 / square
        for product, square in zip(learned.products, learned.squares, strict=True)
    ]
    explained_w2[NOMINAL] *= PREFERENCE
    explained_w2[learned.at] *= PREFERENCE
    at = explained_w2.index(max(explained_w2))
    gain = min(max(learned.products[at] / learned.squares[at], GAIN_FACTORS[0]), GAIN_FACTORS[1])
    is_same = abs(math.log(gain)) <= GAIN_DOUBT
    return replace(learned, at=at, gain=1.0 if is_same else gain)


def _is_strange(expected_w: Sequence[float], seen_w: float) -> bool:
    """Whether an AC port did what no gain and dead time explains."""
    low, high = STRANGE
    least_w = min(0.0, *[min(low * each_w, high * each_w) for each_w in expected_w])
    most_w = max(0.0, *[max(low * each_w, high * each_w) for each_w in expected_w])
    return not least_w - STRANGE_W <= seen_w <= most_w + STRANGE_W


def believed(plant: Plant, learned: Learned) -> Plant:
    """The plant by all that is known now."""
    if learned is UNTAUGHT:
        return plant
    factor = DEAD_FACTORS[learned.at]
    gain_per_s, dead_s = plant.gain_per_s * learned.gain, plant.dead_s * factor
    return Plant(gain_per_s, dead_s, plant.lag_s, plant.passing_s, plant.is_measured)


def see(plant: Plant, motion: Motion, ac_w: float, read_s: float) -> Motion:
    """Note an AC power that was read; what was not to be expected is passing.

    What may be the model's own error is not: it stays in the grid's power and is answered there.
    """
    if motion.ac_s is not None and read_s <= motion.ac_s:
        return motion
    found_w = 0.0
    if motion.ac_s is not None and read_s - motion.ac_s <= 2.0 * plant.passing_s:
        moved_w = _moved_w(plant, motion.moves, motion.ac_s, read_s, plant.dead_s)
        unexplained_w = ac_w - motion.ac_w - moved_w
        young_s = plant.dead_s + 3.0 * plant.lag_s + (read_s - motion.ac_s)
        doubt_w = DOUBT_W + DOUBT * plant.gain_per_s * sum(
            [abs(told_ws) for at_s, told_ws in motion.moves if read_s - at_s < young_s]
        )
        found_w = passing_w(plant, motion, read_s)
        found_w += math.copysign(max(0.0, abs(unexplained_w) - doubt_w), unexplained_w)
    return replace(motion, ac_w=ac_w, ac_s=read_s, passing_w=found_w)
