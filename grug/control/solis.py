"""What a Solis can be told by its registers: from words that a person uses to values. Pure.

Each function gives a ``Change``: registers by name, in the order in which they are to be written,
and what that means in words. Nothing here knows a line or a gate.

Source: the seed's register table and notes of its S5-EH1P-6K (currents, slots, meter type, on and
off); the bits of the storage mode, and slots 2 and 3, as noted in maps/solis_s5_eh1p.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from grug.model import Value

SLOTS = (1, 2, 3)
POWER_ON, POWER_OFF = 0xBE, 0xDE
"""Values of ``power_on_off``. Source: the seed's notes."""

TIMED_BIT, BACKUP_BIT, GRID_CHARGE_BIT = 1, 4, 5
MODES: Mapping[str, tuple[int, ...]] = {
    "self-use": (0,),
    "feed-in": (6,),
    "backup": (0, BACKUP_BIT),
    "off-grid": (2,),
    "peak-shaving": (11,),
}
"""Bits that make a mode; SolisCloud pairs backup with self use. See the notes in the map."""
METERS = {"acrel-1-phase": 1, "acrel-3-phase": 2, "eastron": 4}
PLACES = {"grid": 0x100, "load": 0x200}
"""Values of ``meter1_type_and_location_setting``. Source: the seed's notes."""

SETTINGS = (
    "power_on_off",
    "energy_storage_mode_setting",
    "battery_charge_current_maximum_setting",
    "battery_discharge_current_maximum_setting",
    "timed_charge_current",
    "timed_discharge_current",
    "backup_output_enabled_setting",
    "meter1_type_and_location_setting",
    "real_time_clock",
)
"""What ``grug solis show`` shows."""
PROBE = "dispatch_available"
DISPATCH_EXISTS = 0xAA55


class SolisError(ValueError):
    """What was asked for makes no sense; the text says why."""


@dataclass(frozen=True, slots=True)
class Change:
    """Registers to write."""

    values: Mapping[str, Value]
    text: str
    """What that does, in words."""
    masks: Mapping[str, int] = field(default_factory=dict)
    """Bits that are meant, where not all are."""
    is_ordered: bool = False


def charge_limit(current_a: float) -> Change:
    """The most that the battery is charged with, in A."""
    name = "battery_charge_current_maximum_setting"
    return Change({name: _current(current_a)}, f"charge with at most {current_a:g} A")


def discharge_limit(current_a: float) -> Change:
    """The most that the battery is discharged with, in A."""
    name = "battery_discharge_current_maximum_setting"
    return Change({name: _current(current_a)}, f"discharge with at most {current_a:g} A")


def _current(current_a: float) -> float:
    if not 0.0 <= current_a < 1000.0:
        raise SolisError(f"{current_a:g} A is no current limit")
    return current_a


def power(is_on: bool) -> Change:
    """Switch the inverter on or off; off also takes its backup output away."""
    return Change({"power_on_off": POWER_ON if is_on else POWER_OFF}, f"{_switch(is_on)}")


def backup(is_on: bool) -> Change:
    """Switch the backup output."""
    value = int(is_on)
    return Change({"backup_output_enabled_setting": value}, f"backup output {_switch(is_on)}")


def _switch(is_on: bool) -> str:
    return "on" if is_on else "off"


def mode(
    name: str | None = None, *, timed: bool | None = None, grid_charge: bool | None = None
) -> Change:
    """The storage mode, and the two switches beside it; what is None stays as it is.

    Args:
        name: one of ``MODES``.
        timed: whether the slots of time count.
        grid_charge: whether the battery may be charged from the grid.

    Raises:
        SolisError: there is no such mode, or nothing to change.
    """
    bits: dict[int, bool] = {}
    texts = []
    if name is not None:
        if name not in MODES:
            raise SolisError(f"there is no mode {name!r}; there are {', '.join(MODES)}")
        every = {bit for each in MODES.values() for bit in each}
        bits |= {bit: bit in MODES[name] for bit in sorted(every)}
        texts.append(f"mode {name}")
    for bit, is_on, text in (
        (TIMED_BIT, timed, "slots of time"),
        (GRID_CHARGE_BIT, grid_charge, "charging from the grid"),
    ):
        if is_on is not None:
            bits[bit] = is_on
            texts.append(f"{text} {_switch(is_on)}")
    if name == "off-grid" and timed:
        raise SolisError("off-grid knows no slots of time")
    if not bits:
        raise SolisError("nothing to change: name a mode, or --timed, or --grid-charge")
    number = sum(1 << bit for bit, is_on in bits.items() if is_on)
    mask = sum(1 << bit for bit in bits)
    register = "energy_storage_mode_setting"
    return Change({register: number}, ", ".join(texts), {register: mask})


_TIMES = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")
NEVER = "off"


def slot(
    number: int = 1,
    *,
    charge: str | None = None,
    discharge: str | None = None,
    charge_current_a: float | None = None,
    discharge_current_a: float | None = None,
) -> Change:
    """A slot of time in which the battery is charged or discharged, as ``mode(timed=True)`` allows.

    The currents are written before the times, so that a new slot never begins with old currents.

    Args:
        number: 1 to 3; older firmware has the first alone.
        charge: ``23:30-05:30`` or ``off``; None leaves it.
        discharge: likewise.
        charge_current_a: of all slots.
        discharge_current_a: of all slots.

    Raises:
        SolisError: that is no time, or nothing to change.
    """
    if number not in SLOTS:
        raise SolisError(f"there is no slot {number}; there are 1, 2 and 3")
    values: dict[str, Value] = {}
    texts = []
    for what, current_a in (("charge", charge_current_a), ("discharge", discharge_current_a)):
        if current_a is not None:
            values[f"timed_{what}_current"] = _current(current_a)
            texts.append(f"{what} with {current_a:g} A in slots")
    suffix = "" if number == 1 else f"_{number}"
    for what, times in (("charge", charge), ("discharge", discharge)):
        if times is None:
            continue
        moments = _moments(times)
        for end, (hour, minute) in zip(("start", "end"), moments, strict=True):
            values[f"timed_{what}_{end}_hour{suffix}"] = hour
            values[f"timed_{what}_{end}_minute{suffix}"] = minute
        texts.append(f"slot {number}: {what} {times}")
    if not values:
        raise SolisError("nothing to change: say --charge, --discharge or a current")
    return Change(values, ", ".join(texts), is_ordered=True)


def _moments(times: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Begin and end; both midnight for never."""
    if times == NEVER:
        return (0, 0), (0, 0)
    match = _TIMES.fullmatch(times.strip())
    if match is None:
        raise SolisError(f"{times!r} is no time such as 23:30-05:30, or off")
    hour, minute, end_hour, end_minute = map(int, match.groups())
    if max(hour, end_hour) > 23 or max(minute, end_minute) > 59:
        raise SolisError(f"{times!r}: hours go to 23, minutes to 59")
    if (hour, minute) == (end_hour, end_minute):
        raise SolisError(f"{times!r} has no length; say off for never")
    return (hour, minute), (end_hour, end_minute)


def meter(kind: str, place: str) -> Change:
    """Which meter is at the meter port, and where in the house it is.

    Raises:
        SolisError: there is no such meter or place.
    """
    if kind not in METERS or place not in PLACES:
        known = f"{', '.join(METERS)}, at {' or '.join(PLACES)}"
        raise SolisError(f"no meter {kind!r} at {place!r}; there are {known}")
    value = METERS[kind] | PLACES[place]
    return Change({"meter1_type_and_location_setting": value}, f"{kind} meter at the {place} side")


# The clock

DRIFT_S_MAX = 60.0
"""A clock that is less wrong is left alone: each setting may wear the inverter's memory."""


def drift_s(shown: Value, now: datetime.datetime) -> float:
    """How far an inverter's clock is ahead, in s; less than 0 when it is behind.

    Args:
        shown: what its clock register says, as ISO 8601 text.
        now: local time, since Solis shows that.

    Raises:
        SolisError: it is no time: the clock was never set, or its battery is empty.
    """
    try:
        clock = datetime.datetime.fromisoformat(str(shown))
    except ValueError:
        raise SolisError(f"its clock shows {shown!r}, which is no time") from None
    return (clock - now.replace(tzinfo=None)).total_seconds()


def clock(now: datetime.datetime) -> Change:
    """Set the clock to a local time."""
    text = now.replace(tzinfo=None, microsecond=0).isoformat()
    return Change({"real_time_clock": text}, f"clock to {text}")
