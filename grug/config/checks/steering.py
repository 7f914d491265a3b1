"""Steering: the grid meter, fake meters, inverters, offset and charger."""

from __future__ import annotations

from grug.codec.hints import did_you_mean
from grug.codec.registers import RegisterMap
from grug.codec.served import PHASES, POWER, ServedImage, power_register, shown_by
from grug.config.build import quoted
from grug.config.checks.context import HouseCheck
from grug.config.toml_lines import KeyPath
from grug.config.types import (
    DeviceConfig,
    EvseConfig,
    FakeMeterConfig,
    GridConfig,
    InverterConfig,
    PowerSaveConfig,
)
from grug.errors import EncodeError

EVSE_LIMIT_A_MAX = 32.0
"""Largest limit of a household charger. Source: IEC 61851-1, one cable of 32 A."""
RESERVE_W_MAX = 1000.0
"""More than this is no reserve but an export; that is what ``power`` is for."""
CIRCULATION_W_MIN = 100.0
"""Two batteries' powers are not measured any better than this."""
CIRCULATION_TIME_S = (8.0, 600.0)
"""After a step of load the slowest inverter needs some seconds more than the quickest."""
GAIN_PER_S = (0.01, 5.0)
"""Slower than this is no control of the meter's power, and quicker none that a meter allows."""
DEAD_TIME_S_MAX = 5.0
LAG_S_MAX = 10.0
"""An inverter that is slower than these cannot hold the grid's power at all."""
MAX_AGE_S_MAX = 10.0
"""Old data is not safe: an inverter falls back on its own logic for a lost meter before this."""
MAX_AGE_S_SENSIBLE = 5.0
"""An inverter that is steered by measurements older than this overshoots visibly."""

PROBE = "dispatch_available"
"""What the map of an inverter that is told by its registers must have."""
SWITCH, CLOCK = "power_on_off", "real_time_clock"
"""What the map of an inverter that is switched, or whose clock is set, must have."""
REST_S_MIN = 300.0
GRID_PERIOD_S_MAX = 1.0
"""Of the grid meter's poll, in a house without fake meters."""
FAILSAFE_MIN_MAX = 30
"""A longer time without grug would leave an inverter to an old command for too long."""

PASSED_ON = (("phase_1_line_to_neutral_volts", "voltage"), ("frequency",))
"""What inverters are told of the grid meter beside the power, and what must be fresh for that."""
TURNAROUND_S_MAX = 0.1
"""Half of the time after which a reply is late anyway."""

LIMIT_REGISTER = "current_limit"
"""What a charger is held by; its map must have it."""


def check_steering(check: HouseCheck) -> None:
    """Everything between the grid meter and what inverters and chargers are told."""
    _grid(check)
    for name, meter in check.house.fakemeter.items():
        _fakemeter(check, name, meter)
    _inverters(check)
    _offset(check)
    for name, evse in check.house.evse.items():
        _evse(check, name, evse)


def _grid(check: HouseCheck) -> None:
    grid = check.house.grid
    if grid is None:
        if check.house.fakemeter:
            text = "fake meters need [grid]: where the house's true power is read"
            check.report.refuse(("fakemeter",), text)
        elif check.house.inverter:
            text = "inverters need [grid]: nobody steers what nobody measures"
            check.report.refuse(("inverter",), text)
        return
    path = ("grid", "register")
    if not check.refers(("grid", "device"), grid.device, "device"):
        return
    register_map = check.maps.get(check.house.device[grid.device].map)
    if register_map is None or not check.has_register(path, grid.register, register_map):
        return
    unit = register_map.registers[grid.register].unit
    if unit != "W":
        text = f"{quoted(grid.register)} is no power in W, its unit is {quoted(unit)}"
        check.report.refuse(path, text)
    elif check.grid_period_s() is None and check.has_good_polls(grid.device):
        text = f"no poll of device {quoted(grid.device)} reads {quoted(grid.register)}"
        check.report.refuse(path, text)
    period_s = check.grid_period_s()
    if period_s is not None and grid.live is not None and grid.live <= period_s:
        text = f"of {grid.live:g} s is over before the meter is read again, in {period_s:g} s"
        check.within(("grid", "live"), False, text)
    if grid.second:
        _second_meter(check, grid)


def _second_meter(check: HouseCheck, grid: GridConfig) -> None:
    """It has to measure the house's connection by itself."""
    path = ("grid", "second")
    name, register = grid.second_series
    if not check.refers(path, name, "device"):
        return
    house, device = check.house, check.house.device[name]
    steered = {each.device: each.fakemeter for each in house.inverter.values()}
    others = {inverter.meter for inverter in house.inverter.values()}
    others |= {evse.meter for evse in house.evse.values()}
    if name == grid.device:
        check.report.refuse(path, f"{quoted(name)} is the grid meter itself")
    elif steered.get(name):
        text = (
            f"what inverter {quoted(name)} knows of the grid is what grug tells it by fake meter"
            f" {quoted(steered[name])}; one that has a true meter of its own would know"
        )
        check.report.refuse(path, text)
    elif name in others:
        text = f"{quoted(name)} measures a part of the house, not its connection to the grid"
        check.report.refuse(path, text)
    elif register not in (names := [each for poll in device.poll for each in poll.registers]):
        text = f"no poll of {quoted(name)} reads {quoted(register)}{did_you_mean(register, names)}"
        check.report.refuse(path, text)
    elif name in steered and 2.0 * (period_s := _period_s(device, register)) > grid.second_max_age:
        text = (
            f"read each {period_s:g} s, what {quoted(name)} passes on of its meter may be"
            f" {2.0 * period_s:g} s old, and 'second_max_age' is {grid.second_max_age:g} s"
        )
        check.report.refuse(path, text)
    else:
        _second_alone(check, grid, device)


def _period_s(device: DeviceConfig, register: str) -> float:
    """Of the quickest poll that reads a register, of which there is one."""
    return min(poll.every for poll in device.poll if register in poll.registers)


def _second_alone(check: HouseCheck, grid: GridConfig, second: DeviceConfig) -> None:
    """The second meter is there for when the first is not: it should not need it."""
    first, name = check.house.device[grid.device], quoted(grid.second_series[0])
    if second.line == first.line:
        text = f"{name} is on the grid meter's line: one adapter can take both away"
        check.report.warn(("grid", "second"), text)
    for names in PASSED_ON:
        is_told = any(set(names) & set(poll.registers) for poll in first.poll)
        if is_told and not any(set(names) & set(poll.registers) for poll in second.poll):
            text = (
                f"no poll of {name} reads {' or '.join(map(quoted, names))}, as of the grid meter:"
                " with it alone the fake meters fall silent after 5 s"
            )
            check.report.warn(("grid", "second"), text)


def _fakemeter(check: HouseCheck, name: str, meter: FakeMeterConfig) -> None:
    path: KeyPath = ("fakemeter", name)
    check.refers((*path, "line"), meter.line, "line")
    profile = check.map_named((*path, "profile"), meter.profile)
    if profile is not None:
        _profile(check, path, meter, profile)
    is_known = set(meter.phases) <= set(PHASES) and len(set(meter.phases)) == len(meter.phases)
    check.within((*path, "phases"), is_known, "are some of 1, 2 and 3, each once")
    here = (*path, "turnaround")
    late = "a reply that late is taken for the next question's"
    is_quick = meter.turnaround is None or 0 <= meter.turnaround <= TURNAROUND_S_MAX
    check.within(here, is_quick, f"must be in 0..{TURNAROUND_S_MAX:g} s: {late}")
    here = (*path, "max_age")
    check.within(
        here,
        0 < meter.max_age <= MAX_AGE_S_MAX,
        f"must be longer than 0 s and at most {MAX_AGE_S_MAX:g} s",
    )
    period_s = check.grid_period_s()
    if period_s is not None and check.report.is_usable(*here) and period_s >= meter.max_age:
        text = (
            f"'max_age' of {meter.max_age:g} s is over before the grid meter is read again, "
            f"every {period_s:g} s: the fake meter would fall silent each time"
        )
        check.report.refuse(here, text)
    elif meter.max_age > MAX_AGE_S_SENSIBLE:
        text = f"an inverter steered by readings {meter.max_age:g} s old overshoots"
        check.report.warn(here, text)


def _profile(
    check: HouseCheck, path: KeyPath, meter: FakeMeterConfig, profile: RegisterMap
) -> None:
    """A profile must show the power, and have what the house says of it."""
    if not power_register(profile):
        text = (
            f"{quoted(meter.profile)} has no register '{POWER}' to steer by, and its sidecar says"
            " of none that it shows that"
        )
        check.report.refuse((*path, "profile"), text)
    for name, value in meter.identity.items():
        here = (*path, "identity", name)
        if not check.has_register(here, name, profile):
            continue
        try:
            ServedImage(profile, identity={name: value})
        except EncodeError as error:
            check.report.refuse(here, str(error))
        if name in shown_by(profile):
            text = f"{quoted(name)} shows what the meter measures; it cannot stay the same"
            check.report.refuse(here, text)


def _inverters(check: HouseCheck) -> None:
    taken: dict[tuple[str, str], str] = {}
    for name, inverter in check.house.inverter.items():
        path: KeyPath = ("inverter", name)
        check.within((*path, "share"), inverter.share > 0, "must be more than 0")
        _plant(check, path, inverter)
        if inverter.meter:
            check.refers((*path, "meter"), inverter.meter, "device")
        has_device = check.refers((*path, "device"), inverter.device, "device")
        has_meter = _has_meter(check, path, inverter)
        for key, value in (("device", inverter.device), ("fakemeter", inverter.fakemeter)):
            other = taken.setdefault((key, value), name) if value else name
            if other != name and check.report.is_usable(*path, key):
                text = f"{key} {quoted(value)} belongs to inverter {quoted(other)} already"
                check.report.refuse((*path, key), text)
        if has_device:
            _control(check, path, inverter)
        if has_device and has_meter:
            _same_unit(check, inverter.device, inverter.fakemeter)
    for name in check.house.fakemeter:
        if ("fakemeter", name) not in taken:
            text = f"no inverter has fake meter {quoted(name)}: it stays silent"
            check.report.warn(("fakemeter", name), text)


def _has_meter(check: HouseCheck, path: KeyPath, inverter: InverterConfig) -> bool:
    """Whether there is a fake meter; one that is told by its registers alone needs none."""
    here = (*path, "fakemeter")
    if inverter.fakemeter:
        return check.refers(here, inverter.fakemeter, "fakemeter")
    if inverter.control == "dispatch":
        period_s = check.grid_period_s()
        if period_s is not None and period_s > GRID_PERIOD_S_MAX:
            text = (
                f"the grid meter is read every {period_s:g} s; without a fake meter it has to be"
                f" every {GRID_PERIOD_S_MAX:g} s: older readings command nothing"
            )
            check.report.refuse((*path, "control"), text)
    else:
        text = (
            f"'fakemeter' is missing, by which control = {quoted(inverter.control)} reaches the"
            " inverter; only 'dispatch' does without"
        )
        check.report.refuse(path, text)
    return False


def _plant(check: HouseCheck, path: KeyPath, inverter: InverterConfig) -> None:
    """What ``grug identify-plant`` measures."""
    lowest, highest = GAIN_PER_S
    is_good = inverter.gain is None or lowest <= inverter.gain <= highest
    check.within((*path, "gain"), is_good, "must be in 0.01..5 per s")
    is_good = inverter.dead_time is None or 0.0 <= inverter.dead_time <= DEAD_TIME_S_MAX
    check.within((*path, "dead_time"), is_good, "must be in 0s..5s")
    is_good = 0.0 < inverter.lag <= LAG_S_MAX
    check.within((*path, "lag"), is_good, "must be more than 0 s and at most 10 s")
    if (inverter.gain is None) != (inverter.dead_time is None):
        known, other = ("gain", "dead_time") if inverter.gain is not None else ("dead_time", "gain")
        check.report.warn((*path, known), f"is of no use without {quoted(other)}")


def _control(check: HouseCheck, path: KeyPath, inverter: InverterConfig) -> None:
    """The ways in which an inverter may be told."""
    here = (*path, "control")
    register_map = check.maps.get(check.house.device[inverter.device].map)
    known = register_map.registers if register_map is not None else {}
    if inverter.control != "mitm" and register_map is not None and PROBE not in known:
        text = f"map {quoted(register_map.model)} has no dispatch registers: only 'mitm' works"
        check.report.refuse(here, text)
    for key, is_wanted, needed in (
        ("keep_clock", inverter.keep_clock, CLOCK),
        ("power_save", inverter.power_save is not None, SWITCH),
    ):
        if is_wanted and register_map is not None and needed not in known:
            text = f"map {quoted(register_map.model)} has no register {quoted(needed)}"
            check.report.refuse((*path, key), text)
    if inverter.power_save is not None:
        _power_save(check, (*path, "power_save"), inverter.power_save)
    minutes = inverter.failsafe / 60.0
    is_good = minutes == round(minutes) and 1 <= minutes <= FAILSAFE_MIN_MAX
    text = f"must be whole minutes, 1 to {FAILSAFE_MIN_MAX}: that is how a Solis counts it"
    check.within((*path, "failsafe"), is_good, text)


def _power_save(check: HouseCheck, path: KeyPath, saving: PowerSaveConfig) -> None:
    """Thresholds must leave room between them."""
    is_good = 0 <= saving.soc_off < saving.soc_on <= 100
    text = f"{saving.soc_on:g} % must be more than 'soc_off' of {saving.soc_off:g} %, 100 at most"
    check.within((*path, "soc_on"), is_good, text)
    is_good = 0 < saving.pv_off < saving.pv_on
    text = f"{saving.pv_on:g} V must be more than 'pv_off' of {saving.pv_off:g} V"
    check.within((*path, "pv_on"), is_good, text)
    for key in ("off_after", "on_after"):
        check.within((*path, key), getattr(saving, key) >= 0, "cannot be negative")
    is_good = saving.rest >= REST_S_MIN
    check.within((*path, "rest"), is_good, f"must be {REST_S_MIN:g} s or more: switching wears")


def _same_unit(check: HouseCheck, device: str, fakemeter: str) -> None:
    """A Solis asks its meter port for the unit id that it has itself at its COM port."""
    unit = check.house.device[device].unit
    if unit != check.house.fakemeter[fakemeter].unit:
        text = (
            f"device {quoted(device)} is unit {unit}; a Solis asks its meter by its own unit "
            "id, and would get no answer here"
        )
        check.report.warn(("fakemeter", fakemeter, "unit"), text)


def _offset(check: HouseCheck) -> None:
    offset = check.house.offset
    check.within(("offset", "limit"), offset.limit >= 0, "cannot be negative")
    for key, bound in (("export_max", offset.export_max), ("import_max", offset.import_max)):
        check.within(("offset", key), bound is None or bound >= 0, "cannot be negative")
    check.within(("offset", "slew"), offset.slew > 0, "must be more than 0 W/s")
    check.within(
        ("offset", "reserve"), 0 <= offset.reserve <= RESERVE_W_MAX, "must be in 0..1000 W"
    )
    is_good = offset.circulation >= CIRCULATION_W_MIN
    check.within(("offset", "circulation"), is_good, "must be at least 100 W")
    shortest_s, longest_s = CIRCULATION_TIME_S
    is_good = shortest_s <= offset.circulation_time <= longest_s
    check.within(("offset", "circulation_time"), is_good, "must be in 8s..10min")
    if check.report.is_usable("offset", "limit"):
        is_within = abs(offset.power) <= offset.limit
        text = f"{offset.power:g} W is beyond the limit of {offset.limit:g} W"
        check.within(("offset", "power"), is_within, text)


def _evse(check: HouseCheck, name: str, evse: EvseConfig) -> None:
    path: KeyPath = ("evse", name)
    if check.refers((*path, "device"), evse.device, "device"):
        _charger(check, path, evse.device)
    if evse.meter:
        check.refers((*path, "meter"), evse.meter, "device")
    check.within((*path, "resend"), evse.resend > 0, "must be longer than 0 s")
    for key, limit in (("limit", evse.limit), ("on_stop", evse.on_stop)):
        is_good = limit is None or 0 <= limit <= EVSE_LIMIT_A_MAX
        check.within((*path, key), is_good, f"{limit} A is not in 0..{EVSE_LIMIT_A_MAX:g}")


def _charger(check: HouseCheck, path: KeyPath, device: str) -> None:
    """A charger's map needs a current limit that may be written."""
    register_map = check.maps.get(check.house.device[device].map)
    if register_map is None:
        return
    register = register_map.registers.get(LIMIT_REGISTER)
    if register is None or not register.is_writable:
        text = f"map {quoted(register_map.model)} has no '{LIMIT_REGISTER}' that may be written"
        check.report.refuse((*path, "device"), text)
