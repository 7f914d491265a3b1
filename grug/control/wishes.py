"""What is asked of the house, by whom, and the offset that follows from it. Pure.

A wish aims at an offset, at a power at the grid, or at the power of a battery, or it sets a bound
on import or export. Every one has an end. Each target (the house, or one inverter) obeys one wish
at a time: the newest, a person's before the schedule's. Bounds all count, and the strictest holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from grug.control.balance import InverterFacts, targets_w
from grug.messages import SetOffset
from grug.model import Aim

WISHES_MAX = 32
"""More sources than this do not ask for offsets. A runaway cannot fill us: the oldest wish goes,
and bounds go last."""
SCHEDULE = "schedule"
"""Who asks for what the configuration has in its schedule: anybody else comes before it."""

SOC_MAX_AGE_S = 300.0
"""A battery that is charged within two hours gains 4 % in that time."""

BOUNDS = (Aim.EXPORT_MAX, Aim.IMPORT_MAX)
"""Aims that keep the offset within bounds instead of setting it."""


@dataclass(frozen=True, slots=True)
class WishLimits:
    """What the configuration says of offsets."""

    power_w: float = 0.0
    """The standing offset, when nobody asks for another."""
    limit_w: float = 6000.0
    """Largest absolute offset, whoever asks."""
    export_w_max: float = math.inf
    """No wish makes the house export more than this."""
    import_w_max: float = math.inf
    """No wish makes the house import more than this."""


class Known(msgspec.Struct, frozen=True):
    """What targets are worked out from."""

    grid_w: float
    """Plus = import."""
    shares: Mapping[str, float]
    """Of the inverters that are there, relative to each other."""
    facts: Mapping[str, InverterFacts]
    facts_max_age_s: float = 5.0

    def fresh(self, now_s: float) -> dict[str, InverterFacts]:
        """Facts of the inverters that are there, where battery power is known and not old."""
        return {
            name: fact
            for name in self.shares
            if (fact := self.facts.get(name)) is not None
            and now_s - fact.read_s <= self.facts_max_age_s
            and fact.charging_w is not None
        }


class Wanted(msgspec.Struct, frozen=True):
    """What all wishes together ask for."""

    offset_w: float
    """For the whole house, single inverters' parts included; within all bounds."""
    shifts_w: Mapping[str, float]
    """What single inverters shall carry of it, by name."""
    text: str
    """Who asked for what, and what became of it."""


def problem_of(wish: SetOffset) -> str:
    """Why a wish is not obeyed, or an empty text."""
    if not (math.isfinite(wish.power_w) and math.isfinite(wish.per_soc_w)):
        return f"{wish.aim} of {wish.power_w} W by {wish.who} ignored: not a number of watts"
    if not math.isfinite(wish.expires_s):
        return f"{wish.aim} of {wish.power_w:g} W by {wish.who} ignored: it never expires"
    if wish.aim in BOUNDS and (wish.target or wish.power_w < 0.0):
        return f"{wish.aim} of {wish.power_w:g} W by {wish.who} ignored: a bound is the house's own"
    return ""


def take_wish(wishes: tuple[SetOffset, ...], wish: SetOffset) -> tuple[SetOffset, ...]:
    """Note a wish; it replaces its source's earlier one for the same thing, and is the newest.

    A wish whose expiry has passed thereby ends that source's earlier wish. One with a problem
    changes nothing (see ``problem_of``).
    """
    if problem_of(wish):
        return wishes
    kept = tuple(other for other in wishes if _thing_of(other) != _thing_of(wish))
    held = (*kept, wish)
    if len(held) <= WISHES_MAX:
        return held
    gone = next((each for each in held if each.aim not in BOUNDS), held[0])
    return tuple(each for each in held if each is not gone)


def without_wish(wishes: tuple[SetOffset, ...], lost: SetOffset) -> tuple[SetOffset, ...]:
    """What is left when nobody knows what became of one: its source's earlier wish goes, too.

    That may have been meant to end; nobody's wish is the safe one.
    """
    return tuple(other for other in wishes if _thing_of(other) != _thing_of(lost))


def bounds_of(wishes: tuple[SetOffset, ...]) -> tuple[SetOffset, ...]:
    """The bounds among them: they are kept where all else is in doubt."""
    return tuple(wish for wish in wishes if wish.aim in BOUNDS)


def without_expired(wishes: tuple[SetOffset, ...], now_s: float) -> tuple[SetOffset, ...]:
    """The wishes that still hold; the same object when all do."""
    if not wishes or all(wish.expires_s > now_s for wish in wishes):
        return wishes
    return tuple(wish for wish in wishes if wish.expires_s > now_s)


def wanted(limits: WishLimits, wishes: tuple[SetOffset, ...], known: Known, now_s: float) -> Wanted:
    """Work out the offset that all wishes together ask for.

    Args:
        limits: what the configuration says.
        wishes: those that hold, the newest last.
        known: the house as it is.
        now_s: monotonic time.
    """
    if not wishes:
        return _bounded(limits, (), limits.power_w, {}, ["from the config"])
    ranked = sorted(wishes, key=_is_by_person)
    obeyed = {wish.target: wish for wish in ranked if wish.aim not in BOUNDS}
    house = obeyed.pop("", None)
    offset_w, texts = limits.power_w, []
    if house is not None:
        found_w = _house_offset_w(house, known, now_s)
        if found_w is None:
            texts.append(f"from the config, not {_words(house)}: its batteries are not known")
        else:
            offset_w, texts = found_w, [_words(house)]
    elif not obeyed or offset_w:
        texts.append("from the config")
    shifts_w: dict[str, float] = {}
    for name, wish in obeyed.items():
        shift_w = _shift_w(wish, offset_w, known, now_s)
        if shift_w is None:
            texts.append(f"not {_words(wish)} for {name}: its battery is not known")
            continue
        shifts_w[name] = shift_w
        plain = f"{shift_w:g} W for {name} {_source(wish)}"
        texts.append(plain if wish.aim is Aim.OFFSET else f"{plain}, {_aim_words(wish)}")
    total_w = offset_w + sum(shifts_w.values())
    return _bounded(limits, wishes, total_w, shifts_w, texts)


def bounds_w(limits: WishLimits, wishes: tuple[SetOffset, ...]) -> tuple[float, float]:
    """Least and largest offset that all bounds together allow; 0 is always allowed."""
    lowest_w = max(-limits.limit_w, -limits.import_w_max)
    highest_w = min(limits.limit_w, limits.export_w_max)
    for wish in wishes:
        if wish.aim is Aim.EXPORT_MAX:
            highest_w = min(highest_w, wish.power_w)
        elif wish.aim is Aim.IMPORT_MAX:
            lowest_w = max(lowest_w, -wish.power_w)
    return lowest_w, highest_w


def _bounded(
    limits: WishLimits,
    wishes: tuple[SetOffset, ...],
    wish_w: float,
    shifts_w: Mapping[str, float],
    texts: list[str],
) -> Wanted:
    """Keep the sum within the strictest of all bounds, and say so."""
    lowest_w, highest_w = bounds_w(limits, wishes)
    offset_w = min(max(wish_w, lowest_w), highest_w)
    text = f"offset {offset_w:.6g} W {', '.join(texts)}"
    if offset_w != wish_w:
        text += f", limited from {wish_w:.6g} W"
        text += "".join(f", {_words(wish)}" for wish in wishes if wish.aim in BOUNDS)
        shifts_w = _cut(shifts_w, wish_w - offset_w)
    return Wanted(offset_w, shifts_w, text)


def _cut(shifts_w: Mapping[str, float], over_w: float) -> Mapping[str, float]:
    """Take what the house must not do off those who were to do it, in proportion.

    An inverter that went on with all of its part would only feed another one's battery.
    """
    over = {name: shift_w for name, shift_w in shifts_w.items() if shift_w * over_w > 0.0}
    total_w = sum(over.values())
    if not over:
        return shifts_w
    kept = max(0.0, 1.0 - over_w / total_w)
    return {**shifts_w, **{name: shift_w * kept for name, shift_w in over.items()}}


def _house_offset_w(wish: SetOffset, known: Known, now_s: float) -> float | None:
    """The offset by which the house does what was asked; None when that cannot be known."""
    if wish.aim is Aim.OFFSET and not wish.per_soc_w:
        return wish.power_w
    fresh = known.fresh(now_s)
    if not fresh or len(fresh) < len(known.shares) or not _knows_soc(wish, fresh, now_s):
        needs_batteries = wish.aim is Aim.BATTERY or wish.per_soc_w != 0.0
        return None if needs_batteries else -wish.power_w
    aim_w = wish.power_w + wish.per_soc_w * _soc_pct(fresh)
    if wish.aim is Aim.OFFSET:
        return aim_w
    if wish.aim is Aim.GRID:
        return -aim_w
    # What the house takes without its batteries is the grid's part less theirs, whatever they do.
    return -(known.grid_w - _charging_w(fresh) + aim_w)


def _shift_w(wish: SetOffset, house_w: float, known: Known, now_s: float) -> float | None:
    """What one inverter carries on top of its part; None when that cannot be known.

    Another battery must not feed the one that shall charge: the grid does, so that a target of
    one battery moves the offset by the difference to what that battery would do by itself.
    """
    if wish.aim is Aim.OFFSET and not wish.per_soc_w:
        return wish.power_w
    fresh = known.fresh(now_s)
    if wish.target not in fresh or not _knows_soc(wish, {wish.target: fresh[wish.target]}, now_s):
        return None
    aim_w = wish.power_w + wish.per_soc_w * fresh[wish.target].soc_pct
    if wish.aim is Aim.OFFSET:
        return aim_w
    if wish.aim is Aim.GRID:
        return -aim_w
    without_w = _charging_w(fresh) - known.grid_w - house_w
    parts = targets_w(without_w, {name: known.shares[name] for name in fresh}, fresh)
    return parts[wish.target] - aim_w


def _charging_w(facts: Mapping[str, InverterFacts]) -> float:
    return sum(fact.charging_w or 0.0 for fact in facts.values())


def _knows_soc(wish: SetOffset, facts: Mapping[str, InverterFacts], now_s: float) -> bool:
    """Whether the states of charge that a wish follows are known."""
    oldest_s = now_s - SOC_MAX_AGE_S
    return not wish.per_soc_w or all(fact.soc_s >= oldest_s for fact in facts.values())


def _soc_pct(facts: Mapping[str, InverterFacts]) -> float:
    return sum(fact.soc_pct for fact in facts.values()) / len(facts)


def _thing_of(wish: SetOffset) -> tuple[str, str, str]:
    """Who asks for what: a source may set a bound beside its aim."""
    return wish.who, wish.target, wish.aim if wish.aim in BOUNDS else ""


def _is_by_person(wish: SetOffset) -> bool:
    return not wish.who.startswith(f"{SCHEDULE}/")


def _words(wish: SetOffset) -> str:
    """What was asked, and by whom."""
    if wish.aim is Aim.OFFSET and not wish.per_soc_w:
        return _source(wish)
    return f"{_source(wish)}, {_aim_words(wish)}"


def _aim_words(wish: SetOffset) -> str:
    per_soc = f" + {wish.per_soc_w:g} W per % state of charge" if wish.per_soc_w else ""
    return f"{wish.aim.replace('_', ' ')} {wish.power_w:g} W{per_soc}"


def _source(wish: SetOffset) -> str:
    why = f" ({wish.why})" if wish.why else ""
    return f"by {wish.who}{why}"
