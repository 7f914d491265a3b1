"""What of an offset an inverter's meter leaves out, since its registers carry it. Pure.

Its loop brings the sum of what the meter says and what the registers want to zero: so whatever the
registers carry just now comes off the meter's word, and nothing is said twice. While nobody knows
what they carry, the meter says no offset at all: half of it is harmless, twice of it is not.
"""

from __future__ import annotations

import enum

from grug.messages import DispatchChanged


class Carrier(enum.StrEnum):
    """What carries an offset to an inverter; the values of ``control`` in house.toml."""

    METER = "mitm"
    REGISTERS = "dispatch"
    BOTH = "both"
    """Its registers, and its meter what they do not carry yet."""


def unsaid(
    carrier: Carrier, carried: DispatchChanged | None, part_w: float, now_s: float
) -> tuple[float, str]:
    """What of the power to tell an inverter its meter leaves out.

    Args:
        carrier: what carries its offset.
        carried: what was said last of its registers; None when nothing was.
        part_w: its part of the offset.
        now_s: monotonic time.

    Returns:
        In W, and why the meter says no offset, where that is a surprise.
    """
    match carrier:
        case Carrier.METER:
            return 0.0, ""
        case Carrier.REGISTERS:
            return part_w, ""
    if carried is None:
        return part_w, "what its registers carry was not read yet"
    if now_s >= carried.until_s:
        return 0.0, ""
    if carried.is_doubt:
        return part_w, "what its registers carry is not known"
    return carried.power_w, ""
