"""What ``grug plan`` tells: each line's schedule, with what each unit costs, in plain numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from grug.codec.registers import RegisterMap
from grug.config.loads import is_feasible_anyhow, line_schedule, unit_loads, wire_timing
from grug.config.types import HouseConfig
from grug.model import Span
from grug.planner.schedule import LineSchedule, UnitLoad, lower_bound, one_by_one
from grug.planner.traits import WireTiming


class PlannedRead(NamedTuple):
    """One transaction of a unit, as it comes again and again."""

    table: str
    address: int
    registers: int
    """Words or bits read."""
    wanted: int
    """Of those, how many somebody asked for."""
    ms: float
    """On the line, gaps included."""
    per_s: float
    brings: tuple[str, ...]
    """Groups."""


class PlannedUnit(NamedTuple):
    """One device."""

    device: str
    unit: int
    map: str
    reads: tuple[PlannedRead, ...]
    reads_per_s: float
    values_per_s: float
    words_per_s: float
    """Read, or bits of coils and discrete inputs."""
    wanted_per_s: float
    turnaround_ms: float
    """From the end of a request to the beginning of the reply, as far as the file knows."""
    own_silence_ms: float
    """That the unit wants after each read, beyond the line's gap."""
    utilisation: float
    """Of the line."""
    used: float
    """With the unit's own silence, in which the line is free for others; so are those below."""
    bound: float
    one_by_one: float
    speed_up: float
    """How many times longer it would take to read each value by itself."""


class PlannedLine(NamedTuple):
    """One line."""

    line: str
    baudrate: int
    framing: str
    schedule: LineSchedule
    units: tuple[PlannedUnit, ...]
    is_feasible_anyhow: bool
    """Whether all could be in time with any phases; where not, that is not known."""

    @property
    def bound(self) -> float:
        """Share of the time that no schedule can go below, units' own silences included."""
        return sum(unit.bound for unit in self.units)

    @property
    def speed_up(self) -> float:
        """How many times longer it would take to read each value by itself."""
        return self.schedule.one_by_one / self.schedule.used if self.schedule.used else 1.0


def planned_lines(house: HouseConfig, maps: Mapping[str, RegisterMap]) -> tuple[PlannedLine, ...]:
    """Plan every line of a checked house that has something to poll."""
    lines: list[PlannedLine] = []
    for name, line in house.line.items():
        loads = unit_loads(house, maps, name)
        schedule = line_schedule(house, maps, name)
        if schedule.reads:
            timing = wire_timing(line)
            units = tuple(
                _unit(load, house.device[load.name].map, schedule, timing)
                for load in loads
                if any(group.spans for group in load.groups)
            )
            anyhow = is_feasible_anyhow(house, maps, name)
            lines.append(PlannedLine(name, line.baudrate, line.framing, schedule, units, anyhow))
    return tuple(lines)


def _unit(load: UnitLoad, model: str, schedule: LineSchedule, timing: WireTiming) -> PlannedUnit:
    cost = load.traits.read_cost(timing)
    rest_s = load.traits.rest_s(timing)
    counts: dict[tuple[Span, tuple[str, ...]], int] = {}
    wanted: dict[tuple[Span, tuple[str, ...]], int] = {}
    for read in schedule.reads:
        if read.unit == load.name:
            key = (read.transaction.span, read.groups)
            counts[key] = counts.get(key, 0) + 1
            wanted[key] = _extent(read.transaction.covers)
    reads = [
        PlannedRead(
            span.table,
            span.address,
            span.count,
            wanted[span, groups],
            1e3 * (cost.read_s(span.table, span.count) - rest_s),
            number / schedule.cycle_s,
            groups,
        )
        for (span, groups), number in counts.items()
    ]
    reads.sort(key=lambda each: (-each.per_s, each.table, each.address))
    used = sum(each.per_s * (each.ms / 1e3 + rest_s) for each in reads)
    alone = one_by_one(load.groups, cost)
    return PlannedUnit(
        device=load.name,
        unit=load.unit_id,
        map=model,
        reads=tuple(reads),
        reads_per_s=sum(each.per_s for each in reads),
        values_per_s=sum(len(group.spans) / group.period_s for group in load.groups),
        words_per_s=sum(each.per_s * each.registers for each in reads),
        wanted_per_s=sum(each.per_s * each.wanted for each in reads),
        turnaround_ms=1e3 * load.traits.turnaround_s,
        own_silence_ms=1e3 * rest_s,
        utilisation=sum(each.per_s * each.ms / 1e3 for each in reads),
        used=used,
        bound=lower_bound(load.groups, cost, load.traits.limits),
        one_by_one=alone,
        speed_up=alone / used if used else 1.0,
    )


def _extent(spans: Iterable[Span]) -> int:
    """How many addresses the spans have, each counted once."""
    count = reached = 0
    for span in sorted(spans):
        count += max(0, span.end - max(reached, span.address))
        reached = max(reached, span.end)
    return count
