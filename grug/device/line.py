"""A line for a library user: opened once, kept open, shared by the devices on it.

Owns the bus actor, which owns the line.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import trio

from grug.actors import bus
from grug.codec.registers import DeviceFacts, RegisterMap
from grug.control.writes import WriteRules
from grug.device.device import Device
from grug.errors import LineError, MapError, Problem
from grug.messages import ReadFailed, ReadRegisters, WriteFailed
from grug.model import FailureKind
from grug.protocol.framing import RtuFraming
from grug.protocol.ports import tcp_port
from grug.protocol.rtu import character_bits
from grug.runtime.calls import BusCaller, BusCalls, BusReply, BusRequest, open_calls
from grug.runtime.clock import WallClock, wall_s
from grug.runtime.feed import Feed
from grug.runtime.gate import Gate
from grug.runtime.gate_unit import GateUnit, unit_key
from grug.storage.ledger import Ledger, MemoryLedger
from grug.transport.ledgerfile import LedgerFile
from grug.transport.line import Line, LineOpener
from grug.transport.maps import load_map
from grug.transport.ports import port_framing, port_opener

Port: TypeAlias = str | os.PathLike[str] | LineOpener
"""Path of a serial port, ``tcp://host:port``, ``rtu+tcp://host:port``, or whatever opens a line."""

MapLike: TypeAlias = str | os.PathLike[str] | RegisterMap
"""Name of a map that comes with grug, path of a ``.csv``, or a map."""

SILENCE_S_MAX = 120.0
"""A TCP connection is opened anew after this long without any reply."""

REPLY_TIMEOUT_S = 0.5
"""Slow meters take 0.2 s to begin; a house, which must go on without them, waits less."""


def open_line(
    port: Port,
    *,
    baudrate: int = 9600,
    framing: str = "8N1",
    reply_timeout_s: float = REPLY_TIMEOUT_S,
    gap_s: float | None = None,
    settle_s: float = 0.0,
    feed: Feed | None = None,
    ledger: Ledger | str | os.PathLike[str] | None = None,
    rules: WriteRules | None = None,
) -> DeviceLine:
    """Give a line to be opened by ``async with``.

    Args:
        port: path of a serial port; ``tcp://host:port`` for Modbus TCP; ``rtu+tcp://host:port``
            for RTU frames over TCP; or a ``LineOpener`` such as a simulated line's ``open``.
        baudrate: bits per second, over TCP those of the wire behind the gateway.
        framing: data bits, parity (N, E, O) and stop bits, such as ``8N1``.
        reply_timeout_s: how long a unit may take to begin its reply.
        gap_s: silence between two frames; None means 3.5 characters, and at least 5 ms; none on
            Modbus TCP.
        settle_s: pause after opening, for adapters that need it.
        feed: gets what happens on the line: every write, lost lines, silent units, counters.
        ledger: where writes are kept and counted: a directory, such as the state directory of a
            house; None counts those of this line, as long as it is open.
        rules: how often registers that wear out may be written; None is as docs/writes.md says.

    Raises:
        ValueError: there is no such framing or port.
        LineError: from ``async with``: the port is not there, in use, or may not be opened.
    """
    timing = bus.LineTiming(
        baudrate=baudrate,
        reply_timeout_s=reply_timeout_s,
        gap_s=gap_s,
        settle_s=settle_s,
        character_bits=character_bits(framing),
        silence_s_max=SILENCE_S_MAX if isinstance(port, str) and tcp_port(port) else math.inf,
        framing=port_framing(port) if isinstance(port, str) else RtuFraming,
    )
    opener = opener_of(port, baudrate, framing)
    if ledger is None:
        ledger = MemoryLedger()
    elif isinstance(ledger, str | os.PathLike):
        ledger = LedgerFile(Path(ledger), round(wall_s() * 1000))
    gate = Gate(
        (),
        rules=rules or WriteRules(),
        ledger=ledger,
        wall=WallClock(),
        publish=(feed := feed or Feed()).publish,
    )
    return DeviceLine(port_name(port), opener, timing, feed, gate)


def opener_of(port: Port, baudrate: int, framing: str) -> LineOpener:
    """What opens a port, if it is not that already.

    Raises:
        ValueError: there is no such framing or port.
    """
    if isinstance(port, str | os.PathLike):
        return port_opener(os.fspath(port), baudrate, framing)
    return port


def port_name(port: Port) -> str:
    """How messages call the line."""
    if isinstance(port, str | os.PathLike):
        return os.fspath(port)
    owner = getattr(port, "__self__", None)
    return str(getattr(owner, "name", "line"))


def find_map(model: MapLike) -> RegisterMap:
    """Load a map by the name of a model or by the path of its file.

    Args:
        model: a name such as ``eastron_sdm630``; or what ends in ``.csv``, with its ``.toml``
            beside it.

    Raises:
        MapError: there is no such map, or it is wrong, with all that is wrong.
    """
    if isinstance(model, RegisterMap):
        return model
    path = Path(model)
    if path.suffix.lower() != ".csv":
        return load_map(os.fspath(model))
    if not path.is_file():
        raise MapError([Problem(str(path), 0, "there is no such file")])
    return load_map(path.stem, path.parent)


class DeviceLine:
    """One line and the devices on it; an async context manager, used once."""

    def __init__(
        self, name: str, open_line: LineOpener, timing: bus.LineTiming, feed: Feed, gate: Gate
    ) -> None:
        """Prepare; ``open_line`` makes these."""
        self.name = name
        self.feed = feed
        self._open_line = open_line
        self._timing = timing
        self._units: dict[int, bus.UnitTraits] = {}
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None
        self._first: Line | None = None
        """The line as opened by ``async with``, until the bus owner takes it over."""
        self._bus = _Bus()
        self._is_closed = False
        self._gate = gate

    def device(self, model: MapLike, unit: int | None = None) -> Device:
        """A device on this line; nothing is sent yet.

        Args:
            model: see ``find_map``.
            unit: its id, 1..247; None is the one that it leaves the factory with.

        Raises:
            MapError: there is no such map, or it is wrong.
            ValueError: no unit has such an id.
        """
        register_map = find_map(model)
        unit_id = register_map.facts.unit_id if unit is None else unit
        if not 1 <= unit_id <= 247:
            raise ValueError(f"unit {unit_id} is not within 1..247")
        traits = _traits_of(register_map.facts)
        known = self._units.get(unit_id)
        self._units[unit_id] = traits if known is None else _strictest(known, traits)
        device = Device(self.name, self.ask, register_map, unit_id, self._gate)
        key = unit_key(self.name, unit_id)
        self._gate.add(GateUnit(str(device), key, unit_id, register_map, self.ask))
        return device

    async def ask(self, request: BusRequest) -> BusReply:
        """Put a request to the bus; a line that is closed or lost is a failed reply, too."""
        if self._nursery is not None and not self._is_closed:
            with contextlib.suppress(trio.ClosedResourceError):
                return await self._bus.caller.ask(request)
        return _line_down(request, self.name, "is not open: use it within async with")

    async def _open_or_take(self) -> Line:
        line, self._first = self._first, None
        return line or await self._open_line()

    async def __aenter__(self) -> Self:
        """Open the line.

        Raises:
            LineError: it cannot be opened; the text says why and what to do.
        """
        with trio.move_on_after(bus.OPEN_S_MAX):
            self._first = await self._open_line()
        if self._first is None:
            raise LineError(f"{self.name}: opening took longer than {bus.OPEN_S_MAX:g} s")
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        start = partial(
            self._bus.run,
            self.feed,
            line_name=self.name,
            open_line=self._open_or_take,
            timing=self._timing,
            units=self._units,
        )
        self._nursery.start_soon(start, name=f"bus {self.name}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Close the line; whoever still waits gets a LineError."""
        assert self._manager is not None, "it was entered"
        assert self._nursery is not None, "it was entered"
        self._is_closed = True
        self._nursery.cancel_scope.cancel()
        try:
            return await self._manager.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            if error is not None and group.exceptions == (error,):
                return False  # It goes on as it was raised: a user's except clause must match.
            raise
        finally:
            if self._first is not None:
                with trio.move_on_after(bus.CLOSE_S_MAX, shield=True):
                    await self._first.aclose()


class _Bus:
    """The bus actor, and how to call it."""

    def __init__(self) -> None:
        self.caller: BusCaller
        self._calls: BusCalls
        self.caller, self._calls = open_calls()

    async def run(
        self,
        feed: Feed,
        *,
        line_name: str,
        open_line: LineOpener,
        timing: bus.LineTiming,
        units: Mapping[int, bus.UnitTraits],
    ) -> None:
        """Be the line's owner until cancelled; in the end nobody is left waiting."""
        try:
            await bus.run(
                self._calls,
                feed,
                line_name=line_name,
                open_line=open_line,
                timing=timing,
                units=units,
            )
        finally:
            self.caller.close()
            self._refuse_all(line_name)

    def _refuse_all(self, line_name: str) -> None:
        """Answer the calls that the actor has not seen."""
        for call in self._calls.take():
            call.reply(_line_down(call.request, line_name, "was closed"))


def _line_down(request: BusRequest, line_name: str, cause: str) -> ReadFailed | WriteFailed:
    now_s, kind, text = trio.current_time(), FailureKind.LINE_DOWN, f"{line_name} {cause}"
    if isinstance(request, ReadRegisters):
        return ReadFailed(kind, text, now_s)
    return WriteFailed(line_name, request, kind, text, now_s)


def _traits_of(facts: DeviceFacts) -> bus.UnitTraits:
    """What the bus must know of a unit; its gap makes every further request dearer."""
    usual = bus.UnitTraits()
    return bus.UnitTraits(
        words_max=facts.words_max,
        bits_max=facts.bits_max,
        forbidden=facts.barriers,
        gap_s=facts.gap_s,
        reads_holes=facts.holes != "never",
        turnaround_s=usual.turnaround_s + facts.gap_s,
        writes_multiple=facts.write_function == "multiple",
        functions=facts.functions,
    )


def _strictest(one: bus.UnitTraits, other: bus.UnitTraits) -> bus.UnitTraits:
    """What two maps of one unit both allow."""
    return replace(
        one,
        words_max=min(one.words_max, other.words_max),
        bits_max=min(one.bits_max, other.bits_max),
        forbidden=one.forbidden | other.forbidden,
        gap_s=max(one.gap_s, other.gap_s),
        reads_holes=one.reads_holes and other.reads_holes,
        turnaround_s=max(one.turnaround_s, other.turnaround_s),
        writes_multiple=one.writes_multiple or other.writes_multiple,
        functions=one.functions & other.functions,
    )
