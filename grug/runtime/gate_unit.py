"""A device behind the gate: what it is, and how it is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from grug.codec.registers import RegisterMap
from grug.messages import ReadFailed, ReadRegisters, WriteFailed
from grug.model import FailureKind
from grug.runtime.calls import BusReply, BusRequest

OVERDUE_S = 2.0
"""A bus that has not answered so long after the deadline never will."""


@dataclass(frozen=True, slots=True)
class GateUnit:
    """One device behind the gate."""

    device: str
    """Its name, for people."""
    key: str
    """What the ledger counts by: the same for the same device, however it is called."""
    unit_id: int
    register_map: RegisterMap
    ask: Callable[[BusRequest], Awaitable[BusReply]]

    async def ask_in_time(self, request: BusRequest) -> BusReply:
        """Ask the bus; one that never answers is a line that is down."""
        with trio.move_on_at(request.deadline_s + OVERDUE_S):
            return await self.ask(request)
        now_s, kind, text = trio.current_time(), FailureKind.LINE_DOWN, "no answer from the bus"
        if isinstance(request, ReadRegisters):
            return ReadFailed(kind, text, now_s)
        return WriteFailed(self.device, request, kind, text, now_s)


def unit_key(port: str, unit_id: int) -> str:
    """What the ledger counts a device's writes by, in a house and without one."""
    return f"{port}#{unit_id}"
