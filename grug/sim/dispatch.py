"""The simulated dispatch block of a Solis: 44100 to 44112, with a fail-safe of its own. Pure.

Nothing acts while the master switch is off. A mode takes effect when the mode is written, with the
power as it is then; any write to the block starts the fail-safe timer anew. When the timer ends the
inverter takes back control by itself: the master switch reads 0.

Source: field notes of public integrations (see maps/solis_s5_eh1p); how the real firmware latches
power and mode is an assumption, chosen so that an order other than the documented one shows.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class DispatchMode(enum.IntEnum):
    """Values of the mode register that are simulated; others leave the inverter to itself."""

    HOLD = 1
    BATTERY = 2
    """The battery's power, plus = charging."""
    GRID = 3
    """Power at the house's connection as the meter shows it, plus = export."""
    PORT = 4
    """Power at the inverter's AC port, plus = export."""


class Dispatched(NamedTuple):
    """What the inverter was told to do, and until when that holds."""

    mode: int
    power_w: float
    until_s: float
    """Seconds since the house's start."""


MASTER, FAILSAFE_MIN, MODE = 44100, 44101, 44105
FIRST, LAST = 44100, 44112
EXISTS = 0xAA55


def dispatched(
    before: Dispatched | None,
    address: int,
    *,
    is_on: bool,
    failsafe_min: int,
    mode: int,
    power_w: float,
    elapsed_s: float,
) -> Dispatched | None:
    """What holds after a write to one register of the block.

    Args:
        before: what held.
        address: the register that was written.
        is_on: the master switch, like the three after it as they read now.
        failsafe_min: minutes.
        mode: see ``DispatchMode``.
        power_w: as the mode understands it.
        elapsed_s: seconds since the house's start.
    """
    if not is_on or not failsafe_min:
        return None
    until_s = elapsed_s + 60.0 * failsafe_min
    if address == MODE:
        return Dispatched(mode, power_w, until_s)
    return None if before is None else before._replace(until_s=until_s)
