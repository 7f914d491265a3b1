"""Simulated lines in memory, with the timing of real wires, for virtual time.

``SimLine`` is an RS485 line with units on it; ``SimMeterPort`` is an inverter's meter port, where
the inverter asks and grug answers. Both open as a ``Line``. There are no tasks behind them: the
units' answer is worked out while the request is being sent, and arrives when the bytes of request
and reply would have passed the wire; an inverter's next request is known when its line is read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Protocol

import trio

from grug.codec.block import BlockDecoder
from grug.codec.registers import RegisterMap
from grug.codec.served import power_register
from grug.errors import LineError
from grug.model import Span, Table
from grug.protocol.rtu import crc_is_good, interframe_delay_s, with_crc
from grug.protocol.server import RequestFramer, ServerRequest
from grug.sim.faults import FaultKind, SimFaults
from grug.sim.house import House
from grug.sim.inverter import Inverter

TURNAROUND_S = 0.008
"""How long a unit thinks before it answers; meters and inverters take 5 to 60 ms."""
LATE_S = 0.6
"""How much later a late reply comes: after any timeout that is in use."""
METER_TIMEOUT_S = 0.3
"""An inverter gives up a question to its meter. Source: the seed's notes."""
QUERIES_PER_S = 4.0
"""How often an inverter asks its meter; by firmware 0.5 to 14. Source: the seed's notes."""
_SAME_S = 1e-9
"""Times closer than this are one instant, whatever rounding did to them."""


class Answering(Protocol):
    """Whatever answers requests: a ``SimUnit``, or a test's own."""

    def answer(self, request: ServerRequest, now_s: float) -> bytes | None:
        """The ADU that answers, or None."""


def wire_character_s(baudrate: int, framing: str = "8N1") -> float:
    """Time of one character: start bit, data, parity, stop bits."""
    return (1 + int(framing[0]) + (framing[1] != "N") + int(framing[2])) / baudrate


class SimPort:
    """What both kinds of simulated line have: they open, and can be unplugged."""

    def __init__(self, name: str, baudrate: int, framing: str, faults: SimFaults) -> None:
        self.name = name
        self.baudrate = baudrate
        self.character_s = wire_character_s(baudrate, framing)
        self.faults = faults
        self.end: SimEnd | None = None
        """The open end, if it is open."""

    @property
    def is_unplugged(self) -> bool:
        """Whether the adapter is gone just now."""
        return bool(self.faults.faults) and self.faults.is_on(
            FaultKind.UNPLUG, trio.current_time(), self.name, *self.aliases()
        )

    def aliases(self) -> tuple[str, ...]:
        """Other names that an ``unplug`` may use for this line."""
        return ()

    async def open(self) -> SimEnd:
        """See ``LineOpener.__call__``."""
        await trio.lowlevel.checkpoint()
        if self.is_unplugged:
            raise LineError(f"{self.name}: no such adapter")
        if self.end is not None:
            raise LineError(f"{self.name}: is open already")
        self.end = self.make_end()
        return self.end

    def make_end(self) -> SimEnd:
        """An end of the right kind."""
        raise NotImplementedError

    def wake(self) -> None:
        """Let a reader notice that something changed, such as a pulled plug."""
        if self.end is not None:
            self.end.wake()


class SimEnd:
    """The end of a simulated line that grug holds: a ``Line``."""

    def __init__(self, port: SimPort) -> None:
        self._port = port
        self._scope: trio.CancelScope | None = None
        self._is_interrupted = False
        self._is_closed = False

    async def receive_some(self) -> bytes:
        """See ``Line.receive_some``."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            self._check()
            due_s = self._next_s()
            now_s = trio.current_time()
            if due_s <= now_s + _SAME_S:
                data = self._take(now_s)
                if data:
                    return data
                continue
            with trio.CancelScope(deadline=due_s) as self._scope:
                await trio.sleep_forever()
            self._scope = None
            if self._is_interrupted:
                self._is_interrupted = False
                return b""

    def interrupt(self) -> None:
        """See ``Line.interrupt``."""
        self._is_interrupted = self._scope is not None
        self.wake()

    async def send_all(self, data: bytes) -> None:
        """See ``Line.send_all``. Returns at once: adapters take a frame faster than it is sent."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check()
        self._sent(data, trio.current_time())
        self.wake()

    def discard_input(self) -> int:
        """See ``Line.discard_input``."""
        self._check()
        return self._discard(trio.current_time())

    async def aclose(self) -> None:
        """See ``Line.aclose``."""
        self._is_closed = True
        if self._port.end is self:
            self._port.end = None
        self.wake()
        await trio.lowlevel.checkpoint()

    def wake(self) -> None:
        """Let a sleeping reader look again."""
        if self._scope is not None:
            self._scope.cancel()

    def _check(self) -> None:
        if self._is_closed:
            raise LineError(f"{self._port.name}: is closed")
        if self._port.faults.faults and self._port.is_unplugged:
            raise LineError(f"{self._port.name}: the adapter was unplugged")

    def _next_s(self) -> float:
        """When there will be something to take; ``inf`` when nothing is on its way."""
        raise NotImplementedError

    def _take(self, now_s: float) -> bytes:
        raise NotImplementedError

    def _sent(self, data: bytes, now_s: float) -> None:
        raise NotImplementedError

    def _discard(self, now_s: float) -> int:
        raise NotImplementedError


class SimLine(SimPort):
    """An RS485 line with units on it."""

    def __init__(
        self,
        name: str,
        units: Mapping[str, Answering],
        *,
        baudrate: int = 9600,
        framing: str = "8N1",
        turnaround_s: float = TURNAROUND_S,
        faults: SimFaults | None = None,
        echoes: bool = False,
    ) -> None:
        """Lay the line.

        Args:
            name: as in the config, for faults and errors.
            units: by device name, as faults call them; unit ids must differ.
            baudrate: of all that is on it.
            framing: such as ``8N1``.
            turnaround_s: between the end of a request and the begin of its reply.
            faults: shared by the whole house; none when left out.
            echoes: whether the adapter hears itself, as half-duplex ones without a driver
                control do.
        """
        super().__init__(name, baudrate, framing, faults or SimFaults(0))
        self.units = dict(units)
        self.turnaround_s = turnaround_s
        self.echoes = echoes

    def aliases(self) -> tuple[str, ...]:
        """Unplugging a device is unplugging its line."""
        return tuple(self.units)

    def make_end(self) -> SimEnd:
        """See ``SimPort.make_end``."""
        return _UnitsEnd(self)

    def replies(self, request: ServerRequest, now_s: float) -> list[tuple[float, bytes]]:
        """What the units answer: (how late beyond the usual, bytes), faults included."""
        replies: list[tuple[float, bytes]] = []
        for device, unit in self.units.items():
            reply = unit.answer(request, now_s)
            if reply is None:
                continue
            if self.faults.faults:
                replies.extend(self._spoiled(device, reply, now_s))
            else:
                replies.append((0.0, reply))
        return replies

    def _spoiled(self, device: str, reply: bytes, now_s: float) -> list[tuple[float, bytes]]:
        """The reply after the faults of its unit."""
        faults = self.faults

        def has(kind: FaultKind) -> bool:
            return faults.is_on(kind, now_s, device, self.name)

        if has(FaultKind.SILENT):
            return []
        if has(FaultKind.FOREIGN):
            reply = with_crc(bytes((reply[0] % 247 + 1,)) + reply[1:-2])
        if has(FaultKind.GARBAGE):
            reply = faults.garbled(reply)
        if has(FaultKind.NOISE):
            reply = faults.noise(3) + reply
        late_s = LATE_S if has(FaultKind.LATE) else 0.0
        if has(FaultKind.SPLIT):
            half = len(reply) // 2
            return [(late_s, reply[:half]), (late_s + 0.02, reply[half:])]
        return [(late_s, reply)]


class _UnitsEnd(SimEnd):
    """grug's end of a line with units."""

    def __init__(self, line: SimLine) -> None:
        super().__init__(line)
        self._line = line
        self._framer = RequestFramer(line.baudrate)
        self._arriving: list[tuple[float, bytes]] = []
        self._free_s = 0.0

    def _sent(self, data: bytes, now_s: float) -> None:
        line = self._line
        sent_s = max(now_s, self._free_s) + len(data) * line.character_s
        self._free_s = sent_s
        arriving = self._arriving
        if line.echoes:
            arriving.append((sent_s, data))
        for request in self._framer.receive(data, now_s):
            for late_s, reply in line.replies(request, sent_s):
                wire_s = len(reply) * line.character_s
                arrives_s = sent_s + line.turnaround_s + late_s + wire_s
                if not late_s:
                    self._free_s = arrives_s
                arriving.append((arrives_s, reply))
        if len(arriving) > 1:
            arriving.sort(key=lambda item: item[0])

    def _next_s(self) -> float:
        return self._arriving[0][0] if self._arriving else float("inf")

    def _take(self, now_s: float) -> bytes:
        arriving = self._arriving
        if len(arriving) == 1:
            return arriving.pop()[1]
        count = sum(at_s <= now_s + _SAME_S for at_s, _ in arriving)
        data = b"".join(piece for _, piece in arriving[:count])
        del arriving[:count]
        return data

    def _discard(self, now_s: float) -> int:
        if not self._arriving or self._arriving[0][0] > now_s:
            return 0
        return len(self._take(now_s))


class MeterQuestion:
    """What an inverter asks its meter, and how it understands the answer."""

    def __init__(self, profile: RegisterMap, unit_id: int) -> None:
        """Prepare the request.

        Args:
            profile: map of the meter that the inverter believes to have; the register that shows
                the power of the whole is what it acts on.
            unit_id: that it asks.

        Source: the seed's notes: an Acrel is asked with function 3 for 65 words from 0; of an
        Eastron the block of measured values up to the energies is read with function 4.
        """
        register = profile[power_register(profile)]
        is_eastron = profile.model.startswith("eastron")
        function, count = (4, 76) if is_eastron else (3, 65)
        head = bytes((unit_id, function))
        self.adu = with_crc(head + (0).to_bytes(2, "big") + count.to_bytes(2, "big"))
        self._reply_head = head + bytes((2 * count,))
        self.reply_length = 5 + 2 * count
        self._decoder = BlockDecoder((register,), (Span(register.table, 0, count),))
        self.table = Table.INPUT_REGISTER if is_eastron else Table.HOLDING_REGISTER

    def power_of(self, reply: bytes) -> float | None:
        """The active power in W that the reply tells; None when it is not a good reply."""
        if len(reply) != self.reply_length or not reply.startswith(self._reply_head):
            return None
        if not crc_is_good(reply):
            return None
        values, qualities = self._decoder.decode((reply[3:-2],))
        return None if qualities else float(values[0])


class SimMeterPort(SimPort):
    """Meter port of an inverter: the inverter asks, whoever holds the line answers."""

    def __init__(
        self,
        name: str,
        question: MeterQuestion,
        house: House,
        inverter: Inverter,
        *,
        fakemeter: str = "",
        baudrate: int = 9600,
        framing: str = "8N1",
        queries_per_s: float = QUERIES_PER_S,
        faults: SimFaults | None = None,
    ) -> None:
        """Wire it; ``fakemeter`` is its other name for faults."""
        super().__init__(name, baudrate, framing, faults or SimFaults(0))
        self.question = question
        self.house = house
        self.inverter = inverter
        self.fakemeter = fakemeter
        self.interval_s = 1.0 / queries_per_s
        self.asked = 0
        self.answered = 0

    def aliases(self) -> tuple[str, ...]:
        """The fake meter's name stands for its line."""
        return (self.fakemeter,)

    def make_end(self) -> SimEnd:
        """See ``SimPort.make_end``."""
        return _MeterEnd(self)

    def has(self, kind: FaultKind, now_s: float) -> bool:
        """Whether such a fault is on at this port."""
        faults = self.faults
        return bool(faults.faults) and faults.is_on(kind, now_s, self.name, self.fakemeter)

    def hear(self, reply: bytes, arrives_s: float) -> bool:
        """The inverter has got a reply whole; returns whether it was a good one."""
        if self.has(FaultKind.GARBAGE, arrives_s):
            reply = self.faults.garbled(reply)
        power_w = self.question.power_of(reply)
        if power_w is None:
            return False
        self.answered += 1
        self.inverter.believe(power_w, self.house.seconds_at(arrives_s))
        return True


class _MeterEnd(SimEnd):
    """grug's end of a meter port."""

    def __init__(self, port: SimMeterPort) -> None:
        super().__init__(port)
        self._meter_port = port
        self._request_wire_s = len(port.question.adu) * port.character_s
        self._gap_s = interframe_delay_s(port.baudrate)
        self._asked_s = -1.0
        self._next_ask_s = trio.current_time()
        self._heard: deque[bytes] = deque()

    def _next_s(self) -> float:
        return self._next_ask_s + self._request_wire_s

    def _take(self, now_s: float) -> bytes:
        port = self._meter_port
        self._asked_s = now_s
        self._next_ask_s = now_s + max(port.interval_s, METER_TIMEOUT_S) - self._request_wire_s
        self._heard.clear()
        if port.has(FaultKind.SILENT, now_s):
            return b""
        port.asked += 1
        return port.question.adu

    def _sent(self, data: bytes, now_s: float) -> None:
        port = self._meter_port
        if now_s - self._asked_s > METER_TIMEOUT_S:
            return
        self._heard.append(data)
        reply = b"".join(self._heard)
        arrives_s = now_s + len(reply) * port.character_s
        if port.hear(reply, arrives_s):
            self._heard.clear()
            self._next_ask_s = max(
                self._asked_s - self._request_wire_s + port.interval_s, arrives_s + self._gap_s
            )

    def _discard(self, now_s: float) -> int:
        return 0
