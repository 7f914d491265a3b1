"""No battery feeds another: never one charging while another discharges, beyond a bound. Pure.

The balance of the batteries sees to that in general. This guard is for when it cannot: dead times
that differ, a wish for one inverter, one that charges from the grid by its own schedule or does not
do what it is told. It works in two stages, on what was measured:

1. Power that goes around is taken back on both sides at once, by the same amount.
2. When that has not helped after two fifths of the allowed time, those that discharge are held
   back: they are told to stop, whatever the house takes from the grid, for as long as another still
   charges; and after three fifths of it those that charge, for as long as another discharges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

GIVING_PART, TAKING_PART = 0.4, 0.6
"""Parts of the allowed time after which those that discharge, and those that charge, are held: what
is left of it is enough for the slowest inverter to do so."""


@dataclass(frozen=True, slots=True)
class CirculationSettings:
    """What is allowed, and how hard it is ended."""

    power_w: float = 300.0
    """Less may go around: battery powers are measured some 100 W apart, and a second late."""
    time_s: float = 20.0
    """More may go around for so long: after a step the slowest inverter is done some seconds after
    the quickest, and the house shall not import for that."""
    per_s: float = 0.3
    """Of what goes around, the part that is taken back in a second."""
    told_w_max: float = 4000.0
    """For that nobody is told more than this."""
    hold_s: float = 120.0
    """Those that were held back are tried again after this at the latest."""


class Circulation(msgspec.Struct, frozen=True):
    """What goes around, from decision to decision."""

    since_s: float | None = None
    """Since when it has been too much; None while it is not."""
    giving: frozenset[str] = frozenset()
    """Inverters that may not discharge."""
    giving_s: float = -1e9
    """Since when."""
    taking: frozenset[str] = frozenset()
    """Inverters that may not charge."""
    taking_s: float = -1e9

    @property
    def held(self) -> frozenset[str]:
        """Those that are held back from anything."""
        return self.giving | self.taking


NONE = Circulation()


def circulating_w(charging_w: Mapping[str, float]) -> float:
    """The power that goes from batteries into batteries.

    Args:
        charging_w: by inverter; minus = discharging.
    """
    into_w = out_w = 0.0
    for power_w in charging_w.values():
        if power_w > 0.0:
            into_w += power_w
        else:
            out_w -= power_w
    return min(into_w, out_w)


def watch(
    settings: CirculationSettings,
    before: Circulation,
    charging_w: Mapping[str, float],
    now_s: float,
) -> Circulation:
    """Look at what the batteries do, and find out who is to be held back.

    Args:
        settings: what is allowed.
        before: as it was.
        charging_w: of the inverters whose battery power is known; minus = discharging.
        now_s: monotonic time.
    """
    around_w = circulating_w(charging_w)
    if around_w <= settings.power_w and before.since_s is None and not before.held:
        return before
    since_s = before.since_s
    if around_w <= settings.power_w:
        since_s = None
    elif since_s is None:
        since_s = now_s
    lasted_s = 0.0 if since_s is None else now_s - since_s
    out_w = {name: -power_w for name, power_w in charging_w.items()}
    giving, giving_s = _held(
        settings, (before.giving, before.giving_s), charging_w, lasted_s / GIVING_PART, now_s
    )
    taking, taking_s = _held(
        settings, (before.taking, before.taking_s), out_w, lasted_s / TAKING_PART, now_s
    )
    return Circulation(since_s, giving, giving_s, taking, taking_s)


def _held(
    settings: CirculationSettings,
    before: tuple[frozenset[str], float],
    into_w: Mapping[str, float],
    lasted_s: float,
    now_s: float,
) -> tuple[frozenset[str], float]:
    """Who is held back from one direction, minus in ``into_w``, and since when."""
    held, held_since_s = before
    others_w = sum(power_w for name, power_w in into_w.items() if name not in held and power_w > 0)
    if held and (others_w <= settings.power_w or now_s - held_since_s >= settings.hold_s):
        held = frozenset()
    elif lasted_s >= settings.time_s:
        found = {name for name, power_w in into_w.items() if power_w < 0.0}
        if not found <= held:
            held, held_since_s = held | found, now_s
    return held, held_since_s


def guarded(
    settings: CirculationSettings,
    state: Circulation,
    told_w: Mapping[str, float],
    charging_w: Mapping[str, float],
    gains_per_s: Mapping[str, float],
) -> tuple[dict[str, float], str]:
    """What is told instead, and why; the text is empty when nothing is changed.

    Args:
        settings: how hard.
        state: of now.
        told_w: what each would be told.
        charging_w: of the inverters whose battery power is known.
        gains_per_s: how each answers.
    """
    told = dict(told_w)
    if state.since_s is None and not state.held:
        return told, ""
    around_w = circulating_w(charging_w) if state.since_s is not None else 0.0
    if around_w > settings.power_w:
        into_w = sum(power_w for power_w in charging_w.values() if power_w > 0.0)
        out_w = -sum(power_w for power_w in charging_w.values() if power_w < 0.0)
        for name, power_w in charging_w.items():
            if name in told and power_w:
                part = power_w / (into_w if power_w > 0.0 else out_w)
                more_w = around_w * part * settings.per_s / gains_per_s[name]
                told[name] += min(max(more_w, -settings.told_w_max), settings.told_w_max)
    for name in state.held & told.keys():
        back_w = charging_w.get(name, 0.0) * settings.per_s / gains_per_s[name]
        if name in state.giving:
            told[name] = min(told[name], 0.0, back_w)
        if name in state.taking:
            told[name] = max(told[name], 0.0, back_w)
    reasons = []
    if around_w > settings.power_w:
        reasons.append(f"{around_w:.0f} W from battery to battery taken back")
    if state.held:
        reasons.append(
            f"held back while another does the opposite: {', '.join(sorted(state.held))}"
        )
    return told, "; ".join(reasons)
