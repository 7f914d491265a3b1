"""The simulated house in a process of its own, behind pseudo-terminals, in real time.

For each line of the config there is a link ``<directory>/<line name>`` to a pseudo-terminal, to be
opened like a serial port. Units answer with the turnaround and at the pace of a real wire;
inverters ask their meters by themselves. A person may pull cables by ``grug fault grid:silent+20``.

Stops: on SIGTERM, when its standard input ends, when cancelled; on Ctrl-C only if its standard
       input is a terminal, since otherwise that is for whoever started it
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import trio

from grug.config.types import HouseConfig
from grug.protocol.server import RequestFramer
from grug.sim.faults import FaultKind, parse_fault
from grug.sim.line import METER_TIMEOUT_S, SimLine, SimMeterPort, SimPort
from grug.sim.wiring import SimulatedHouse
from grug.transport.pty import PtyLine, open_pty

ADAPTER_POLL_S = 0.2
"""How often a pulled or plugged adapter is noticed."""
FAULT_BYTES_MAX = 4096
FAULTS_SOCKET = "faults.sock"
"""In the directory of the ports: takes faults as lines of text and answers each."""


async def run(
    config: HouseConfig,
    directory: Path,
    *,
    seed: int,
    start_hour: float = 9.0,
    faults: Sequence[str] = (),
    baud_pacing: bool = True,
) -> None:
    """Be the house until told to stop.

    Args:
        config: as the app has it; only the ports differ.
        directory: where the links and ``faults.sock`` are made.
        seed: weather, appliances, faults and moods follow from it.
        start_hour: solar time at the start, 0..24.
        faults: as ``parse_fault`` reads them, times since the start.
        baud_pacing: whether bytes take the time that they would take on the wire.

    Raises:
        ValueError: a fault cannot be understood.
        LineError: a pseudo-terminal cannot be made.
    """
    sim = SimulatedHouse(config, seed, start_hour=start_hour)
    for fault in faults:
        sim.apply(parse_fault(fault))
    async with trio.open_nursery() as nursery:
        await nursery.start(_listen_for_faults, sim, directory / FAULTS_SOCKET)
        for name, port in sim.ports.items():
            await nursery.start(_keep_port, port, directory / name, baud_pacing)
        nursery.start_soon(_end_on_signal, nursery.cancel_scope)
        nursery.start_soon(_end_with_stdin, nursery.cancel_scope)


async def _keep_port(
    port: SimPort,
    link: Path,
    baud_pacing: bool,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve one line while its adapter is plugged in; the link is there just as long."""
    has_started = False
    while True:
        if port.is_unplugged:
            await trio.sleep(ADAPTER_POLL_S)
        else:
            line = open_pty(link)
            if not has_started:
                has_started = True
                task_status.started()
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_serve, port, line, baud_pacing)
                    await _wait_for_unplugging(port)
                    nursery.cancel_scope.cancel()
            finally:
                with trio.CancelScope(shield=True):
                    await line.aclose()
        if not has_started:
            has_started = True
            task_status.started()


async def _wait_for_unplugging(port: SimPort) -> None:
    # Faults begin and end by the clock, so there is no event to wait for.
    while True:
        await trio.sleep(ADAPTER_POLL_S)
        if port.is_unplugged:
            return


async def _serve(port: SimPort, line: PtyLine, baud_pacing: bool) -> None:
    if isinstance(port, SimLine):
        await _serve_units(port, line, baud_pacing)
    elif isinstance(port, SimMeterPort):
        await _ask_meter(port, line, baud_pacing)


async def _serve_units(port: SimLine, line: PtyLine, baud_pacing: bool) -> None:
    """Answer for the units of a line."""
    framer = RequestFramer(port.baudrate)
    character_s = port.character_s if baud_pacing else 0.0
    while True:
        data = await line.receive_some()
        now_s = trio.current_time()
        sent_s = now_s + len(data) * character_s
        for request in framer.receive(data, now_s):
            for late_s, reply in port.replies(request, sent_s):
                turnaround_s = port.turnaround_s if baud_pacing else 0.0
                await trio.sleep_until(sent_s + turnaround_s + late_s + len(reply) * character_s)
                await line.send_all(reply)


async def _ask_meter(port: SimMeterPort, line: PtyLine, baud_pacing: bool) -> None:
    """Be the inverter: ask the meter, believe good answers, go on without bad ones."""
    character_s = port.character_s if baud_pacing else 0.0
    ask_s = trio.current_time()
    while True:
        await trio.sleep_until(ask_s)
        ask_s = max(ask_s + port.interval_s, trio.current_time())
        if port.has(FaultKind.SILENT, trio.current_time()) or not line.is_held:
            continue
        line.discard_input()
        await trio.sleep(len(port.question.adu) * character_s)
        port.asked += 1
        await line.send_all(port.question.adu)
        reply = b""
        with trio.move_on_after(METER_TIMEOUT_S):
            while len(reply) < port.question.reply_length:
                reply += await line.receive_some()
        if reply:
            await trio.sleep(len(reply) * character_s)
            port.hear(reply, trio.current_time())


async def _listen_for_faults(
    sim: SimulatedHouse,
    path: Path,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Take faults from whoever connects to the socket, a line each."""
    _clear(path)
    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await listener.bind(str(path))
        listener.listen()
        task_status.started()
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    connection, _ = await listener.accept()
                    nursery.start_soon(_take_faults, sim, trio.SocketStream(connection))
        finally:
            _clear(path)


def _clear(path: Path) -> None:
    """Make room for a socket, or take it away."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)


async def _take_faults(sim: SimulatedHouse, stream: trio.SocketStream) -> None:
    """Apply what one person writes, and say to them what became of it."""
    text = b""
    async with stream:
        try:
            while len(text) < FAULT_BYTES_MAX and (data := await stream.receive_some()):
                *lines, text = (text + data).split(b"\n")
                for line in lines:
                    await stream.send_all(_applied(sim, line.decode("utf-8", "replace")))
        except trio.BrokenResourceError:
            return


def _applied(sim: SimulatedHouse, text: str) -> bytes:
    try:
        sim.apply(text)
    except ValueError as error:
        return f"{error}\n".encode()
    return b"ok\n"


async def _end_on_signal(scope: trio.CancelScope) -> None:
    """End on SIGTERM; on Ctrl-C only if it is ours, not meant for who started us."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            if number == signal.SIGTERM or os.isatty(0):
                scope.cancel()
                return


async def _end_with_stdin(scope: trio.CancelScope) -> None:
    """End when whoever started us has gone, if our standard input can tell."""
    try:
        while True:
            await trio.lowlevel.wait_readable(0)
            if not os.read(0, 4096):
                scope.cancel()
                return
    except OSError:
        # A file or /dev/null cannot be waited for: then only a signal ends us.
        return
