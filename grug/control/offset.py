"""What each inverter is told its meter says: the grid's power plus an offset, shared out.

Pure: readings, wishes and times in; meter images and a decision with its reason out. An inverter
drives the power that its meter reports to zero, so a positive offset makes it export that much and
a negative one makes it absorb. No image is ever made from anything but a fresh, good reading.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from grug.messages import Decided, MeterImage, SetOffset

GRID_POWER_W_MAX = 100_000.0
"""More than any house's connection carries: a reading beyond it is a broken one."""

VOLTAGE_V_MAX = 1000.0
FREQUENCY_HZ_MAX = 100.0
ENERGY_KWH_MAX = 10_000_000.0
"""What is passed on to the inverters is no more than this: less than any profile's registers hold,
so that one broken value does not cost the whole image."""

VOLTAGE_V_MIN = 50.0
"""Under it there is no grid to speak of, and no current is worked out from the power."""

SLEW_STEP_S_MAX = 1.0
"""A pause between readings counts as this at most, so that the offset does not jump after it."""

COMMANDS_MAX = 32
"""More sources than this do not ask for offsets; the oldest wish goes, a runaway cannot fill us."""

IMAGE_NAMES = (
    "voltage",
    "current",
    "active_power",
    "reactive_power",
    "apparent_power",
    "power_factor",
    "frequency",
    "import_active_energy",
    "export_active_energy",
)
"""Registers of a one-phase meter that an image can fill, as the maps name them."""

CONTROLLER = "offset"
"""Name of this controller in its decisions."""


@dataclass(frozen=True, slots=True)
class SteeredInverter:
    """One inverter and the fake meter that it listens to."""

    name: str
    fakemeter: str
    share: float = 1.0
    """Its part of the house's power, relative to the others' shares; at least 0."""
    max_age_s: float = 1.5
    """Its fake meter is silent when the grid's reading is older."""
    image_names: tuple[str, ...] = ("active_power",)
    """Names of the fake meter's registers; those of IMAGE_NAMES among them are kept and filled."""
    power_w_min: float = -32767.0
    power_w_max: float = 32767.0
    """What the profile's active_power register can carry; the Acrel's is 16 bits of 1 W."""
    line: str = ""
    """Line and unit of its COM port, by which the bus says whether it is there."""
    unit_id: int = 0

    def __post_init__(self) -> None:
        """Keep the names that an image can fill; the profile's others stay at zero."""
        names = tuple(name for name in IMAGE_NAMES if name in self.image_names)
        object.__setattr__(self, "image_names", names)


@dataclass(frozen=True, slots=True)
class OffsetSettings:
    """The part of the configuration that the offset controller needs."""

    grid_device: str
    grid_register: str
    """In W, plus = import."""
    inverters: tuple[SteeredInverter, ...]
    power_w: float = 0.0
    """The standing offset of the config, when nobody asks for another."""
    limit_w: float = 6000.0
    slew_w_per_s: float = 1000.0
    voltage_register: str = ""
    """Grid meter's registers that are passed on to the inverters; empty where none is polled."""
    frequency_register: str = ""
    import_energy_register: str = ""
    export_energy_register: str = ""
    others_max_age_s: float = 5.0
    """How old voltage and frequency may be; older, and there is no image."""
    decided_names: tuple[str, ...] = field(init=False)
    """Names of the values of every decision, made once."""

    def __post_init__(self) -> None:
        """Make the names."""
        served = (f"served_w/{inverter.name}" for inverter in self.inverters)
        object.__setattr__(self, "decided_names", ("grid_power_w", "offset_w", *served))


@dataclass(frozen=True, slots=True)
class GridReading:
    """The grid's power as it was read."""

    power_w: float
    """Plus = import."""
    read_s: float
    fault: str = ""
    """Why it must not be used; empty when it is good."""


@dataclass(frozen=True, slots=True)
class GridOthers:
    """What else the grid meter said; each a (value, read_s), None when never read well."""

    voltage_v: tuple[float, float] | None = None
    frequency_hz: tuple[float, float] | None = None
    import_energy_kwh: tuple[float, float] | None = None
    export_energy_kwh: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class OffsetState:
    """What the controller remembers from decision to decision."""

    offset_w: float = 0.0
    """The offset of the last decision."""
    moved_s: float | None = None
    """When that was; None before the first."""
    commands: tuple[SetOffset, ...] = ()
    """The latest wish of each source, the newest last."""
    offline: frozenset[str] = frozenset()
    """Inverters that are known not to be there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One decision."""

    state: OffsetState
    images: tuple[MeterImage, ...]
    """None at all when there is nothing good to say: the fake meters then fall silent in time."""
    decided: Decided


def take_command(state: OffsetState, command: SetOffset) -> OffsetState:
    """Note a wish; it replaces the earlier one of the same source and is the newest of all.

    A wish whose expiry has passed thereby ends that source's earlier wish. One that is no number
    changes nothing (see ``problem_of``).
    """
    if problem_of(command):
        return state
    kept = tuple(other for other in state.commands if other.who != command.who)
    return replace(state, commands=(*kept, command)[-COMMANDS_MAX:])


def problem_of(command: SetOffset) -> str:
    """Why a wish is not obeyed, or an empty text."""
    if not math.isfinite(command.power_w):
        return f"offset of {command.power_w} W by {command.who} ignored: not a number of watts"
    if not math.isfinite(command.expires_s):
        return f"offset of {command.power_w:g} W by {command.who} ignored: it never expires"
    return ""


def take_health(state: OffsetState, inverter: str, is_offline: bool) -> OffsetState:
    """Note that an inverter went away or came back."""
    offline = state.offline | {inverter} if is_offline else state.offline - {inverter}
    return replace(state, offline=offline)


def decide(
    settings: OffsetSettings,
    state: OffsetState,
    grid: GridReading,
    others: GridOthers,
    now_s: float,
) -> Outcome:
    """Decide what every fake meter says from now on.

    Args:
        settings: the configuration.
        state: what the last decision left.
        grid: the latest reading of the grid's power.
        others: what else the grid meter said lately.
        now_s: monotonic time.
    """
    state, reason = _move_offset(settings, state, now_s)
    problem = _problem_of_grid(grid) or _problem_of_others(settings, others, now_s)
    problem = problem or ("" if settings.inverters else "no inverter to steer")
    if problem:
        return _silent(settings, state, grid, now_s, f"no image: {problem}; {reason}")
    return _serve(settings, state, grid, others, now_s, reason)


def decide_stop(
    settings: OffsetSettings,
    state: OffsetState,
    grid: GridReading,
    others: GridOthers,
    now_s: float,
) -> Outcome:
    """Decide the last images: the grid's power as it is, for as long as its reading lasts."""
    stopped = replace(state, offset_w=0.0, moved_s=now_s, commands=())
    problem = _problem_of_grid(grid) or _problem_of_others(settings, others, now_s)
    if problem:
        return _silent(settings, stopped, grid, now_s, f"no image: {problem}; stopping, offset 0 W")
    return _serve(settings, stopped, grid, others, now_s, "stopping, offset 0 W")


def _problem_of_grid(grid: GridReading) -> str:
    """Why the grid's reading must not be used, or an empty text."""
    if grid.fault:
        return grid.fault
    # Written so that NaN, which compares as false, counts as implausible.
    if not -GRID_POWER_W_MAX <= grid.power_w <= GRID_POWER_W_MAX:
        return "grid power is implausible"
    return ""


def _problem_of_others(settings: OffsetSettings, others: GridOthers, now_s: float) -> str:
    """Why what is passed on beside the power must not be, or an empty text.

    What the house polls must be known: a voltage must be fresh, and a counter known at all, since
    it only grows slowly. Zero in their place would be a lie that an inverter acts on.
    """
    fresh_s, ever_s = now_s - settings.others_max_age_s, -math.inf
    for register, value, oldest_s, maximum in (
        (settings.voltage_register, others.voltage_v, fresh_s, VOLTAGE_V_MAX),
        (settings.frequency_register, others.frequency_hz, fresh_s, FREQUENCY_HZ_MAX),
        (settings.import_energy_register, others.import_energy_kwh, ever_s, ENERGY_KWH_MAX),
        (settings.export_energy_register, others.export_energy_kwh, ever_s, ENERGY_KWH_MAX),
    ):
        if not register:
            continue
        if value is None or value[1] < oldest_s:
            return f"{register} not read lately"
        if not 0.0 <= value[0] <= maximum:
            return f"{register} is implausible"
    return ""


def _move_offset(
    settings: OffsetSettings, state: OffsetState, now_s: float
) -> tuple[OffsetState, str]:
    """Find the active wish and move the offset towards it, no faster than the slew allows."""
    commands = state.commands
    if commands and any(command.expires_s <= now_s for command in commands):
        commands = tuple(command for command in commands if command.expires_s > now_s)
    target_w, phase = _active_wish(settings, commands)
    step_s = 0.0 if state.moved_s is None else now_s - state.moved_s
    step_w = settings.slew_w_per_s * min(max(step_s, 0.0), SLEW_STEP_S_MAX)
    offset_w = min(max(target_w, state.offset_w - step_w), state.offset_w + step_w)
    if offset_w != target_w:
        phase = f"moving to: {phase}"
    return OffsetState(offset_w, now_s, commands, state.offline), phase


def _active_wish(settings: OffsetSettings, commands: tuple[SetOffset, ...]) -> tuple[float, str]:
    """The offset to go to, and the reason as text; the newest wish wins, the limit always holds."""
    limit_w = settings.limit_w
    if not commands:
        wish_w, source = settings.power_w, "from the config"
    else:
        command = commands[-1]
        why = f" ({command.why})" if command.why else ""
        wish_w = command.power_w
        source = f"by {command.who}{why} until {command.expires_s:.1f} s"
    target_w = min(max(wish_w, -limit_w), limit_w)
    clamped = "" if target_w == wish_w else f", limited from {wish_w:g} W"
    return target_w, f"offset {target_w:g} W {source}{clamped}"


def _silent(
    settings: OffsetSettings, state: OffsetState, grid: GridReading, now_s: float, reason: str
) -> Outcome:
    """A decision without images."""
    served = (math.nan,) * len(settings.inverters)
    power_w = math.nan if grid.fault else grid.power_w
    return Outcome(state, (), _decided(settings, now_s, (power_w, state.offset_w, *served), reason))


def _serve(
    settings: OffsetSettings,
    state: OffsetState,
    grid: GridReading,
    others: GridOthers,
    now_s: float,
    reason: str,
) -> Outcome:
    """Share the power out and make the images."""
    total_w = grid.power_w + state.offset_w
    known = _known_others(others)
    images: list[MeterImage] = []
    served: list[float] = []
    for inverter, share in zip(settings.inverters, _shares(settings, state), strict=True):
        asked_w = total_w * share
        power_w = min(max(asked_w, inverter.power_w_min), inverter.power_w_max)
        if power_w != asked_w:
            reason = f"{reason}; {inverter.fakemeter} limited to what its register carries"
        valid_until_s = grid.read_s + inverter.max_age_s
        if now_s > valid_until_s:
            reason = f"{reason}; reading too old for {inverter.fakemeter}"
            served.append(math.nan)
            continue
        served.append(power_w)
        names, values = _image(inverter, power_w, known)
        images.append(MeterImage(inverter.fakemeter, names, values, grid.read_s, valid_until_s))
    if state.offline:
        reason = f"{reason}; offline, carried by the others: {', '.join(sorted(state.offline))}"
    decided = _decided(settings, now_s, (grid.power_w, state.offset_w, *served), reason)
    return Outcome(state, tuple(images), decided)


def _shares(settings: OffsetSettings, state: OffsetState) -> list[float]:
    """Each inverter's part of the power; they sum to 1.

    One known to be offline gets 0: if only its COM port is lost and it still listens to its meter,
    it holds its power and does not fight the others. When all are offline nothing is known that
    tells them apart, and each keeps its own share.
    """
    offline = state.offline
    weights = [0.0 if inv.name in offline else inv.share for inv in settings.inverters]
    if not sum(weights):
        weights = [inv.share for inv in settings.inverters]
    total = sum(weights)
    return [weight / total if total else 0.0 for weight in weights]


def _known_others(others: GridOthers) -> dict[str, float]:
    """What is passed on from the grid meter, by the name that fake meters have for it.

    What the house does not poll is zero: what a meter's unused registers hold.
    """
    return {
        "voltage": others.voltage_v[0] if others.voltage_v else 0.0,
        "frequency": others.frequency_hz[0] if others.frequency_hz else 0.0,
        "import_active_energy": others.import_energy_kwh[0] if others.import_energy_kwh else 0.0,
        "export_active_energy": others.export_energy_kwh[0] if others.export_energy_kwh else 0.0,
    }


def _image(
    inverter: SteeredInverter, power_w: float, known: dict[str, float]
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Names and values of one image: measured where measured, else what follows from the power.

    The offset is active power alone, so apparent power is its magnitude and reactive power zero.
    Every name is always given, so that the fake meter never keeps an old value.
    """
    magnitude_w = abs(power_w)
    voltage_v = known["voltage"]
    values = known | {
        "active_power": power_w,
        "apparent_power": magnitude_w,
        "reactive_power": 0.0,
        "power_factor": 1.0 if power_w >= 0 else -1.0,
        "current": magnitude_w / voltage_v if voltage_v > VOLTAGE_V_MIN else 0.0,
    }
    names = inverter.image_names
    return names, tuple([values[name] for name in names])


def _decided(
    settings: OffsetSettings, now_s: float, values: tuple[float, ...], reason: str
) -> Decided:
    """The decision as a message."""
    return Decided(CONTROLLER, now_s, settings.decided_names, values, reason)
