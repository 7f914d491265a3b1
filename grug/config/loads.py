"""How busy polls will keep a line, before it is ever opened.

An estimate from the wire's arithmetic and the turnaround that the file says, or a usual one; the
bus owner measures what is true.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from grug.codec.registers import Register, RegisterMap
from grug.config.types import DeviceConfig, HouseConfig, LineConfig, PollConfig
from grug.errors import LocalProtocolError
from grug.model import Priority, Span
from grug.planner.feasible import Infeasible, can_be_in_time, infeasible
from grug.planner.gap import GAP_S_MIN
from grug.planner.plan import ReadCost, ReadLimits, plan_reads, plan_s, whole_of
from grug.planner.schedule import Group, LineSchedule, UnitLoad, schedule_line
from grug.planner.traits import UnitTraits, WireTiming
from grug.protocol.rtu import character_bits, character_s, interframe_delay_s

FAST_POLL_SHARE_MAX = 0.5
"""No read may hold a line for longer than this part of the fastest poll's period, so that a long
one just begun does not make that poll miss its tick."""


def line_loads(house: HouseConfig, maps: Mapping[str, RegisterMap]) -> dict[str, float]:
    """The share of its time that each line with devices is busy with polls, 1 = all of it.

    With the cheapest requests, slow groups riding with fast ones of the same device. Unknown names
    are passed over.
    """
    loads: dict[str, float] = {}
    for device in house.device.values():
        line = house.line.get(device.line)
        if line is not None and line.baudrate > 0 and device.map in maps:
            traits = unit_traits(house, maps, device)
            load = _device_load(device, maps[device.map], traits, wire_timing(line))
            loads[device.line] = loads.get(device.line, 0.0) + load
    return loads


def why_infeasible(
    house: HouseConfig, maps: Mapping[str, RegisterMap], line_name: str
) -> tuple[Infeasible, ...]:
    """Why no schedule can serve a line; polls that are wrong by themselves are passed over."""
    units: list[UnitLoad] = []
    for unit in unit_loads(house, maps, line_name):
        good = [group for group in unit.groups if group.period_s > 0]
        groups = tuple(_possible(group, unit.traits.limits) for group in good)
        units.append(replace(unit, groups=groups))
    return infeasible(wire_timing(house.line[line_name]), units)


def is_feasible_anyhow(house: HouseConfig, maps: Mapping[str, RegisterMap], line_name: str) -> bool:
    """Whether the polls of a line can be in time whatever their phases; False proves nothing."""
    units = unit_loads(house, maps, line_name)
    return can_be_in_time(wire_timing(house.line[line_name]), units)


def line_schedule(
    house: HouseConfig, maps: Mapping[str, RegisterMap], line_name: str
) -> LineSchedule:
    """When each poll group of a line is read, and what that costs.

    The units and groups are named by ``unit_loads``.
    """
    units = unit_loads(house, maps, line_name)
    return schedule_line(wire_timing(house.line[line_name]), units)


def unit_loads(
    house: HouseConfig, maps: Mapping[str, RegisterMap], line_name: str
) -> tuple[UnitLoad, ...]:
    """What is polled on a line: a unit for each device; its groups are named by ``group_name``."""
    return tuple(
        UnitLoad(
            name,
            device.unit,
            tuple(
                poll_group(device, number, maps[device.map]) for number in range(len(device.poll))
            ),
            unit_traits(house, maps, device),
        )
        for name, device in house.device.items()
        if device.line == line_name and device.map in maps
    )


def poll_group(device: DeviceConfig, number: int, register_map: RegisterMap) -> Group:
    """One of a device's poll groups, as the planner has it."""
    poll = device.poll[number]
    return Group(
        group_name(device, number),
        poll.every,
        spans_of(known_registers(register_map, poll.registers)),
        Priority(poll.priority),
        poll.snapshot,
    )


def snapshot_problem(
    house: HouseConfig, maps: Mapping[str, RegisterMap], device: DeviceConfig, number: int
) -> str:
    """Why a poll group of a device cannot be read in one request; empty where it can."""
    group = poll_group(device, number, maps[device.map])
    if not group.is_snapshot or not group.spans:
        return ""
    line = house.line[device.line]
    traits = unit_traits(house, maps, device)
    try:
        whole = whole_of(group.spans, traits.limits)
    except LocalProtocolError as error:
        return str(error)
    cost = traits.read_cost(wire_timing(line))
    read_s = cost.read_s(whole.table, whole.count)
    if read_s <= traits.transaction_s_max:
        return ""
    return (
        f"a snapshot of {whole.table} {whole.address}+{whole.count} takes {1e3 * read_s:.0f} ms at"
        f" {line.baudrate} baud, and the fastest poll of line '{device.line}' leaves a read"
        f" {1e3 * traits.transaction_s_max:.0f} ms"
    )


def group_name(device: DeviceConfig, number: int) -> str:
    """How a device's poll group is called: by its period, and its number where that repeats."""
    name = _poll_name(device.poll[number])
    repeats = sum(_poll_name(poll) == name for poll in device.poll) > 1
    return f"{name} ({number + 1})" if repeats else name


def _poll_name(poll: PollConfig) -> str:
    return f"{_duration(poll.every)} snapshot" if poll.snapshot else _duration(poll.every)


def _duration(seconds: float) -> str:
    return f"{1e3 * seconds:g} ms" if seconds < 1 else f"{seconds:g} s"


def spans_of(registers: Iterable[Register]) -> tuple[Span, ...]:
    """The spans of registers and of those that scale them, in order and each once.

    Each is its own, so that the bus is free to cut its reads between any two.
    """
    spans = set()
    for register in registers:
        spans.add(register.span)
        if register.scale_by is not None:
            spans.add(register.scale_by.span)
    return tuple(sorted(spans))


def known_registers(register_map: RegisterMap, names: Iterable[str]) -> tuple[Register, ...]:
    """The registers of these names and arrays, without those that there are not."""
    wanted = [each for name in names for each in register_map.arrays.get(name, (name,))]
    known = register_map.registers
    return tuple(known[name] for name in dict.fromkeys(wanted) if name in known)


def turnaround_s(house: HouseConfig, device: DeviceConfig) -> float:
    """How long a device usually takes to begin its reply, as far as the file knows."""
    own_s = device.turnaround
    return house.line[device.line].turnaround if own_s is None else own_s


def unit_traits(
    house: HouseConfig, maps: Mapping[str, RegisterMap], device: DeviceConfig
) -> UnitTraits:
    """What is known beforehand of a device whose line and map there are."""
    facts = maps[device.map].facts
    rest_s = max(0.0, facts.gap_s - wire_timing(house.line[device.line]).gap_s)
    return UnitTraits(
        words_max=facts.words_max,
        bits_max=facts.bits_max,
        # A plan counts the unit's rest as part of each read, although the line is free then.
        transaction_s_max=_transaction_s_max(house, maps, device.line) + rest_s,
        forbidden=facts.barriers,
        turnaround_s=turnaround_s(house, device),
        gap_s=facts.gap_s,
        reads_holes=facts.holes != "never",
        writes_multiple=facts.write_function == "multiple",
        functions=facts.functions,
        identity_spans=spans_of(known_registers(maps[device.map], facts.identity)),
    )


def _transaction_s_max(
    house: HouseConfig, maps: Mapping[str, RegisterMap], line_name: str
) -> float:
    """Longest read on a line that leaves its fastest poll its time; never less than it needs."""
    timing = wire_timing(house.line[line_name])
    longest_s = math.inf
    for device in house.device.values():
        if device.line == line_name and device.map in maps:
            cost = UnitTraits(turnaround_s=turnaround_s(house, device)).read_cost(timing)
            facts = maps[device.map].facts
            limits = ReadLimits(facts.words_max, facts.bits_max, forbidden=facts.barriers)
            for number, poll in enumerate(device.poll):
                values = _possible(poll_group(device, number, maps[device.map]), limits).values
                reads = plan_reads(values, cost, limits)
                needed_s = max((plan_s([read], cost) for read in reads), default=0.0)
                longest_s = min(longest_s, max(poll.every * FAST_POLL_SHARE_MAX, needed_s))
    return longest_s


def wire_timing(line: LineConfig) -> WireTiming:
    """How long things last on a line, with the gap decided."""
    gap_s: float | None = line.gap
    if gap_s is None:
        gap_s = max(interframe_delay_s(line.baudrate), GAP_S_MIN)
    one_character_s = character_s(line.baudrate, character_bits(line.framing))
    return WireTiming(one_character_s, gap_s, line.timeout)


def read_cost(line: LineConfig) -> ReadCost:
    """What a read costs on a line, from a usual unit that wants no silence of its own."""
    return UnitTraits(turnaround_s=line.turnaround).read_cost(wire_timing(line))


def _device_load(
    device: DeviceConfig, register_map: RegisterMap, traits: UnitTraits, timing: WireTiming
) -> float:
    """Share of the line's time; the unit's own silences are not counted, as others may talk."""
    cost = traits.read_cost(timing)
    on_wire = UnitTraits(turnaround_s=traits.turnaround_s).read_cost(timing)
    load = 0.0
    spans: set[Span] = set()
    groups = [poll_group(device, number, register_map) for number in range(len(device.poll))]
    groups = sorted((each for each in groups if each.period_s > 0), key=lambda each: each.period_s)
    for number, group in enumerate(groups):
        spans.update(_possible(group, traits.limits).values)
        slower_per_s = 1 / groups[number + 1].period_s if number + 1 < len(groups) else 0.0
        per_s = 1 / group.period_s - slower_per_s
        if per_s > 0:  # How often all these are read, and no slower ones with them.
            load += per_s * plan_s(plan_reads(spans, cost, traits.limits), on_wire)
    return load


def _possible(group: Group, limits: ReadLimits) -> Group:
    """The group, without being a snapshot where it cannot be read at once."""
    if group.is_snapshot and group.spans:
        try:
            whole_of(group.spans, limits)
        except LocalProtocolError:
            return replace(group, is_snapshot=False)
    return group
