"""How busy polls will keep a line, before it is ever opened.

An estimate from the wire's arithmetic and a usual turnaround; the bus owner measures what is true.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from grug.codec.registers import RegisterMap
from grug.config.types import DeviceConfig, HouseConfig, LineConfig
from grug.model import Span, Table
from grug.planner.plan import ReadCost, ReadLimits, plan_reads, plan_s
from grug.protocol.rtu import character_bits, character_s, interframe_delay_s

TURNAROUND_S = 0.015
"""A unit's usual time from request to reply: 10 to 20 ms with the seed's meters and inverters."""
GAP_S_MIN = 0.005
"""Least silence between frames that a line keeps unless it is told otherwise."""


class LineLoad(NamedTuple):
    """Share of a line's time that its polls take, 1 = all of it."""

    planned: float
    """With the requests that each poll group is planned into."""
    least: float
    """If the registers of each group were neighbours: no plan can do with less."""


def line_loads(house: HouseConfig, maps: Mapping[str, RegisterMap]) -> dict[str, LineLoad]:
    """The load of each line that has devices, by line; unknown names are passed over."""
    loads: dict[str, LineLoad] = {}
    for device in house.device.values():
        line = house.line.get(device.line)
        if line is not None and line.baudrate > 0 and device.map in maps:
            before = loads.get(device.line, LineLoad(0.0, 0.0))
            more = _device_load(device, maps[device.map], read_cost(line))
            loads[device.line] = LineLoad(before.planned + more.planned, before.least + more.least)
    return loads


def read_cost(line: LineConfig) -> ReadCost:
    """What a read costs on a line."""
    gap_s: float | None = line.gap
    if gap_s is None:
        gap_s = max(interframe_delay_s(line.baudrate), GAP_S_MIN)
    one_character_s = character_s(line.baudrate, character_bits(line.framing))
    return ReadCost(one_character_s, gap_s, TURNAROUND_S)


def _device_load(device: DeviceConfig, register_map: RegisterMap, cost: ReadCost) -> LineLoad:
    facts = register_map.facts
    limits = ReadLimits(
        words_max=facts.words_max,
        bits_max=facts.bits_max,
        forbidden=facts.barriers,
        has_holes=facts.holes != "never",
    )
    planned = least = 0.0
    for poll in device.poll:
        known = [register_map.registers.get(name) for name in dict.fromkeys(poll.registers)]
        spans = [register.span for register in known if register is not None]
        if poll.every > 0:
            planned += plan_s(plan_reads(spans, cost, limits), cost) / poll.every
            least += _least_s(spans, cost, limits) / poll.every
    return LineLoad(planned, least)


def _least_s(spans: list[Span], cost: ReadCost, limits: ReadLimits) -> float:
    """Time to read so many neighbours in the fewest requests, in seconds."""
    total_s = 0.0
    for table in Table:
        count = sum(span.count for span in spans if span.table is table)
        requests = -(-count // (limits.bits_max if table.is_bits else limits.words_max))
        if requests:
            total_s += cost.read_s(table, count) + (requests - 1) * cost.read_s(table, 0)
    return total_s
