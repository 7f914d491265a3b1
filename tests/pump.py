"""A pump on a simulated line, for tests of the library."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

import trio
import trio.testing

import grug
from grug.codec.image import RegisterImage
from grug.codec.registers import (
    Access,
    DeviceFacts,
    Kind,
    Register,
    RegisterMap,
    Storage,
    WordOrder,
)
from grug.device.line import DeviceLine
from grug.device.server import ServedUnit
from grug.model import Table
from grug.protocol.server import ServerRequest, exception_reply
from grug.sim.faults import SimFaults
from grug.sim.line import SimLine

Clock: TypeAlias = trio.testing.MockClock

ROOT = Path(__file__).parent.parent
HOLDING, COIL = Table.HOLDING_REGISTER, Table.COIL
INPUT = Table.INPUT_REGISTER


def make_register(name: str, address: int, kind: Kind = Kind.U16, **more: object) -> Register:
    table = more.pop("table", HOLDING)
    more.setdefault("access", Access.GUARDED)
    more.setdefault("storage", Storage.RAM)
    return Register(name, table, address, kind, **more)  # type: ignore[arg-type]


PUMP = RegisterMap(
    "pump",
    {
        each.name: each
        for each in (
            make_register("level", 0, scale=Decimal("0.1"), unit="cm", decimals=1),
            make_register("limit", 1, Kind.U32, order=WordOrder.CDAB),
            make_register("mode", 3, maximum=Decimal(4)),
            make_register("name", 4, Kind.TEXT, words=4),
            make_register("far", 20),
            make_register("erase", 21, access=Access.NEVER, note="erases the pump's memory"),
            make_register("hours", 30, Kind.F32, table=INPUT, access=Access.READ, unit="h"),
            make_register("heat", 40, table=INPUT, access=Access.READ, invalid=frozenset({0xFFFF})),
            make_register("valve", 100, Kind.BOOL, table=COIL),
            make_register("drain", 101, Kind.BOOL, table=COIL),
        )
    },
    DeviceFacts(words_max=40, unit_id=7),
)


class Watched(ServedUnit):
    """A served unit that remembers what it was asked."""

    def __init__(self, unit_id: int, image: RegisterImage) -> None:
        super().__init__(unit_id, image)
        self.requests: list[ServerRequest] = []
        self.refuses: set[int] = set()
        """Addresses."""

    def answer(self, request: ServerRequest, now_s: float) -> bytes | None:
        if request.unit_id == self.unit_id:
            self.requests.append(request)
            asked = range(request.address, request.address + request.count)
            if self.refuses.intersection(asked):
                return exception_reply(request, 2)
        return super().answer(request, now_s)

    @property
    def writes(self) -> list[tuple[int, int]]:
        """Address and count of the writes."""
        return [(each.address, each.count) for each in self.requests if not each.is_read]


def pump(faults: SimFaults | None = None) -> tuple[Watched, SimLine]:
    """A pump as unit 7 of a simulated line."""
    unit = Watched(7, RegisterImage(PUMP))
    return unit, SimLine("cellar", {"pump": unit}, faults=faults)


def open_cellar(line: SimLine, **more: object) -> DeviceLine:
    return grug.open_line(line.open, **more)  # type: ignore[arg-type]
