"""The bus owner: how near to the wire's limit, at what CPU, and how fair.

    python bench/bench_bus.py

1. Wire efficiency: the optimal plan of a meter's registers, read in a loop from a unit that is as
   slow as its wire; time per cycle over the physical minimum (all characters, the turnarounds, a
   gap of 3.5 characters per read). The same plan through pymodbus's async client and minimalmodbus.
   At first grug leaves a gap of 5 ms, until 500 replies in a row were good.
2. CPU and latency per read of 40 words from a unit made with libmodbus, over a pseudo-terminal,
   without any gap: grug's whole bus owner, and with its poller on top, beside a bare loop over the
   same frames, libmodbus, pymodbus's async client and minimalmodbus. They take turns in going
   first, and each begins with some reads that do not count, since for some 500 reads all is slower
   behind a client that sleeps most of the time, as minimalmodbus does. Then those with an event
   loop again, with a pause before each read: now caches are cold, as they are between two polls.
3. CPU per read of 40 words at 9600 baud through an adapter that passes on each byte as it comes, as
   USB adapters do with their latency timer at 1 ms.
4. Fairness, in virtual time at 9600 baud: the period of a 5 Hz group beside trouble and load.

Ratios are of one run on one machine.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import minimalmodbus
import trio
import trio.testing
from pymodbus.client import AsyncModbusSerialClient
from wires import CHARACTER_BITS, far_end

from grug.actors import bus, poller
from grug.codec.registers import Kind, Register
from grug.messages import ReadRegisters, RegistersRead, WriteDone, WriteRegisters
from grug.model import Priority, Span, Table
from grug.planner.plan import ReadCost, Transaction, plan_reads
from grug.planner.schedule import Ticks
from grug.protocol.framing import RtuFraming
from grug.protocol.rtu import character_s, interframe_delay_s, with_crc
from grug.runtime.calls import BusCaller, open_calls
from grug.runtime.feed import Feed
from grug.transport.line import LineOpener
from grug.transport.serial import serial_opener

HOLDING = Table.HOLDING_REGISTER
CLIENT = Path(__file__).parent / "modbus_client.c"
SERVER = Path(__file__).parent.parent / "tests" / "peers" / "modbus_server.c"

METER = [Span(HOLDING, at, 2) for at in (*range(0, 36, 2), 46, 48, 52, 54, 56, 70, 72, 74, 76, 78)]
METER += [Span(HOLDING, at, 2) for at in (200, 202, 204, 206, 224, 234, 236, 238, 342, 344)]
"""What is worth reading of a three-phase meter."""

CYCLES = 12
READS = 2000
SHARE_BEFORE = 0.2
"""Of so many reads, how many more go before them and do not count."""
READS_PACED = 100
PAUSE_S = 0.02
READS_TRICKLED = 20
ROUNDS = 6


@asynccontextmanager
async def bus_on(
    open_line: LineOpener, timing: bus.LineTiming, units: dict[int, bus.UnitTraits] | None = None
) -> AsyncIterator[BusCaller]:
    caller, calls = open_calls()

    async def run() -> None:
        await bus.run(
            calls, Feed(), line_name="line", open_line=open_line, timing=timing, units=units or {}
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        while True:  # Until the line is open.
            reply = await caller.ask(ReadRegisters(1, (Span(HOLDING, 0, 1),), math.inf))
            if isinstance(reply, RegistersRead):
                break
            await trio.sleep(0.01)
        yield caller
        nursery.cancel_scope.cancel()


# 1. Wire efficiency


def physical_s(plan: Sequence[Transaction], baudrate: int, turnaround_s: float) -> float:
    one_s = character_s(baudrate, CHARACTER_BITS)
    gap_s = interframe_delay_s(baudrate)
    return sum((13 + 2 * each.span.count) * one_s + turnaround_s + gap_s for each in plan)


async def grug_cycles(path: str, baudrate: int, turnaround_s: float, gap_s: float | None) -> float:
    timing = bus.LineTiming(baudrate, 1.0, gap_s, character_bits=CHARACTER_BITS)
    units = {1: bus.UnitTraits(turnaround_s=turnaround_s)}
    spans = tuple(METER)
    async with bus_on(serial_opener(path, baudrate), timing, units) as caller:
        await caller.ask(ReadRegisters(1, spans, math.inf))
        began_s = time.monotonic()
        for _ in range(CYCLES):
            assert isinstance(await caller.ask(ReadRegisters(1, spans, math.inf)), RegistersRead)
        return (time.monotonic() - began_s) / CYCLES


async def pymodbus_cycles(path: str, baudrate: int, plan: Sequence[Transaction]) -> float:
    client = AsyncModbusSerialClient(path, baudrate=baudrate, timeout=2, retries=0)
    assert await client.connect()
    began_s = time.monotonic()
    for _ in range(CYCLES):
        for each in plan:
            reply = await client.read_holding_registers(each.span.address, count=each.span.count)
            assert len(reply.registers) == each.span.count
    took_s = (time.monotonic() - began_s) / CYCLES
    client.close()
    return took_s


def minimalmodbus_cycles(path: str, baudrate: int, plan: Sequence[Transaction]) -> float:
    instrument = minimalmodbus.Instrument(path, 1)
    instrument.serial.baudrate = baudrate
    instrument.serial.timeout = 2.0
    began_s = time.monotonic()
    for _ in range(CYCLES):
        for each in plan:
            instrument.read_registers(each.span.address, each.span.count)
    took_s = (time.monotonic() - began_s) / CYCLES
    instrument.serial.close()
    return took_s


def wire_efficiency() -> None:
    print(f"1. Cycle over the physical minimum ({len(METER)} registers of a meter)")
    print("   baud  turnaround  reads  minimum    grug  grug at first  pymodbus  minimalmodbus")
    for baudrate in (9600, 19200):
        for turnaround_s in (0.005, 0.02, 0.05):
            one_s = character_s(baudrate, CHARACTER_BITS)
            cost = ReadCost(one_s, interframe_delay_s(baudrate), turnaround_s)
            plan = plan_reads(METER, cost)
            least_s = physical_s(plan, baudrate, turnaround_s)
            with far_end("unit", str(baudrate), str(turnaround_s)) as (path,):
                gap_s = interframe_delay_s(baudrate)
                took = [
                    trio.run(grug_cycles, path, baudrate, turnaround_s, gap_s),
                    trio.run(grug_cycles, path, baudrate, turnaround_s, None),
                    asyncio.run(pymodbus_cycles(path, baudrate, plan)),
                    minimalmodbus_cycles(path, baudrate, plan),
                ]
            ratios = [f"{each / least_s:.3f}" for each in took]
            print(
                f"  {baudrate:>5}  {turnaround_s * 1000:>7.0f} ms  {len(plan):>5}"
                f"  {least_s * 1000:>4.0f} ms  {ratios[0]:>6}  {ratios[1]:>13}  {ratios[2]:>8}"
                f"  {ratios[3]:>13}"
            )


# 2. CPU and latency


class Wire(NamedTuple):
    """What is read over, and how often."""

    path: str
    baudrate: int = 115200
    reads: int = READS
    program: str = ""
    """Of the server; the client made with libmodbus lies beside it."""
    pause_s: float = 0.0
    """Before each read; only clients with an event loop pause."""

    @property
    def reads_before(self) -> int:
        return round(self.reads * SHARE_BEFORE)


class Cost(NamedTuple):
    """Of one read, in microseconds."""

    cpu_us: float
    p50_us: float
    p99_us: float

    @classmethod
    def of(cls, cpu_s: float, latencies_s: list[float]) -> Cost:
        return cls(
            cpu_s / len(latencies_s) * 1e6,
            statistics.median(latencies_s) * 1e6,
            statistics.quantiles(latencies_s, n=100)[98] * 1e6,
        )


def in_a_loop(read: Callable[[], object], wire: Wire) -> Cost:
    latencies = []
    for _ in range(wire.reads_before):
        read()
    cpu_s = time.process_time()
    for _ in range(wire.reads):
        began_s = time.monotonic()
        read()
        latencies.append(time.monotonic() - began_s)
    return Cost.of(time.process_time() - cpu_s, latencies)


async def one_by_one(
    read: Callable[[], Awaitable[object]], sleep: Callable[[float], Awaitable[object]], wire: Wire
) -> Cost:
    """The same in an event loop; what the pauses cost is not counted."""
    latencies, cpu_s = [], 0.0
    for at in range(-wire.reads_before, wire.reads):
        if wire.pause_s:
            await sleep(wire.pause_s)
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        await read()
        if at >= 0:
            latencies.append(time.monotonic() - began_s)
            cpu_s += time.process_time() - began_cpu_s
    return Cost.of(cpu_s, latencies)


def raw_reads(wire: Wire) -> Cost:
    """No event loop, no deadlines, no queue: what terminal and frames cost by themselves."""
    descriptor = os.open(wire.path, os.O_RDWR | os.O_NOCTTY)
    termios.tcflush(descriptor, termios.TCIOFLUSH)
    framing, span = RtuFraming(), Span(HOLDING, 0, 40)

    def read() -> None:
        exchange = framing.read(1, span)
        os.write(descriptor, exchange.adu)
        while exchange.receive(os.read(descriptor, 4096)) is None:
            pass

    cost = in_a_loop(read, wire)
    os.close(descriptor)
    return cost


def libmodbus_reads(wire: Wire) -> Cost:
    command = [f"{wire.program}_client", wire.path, str(wire.reads)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Cost(*(float(each) for each in said.split()))


def minimalmodbus_reads(wire: Wire) -> Cost:
    instrument = minimalmodbus.Instrument(wire.path, 1)
    instrument.serial.baudrate = wire.baudrate
    instrument.serial.timeout = 2.0
    cost = in_a_loop(lambda: instrument.read_registers(0, 40), wire)
    instrument.serial.close()
    return cost


def pymodbus_reads(wire: Wire) -> Cost:
    async def run() -> Cost:
        client = AsyncModbusSerialClient(wire.path, baudrate=wire.baudrate, timeout=2, retries=0)
        assert await client.connect()

        async def read() -> None:
            reply = await client.read_holding_registers(0, count=40)
            assert len(reply.registers) == 40

        cost = await one_by_one(read, asyncio.sleep, wire)
        client.close()
        return cost

    return asyncio.run(run())


def grug_reads(wire: Wire) -> Cost:
    async def run() -> Cost:
        timing = bus.LineTiming(wire.baudrate, 1.0, gap_s=0.0)
        async with bus_on(serial_opener(wire.path, wire.baudrate), timing) as caller:

            async def read() -> None:
                next_s = trio.current_time() + 1.0  # As pollers say it.
                request = ReadRegisters(1, (Span(HOLDING, 0, 40),), math.inf, next_s=next_s)
                assert isinstance(await caller.ask(request), RegistersRead)

            return await one_by_one(read, trio.sleep, wire)

    return trio.run(run)


def poller_reads(wire: Wire) -> Cost:
    """A poller's whole work: 40 registers asked for by name, decoded and published."""

    async def run() -> Cost:
        timing = bus.LineTiming(wire.baudrate, 1.0, gap_s=0.0)
        registers = tuple(Register(f"register_{at}", HOLDING, at, Kind.U16) for at in range(40))
        group = poller.PollGroup(0.0, registers, tuple(each.span for each in registers))
        async with bus_on(serial_opener(wire.path, wire.baudrate), timing) as caller:
            poll = poller._Poll(caller, Feed(), "device", 1, group, Ticks(0.0, 1.0))

            async def read() -> None:
                await poll._once(math.inf, trio.current_time() + 1.0)

            return await one_by_one(read, trio.sleep, wire)

    return trio.run(run)


CLIENTS: dict[str, Callable[[Wire], Cost]] = {
    "raw loop": raw_reads,
    "libmodbus (C)": libmodbus_reads,
    "pymodbus async": pymodbus_reads,
    "minimalmodbus": minimalmodbus_reads,
    "grug": grug_reads,
    "grug's poller": poller_reads,
}


def build(source: Path, program: str) -> bool:
    flags = ["-I/usr/include/modbus", "-o", program, str(source), "-lmodbus"]
    return not subprocess.run(["gcc", "-O2", *flags], check=False).returncode


@contextmanager
def libmodbus_server() -> Iterator[Wire | None]:
    """What to read over from a unit made with libmodbus; None where it cannot be built."""
    with tempfile.TemporaryDirectory() as directory, far_end("cable", names=2) as (ours, theirs):
        program = f"{directory}/modbus"
        if not (build(SERVER, program) and build(CLIENT, f"{program}_client")):
            yield None
            return
        server = subprocess.Popen([program, "rtu", theirs, "1"], stdout=subprocess.PIPE)
        assert server.stdout is not None
        server.stdout.readline()
        try:
            yield Wire(ours, program=program)
        finally:
            server.kill()
            server.wait()
            server.stdout.close()


def in_rounds(wire: Wire, names: Sequence[str]) -> dict[str, list[Cost]]:
    """Each client's cost in each round; another one goes first each time."""
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    for first in range(ROUNDS):
        for at in range(len(names)):
            name = names[(first + at) % len(names)]
            costs[name].append(CLIENTS[name](wire))
    return costs


def cpu_and_latency() -> None:
    print(f"2. Per read of 40 words from libmodbus over a terminal, {READS} reads, no gap")
    with libmodbus_server() as wire:
        if wire is None:
            print("   left out: gcc or libmodbus-dev is missing")
            return
        print(f"   medians of {ROUNDS} rounds, and of the rounds' ratios to pymodbus")
        print("                        CPU       p50       p99   CPU ratio  p50 ratio")
        print_costs(in_rounds(wire, tuple(CLIENTS)))
        print(f"   with a pause of {PAUSE_S * 1000:g} ms before each of {READS_PACED} reads")
        paced = wire._replace(reads=READS_PACED, pause_s=PAUSE_S)
        print_costs(in_rounds(paced, ("pymodbus async", "grug", "grug's poller")))


def print_costs(costs: dict[str, list[Cost]]) -> None:
    for name, rounds in costs.items():
        cpu, p50, p99 = (statistics.median(column) for column in zip(*rounds, strict=True))
        cpu_ratio, p50_ratio = (
            statistics.median(
                one[at] / other[at]
                for one, other in zip(rounds, costs["pymodbus async"], strict=True)
            )
            for at in (0, 1)
        )
        print(
            f"   {name:<15} {cpu:>6.0f} us {p50:>6.0f} us {p99:>6.0f} us"
            f"  {cpu_ratio:>10.2f} {p50_ratio:>10.2f}"
        )


# 3. Bytes one by one


def trickled() -> None:
    print(f"3. CPU per read of 40 words at 9600 baud, byte by byte, {READS_TRICKLED} reads")
    names = ("pymodbus async", "minimalmodbus", "grug")
    with far_end("adapter", "9600", "0.02") as (path,):
        costs = {name: CLIENTS[name](Wire(path, 9600, READS_TRICKLED)) for name in names}
    for name, cost in costs.items():
        ratio = cost.cpu_us / costs["pymodbus async"].cpu_us
        p50_ms = cost.p50_us / 1000
        print(f"   {name:<15} {cost.cpu_us:>6.0f} us  p50 {p50_ms:>6.1f} ms  {ratio:>6.2f}")


# 4. Fairness


class VirtualLine:
    """Units that answer in virtual time at 9600 baud, some of them not."""

    def __init__(self, silent: set[int]) -> None:
        self._silent = silent
        self._one_s = character_s(9600, CHARACTER_BITS)
        self._send, self._receive = trio.open_memory_channel[tuple[float, bytes]](math.inf)
        self._arriving: tuple[float, bytes] | None = None
        self._waiting: trio.CancelScope | None = None

    async def open(self) -> VirtualLine:
        await trio.lowlevel.checkpoint()
        return self

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if data[0] in self._silent:
            return
        count = int.from_bytes(data[4:6], "big")
        reply = (
            data if data[1] == 6 else with_crc(data[:2] + bytes((2 * count,)) + bytes(2 * count))
        )
        spent_s = (len(data) + len(reply)) * self._one_s + 0.015
        self._send.send_nowait((trio.current_time() + spent_s, reply))

    def interrupt(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    async def receive_some(self) -> bytes:
        with trio.CancelScope() as self._waiting:
            if self._arriving is None:
                self._arriving = await self._receive.receive()
            at_s, data = self._arriving
            await trio.sleep_until(at_s)
            self._arriving = None
            return data
        return b""

    def discard_input(self) -> int:
        return 0

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def poll(
    caller: BusCaller, unit_id: int, every_s: float, until_s: float, read_s: list[float]
) -> None:
    at_s = trio.current_time()
    while at_s < until_s:
        await trio.sleep_until(at_s)
        next_s = at_s + every_s
        request = ReadRegisters(
            unit_id,
            (Span(HOLDING, 0, 10),),
            next_s,
            Priority.CONTROL,
            next_s=next_s,
            next_deadline_s=next_s + every_s,
        )
        reply = await caller.ask(request)
        if isinstance(reply, RegistersRead):
            read_s.append(reply.read_s)
        at_s += every_s * max(1, math.ceil((trio.current_time() - at_s) / every_s))


async def dump(caller: BusCaller, until_s: float) -> None:
    spans = tuple(Span(HOLDING, at, 1) for at in range(600))
    while trio.current_time() < until_s:
        await caller.ask(ReadRegisters(3, spans, math.inf, Priority.BACKGROUND))


async def write(caller: BusCaller, until_s: float) -> None:
    chance = random.Random(1)
    while trio.current_time() < until_s:
        await trio.sleep(chance.expovariate(2.0))
        soon_s = trio.current_time() + 1
        request = WriteRegisters(1, HOLDING, 5, b"\0\1", soon_s, "bench", "to see")
        assert isinstance(await caller.ask(request), WriteDone)


async def fairness_of(scene: str) -> list[float]:
    line = VirtualLine({2} if "offline" in scene else set())
    # No read may hold the line for longer than half the period, as in a house.
    units = {unit_id: bus.UnitTraits(transaction_s_max=0.1) for unit_id in (1, 2, 3)}
    timing = bus.LineTiming(9600, 0.3, character_bits=CHARACTER_BITS)
    read_s: list[float] = []
    async with bus_on(line.open, timing, units) as caller:
        until_s = trio.current_time() + 600
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poll, caller, 1, 0.2, until_s, read_s)
            if "offline" in scene:
                nursery.start_soon(poll, caller, 2, 1.0, until_s, [])
            if "dump" in scene:
                nursery.start_soon(dump, caller, until_s)
            if "writes" in scene:
                nursery.start_soon(write, caller, until_s)
    return read_s


def fairness() -> None:
    print("4. Period of a 5 Hz group of 10 words, 10 minutes at 9600 baud, virtual time")
    print("                                  reads   mean     p99 jitter   longest  from 1 min on")
    scenes = (
        "alone",
        "another unit offline",
        "a dump of 600 registers",
        "2 writes a second",
        "offline, dump and writes",
    )
    for scene in scenes:
        clock = trio.testing.MockClock(autojump_threshold=0)
        read_s = trio.run(fairness_of, scene, clock=clock)
        periods = [after - before for before, after in pairwise(read_s)]
        jitters = sorted(abs(period - 0.2) for period in periods)
        p99_ms = jitters[int(0.99 * len(jitters))] * 1000
        first_s = read_s[0] + 60  # Until a unit is known to be offline, it is waited for.
        later_s = max(
            period for at_s, period in zip(read_s[1:], periods, strict=True) if at_s > first_s
        )
        print(
            f"   {scene:<28} {len(read_s):>8}  {statistics.mean(periods) * 1000:>6.1f} ms"
            f"  {p99_ms:>6.1f} ms  {max(periods) * 1000:>6.0f} ms  {later_s * 1000:>10.0f} ms"
        )


PARTS: dict[str, Callable[[], None]] = {
    "wire": wire_efficiency,
    "cpu": cpu_and_latency,
    "trickled": trickled,
    "fairness": fairness,
}


def main() -> None:
    logging.disable(logging.CRITICAL)
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
