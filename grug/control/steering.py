"""What each inverter is told, so that together they do what the house needs. Pure.

The law, at each reading of the grid's power:

1. *What is left.* Grid power plus offset, less what is under way, plus what the AC ports give in
   passing (see ``plant``): what was told is not told twice, and a cloud that a battery takes over
   by itself is not answered.
2. *How quickly.* An inverter moves by its gain times what it is told, for as long as it is told. So
   what shall be moved at once is divided by gain and time: a surge. A small rest is told plainly.
   Imports are ended sooner than exports since they cost money. A jump that is larger than what
   households switch on is rather a motor's inrush, over before anything could answer it.
3. *By whom.* By share, the quick ones before the slow ones, none beyond what its battery can do,
   and none that does not follow; the balance of the batteries and the guard against power that goes
   from one to the other (see ``circulation``) come on top.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

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
from grug.control.circulation import Circulation, CirculationSettings, guarded, watch
from grug.control.hunting import Hunting, HuntingSettings, is_gentle, note
from grug.control.plant import (
    STILL,
    Answers,
    Motion,
    Plant,
    answers_of,
    believed,
    heard,
    learn,
    passing_w,
    recent,
    see,
    tell,
    under_way_w,
)

PERIOD_S_MAX = 0.5
"""Readings that come more slowly tell no surges."""
MODEL_PERIOD_S_MAX = 1.3
"""Readings that come even more slowly tell the plain power, as a meter would, and so does a house
where it is not seen what the inverters do, or was not measured how: too little is known then of
what is under way."""
SURGE_S_MAX = 0.6
"""What is told to move an inverter quickly is told for no longer than this after its reading: then
the fake meter is silent, until somebody has decided anew."""
HOLD_S = 1.5
"""Everything else is told until the next decision, or about this."""
LIMIT_W = 150.0
"""A battery that could take or give only so much more is at its limit."""
SURGE_W_MIN = 20.0
"""Smaller surges are none: the plain part does it."""

UNKNOWN = InverterFacts()
NO_ROOMS: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class DriveSettings:
    """How hard the inverters are driven."""

    plain_per_s: float = 0.8
    """Of a small rest, the part that is done in a second."""
    slow_per_s: float = 0.5
    """The same where readings come so slowly that nobody is told surges."""
    plain_w: float = 300.0
    """Up to here a rest is small."""
    import_part: float = 1.15
    """Of what an import is larger, the part that one decision sets going."""
    export_part: float = 0.3
    """The same of an export."""
    cancel_part: float = 0.4
    """Of what is under way and not needed any more, the part that one decision takes back."""
    trust: float = 0.4
    """Of what the AC ports take in passing, the part that is left to them; the rest is answered."""
    surge_w: float = 1800.0
    """No more than this is set going before any of it is seen."""
    inrush_w: float = 2500.0
    """A larger jump to an import is rather a motor's inrush: no more than ``inrush_surge_w`` is set
    going."""
    inrush_surge_w: float = 500.0
    inrush_s: float = 0.7
    """What is still there after this is no inrush."""
    doubt: float = 0.5
    """Of what is under way beyond what is seen, the part that is taken back at once."""
    told_w_max: float = 11_000.0
    """No inverter is ever told more than this to make it quick."""
    limit_told_w: float = 300.0
    """One whose battery's limit is in the way is told no more than this: enough to find out that
    the limit is gone, and nothing that would have to be undone then."""
    reserve_w: float = 90.0
    """Exported on purpose while a battery is nearly full and the sun gives more than is used."""
    hunting: HuntingSettings = field(default_factory=HuntingSettings)
    circulation: CirculationSettings = field(default_factory=CirculationSettings)
    full_pct: tuple[float, float] = (90.0, 95.0)
    """State of charge from which on there is a reserve, and from which on all of it."""


class Steered(msgspec.Struct, frozen=True):
    """One inverter that is there."""

    name: str
    share: float
    plant: Plant


class Inputs(msgspec.Struct, frozen=True):
    """What a decision is made of."""

    wanted_w: float
    """By how much all together shall export more than they do."""
    facts: Mapping[str, InverterFacts]
    shifts_w: Mapping[str, float]
    """What single inverters shall export more than their part."""
    following: Mapping[str, Following]
    motions: Mapping[str, Motion]
    circulation: Circulation
    hunting: Hunting
    step_s: float
    """For how long it will be told: between two readings; 0 when that is not known."""
    large_s: float | None = None
    """Since when an import was left that may be a motor's inrush; None while none is."""
    rest_w: float = 0.0
    """What was left before that; less than 0 where the house exported."""


class Told(msgspec.Struct, frozen=True):
    """What is told to each inverter, by name, and what is to be remembered."""

    told_w: Mapping[str, float]
    following: Mapping[str, Following]
    motions: Mapping[str, Motion]
    circulation: Circulation
    hunting: Hunting
    surging: frozenset[str]
    """Those that are told more than plainly."""
    large_s: float | None
    """Since when an import is left that may be a motor's inrush; None while none is."""
    rest_w: float
    """What was left before that, or is now."""
    reason: str
    """Only what is out of the ordinary; empty when nothing is."""


def steer(
    drive: DriveSettings,
    balance: BalanceSettings,
    there: Sequence[Steered],
    inputs: Inputs,
    now_s: float,
) -> Told:
    """Decide what each inverter that is there is told.

    Args:
        drive: how hard.
        balance: how the batteries are kept equal.
        there: the inverters that are not known to be away.
        inputs: what is known.
        now_s: monotonic time.
    """
    names = [one.name for one in there]
    facts = {name: inputs.facts.get(name, UNKNOWN) for name in names}
    motions = {one.name: _seen(one, inputs.motions, facts[one.name]) for one in there}
    measured = {one.name: one.plant for one in there}
    there = [_as_believed(one, motions[one.name]) for one in there]
    answers = {name: answers_of(motions[name], now_s, facts[name].asking) for name in names}
    charging = charging_of(facts, now_s, balance.facts_max_age_s)
    circulation = watch(drive.circulation, inputs.circulation, charging, now_s)
    names_free = free_of(names, inputs.following, now_s)
    free = {name for name in names_free if name not in circulation.held} or set(names_free)
    able = [one for one in there if one.name in free]
    oldest_s = now_s - balance.facts_max_age_s
    is_seen = all(one.plant.is_measured and facts[one.name].ac_s >= oldest_s for one in able)
    hunting = note(drive.hunting, inputs.hunting, inputs.wanted_w, now_s)
    is_surging, large_s, rest_w = False, None, 0.0
    if is_gentle(hunting, now_s):
        told = shared(inputs.wanted_w, {one.name: one.share for one in able}, {})
        reason = f"hunting: told plainly for {hunting.gentle_until_s - now_s:.0f} s more"
    elif 0.0 < inputs.step_s <= MODEL_PERIOD_S_MAX and is_seen:
        told, reason, large_s, rest_w = _quick(
            drive, able, there, facts, motions, answers, inputs, now_s
        )
        is_surging = bool(reason)
    else:
        told, reason = shared(inputs.wanted_w, {one.name: one.share for one in able}, {}), ""
    told = _balanced(balance, able, names, told, inputs, now_s)
    gains = {one.name: one.plant.gain_per_s for one in there}
    told, guarding = guarded(drive.circulation, circulation, told, charging, gains)
    return Told(
        told,
        {
            name: follow(balance, inputs.following.get(name, NEW), told[name], now_s)
            for name in names
        },
        {
            one.name: tell(
                measured[one.name],
                motions[one.name],
                0.0 if is_at_limit(told[one.name], facts[one.name]) else told[one.name],
                now_s,
                answers[one.name],
                SURGE_S_MAX if is_surging else HOLD_S,
            )
            for one in there
        },
        circulation,
        hunting,
        frozenset(told) if is_surging else frozenset(),
        large_s,
        rest_w,
        "; ".join(text for text in (reason, guarding) if text),
    )


def _balanced(
    balance: BalanceSettings,
    able: Sequence[Steered],
    names: Sequence[str],
    told: dict[str, float],
    inputs: Inputs,
    now_s: float,
) -> dict[str, float]:
    """What is told, with what makes batteries equal, and with the part of those that do not follow.

    Args:
        balance: how the batteries are kept equal.
        able: the inverters that follow.
        names: of all that are there.
        told: to those that follow.
        inputs: what is known.
        now_s: monotonic time.
    """
    shares = {one.name: one.share for one in able}
    more = {}
    if len(shares) > 1 and inputs.facts:
        more = corrections_w(balance, shares, inputs.facts, inputs.shifts_w, now_s)
    balanced = {name: told_w + more.get(name, 0.0) for name, told_w in told.items()}
    # One that does not follow hears its plain part: it takes up its work as soon as it can.
    return balanced | {name: inputs.wanted_w / len(names) for name in names if name not in shares}


def charging_of(
    facts: Mapping[str, InverterFacts], now_s: float, max_age_s: float
) -> dict[str, float]:
    """What goes into each battery, of those where that is known and not old."""
    charging = {}
    for name, fact in facts.items():
        if now_s - fact.read_s <= max_age_s and (charging_w := fact.charging_w) is not None:
            charging[name] = charging_w
    return charging


def _seen(one: Steered, motions: Mapping[str, Motion], fact: InverterFacts) -> Motion:
    """What it was told and did, with its AC power as read last."""
    motion = motions.get(one.name, STILL)
    if fact.ac_w is None or fact.ac_s == motion.ac_s:
        return motion
    learned = learn(one.plant, motion, fact.ac_w, fact.ac_s) if _is_free(fact) else motion.learned
    motion = see(believed(one.plant, learned), motion, fact.ac_w, fact.ac_s)
    return msgspec.structs.replace(motion, learned=learned)


def _is_free(fact: InverterFacts) -> bool:
    """Whether its battery is not at a limit: one that cannot follow teaches nothing."""
    return min(room_w(fact, is_more=True), room_w(fact, is_more=False)) > LIMIT_W


def _as_believed(one: Steered, motion: Motion) -> Steered:
    """The same with what was learned of it."""
    plant = believed(one.plant, motion.learned)
    return one if plant is one.plant else Steered(one.name, one.share, plant)


def _told(drive: DriveSettings, one: Steered, fact: InverterFacts, moves_w_per_s: float) -> float:
    """What makes it move at this speed, within what may be told."""
    told_w = moves_w_per_s / one.plant.gain_per_s
    most_w = drive.limit_told_w if is_at_limit(told_w, fact) else drive.told_w_max
    return min(max(told_w, -most_w), most_w)


def _quick(
    drive: DriveSettings,
    able: Sequence[Steered],
    there: Sequence[Steered],
    facts: Mapping[str, InverterFacts],
    motions: Mapping[str, Motion],
    answers: Mapping[str, Answers],
    inputs: Inputs,
    now_s: float,
) -> tuple[dict[str, float], str, float | None, float]:
    """What each is told by the model of all, what is out of the ordinary, large_s and rest_w."""
    wanted_w = inputs.wanted_w
    coming_w = passes_w = recent_w = 0.0
    for one in there:
        plant, motion = one.plant, motions[one.name]
        coming_w += under_way_w(plant, motion, now_s, answers[one.name])
        passes_w += passing_w(plant, motion, now_s)
        recent_w += recent(plant, motion, now_s)
    passes_w = passes_w if passes_w > 0.0 else drive.trust * passes_w
    left_w = surer(wanted_w + passes_w, wanted_w + passes_w - coming_w, drive.doubt)
    large_s, rest_w = None, left_w + coming_w
    if rest_w > 0.0 and rest_w - min(0.0, inputs.rest_w) >= drive.inrush_w:
        large_s = now_s if inputs.large_s is None else inputs.large_s
        rest_w = inputs.rest_w
    is_inrush = large_s is not None and now_s - large_s < drive.inrush_s
    is_quick = inputs.step_s <= PERIOD_S_MAX
    surge_w = surge_of(drive, left_w, coming_w, recent_w, is_inrush) if is_quick else 0.0
    plain_w = min(left_w, drive.inrush_surge_w) if is_inrush else left_w
    per_s = drive.plain_per_s if is_quick else drive.slow_per_s
    moves_w_per_s = shared(plain_w * per_s, {one.name: one.share for one in able}, NO_ROOMS)
    if not surge_w:
        told = {
            one.name: _told(drive, one, facts[one.name], moves_w_per_s[one.name]) for one in able
        }
        return told, "", large_s, rest_w
    rooms = {one.name: room_w(facts[one.name], surge_w > 0.0) for one in able}
    # Twice as slow is four times less of a step: it comes when the quick one has done most of it.
    weights = {one.name: one.share / (one.plant.dead_s + one.plant.lag_s) ** 2 for one in able}
    surges = shared(surge_w, weights, rooms)
    told = {}
    for one in able:
        to_come = heard(facts[one.name].asking, now_s, now_s + inputs.step_s)
        heard_s = sum(for_s for _, for_s in to_come) or inputs.step_s
        per_s = moves_w_per_s[one.name] + surges[one.name] / heard_s
        told[one.name] = _told(drive, one, facts[one.name], per_s)
    return told, f"surge of {surge_w:.0f} W", large_s, rest_w


def surer(seen_w: float, left_w: float, doubt: float) -> float:
    """What is to be done for sure, if what is under way may come sooner or later than thought.

    The answer has no jumps: where it had one, at a grid of 0 W, a quick inverter beside a slow one
    made the house swing across it.

    Args:
        seen_w: by what is seen alone.
        left_w: less what is under way.
        doubt: part of what is under way beyond what is seen that is taken back.
    """
    if seen_w * left_w < 0.0:
        return doubt * left_w
    return left_w if abs(left_w) <= abs(seen_w) else seen_w + doubt * (left_w - seen_w)


def surge_of(
    drive: DriveSettings, left_w: float, coming_w: float, recent_w: float, is_inrush: bool = False
) -> float:
    """What is set going at once, in W, plus = more export.

    Args:
        drive: how hard.
        left_w: what is still to be done.
        coming_w: what is under way.
        recent_w: what was set going so lately that it might not be seen yet.
        is_inrush: whether it may be a motor's.
    """
    if left_w >= 0.0:
        most_w = drive.inrush_surge_w if is_inrush else drive.surge_w
        asked_w = drive.import_part * max(0.0, left_w - drive.plain_w)
        return _worth(min(asked_w, max(0.0, most_w - max(0.0, coming_w, recent_w))))
    asked_w = drive.export_part * max(0.0, -left_w - drive.plain_w)
    asked_w += drive.cancel_part * max(0.0, min(-left_w, coming_w))
    return -_worth(min(asked_w, max(0.0, drive.surge_w - max(0.0, -coming_w, -recent_w))))


def _worth(surge_w: float) -> float:
    """The same, or nothing when it is too small."""
    return surge_w if surge_w >= SURGE_W_MIN else 0.0


def room_w(fact: InverterFacts, is_more: bool) -> float:
    """By how much it can export more, or less, than it does; infinite when that is not known."""
    charging_w = fact.charging_w
    if charging_w is None:
        return math.inf
    if is_more:
        return max(0.0, fact.discharge_a_max * fact.battery_v + charging_w)
    return max(0.0, fact.charge_a_max * fact.battery_v - charging_w)


def is_at_limit(told_w: float, fact: InverterFacts) -> bool:
    """Whether a battery's limit is in the way of what an inverter is told, so that it stands still.

    Then nothing of that is under way, or has to be waited for when something else is wanted.
    """
    return room_w(fact, is_more=told_w > 0.0) <= LIMIT_W


def shared(
    total_w: float, weights: Mapping[str, float], rooms: Mapping[str, float]
) -> dict[str, float]:
    """A power divided by weights, within rooms where those are known.

    What has no room anywhere goes by weight all the same: rooms are measured late.
    """
    sum_of = sum(weights.values())
    if not rooms and sum_of:
        return {name: total_w * weight / sum_of for name, weight in weights.items()}
    parts = dict.fromkeys(weights, 0.0)
    left_w, names = abs(total_w), [name for name, weight in weights.items() if weight > 0.0]
    while names and left_w > 1.0:
        sum_of = sum(weights[name] for name in names)
        offers = {name: left_w * weights[name] / sum_of for name in names}
        for name, offer_w in offers.items():
            taken_w = min(offer_w, max(0.0, rooms.get(name, math.inf) - parts[name]))
            parts[name] += taken_w
            left_w -= taken_w
        names = [name for name in names if parts[name] < rooms.get(name, math.inf) - 1.0]
    sum_of = sum(weights.values())
    if left_w > 0.0 and sum_of:
        for name, weight in weights.items():
            parts[name] += left_w * weight / sum_of
    return {name: math.copysign(part_w, total_w) for name, part_w in parts.items()}


def reserve_w(drive: DriveSettings, facts: Mapping[str, InverterFacts]) -> float:
    """What is exported on purpose, so that what is switched on next is not all imported at first.

    Only while a battery is nearly full and the sun gives more than the house uses: what goes out
    then would have had to go out later.
    """
    low_pct, high_pct = drive.full_pct
    fullest_pct = max([fact.soc_pct for fact in facts.values()], default=0.0)
    if fullest_pct <= low_pct:
        return 0.0
    charging = [fact.charging_w for fact in facts.values() if fact.charging_w is not None]
    if not charging or sum(charging) < 2.0 * drive.reserve_w:
        return 0.0
    part = (fullest_pct - low_pct) / (high_pct - low_pct)
    return drive.reserve_w * min(max(part, 0.0), 1.0)
