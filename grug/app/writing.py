"""The house's gate: configuration to the one way in which anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio

from grug.actors import writer
from grug.app.control import House
from grug.codec.registers import RegisterMap
from grug.control.writes import WriteRules
from grug.runtime.calls import (
    BusCaller,
    ValueCaller,
    ValueCalls,
    WriteCaller,
    WriteCalls,
    open_calls,
)
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed
from grug.runtime.gate import Gate
from grug.runtime.gate_unit import GateUnit, unit_key
from grug.runtime.supervisor import Part
from grug.storage.ledger import Ledger, MemoryLedger
from grug.transport.ledgerfile import LedgerFile


class Writes(NamedTuple):
    """The gate of all writes, and how to ask it."""

    part: Part
    """Belongs to the sources: it must outlast the controllers."""
    caller: WriteCaller
    questions: ValueCaller
    """To be asked what registers hold."""
    wall: WallClock
    """The clock of the ledger, and of whoever sets clocks."""


def open_gate(
    house: House,
    maps: Mapping[str, RegisterMap],
    buses: Mapping[str, BusCaller],
    *,
    wall: WallClock | None = None,
    keeps: bool = False,
) -> Writes:
    """The one gate that every write of the house passes.

    Args:
        house: what is configured.
        maps: by model.
        buses: by line.
        wall: the ledger's clock; None is the system's.
        keeps: whether the ledger is kept in the state directory, or ends with the run.
    """
    config = house.config
    clock = wall or WallClock()
    in_memory = MemoryLedger()

    def make_gate(feed: Feed) -> Gate:
        ledger: Ledger = in_memory
        if keeps:
            ledger = LedgerFile(Path(config.site.state), clock.utc_ms(trio.current_time()))
        units = [
            GateUnit(
                name,
                unit_key(config.line[device.line].port, device.unit),
                device.unit,
                maps[device.map],
                buses[device.line].ask,
            )
            for name, device in config.device.items()
            if device.line in buses
        ]
        limits = config.writes
        rules = WriteRules(limits.interval, limits.per_year, limits.device_per_year, limits.settle)
        return Gate(units, rules=rules, ledger=ledger, wall=clock, publish=feed.publish)

    caller: WriteCaller
    calls: WriteCalls
    caller, calls = open_calls()
    asker: ValueCaller
    questions: ValueCalls
    asker, questions = open_calls()
    start = partial(writer.run, calls, questions, house.feed, make_gate=make_gate)
    return Writes(Part("writer", start), caller, asker, clock)
