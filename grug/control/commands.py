"""What people ask for, from whatever path: understood or refused, with the reason. Pure.

The command socket, MQTT and the page all send the same object::

    {"command": "offset", "target": "solis1", "power_w": -2000, "for_s": 7200,
     "who": "cli", "why": "cheap hour"}
    {"command": "offset", "target": "house", "aim": "battery", "power_w": 1500, "for_s": 3600,
     "who": "cli"}
    {"command": "show"}

``aim`` and ``per_soc_w`` are those of ``SetOffset``. A target of ``house`` is the whole house. With
``dry_run`` true it is only said what would be accepted, and nothing is done.
Every wish has an end; there is none without.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grug.control.ladder import GRID_POWER_W_MAX
from grug.control.wishes import SCHEDULE, problem_of
from grug.messages import SetOffset
from grug.model import Aim

HOUSE = "house"
"""What the whole house is called; a wish for it has the target ``""``."""
FOR_S_MAX = 7 * 86400.0
"""Who wants an offset for longer than a week writes it into the config."""
TEXT_MAX = 200
"""Of who and why: they go into the log."""
_KEYS = {"command", "target", "power_w", "for_s", "who", "why", "aim", "per_soc_w", "dry_run"}


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was done, and why."""

    reason: str


def parse_offset(
    request: Mapping[str, Any], inverters: tuple[str, ...], now_s: float
) -> SetOffset | Refused:
    """Understand one request for an offset.

    Args:
        request: the object as above.
        inverters: names of the house's inverters.
        now_s: monotonic time, to which ``for_s`` is added.
    """
    unknown = sorted(set(request) - _KEYS)
    if unknown:
        return Refused(f"unknown key {unknown[0]!r}; there are {', '.join(sorted(_KEYS))}")
    if not isinstance(request.get("dry_run", False), bool):
        return Refused(f"dry_run of {request['dry_run']!r} is neither true nor false")
    target = request.get("target", HOUSE)
    if target != HOUSE and target not in inverters:
        known = ", ".join((HOUSE, *inverters))
        return Refused(f"there is no inverter {target!r}; there are {known}")
    power_w, for_s = _number(request.get("power_w")), _number(request.get("for_s"))
    if power_w is None:
        return Refused(f"power_w of {request.get('power_w')!r} is not a number of watts")
    if abs(power_w) > GRID_POWER_W_MAX:
        return Refused(f"{power_w:g} W is more than any house has")
    if for_s is None:
        return Refused("for_s is missing: every offset has an end, in seconds from now")
    if for_s < 0.0:
        return Refused(f"its end is {-for_s:g} s in the past")
    if for_s > FOR_S_MAX:
        return Refused(
            f"{for_s / 3600.0:.6g} h is longer than a week; that belongs into the config"
        )
    who, why = request.get("who", ""), request.get("why", "")
    if not isinstance(who, str) or not isinstance(why, str) or not who.strip():
        return Refused("who asks, and why, are texts; who is needed")
    if who.strip().startswith(f"{SCHEDULE}/"):
        return Refused(f"{who!r} is what the schedule's own wishes are called")
    if max(len(who), len(why)) > TEXT_MAX:
        return Refused(f"who and why have at most {TEXT_MAX} characters")
    aim, per_soc_w = request.get("aim", Aim.OFFSET), _number(request.get("per_soc_w", 0.0))
    if not isinstance(aim, str) or aim not in set(Aim):
        return Refused(f"there is no aim {aim!r}; there are {', '.join(Aim)}")
    if per_soc_w is None or abs(per_soc_w) > GRID_POWER_W_MAX:
        return Refused(f"per_soc_w of {request['per_soc_w']!r} is no number of watts for a percent")
    of = "" if target == HOUSE else str(target)
    wish = SetOffset(power_w, now_s + for_s, who.strip(), why.strip(), of, Aim(aim), per_soc_w)
    problem = problem_of(wish)
    return Refused(problem) if problem else wish


def _number(value: object) -> float | None:
    """A finite number; a text or a bool is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
