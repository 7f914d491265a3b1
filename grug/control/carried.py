"""What of an offset is carried by inverters' registers, by their meters, or by nobody. Pure.

An inverter's loop brings the sum of what its meter says and what its registers want to zero: so
whatever the registers carry just now comes off the meter's word, and nothing is said twice. While
nobody knows what they carry, the meter says no offset at all: half of it is harmless, twice of it
is not. A part that nobody carries is not wanted from the others either: those that aim at
different powers at the grid would drive apart, battery to battery.

An inverter with a true meter of its own aims at what its registers carry alone. So the whole house
has an offset only while all such registers do.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from grug.messages import DispatchChanged

TOEHOLD_W = 60.0
"""Of an offset that is held back, what is still asked of the registers: just enough to start them
(see ``DEAD_BAND_W`` of ``dispatch``). No meter says it."""
DOUBT_S_MAX = 5.0
"""For so long registers that carried an offset are taken to do so while a change is written."""
TRIAL_S = 15.0
"""For so long one inverter's registers carry the toehold while another's true meter undoes it: the
batteries drift apart meanwhile, by some hundred watts at most."""
REST_S = 120.0
"""After a trial nothing is asked of any for so long."""


class Carrier(enum.StrEnum):
    """What carries an offset to an inverter; the values of ``control`` in house.toml."""

    METER = "mitm"
    REGISTERS = "dispatch"
    BOTH = "both"
    """Its registers, and its meter what they do not carry yet."""


class Split(NamedTuple):
    """What becomes of one inverter's part of the offset."""

    registers_w: float
    """What its registers carry, as far as that is known: its meter leaves it out."""
    missing_w: float
    """What of its part nobody carries."""
    why: str
    """Why its meter says no offset, where that is a surprise."""


CARRIES_ALL = Split(0.0, 0.0, "")
"""Of an inverter whose meter says its whole part."""


def split(carrier: Carrier, carried: DispatchChanged | None, part_w: float, now_s: float) -> Split:
    """What carries an inverter's part of the offset.

    Args:
        carrier: what is to carry it.
        carried: what was said last of its registers; None when nothing was.
        part_w: its part of the offset.
        now_s: monotonic time.
    """
    if carrier is Carrier.METER:
        return CARRIES_ALL
    if carried is None:
        return Split(0.0, part_w, "what its registers carry was not read yet")
    if now_s >= carried.until_s:
        if carrier is Carrier.BOTH:
            return CARRIES_ALL
        return Split(0.0, part_w, "its registers carry nothing" if part_w else "")
    if not carried.is_doubt:
        at_w = carried.power_w
        return Split(at_w, part_w - at_w if carrier is Carrier.REGISTERS else 0.0, "")
    # What is being written, or was: but no more than is wanted, and nothing to the other side.
    maybe_w = min(abs(carried.power_w), abs(part_w)) if carried.power_w * part_w > 0.0 else 0.0
    maybe_w = math.copysign(maybe_w, part_w)
    return Split(maybe_w, part_w - maybe_w, "what its registers carry is not known")


class Gate(msgspec.Struct, frozen=True):
    """What is remembered of the inverters that only their registers can tell an offset."""

    carried_s: Mapping[str, float] = MappingProxyType({})
    """By inverter: when its registers were last known to carry one."""
    apart_s: float | None = None
    """Since when some carry one and some do not; None while all do the same."""
    rests_until_s: float = -math.inf
    """Nothing is asked of any before this."""


UNTRIED = Gate()


class Admitted(NamedTuple):
    """What of an offset the house may have."""

    gate: Gate
    offset_w: float
    reason: str
    """Why it is not all that was asked for; empty when it is."""


def admitted(
    gate: Gate,
    truly_metered: Collection[str],
    carried: Mapping[str, DispatchChanged],
    offset_w: float,
    now_s: float,
) -> Admitted:
    """What of an offset the house may have, for those that have a true meter of their own.

    Args:
        gate: what is remembered.
        truly_metered: the inverters that only their registers can tell an offset.
        carried: by inverter, what was said last of its registers.
        offset_w: what is asked of the house.
        now_s: monotonic time.
    """
    carrying = {name: now_s for name in truly_metered if _carries(carried.get(name), now_s)}
    seen_s = {**gate.carried_s, **carrying}
    lacking = [
        name
        for name in truly_metered
        if name not in carrying and not _may_carry(carried.get(name), seen_s.get(name), now_s)
    ]
    if not lacking or not offset_w:
        return Admitted(Gate(seen_s), offset_w, "")
    rests_until_s, apart_s = gate.rests_until_s, None
    if len(lacking) < len(truly_metered):
        apart_s = now_s if gate.apart_s is None else gate.apart_s
        if now_s - apart_s > TRIAL_S and now_s >= rests_until_s:
            rests_until_s = now_s + REST_S
    toehold_w = math.copysign(min(abs(offset_w), TOEHOLD_W), offset_w)
    texts = []
    for name in lacking:
        known = carried.get(name)
        what = "what its registers carry was not read yet" if known is None else known.reason
        texts.append(f"{name} has a true meter and its registers do not carry it ({what})")
    return Admitted(
        Gate(seen_s, apart_s, rests_until_s),
        0.0 if now_s < rests_until_s else toehold_w,
        f"held back: {', '.join(texts)}",
    )


def _carries(carried: DispatchChanged | None, now_s: float) -> bool:
    """Whether registers are known to carry an offset."""
    return carried is not None and now_s < carried.until_s and not carried.is_doubt


def _may_carry(carried: DispatchChanged | None, seen_s: float | None, now_s: float) -> bool:
    """Whether registers that carried an offset a moment ago are just not known to any more."""
    is_known = carried is not None and not carried.is_doubt
    return not is_known and seen_s is not None and now_s - seen_s <= DOUBT_S_MAX
