"""Who of several inverters does how much, and how quickly. Pure.

Three things are decided at each reading of the grid's power, besides the offset:

- *Quickness.* An inverter moves by a part of what it is told, a moment later. What it was told and
  has not shown yet is under way: it is taken off what is still to be done, and the rest is told
  with more force when it is an import. So the house follows about as fast as its inverters can.
- *Balance.* Each battery has a target: its part of the batteries' work, by share and state of
  charge, within its limits, all of one sign. An inverter above its target is told a little more
  import, one below a little less; all of that sums to zero, so that the grid does not see it.
- *Who cannot.* An inverter that is told to move for long and does not is full, empty, at a limit or
  away; the others do its part until it is tried again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from grug.control.plant import Asking


@dataclass(frozen=True, slots=True)
class BalanceSettings:
    """How the inverters answer to their meter, and how hard they are driven."""

    balance: float = 0.15
    """W told for each W that a battery is off its target."""
    correction_w_max: float = 300.0
    dead_band_w: float = 30.0
    """A battery this near its target is left alone: small powers are not measured well."""
    facts_max_age_s: float = 5.0
    """Older facts of an inverter are not used; it is then left out of the balance."""
    stuck_w: float = 150.0
    stuck_s: float = 6.0
    """An inverter told more than this, one way, for so long does not follow."""
    retry_s: float = 60.0
    """After this it gets its part again."""


class InverterFacts(msgspec.Struct, frozen=True):
    """What is known of one inverter, each as read last; None when never."""

    pv_w: float | None = None
    ac_w: float | None = None
    """Out of its AC port."""
    soc_pct: float = 50.0
    soc_s: float = -1e9
    """When that was read; until then it is a guess that only weighs one battery with another."""
    battery_v: float = 50.0
    charge_a_max: float = math.inf
    discharge_a_max: float = math.inf
    read_s: float = -1e9
    """The older of the two powers' times."""
    ac_s: float = -1e9
    """When the AC power was read."""
    asking: Asking | None = None
    """When it asks its meter; None when it does not ask regularly."""
    is_off_grid: bool = False
    """It feeds its own output alone: what its meter says does not move it."""

    @property
    def charging_w(self) -> float | None:
        """Into the battery."""
        if self.pv_w is None or self.ac_w is None:
            return None
        return self.pv_w - self.ac_w


class Following(msgspec.Struct, frozen=True):
    """How one inverter has followed until now."""

    told_w: float = 0.0
    since_s: float | None = None
    """Since when it has been told to move one way; None while it is not."""
    stuck_until_s: float = -1e9


NEW = Following()


def off_grid_of(facts: Mapping[str, InverterFacts]) -> frozenset[str]:
    """Those that are not connected to the house's grid."""
    return frozenset(name for name, fact in facts.items() if fact.is_off_grid)


def free_of(names: Sequence[str], following: Mapping[str, Following], now_s: float) -> list[str]:
    """Those that follow; all of them when none does, since nothing then tells them apart."""
    free = [name for name in names if following.get(name, NEW).stuck_until_s <= now_s]
    return free or list(names)


def follow(
    settings: BalanceSettings,
    before: Following,
    told_w: float,
    now_s: float,
) -> Following:
    """What is under way, and whether it follows, after it was told something new.

    Args:
        settings: how inverters answer.
        before: as it was at the last decision.
        told_w: what it is told from now on.
        now_s: monotonic time.
    """
    since_s, stuck_until_s = before.since_s, before.stuck_until_s
    if abs(told_w) < settings.stuck_w or told_w * before.told_w <= 0.0:
        since_s = None
    elif since_s is None:
        since_s = now_s
    elif now_s - since_s >= settings.stuck_s:
        stuck_until_s = now_s + settings.retry_s
    return Following(told_w, since_s, stuck_until_s)


def corrections_w(
    settings: BalanceSettings,
    shares: Mapping[str, float],
    facts: Mapping[str, InverterFacts],
    shifts_w: Mapping[str, float],
    now_s: float,
) -> dict[str, float]:
    """What each inverter is told on top, for the balance; they sum to zero.

    Args:
        settings: how hard.
        shares: of those that take part, relative to each other.
        facts: of every inverter that is known.
        shifts_w: what some shall export more than their part.
        now_s: monotonic time.
    """
    charging = {}
    for name, share in shares.items():
        fact = facts.get(name)
        if fact is None or not share or now_s - fact.read_s > settings.facts_max_age_s:
            continue
        charging_w = fact.charging_w
        if charging_w is not None:
            charging[name] = charging_w
    if len(charging) < 2:
        return {}
    shift_w = sum(shifts_w.get(name, 0.0) for name in charging)
    targets = targets_w(
        sum(charging.values()) + shift_w,
        {name: shares[name] for name in charging},
        {name: facts[name] for name in charging},
    )
    off = {}
    for name, charging_w in charging.items():
        off_w = charging_w - targets[name] + shifts_w.get(name, 0.0)
        off[name] = 0.0 if abs(off_w) < settings.dead_band_w else off_w * settings.balance
    return _zero_sum(off, settings.correction_w_max)


def targets_w(
    total_w: float, shares: Mapping[str, float], facts: Mapping[str, InverterFacts]
) -> dict[str, float]:
    """Each battery's part of all charging (plus) or discharging (minus), within its limits.

    An emptier battery charges more and discharges less, so that they become equal in time. All
    parts have one sign: no battery charges while another discharges.
    """
    is_charging = total_w >= 0.0
    weights, limits, sum_of = {}, {}, 0.0
    for name, share in shares.items():
        fact = facts[name]
        room = (100.0 - fact.soc_pct if is_charging else fact.soc_pct) / 100.0
        weights[name] = weight = share * (0.5 + min(max(room, 0.0), 1.0))
        sum_of += weight
        limit_a = fact.charge_a_max if is_charging else fact.discharge_a_max
        limits[name] = max(0.0, limit_a * fact.battery_v)
    # Mostly nobody is at a limit, and this is asked at every decision.
    parts = {name: total_w * weight / sum_of for name, weight in weights.items()} if sum_of else {}
    if sum_of and all(abs(part_w) <= limits[name] for name, part_w in parts.items()):
        return parts
    left_w = abs(total_w)
    parts = dict.fromkeys(shares, 0.0)
    open_names = [name for name in shares if limits[name] > 0.0]
    while open_names and left_w > 1.0:
        sum_of = sum(weights[name] for name in open_names)
        offers = {name: left_w * weights[name] / sum_of for name in open_names}
        for name, offer_w in offers.items():
            taken_w = min(offer_w, limits[name] - parts[name])
            parts[name] += taken_w
            left_w -= taken_w
        open_names = [name for name in open_names if parts[name] < limits[name] - 1.0]
    return {name: part_w if is_charging else -part_w for name, part_w in parts.items()}


def _zero_sum(off: Mapping[str, float], largest_w: float) -> dict[str, float]:
    """The same less their mean, all scaled down together when one is too large."""
    mean_w = sum(off.values()) / len(off)
    found = {name: off_w - mean_w for name, off_w in off.items()}
    top_w = max(map(abs, found.values()))
    if top_w <= largest_w:
        return found
    return {name: value_w * largest_w / top_w for name, value_w in found.items()}
