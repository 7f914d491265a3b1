"""The other side: a register image served on a line, so that a map can be its own fake device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import trio

from grug.actors.bus import CLOSE_S_MAX
from grug.codec.image import RegisterImage
from grug.codec.registers import Access
from grug.device.line import Port, opener_of
from grug.model import Table
from grug.planner.writes import OPTIONAL_FUNCTIONS, WRITE_COIL, WRITE_WORD, masked
from grug.protocol.mbap_server import MbapRequests
from grug.protocol.ports import tcp_port
from grug.protocol.rtu import interframe_delay_s
from grug.protocol.server import (
    GATEWAY_TARGET_FAILED,
    ILLEGAL_DATA_ADDRESS,
    ILLEGAL_DATA_VALUE,
    ILLEGAL_FUNCTION,
    RequestFramer,
    ServerRequest,
    exception_reply,
    read_reply,
    write_reply,
)
from grug.transport.line import Line
from grug.transport.tcp_server import serve_tcp

DIRECT_UNIT_IDS = (0, 255)
"""What clients send that ask a device with a network socket of its own.
Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 4.4.2.1."""


class ServedUnit:
    """Answers for one unit from an image, within the limits that the map states."""

    def __init__(
        self,
        unit_id: int,
        image: RegisterImage,
        on_write: Callable[[list[str]], None] | None = None,
    ) -> None:
        """Make a unit.

        Args:
            unit_id: 1..247.
            image: what it shows; may be set at any time.
            on_write: told the names of the registers that a write has changed.
        """
        self.unit_id = unit_id
        self.image = image
        self.answered = 0
        """Requests answered since start, refusals included."""
        self._on_write = on_write
        registers = image.register_map.registers.values()
        self._writable = {
            (register.table, address)
            for register in registers
            if register.access is not Access.READ
            for address in range(register.span.address, register.span.end)
        }

    def answer(self, request: ServerRequest, now_s: float) -> bytes | None:
        """The ADU that answers a request; None when it is for another unit."""
        if request.unit_id != self.unit_id:
            return None
        self.answered += 1
        if request.fault:
            return exception_reply(request, request.fault)
        return self._answer_read(request) if request.is_read else self._answer_write(request)

    def _answer_read(self, request: ServerRequest) -> bytes:
        facts = self.image.register_map.facts
        if request.count > (facts.bits_max if request.table.is_bits else facts.words_max):
            return exception_reply(request, ILLEGAL_DATA_VALUE)
        block = self.image.read(request.table, request.address, request.count)
        if block is None:
            return exception_reply(request, ILLEGAL_DATA_ADDRESS)
        return read_reply(request, block)

    def _answer_write(self, request: ServerRequest) -> bytes:
        facts = self.image.register_map.facts
        function = request.function
        if (facts.write_function == "multiple" and function in (WRITE_COIL, WRITE_WORD)) or (
            function in OPTIONAL_FUNCTIONS and function not in facts.functions
        ):
            return exception_reply(request, ILLEGAL_FUNCTION)
        if not request.table.is_bits and request.count > facts.write_words_max:
            return exception_reply(request, ILLEGAL_DATA_VALUE)
        if not self._takes(request.table, request.address, request.count):
            return exception_reply(request, ILLEGAL_DATA_ADDRESS)
        reads, block = request.reads, request.block
        if reads is not None and (
            reads.count > facts.words_max
            or self.image.read(reads.table, reads.address, reads.count) is None
        ):
            return exception_reply(request, ILLEGAL_DATA_ADDRESS)  # And nothing is written.
        if request.mask:
            before = self.image.read(request.table, request.address, 1) or bytes(2)
            block = masked(before, block, request.mask)
        changed = self.image.write(request.table, request.address, block)
        if changed and self._on_write is not None:
            self._on_write(changed)
        if reads is None:
            return write_reply(request)
        return read_reply(request, self.image.read(reads.table, reads.address, reads.count) or b"")

    def _takes(self, table: Table, address: int, count: int) -> bool:
        """Whether each of the addresses belongs to a register that the device lets be written."""
        return all((table, each) in self._writable for each in range(address, address + count))


async def serve(
    port: Port,
    unit: int,
    image: RegisterImage,
    *,
    baudrate: int = 9600,
    framing: str = "8N1",
    on_write: Callable[[list[str]], None] | None = None,
    task_status: trio.TaskStatus[ServedUnit] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Be a unit on a line until cancelled; also for ``nursery.start``.

    Args:
        port: path of a serial port; ``tcp://host:port`` to listen there as a Modbus TCP server, to
            which several clients may come; ``rtu+tcp://host:port``, a serial server to connect to;
            or a ``LineOpener``.
        unit: its id, 1..247.
        image: what it shows, such as ``device.image()``.
        baudrate: bits per second.
        framing: such as ``8N1``.
        on_write: told the names of the registers that a write has changed.
        task_status: is given the unit once the line is open.

    Raises:
        ValueError: there is no such framing or port.
        LineError: the line cannot be opened, or is lost; the port cannot be listened on.
    """
    served = ServedUnit(unit, image, on_write)
    if isinstance(port, str) and (place := tcp_port(port)) is not None and not place.is_rtu:
        await serve_tcp(
            place, partial(_TcpClient, served), started=partial(task_status.started, served)
        )
        return
    line = await opener_of(port, baudrate, framing)()
    try:
        task_status.started(served)
        await _serve_line(line, served, baudrate)
    finally:
        with trio.move_on_after(CLOSE_S_MAX, shield=True):
            await line.aclose()


class _TcpClient:
    """Answers one client of a Modbus TCP server."""

    def __init__(self, served: ServedUnit) -> None:
        self._served = served
        self._requests = MbapRequests()

    def __call__(self, data: bytes) -> bytes:
        """See ``transport.tcp_server.Answer``."""
        replies = []
        for numbered in self._requests.receive(data):
            request = numbered.request
            asked = request
            if asked.unit_id in DIRECT_UNIT_IDS:
                asked = replace(request, unit_id=self._served.unit_id)
            reply = self._served.answer(asked, trio.current_time())
            if reply is None:
                reply = exception_reply(request, GATEWAY_TARGET_FAILED)
            replies.append(numbered.framed(bytes((request.unit_id,)) + reply[1:]))
        return b"".join(replies)


async def _serve_line(line: Line, served: ServedUnit, baudrate: int) -> None:
    framer = RequestFramer(baudrate)
    while True:
        for request in framer.receive(await line.receive_some(), trio.current_time()):
            reply = served.answer(request, trio.current_time())
            if reply is not None:
                # Whoever asked has to let go of the two wires first.
                await trio.sleep(interframe_delay_s(baudrate))
                await line.send_all(reply)
