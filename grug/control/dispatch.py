"""An inverter told by its registers: what to write next, and when. Pure.

The order is always the same, and the mode is written last: the fail-safe timer is armed first, so
that there is never a command without an end; then the master switch; then the power with its
limits; then the mode. All of it again well inside the timer. When there is nothing to wish, or
nobody who does, the inverter is given back to its own self use.

A write whose acknowledgement is lost may have been taken. From before anything is sent until that
is known, what the registers carry is *in doubt*: then the meter must say no offset, since
both together would double it. A doubt ends when the registers were read, or once the inverter's own
timer has surely run out; reading does not start that anew, so it is all that is done meanwhile.

Source: field notes of public integrations (see maps/solis_s5_eh1p), which also saw that scattered
single writes may be dropped: neighbours go in one frame.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import NamedTuple

from grug.model import Value

EXISTS = 0xAA55
PROBE = "dispatch_available"
ENABLED, FAILSAFE, MODE = "dispatch_enabled", "dispatch_failsafe_interval", "dispatch_mode"
POWER, FUNCTION = "dispatch_power", "dispatch_function"
SOC_LOW, SOC_HIGH = "dispatch_soc_low", "dispatch_soc_high"
AT_GRID, SELF_USE = 3, 5
"""Modes: power at the house's connection, plus = export; and the inverter's own self use."""
UNCHANGED = 0
"""Value of the function register that leaves every function as it is."""
SAFE: tuple[tuple[str, Value], ...] = ((ENABLED, 0),)
"""Written when a step fails."""
CHECKED = (ENABLED, POWER, MODE)
"""What is read back at every arming."""

STEP_W = 10.0
"""Resolution of the power register."""
DEAD_BAND_W = 50.0
"""Smaller changes of the wish are not worth two frames."""
MOVE_S = 1.0
"""Changes are no more frequent than this."""
ARMS_PER_TIMER = 4
"""How often the timer is armed anew before it would end."""
RETRY_S, RETRY_S_MAX = 5.0, 60.0
"""After a failure nothing is tried for so long; twice as long after each further one, up to the
second. A unit that was offline and is back is asked at once."""
TIMER_SLACK = 0.1
TIMER_SLACK_S = 5.0
"""An inverter's timer may be slower than ours by these, and has surely run out after them."""
SENDING_S_MAX = 30.0
"""What is to be written has left after this, or never will: all of it has a deadline."""
EARLIER_S_MAX = 1800.0 + SENDING_S_MAX
"""The longest timer that an earlier run of grug may have left behind."""
ABSENT_S = 3600.0
"""Registers that were not there are looked for again: an inverter that wakes up says so, too."""
WISH_S_MAX = 5.0
"""An older decision of the offset controller is none."""


class Phase(enum.StrEnum):
    """What is known of the inverter."""

    UNKNOWN = "unknown"
    """Not asked yet, or no answer."""
    ABSENT = "absent"
    """The firmware has no such registers."""
    IDLE = "idle"
    ACTIVE = "active"
    DOUBT = "doubt"
    """Something was sent, and nobody knows whether it was taken."""


class Act(enum.StrEnum):
    """What to do next."""

    WAIT = "wait"
    PROBE = "probe"
    START = "start"
    """Everything, in order, each step seen to be taken."""
    MOVE = "move"
    """Another power."""
    ARM = "arm"
    """Everything again, and a look whether the inverter still does it."""
    RELEASE = "release"
    """Back to self use."""
    LOOK = "look"
    """Read what the registers hold, and write nothing."""
    FORGET = "forget"
    """The timer has run out: they carry nothing any more."""


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """The part of the configuration that one inverter's dispatch needs."""

    inverter: str
    device: str
    share: float
    """Its part of the house's offset, 0 to 1."""
    failsafe_min: int = 1
    falls_back: bool = False
    """Whether its meter carries the offset where the registers do not."""
    power_w_max: float = 6000.0
    soc_low_pct: int = 10
    """Between these states of charge the registers may move the battery."""
    soc_high_pct: int = 100
    has_fakemeter: bool = True
    """Whether grug is its meter; else it has a true one of its own."""
    line: str = ""
    """Line and unit of its COM port, by which the bus says whether it is there."""
    unit_id: int = 0

    @property
    def timer_s(self) -> float:
        """The fail-safe timer."""
        return 60.0 * self.failsafe_min

    @property
    def surely_over_s(self) -> float:
        """So long after the inverter was told something last its timer has surely run out."""
        return self.timer_s * (1.0 + TIMER_SLACK) + TIMER_SLACK_S


class DispatchState(NamedTuple):
    """What is known and was done; times are monotonic."""

    phase: Phase = Phase.UNKNOWN
    power_w: float = 0.0
    """What the registers carry."""
    armed_s: float = -math.inf
    moved_s: float = -math.inf
    """When it may have been told something last, the arming included: its timer runs from then
    on."""
    tried_s: float = -math.inf
    """When something failed last."""
    failures: int = 0
    """In a row."""
    doubt_s: float = math.inf
    """Of phases in doubt: when that is over at the latest."""


class Plan(NamedTuple):
    """The next act and its reason."""

    act: Act
    power_w: float
    reason: str


def wish_w(settings: DispatchSettings, offset_w: float) -> float:
    """The inverter's part of an offset, as its registers can carry it; plus = export."""
    part_w = offset_w * settings.share
    part_w = min(max(part_w, -settings.power_w_max), settings.power_w_max)
    return round(part_w / STEP_W) * STEP_W


def wish_of(
    settings: DispatchSettings, names: tuple[str, ...], values: tuple[float, ...]
) -> float | None:
    """The inverter's part of what the offset controller decided.

    Returns:
        At the grid, plus = export; None while its fake meter is silent, or the grid not measured:
        what nobody measures, nobody steers, by registers no more than by the meter.
    """
    decided = dict(zip(names, values, strict=True))
    proof = f"served_w/{settings.inverter}" if settings.has_fakemeter else "grid_power_w"
    served_w = decided.get(proof, math.nan)
    offset_w = decided.get("offset_w", math.nan)
    if not math.isfinite(served_w) or not math.isfinite(offset_w):
        return None
    return wish_w(settings, offset_w)


def decide(
    settings: DispatchSettings, state: DispatchState, wanted_w: float | None, now_s: float
) -> Plan:
    """Decide what to do next.

    Args:
        settings: of the inverter.
        state: what is known and was done.
        wanted_w: at the grid, plus = export; None when nobody has decided lately.
        now_s: monotonic time.
    """
    is_resting = now_s - state.tried_s < rest_s(state.failures)
    is_tried_lately = now_s - state.tried_s < RETRY_S
    power_w = wanted_w or 0.0
    match state.phase:
        case Phase.ABSENT if now_s - state.tried_s < ABSENT_S:
            return Plan(Act.WAIT, 0.0, "the firmware has no dispatch registers")
        case Phase.DOUBT if now_s >= state.doubt_s:
            return Plan(Act.FORGET, 0.0, "its own timer has run out")
        case Phase.DOUBT if is_resting and (power_w != 0.0 or is_tried_lately):
            return Plan(Act.WAIT, state.power_w, "whether it was taken is not known yet")
        case Phase.DOUBT:
            return Plan(Act.LOOK, state.power_w, "what its registers hold")
        case Phase.UNKNOWN if is_resting:
            return Plan(Act.WAIT, 0.0, "no answer yet")
        case Phase.UNKNOWN | Phase.ABSENT:
            return Plan(Act.PROBE, 0.0, "whether the firmware has dispatch registers")
        case Phase.IDLE if abs(power_w) < DEAD_BAND_W:
            return Plan(Act.WAIT, 0.0, "nothing to carry")
        case Phase.IDLE if is_resting:
            return Plan(Act.WAIT, 0.0, "tried a moment ago")
        case Phase.IDLE:
            return Plan(Act.START, power_w, f"offset of {power_w:g} W")
    if now_s >= state.moved_s + settings.surely_over_s:
        return Plan(Act.FORGET, 0.0, "its own timer has run out")
    if wanted_w is None:  # Letting go never rests.
        return Plan(Act.RELEASE, 0.0, "nobody decided lately")
    if power_w == 0.0:
        return Plan(Act.RELEASE, 0.0, "no offset any more")
    if is_tried_lately:  # What failed was not even sent. A longer rest might outlast the timer.
        return Plan(Act.WAIT, state.power_w, "tried a moment ago")
    moves_w = abs(power_w - state.power_w)
    # After a failure nobody knows what the registers hold, the master switch included.
    is_shaken = state.tried_s >= state.armed_s
    if is_shaken or now_s - state.armed_s >= settings.timer_s / ARMS_PER_TIMER:
        return Plan(Act.ARM, power_w, f"armed again, {power_w:g} W")
    if moves_w >= DEAD_BAND_W and now_s - state.moved_s >= MOVE_S:
        return Plan(Act.MOVE, power_w, f"offset of {power_w:g} W")
    return Plan(Act.WAIT, state.power_w, "as it should be")


def rest_s(failures: int) -> float:
    """How long nothing is tried after so many failures in a row."""
    return min(RETRY_S * 2.0 ** min(max(failures - 1, 0), 10), RETRY_S_MAX)


def in_doubt(before: DispatchState, now_s: float, lasts_s: float) -> DispatchState:
    """What is known once something was sent and no answer tells what became of it.

    Args:
        before: what was known.
        now_s: when it may have arrived at the latest.
        lasts_s: how long the inverter's timer may run from then on.
    """
    return before._replace(phase=Phase.DOUBT, moved_s=now_s, doubt_s=now_s + lasts_s)


def failed(before: DispatchState, now_s: float) -> DispatchState:
    """The same, and the next try rests."""
    return before._replace(tried_s=now_s, failures=before.failures + 1)


def came_back(before: DispatchState) -> DispatchState:
    """What is known once the inverter was away and answers again: what was in RAM may be gone."""
    return before._replace(tried_s=-math.inf, armed_s=-math.inf)


def seen(
    before: DispatchState, is_on: Value | None, power: Value | None, mode: Value | None
) -> DispatchState | None:
    """What is known once the registers in ``CHECKED`` were read; None when they do not tell.

    What they carry at the grid is obeyed or ended next. Another mode is none of ours.
    """
    if is_on == 0:
        return DispatchState(Phase.IDLE, tried_s=before.tried_s, failures=before.failures)
    if is_on == 1 and mode == AT_GRID and isinstance(power, int | float):
        held = DispatchState(Phase.ACTIVE, float(power), moved_s=before.moved_s)
        return held._replace(failures=before.failures)
    return None


def steps(settings: DispatchSettings, plan: Plan) -> tuple[tuple[str, Value], ...]:
    """Registers and values of an act, in the order in which they are written."""
    power: tuple[tuple[str, Value], ...] = (
        (POWER, plan.power_w),
        (FUNCTION, UNCHANGED),
        (SOC_LOW, settings.soc_low_pct),
        (SOC_HIGH, settings.soc_high_pct),
    )
    match plan.act:
        case Act.START | Act.ARM:
            timer = ((FAILSAFE, settings.failsafe_min), (ENABLED, 1))
            return (*timer, *power, (MODE, AT_GRID))
        case Act.MOVE:
            return ((POWER, plan.power_w), (MODE, AT_GRID))
        case Act.RELEASE:
            return ((MODE, SELF_USE), (POWER, 0.0), (ENABLED, 0))
    return ()


def probed(settings: DispatchSettings, value: Value | None) -> tuple[Phase, str]:
    """What the answer to the probe means, and the reason when it is no."""
    if value == EXISTS:
        return Phase.IDLE, ""
    shown = "cannot be read" if value is None else f"reads {value}"
    instead = (
        "its meter carries the offset instead"
        if settings.falls_back
        else 'it carries no offset; control = "both" would let its meter carry it'
    )
    reason = f"no dispatch by registers: input 34502 {shown}, not {EXISTS} (0xAA55); {instead}"
    return Phase.ABSENT, reason


def is_as_told(values: tuple[Value | None, ...], power_w: float) -> bool:
    """Whether the registers in ``CHECKED`` still hold what was written."""
    return values == (1, power_w, AT_GRID)
