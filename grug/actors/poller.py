"""Poller actor: reads groups of one device's registers, each on its own fixed grid of time.

In:    nothing; the clock
Out:   ReadRegisters to the bus; Readings, ReadingsMissing on the feed
Owns:  the schedule of one device
Stops: when cancelled; crashes only on a bug
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from grug.codec.block import BlockDecoder
from grug.codec.plausible import Plausibility
from grug.codec.registers import Register
from grug.messages import ReadFailed, Readings, ReadingsMissing, ReadRegisters, RegistersRead
from grug.model import Priority, Quality, Span, Value
from grug.planner.schedule import Ticks
from grug.runtime.calls import BusCaller
from grug.runtime.clock import whole_ms
from grug.runtime.feed import Feed

MISSING_EVERY_S = 10.0
"""While a group stays unread it is said this often, so that a dead unit does not flood the log."""


@dataclass(frozen=True, slots=True)
class PollGroup:
    """Registers that are read together."""

    every_s: float
    registers: tuple[Register, ...]
    spans: tuple[Span, ...]
    """Where the registers are, and those that scale them: each its own, so that the bus is free to
    cut its reads between any two; see ``config.loads.spans_of``."""
    priority: Priority = Priority.NORMAL
    ticks: Ticks | None = None
    """When it is read, after the start; None spreads devices without knowing of each other."""
    is_snapshot: bool = False
    """Whether all of it has to come in one transaction."""


async def run(
    bus: BusCaller,
    feed: Feed,
    *,
    device: str,
    unit_id: int,
    groups: Sequence[PollGroup],
) -> None:
    """Poll until cancelled."""
    if not groups:
        return
    start_s = trio.current_time()
    phase_s = _phase_s(device, groups)
    ticks = [group.ticks or Ticks(phase_s, group.every_s) for group in groups]
    first_s = start_s + min(each.tick_s(0) for each in ticks)
    async with trio.open_nursery() as nursery:
        for group, each in zip(groups, ticks, strict=True):
            poll = _Poll(bus, feed, device, unit_id, group, each)
            name = f"poll {device} each {group.every_s:g} s"
            nursery.start_soon(poll.repeat, start_s, first_s, name=name)


def _phase_s(device: str, groups: Sequence[PollGroup]) -> float:
    """Where on the grid a device's ticks lie.

    Devices are spread, by a number that is the same in every run; the groups of one device fall
    together, so that the bus can let the slow ones ride with the fast.
    """
    return min(group.every_s for group in groups) * (zlib.crc32(device.encode()) / 2**32)


class _Poll:
    """One group's endless polling."""

    def __init__(
        self,
        bus: BusCaller,
        feed: Feed,
        device: str,
        unit_id: int,
        group: PollGroup,
        ticks: Ticks,
    ) -> None:
        self._bus = bus
        self._feed = feed
        self._device = device
        self._unit_id = unit_id
        self._group = group
        self._ticks = ticks
        self._decoder = BlockDecoder(group.registers, group.spans)
        self._plausibility = Plausibility(group.registers)
        self._names = tuple(register.name for register in group.registers)
        self._told_s = -math.inf
        """When it was last said that the group is missing; minus infinity while all is well."""

    async def repeat(self, start_s: float, first_s: float) -> None:
        """Poll at every tick; one that was missed is not made up for.

        Args:
            start_s: what the ticks count from.
            first_s: the first tick of the device. All groups are read at it, so that nobody waits
                minutes for the first reading of a slow one.
        """
        ticks = self._ticks
        number = 0
        if start_s + ticks.tick_s(0) > first_s:
            await trio.sleep_until(first_s)
            await self._once(first_s + ticks.period_s)
            number = self._next(start_s, 0)
        while True:
            await trio.sleep_until(start_s + ticks.tick_s(number))
            await self._once(
                start_s + ticks.begins_s(number + 1),
                start_s + ticks.tick_s(number + 1),
                start_s + ticks.begins_s(number + 2),
            )
            number = self._next(start_s, number + 1)

    def _next(self, start_s: float, number: int) -> int:
        """The first tick that is not over, from this one on."""
        ticks = self._ticks
        after_s = trio.current_time() - start_s
        number = max(number, math.floor((after_s - ticks.phase_s) / ticks.period_s))
        while ticks.tick_s(number) < after_s:
            number += 1
        return number

    async def _once(
        self, deadline_s: float, next_s: float = math.inf, next_deadline_s: float = math.inf
    ) -> None:
        """Read now, and let the bus know when that will be asked for again."""
        group = self._group
        reply = await self._bus.ask(
            ReadRegisters(
                self._unit_id,
                group.spans,
                deadline_s,
                group.priority,
                self._device,
                is_partial=True,
                is_snapshot=group.is_snapshot,
                next_s=next_s,
                next_deadline_s=next_deadline_s,
            )
        )
        if isinstance(reply, RegistersRead):
            if reply.refused:
                values, qualities = self._decode_rest(reply)
            else:
                values, qualities = self._decoder.decode(reply.blocks)
            if self._plausibility.is_needed:
                judge = self._plausibility.judge
                values, qualities = judge(values, qualities, reply.read_s)
            self._told_s = -math.inf
            read_s = whole_ms(reply.read_s)
            self._feed.publish(Readings(self._device, read_s, self._names, values, qualities))
        else:
            assert isinstance(reply, ReadFailed), (
                "a read is answered by RegistersRead or ReadFailed"
            )
            self._missing(reply)

    def _decode_rest(self, reply: RegistersRead) -> tuple[tuple[Value, ...], tuple[Quality, ...]]:
        """Decode what was read where the unit refused some; that is missing, alone."""
        runs = self._decoder.runs
        blocks = list(reply.blocks)
        refused = []
        for at, _ in reply.refused:
            run = runs[at]
            refused.append(run)
            blocks[at] = bytes(run.count if run.table.is_bits else 2 * run.count)
        values, known = self._decoder.decode(blocks)
        qualities = list(known or (Quality.GOOD,) * len(values))
        for at, register in enumerate(self._decoder.registers):
            needed = [each.span for each in (register, register.scale_by) if each is not None]
            if any(_overlap(span, run) for span in needed for run in refused):
                qualities[at] = Quality.MISSING
        return values, tuple(qualities)

    def _missing(self, failed: ReadFailed) -> None:
        if failed.failed_s < self._told_s + MISSING_EVERY_S:
            return
        self._told_s = failed.failed_s
        self._feed.publish(
            ReadingsMissing(self._device, self._names, failed.kind, failed.text, failed.failed_s)
        )


def _overlap(one: Span, other: Span) -> bool:
    return one.table is other.table and one.address < other.end and other.address < one.end
