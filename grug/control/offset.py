"""What each inverter is told its meter says: the grid's power plus an offset, shared out.

Pure: readings, wishes and times in; meter images and a decision with its reason out. An inverter
drives the power that its meter reports to zero, so a positive offset makes it export that much and
a negative one makes it absorb. No image is ever made from anything but a fresh, good reading.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import msgspec
from msgspec.structs import replace

from grug.control.balance import BalanceSettings, Following, InverterFacts, off_grid_of
from grug.control.carried import (
    CARRIES_ALL,
    TOEHOLD_W,
    UNTRIED,
    Carrier,
    Gate,
    Split,
    admitted,
    split,
)
from grug.control.circulation import NONE as NO_CIRCULATION
from grug.control.circulation import Circulation
from grug.control.hunting import QUIET, Hunting
from grug.control.images import IMAGE_NAMES, GridOthers, known_others, values_of
from grug.control.ladder import GridReading, LadderSettings, problem_of_reading
from grug.control.plant import Motion, Plant
from grug.control.steering import (
    MODEL_PERIOD_S_MAX,
    SURGE_S_MAX,
    DriveSettings,
    Inputs,
    Steered,
    Told,
    reserve_w,
    shared,
    steer,
)
from grug.control.wishes import Known, Wanted, WishLimits, bounds_w, wanted, without_expired
from grug.messages import Decided, DispatchChanged, MeterImage, SetOffset

VOLTAGE_V_MAX = 1000.0
FREQUENCY_HZ_MAX = 100.0
ENERGY_KWH_MAX = 10_000_000.0
"""What is passed on to the inverters is no more than this: less than any profile's registers hold,
so that one broken value does not cost the whole image."""

PLANT = Plant()
"""An inverter as they are before anybody has measured them."""

SLEW_STEP_S_MAX = 1.0
"""A pause between readings counts as this at most, so that the offset does not jump after it."""

NO_FACTS: Mapping[str, InverterFacts] = MappingProxyType({})
NO_SHIFTS: Mapping[str, float] = MappingProxyType({})

CONTROLLER = "offset"
"""Name of this controller in its decisions."""


@dataclass(frozen=True, slots=True)
class SteeredInverter:
    """One inverter and the fake meter that it listens to."""

    name: str
    fakemeter: str
    """Empty for one with a true meter of its own, which its registers alone tell an offset."""
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
    device: str = ""
    """Its COM port, where PV, state of charge and the battery's limits are read."""
    meter: str = ""
    """The meter at its AC port; empty when there is none, then its own word counts."""
    plant: Plant = PLANT
    """How it answers to its meter."""
    carrier: Carrier = Carrier.METER
    """What carries an offset to it."""

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
    limits: WishLimits = field(default_factory=WishLimits)
    slew_w_per_s: float = 1000.0
    voltage_register: str = ""
    """Grid meter's registers that are passed on to the inverters; empty where none is polled."""
    frequency_register: str = ""
    import_energy_register: str = ""
    export_energy_register: str = ""
    others_max_age_s: float = 5.0
    """How old voltage and frequency may be; older, and there is no image."""
    ladder: LadderSettings = field(default_factory=LadderSettings)
    balance: BalanceSettings = field(default_factory=BalanceSettings)
    drive: DriveSettings = field(default_factory=DriveSettings)
    second_device: str = ""
    """Another meter at the house's connection; empty when there is none."""
    second_register: str = ""
    second_sign: float = 1.0
    """-1 where it counts export as plus."""
    is_second_relayed: bool = False
    """It is an inverter, which tells what its own meter says."""
    second_voltage_register: str = ""
    """Of the second meter, believed while the first one's are not live; empty where not polled."""
    second_frequency_register: str = ""
    told: tuple[SteeredInverter, ...] = field(init=False)
    """Those that have a fake meter."""
    truly_metered: tuple[str, ...] = field(init=False)
    """Names of those that have none."""
    decided_names: tuple[str, ...] = field(init=False)
    """Names of the values of every decision, made once."""
    steered: tuple[Steered, ...] = field(init=False)
    """The inverters as the law sees them, made once."""
    unasked: Wanted = field(init=False)
    """What holds while nobody wishes anything, worked out once."""

    def __post_init__(self) -> None:
        """Make what is the same at every decision."""
        told = tuple(inverter for inverter in self.inverters if inverter.fakemeter)
        served = (f"served_w/{inverter.name}" for inverter in told)
        object.__setattr__(self, "told", told)
        others = tuple(inverter.name for inverter in self.inverters if not inverter.fakemeter)
        object.__setattr__(self, "truly_metered", others)
        object.__setattr__(self, "decided_names", ("grid_power_w", "offset_w", *served))
        steered = tuple(Steered(inv.name, inv.share, inv.plant) for inv in self.inverters)
        object.__setattr__(self, "steered", steered)
        nobody = Known(math.nan, {}, NO_FACTS)
        object.__setattr__(self, "unasked", wanted(self.limits, (), nobody, 0.0))


class OffsetState(msgspec.Struct, frozen=True):
    """What the controller remembers from decision to decision."""

    offset_w: float = 0.0
    """The offset of the last decision."""
    moved_s: float | None = None
    """When that was; None before the first."""
    wishes: tuple[SetOffset, ...] = ()
    """The latest of each source, the newest last."""
    offline: frozenset[str] = frozenset()
    """Inverters that are known not to be there."""
    carried: Mapping[str, DispatchChanged] = msgspec.field(default_factory=dict)
    """By inverter: what its registers carry, so that its meter need not say it."""
    gate: Gate = UNTRIED
    """Whether those that have a true meter carry an offset."""
    following: Mapping[str, Following] = msgspec.field(default_factory=dict)
    """By inverter: whether it does what it is told."""
    motions: Mapping[str, Motion] = msgspec.field(default_factory=dict)
    """By inverter: what it was told lately, and what its AC port did."""
    hunting: Hunting = QUIET
    """Whether the loop swings."""
    circulation: Circulation = NO_CIRCULATION
    """What goes from battery to battery, and who is held back for that."""
    read_s: float | None = None
    """When the grid's power was read that was decided on last; None before the first."""
    periods_s: tuple[float, float] = (0.0, 0.0)
    """The last two times between two readings."""
    large_s: float | None = None
    """Since when an import is left that may be a motor's inrush."""
    rest_w: float = 0.0
    """What was left before that."""


class Outcome(msgspec.Struct, frozen=True):
    """One decision."""

    state: OffsetState
    images: tuple[MeterImage, ...]
    """None at all when there is nothing good to say: the fake meters then fall silent in time."""
    decided: Decided


def take_dispatch(state: OffsetState, change: DispatchChanged) -> OffsetState:
    """Note what an inverter's registers carry."""
    return replace(state, carried={**state.carried, change.inverter: change})


def forget_dispatch(state: OffsetState, inverters: Collection[str]) -> OffsetState:
    """What these inverters' registers carry is not known any more."""
    kept = {name: each for name, each in state.carried.items() if name not in inverters}
    return replace(state, carried=kept)


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
    *,
    ramp: str = "",
    facts: Mapping[str, InverterFacts] = NO_FACTS,
) -> Outcome:
    """Decide what every fake meter says from now on.

    Args:
        settings: the configuration.
        state: what the last decision left.
        grid: the latest reading of the grid's power.
        others: what else the grid meter said lately.
        now_s: monotonic time.
        ramp: why nobody's wish counts and the offset goes to zero; empty when wishes count. While
            it does, the images are those of the same reading with less and less offset; once it is
            zero there is nothing new to say.
        facts: what is known of the inverters, by name.
    """
    before_w = state.offset_w
    off_grid = off_grid_of(facts)
    away = state.offline | off_grid
    problem = problem_of_reading(grid) or _problem_of_others(settings, others, now_s)
    problem = problem or ("" if settings.inverters else "no inverter to steer")
    # What is told after a silence begins at no offset, as the inverters do.
    no_offset = ramp or ("nothing is told" if problem else "")
    asked = _asked(settings, state, away, grid, facts, now_s)
    state, reason, shifts_w, offset_w = _move_offset(
        settings, state, asked, off_grid, now_s, no_offset
    )
    if ramp and before_w == 0.0:
        return _silent(settings, state, grid, now_s, f"no new image: {ramp}; {reason}")
    if problem:
        return _silent(settings, state, grid, now_s, f"no image: {problem}; {reason}")
    # What is told is told until the next reading, so it needs to be known when that comes, and a
    # surge is worked out from what is under way by now, so it needs a reading of now.
    period_s = 0.0 if state.read_s is None else grid.read_s - state.read_s
    periods_s = (period_s, state.periods_s[0]) if period_s > 0.0 else state.periods_s
    is_fresh = period_s > 0.0 and not ramp and now_s - grid.read_s <= MODEL_PERIOD_S_MAX / 2.0
    # What nobody carries is wanted from nobody, before the law makes more of it than it is.
    splits = _splits(settings, state, away, offset_w, now_s)
    wanted_w = grid.power_w + offset_w - sum([each.missing_w for each in splits.values()])
    step_s = max(periods_s) if is_fresh else 0.0
    told = _told(settings, state, away, wanted_w, facts, shifts_w, now_s, step_s)
    state = replace(
        state,
        following=told.following,
        motions=told.motions,
        circulation=told.circulation,
        hunting=told.hunting,
        read_s=grid.read_s,
        periods_s=periods_s,
        large_s=told.large_s,
        rest_w=told.rest_w,
    )
    reason = f"{reason}; {told.reason}" if told.reason else reason
    if off_grid:
        reason = f"{reason}; off grid: {', '.join(sorted(off_grid))}"
    return _serve(settings, state, grid, others, now_s, reason, told.told_w, splits, told.surging)


def decide_stop(
    settings: OffsetSettings,
    state: OffsetState,
    grid: GridReading,
    others: GridOthers,
    now_s: float,
) -> Outcome:
    """Decide the last images: the grid's power as it is, for as long as its reading lasts."""
    stopped = replace(state, offset_w=0.0, moved_s=now_s, wishes=())
    problem = problem_of_reading(grid) or _problem_of_others(settings, others, now_s)
    if problem:
        return _silent(settings, stopped, grid, now_s, f"no image: {problem}; stopping, offset 0 W")
    shares = {inverter.name: inverter.share for inverter in settings.inverters}
    # When all are away, nothing is known that tells them apart.
    there = {name: share for name, share in shares.items() if name not in state.offline}
    there = there if any(there.values()) else shares
    told = shared(grid.power_w, there, {})
    splits = _splits(settings, stopped, state.offline, 0.0, now_s)
    return _serve(settings, stopped, grid, others, now_s, "stopping, offset 0 W", told, splits)


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
    settings: OffsetSettings,
    state: OffsetState,
    asked: Wanted,
    off_grid: Collection[str],
    now_s: float,
    no_offset: str,
) -> tuple[OffsetState, str, Mapping[str, float], float]:
    """Move the offset towards what is asked and may be, no faster than the slew allows.

    It goes to zero whatever is asked while ``no_offset`` says why.

    Returns:
        The state, the reason, the shifts that may be, and the offset that meters may say: less than
        the state's while the registers of one with a true meter have yet to take it.
    """
    target_w, phase, shifts_w = asked.offset_w, asked.text, asked.shifts_w
    held = ""
    if settings.truly_metered:
        names = [name for name in settings.truly_metered if name not in off_grid]
        gate, target_w, held = admitted(state.gate, names, state.carried, target_w, now_s)
        state = replace(state, gate=gate)
    if held:
        phase, shifts_w = f"{phase}; {held}", NO_SHIFTS
    if no_offset:
        target_w, phase = 0.0, f"offset 0 W, {no_offset}"
    step_s = 0.0 if state.moved_s is None else now_s - state.moved_s
    step_w = settings.slew_w_per_s * min(max(step_s, 0.0), SLEW_STEP_S_MAX)
    offset_w = min(max(target_w, state.offset_w - step_w), state.offset_w + step_w)
    if offset_w != target_w:
        phase = f"moving to: {phase}"
    wishes = without_expired(state.wishes, now_s)
    state = replace(state, offset_w=offset_w, moved_s=now_s, wishes=wishes)
    said_w = 0.0 if held and abs(offset_w) <= TOEHOLD_W else offset_w
    return state, phase, shifts_w, said_w


def _splits(
    settings: OffsetSettings,
    state: OffsetState,
    away: Collection[str],
    offset_w: float,
    now_s: float,
) -> dict[str, Split]:
    """What carries the part of each that has a fake meter; one that is away has none."""
    every = settings.inverters
    weight = sum([inverter.share for inverter in every]) or 1.0
    is_any = any(inverter.name not in away for inverter in every)
    splits = {}
    for inverter in settings.told:
        if inverter.name in away and is_any:
            splits[inverter.name] = CARRIES_ALL
            continue
        part_w = offset_w * inverter.share / weight
        carried = state.carried.get(inverter.name)
        splits[inverter.name] = split(inverter.carrier, carried, part_w, now_s)
    return splits


def _asked(
    settings: OffsetSettings,
    state: OffsetState,
    away: Collection[str],
    grid: GridReading,
    facts: Mapping[str, InverterFacts],
    now_s: float,
) -> Wanted:
    """What everybody's wishes come to."""
    wishes = without_expired(state.wishes, now_s)
    if not wishes:
        return settings.unasked
    shares = {inv.name: inv.share for inv in settings.inverters if inv.name not in away}
    known = Known(grid.power_w, shares, facts, settings.balance.facts_max_age_s)
    return wanted(settings.limits, wishes, known, now_s)


def _silent(
    settings: OffsetSettings, state: OffsetState, grid: GridReading, now_s: float, reason: str
) -> Outcome:
    """A decision without images."""
    served = (math.nan,) * len(settings.told)
    power_w = math.nan if grid.fault else grid.power_w
    return Outcome(state, (), _decided(settings, now_s, (power_w, state.offset_w, *served), reason))


def _serve(
    settings: OffsetSettings,
    state: OffsetState,
    grid: GridReading,
    others: GridOthers,
    now_s: float,
    reason: str,
    told: Mapping[str, float],
    splits: Mapping[str, Split],
    surging: Collection[str] = (),
) -> Outcome:
    """Make the images of what each inverter is told; those of a surge hold for a moment only.

    One that nothing is decided for is told 0 W, and nothing at all when it is offline: it would go
    on with the battery power that it happened to have, from or into another battery perhaps, and
    with what its registers still carry. Without a meter it ends that by itself.
    """
    known = known_others(others)
    images: list[MeterImage] = []
    served: list[float] = []
    silent = state.offline - told.keys()
    for inverter in settings.told:
        if inverter.name in silent:
            served.append(math.nan)
            continue
        part = splits[inverter.name]
        if part.why:
            reason = f"{reason}; {inverter.name}'s meter says no offset: {part.why}"
        asked_w = told.get(inverter.name, 0.0) - part.registers_w
        power_w = round(min(max(asked_w, inverter.power_w_min), inverter.power_w_max), 1)
        if not inverter.power_w_min <= asked_w <= inverter.power_w_max:
            reason = f"{reason}; {inverter.fakemeter} limited to what its register carries"
        max_age_s = inverter.max_age_s
        if inverter.name in surging:
            max_age_s = min(max_age_s, SURGE_S_MAX)
        valid_until_s = grid.read_s + max_age_s
        if now_s > valid_until_s:
            reason = f"{reason}; reading too old for {inverter.fakemeter}"
            served.append(math.nan)
            continue
        served.append(power_w)
        names = inverter.image_names
        values = values_of(names, power_w, known)
        images.append(MeterImage(inverter.fakemeter, names, values, grid.read_s, valid_until_s))
    if state.offline:
        names_of = ", ".join(sorted(state.offline))
        reason = f"{reason}; offline, told nothing and carried by the others: {names_of}"
    decided = _decided(settings, now_s, (grid.power_w, state.offset_w, *served), reason)
    return Outcome(state, tuple(images), decided)


def _told(
    settings: OffsetSettings,
    state: OffsetState,
    away: Collection[str],
    wanted_w: float,
    facts: Mapping[str, InverterFacts],
    shifts_w: Mapping[str, float],
    now_s: float,
    step_s: float,
) -> Told:
    """What each inverter is told, by name, before its register's limits."""
    every = settings.steered
    # When all are away, nothing is known that tells them apart.
    there = [one for one in every if one.name not in away] or every
    # A true meter knows of no reserve: two that aim at different powers at the grid drive apart.
    is_free = not state.wishes and not settings.truly_metered
    if is_free and (more_w := reserve_w(settings.drive, facts)):
        room_w = bounds_w(settings.limits, ())[1] - state.offset_w
        wanted_w += min(more_w, max(0.0, room_w))
    inputs = Inputs(
        wanted_w,
        facts,
        shifts_w,
        state.following,
        state.motions,
        state.circulation,
        state.hunting,
        step_s,
        state.large_s,
        state.rest_w,
    )
    return steer(settings.drive, settings.balance, there, inputs, now_s)


def _decided(
    settings: OffsetSettings, now_s: float, values: tuple[float, ...], reason: str
) -> Decided:
    """The decision as a message, in tenths of a watt: longer numbers only fill the log."""
    rounded = tuple([round(value, 1) for value in values])
    return Decided(CONTROLLER, now_s, settings.decided_names, rounded, reason)
