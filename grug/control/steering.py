"""What each inverter is told, so that together they do what the house needs. Pure.

The law, at each reading of the grid's power:

1. *What is left.* Grid power plus offset, less what is under way, plus what the AC ports give in
   passing (see ``plant``). A cloud that a battery takes over by itself is not answered twice.
2. *How quickly.* An inverter moves by ``gain`` times what it is told, so to move it by W in one
   period it is told W / (gain * period). A large rest is done in few periods, imports sooner than
   exports since they cost money; a small one slowly, as a plain meter would let it.
3. *By whom.* By share among those that follow; the balance of the batteries on top.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from grug.control.balance import (
    NEW,
    BalanceSettings,
    Following,
    InverterFacts,
    corrections_w,
    follow,
    free_of,
)
from grug.control.plant import STILL, Motion, Plant, heard, passing_w, see, tell, under_way_w

NOTHING = InverterFacts()

PERIOD_S_MAX = 0.5
"""Readings that come more slowly tell the plain power: what is under way is not seen."""


@dataclass(frozen=True, slots=True)
class DriveSettings:
    """How hard the inverters are driven."""

    plain_per_s: float = 0.7
    """Of a small rest, the part that is done in a second."""
    import_part: float = 1.1
    """Of a large import, the part that one decision sets going."""
    export_part: float = 0.3
    """The same of a large export."""
    plain_w: float = 300.0
    """Up to here a rest is small."""
    told_w_max: float = 10000.0
    """No inverter is ever told more than this to make it quick."""


class Steered(msgspec.Struct, frozen=True):
    """One inverter, as the law sees it."""

    name: str
    share: float
    plant: Plant


class Told(msgspec.Struct, frozen=True):
    """What the law says."""

    told_w: Mapping[str, float]
    following: Mapping[str, Following]
    motions: Mapping[str, Motion]
    reason: str = ""


def steer(
    drive: DriveSettings,
    balance: BalanceSettings,
    there: tuple[Steered, ...],
    following: Mapping[str, Following],
    motions: Mapping[str, Motion],
    wanted_w: float,
    facts: Mapping[str, InverterFacts],
    shifts_w: Mapping[str, float],
    now_s: float,
    step_s: float,
) -> Told:
    """Decide what each inverter that is there is told."""
    seen, asking = {}, {}
    for one in there:
        motion = motions.get(one.name, STILL)
        fact = facts.get(one.name, NOTHING)
        asking[one.name] = fact.asking
        if fact.ac_w is not None:
            motion = see(one.plant, motion, fact.ac_w, fact.ac_s)
        seen[one.name] = motion
    free = set(free_of([one.name for one in there], following, now_s))
    left_w = wanted_w
    is_quick = 0.0 < step_s <= PERIOD_S_MAX
    if is_quick:
        for one in there:
            left_w -= under_way_w(one.plant, seen[one.name], now_s, asking[one.name])
            left_w += passing_w(one.plant, seen[one.name], now_s)
    total = sum(one.share for one in there if one.name in free)
    told = {}
    for one in there:
        part = one.share / total if one.name in free and total else 0.0
        heard_s = 0.0
        if is_quick:
            heard_s = sum(for_s for _, for_s in heard(asking[one.name], now_s, now_s + step_s))
        rate_w_per_s = _rate(drive, left_w, heard_s or step_s if is_quick else math.inf)
        asked_w = rate_w_per_s * part / one.plant.gain_per_s
        told[one.name] = min(max(asked_w, -drive.told_w_max), drive.told_w_max)
    if len(free) > 1 and facts:
        weights = {one.name: one.share for one in there if one.name in free}
        for name, more_w in corrections_w(balance, weights, facts, shifts_w, now_s).items():
            told[name] += more_w
    for one in there:
        if one.name not in free:
            told[one.name] = wanted_w / len(there)
    return Told(
        told,
        {
            name: follow(balance, following.get(name, NEW), told_w, now_s)
            for name, told_w in told.items()
        },
        {
            one.name: tell(one.plant, seen[one.name], told[one.name], now_s, asking[one.name])
            for one in there
        },
    )


def _rate(drive: DriveSettings, left_w: float, heard_s: float) -> float:
    """W per second by which all together shall move."""
    plain = left_w * drive.plain_per_s
    if left_w >= 0.0:
        large_w, part = max(0.0, left_w - drive.plain_w), drive.import_part
    else:
        large_w, part = min(0.0, left_w + drive.plain_w), drive.export_part
    return plain + large_w * max(0.0, part / heard_s - drive.plain_per_s)
