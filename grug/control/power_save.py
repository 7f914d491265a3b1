"""Whether an inverter is worth being on: off at night with an empty battery, on again by day. Pure.

An inverter that has nothing to give still draws some tens of watts from its battery. It is
switched off when the battery is empty *and* the strings are dark, both for long enough, and on
again when the battery has something *or* there is sun. Between the thresholds nothing changes;
what is not known changes nothing either. Each switching may wear the inverter's memory, so that
there is a least time between two of them.

What a person switched off stays off, until a person switches it on or grug starts anew.

Source: the seed switched so, off below 10 % in the dark and on above 80 V at a string, with some
minutes of patience.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class PowerSaveSettings:
    """Thresholds, with hysteresis, and patience."""

    soc_off_pct: float = 10.0
    """The battery is empty at this state of charge and below."""
    soc_on_pct: float = 15.0
    """It has something again at this and above."""
    pv_off_v: float = 60.0
    """It is dark when no string has as much."""
    pv_on_v: float = 90.0
    """There is sun when one string has more."""
    off_after_s: float = 600.0
    """How long it must be empty and dark."""
    on_after_s: float = 120.0
    """How long there must be sun, or something in the battery."""
    rest_s: float = 900.0
    """Least time between two switchings."""


class Seen(NamedTuple):
    """What was read; None for what is not known."""

    is_on: bool | None
    soc_pct: float | None
    pv_v: float | None
    """The highest of the strings."""


class PowerState(NamedTuple):
    """What is remembered; times are monotonic."""

    was_on: bool | None = None
    """As seen last; None before the first look."""
    wanted: bool | None = None
    """What the thresholds ask for, other than what is; None when they ask for nothing."""
    since_s: float = 0.0
    """For how long they have."""
    switched_s: float = -math.inf
    by_person: bool = False
    """It was switched off, and not by grug."""


class Switch(enum.StrEnum):
    """What to do."""

    NONE = "none"
    ON = "on"
    OFF = "off"


class PowerPlan(NamedTuple):
    """The decision, its reason, and what to remember."""

    switch: Switch
    reason: str
    state: PowerState


def decide(settings: PowerSaveSettings, state: PowerState, seen: Seen, now_s: float) -> PowerPlan:
    """Decide whether to switch now.

    Args:
        settings: thresholds and patience.
        state: as the last decision left it, or ``switched``.
        seen: what was read just now.
        now_s: monotonic time.
    """
    if seen.is_on is None:
        idle = state._replace(wanted=None)
        return PowerPlan(Switch.NONE, "nobody knows whether it is on", idle)
    state = _noticed(state, seen.is_on)
    if state.by_person:
        return PowerPlan(Switch.NONE, "a person switched it off", state._replace(wanted=None))
    wanted, reason = _wanted(settings, seen)
    if wanted is None or wanted is seen.is_on:
        return PowerPlan(Switch.NONE, reason, state._replace(wanted=None))
    if wanted is not state.wanted:
        state = state._replace(wanted=wanted, since_s=now_s)
    patience_s = settings.on_after_s if wanted else settings.off_after_s
    if now_s - state.since_s < patience_s:
        return PowerPlan(Switch.NONE, f"{reason}; it has to last {patience_s:.0f} s", state)
    if now_s - state.switched_s < settings.rest_s:
        return PowerPlan(Switch.NONE, f"{reason}; it was switched a while ago", state)
    return PowerPlan(Switch.ON if wanted else Switch.OFF, f"{reason}{_numbers(seen)}", state)


def switched(state: PowerState, switch: Switch, now_s: float) -> PowerState:
    """What to remember once it was switched; a failed try counts, too, and is not hurried."""
    # On only once it was seen to be: else a try that failed would look like a person's switching.
    was_on = False if switch is Switch.OFF else state.was_on
    return state._replace(was_on=was_on, wanted=None, switched_s=now_s, by_person=False)


def _noticed(state: PowerState, is_on: bool) -> PowerState:
    """See whether somebody else switched it."""
    by_person = state.by_person and not is_on
    if state.was_on is True and not is_on:
        by_person = True
    return state._replace(was_on=is_on, by_person=by_person)


def _wanted(settings: PowerSaveSettings, seen: Seen) -> tuple[bool | None, str]:
    """On, off, or as it is, and why."""
    soc_pct, pv_v = seen.soc_pct, seen.pv_v
    if pv_v is not None and pv_v > settings.pv_on_v:
        return True, "there is sun"
    if soc_pct is not None and soc_pct >= settings.soc_on_pct:
        return True, "the battery has something"
    if soc_pct is None or pv_v is None:
        return None, "battery or strings were not read"
    if soc_pct <= settings.soc_off_pct and pv_v < settings.pv_off_v:
        return False, "battery empty and strings dark"
    return None, "neither empty and dark nor the contrary"


def _numbers(seen: Seen) -> str:
    """What the decision rests on."""
    soc = "" if seen.soc_pct is None else f", battery at {seen.soc_pct:.0f} %"
    return soc if seen.pv_v is None else f"{soc}, strings at {seen.pv_v:.0f} V"
