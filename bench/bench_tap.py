"""What a tap costs a line, and whether a fake meter answers any later with one.

Both are measured side by side in one run: a line with a tap and one without, by turns, so that
whatever else this machine does happens to both.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
import tty
from functools import partial

import trio

from grug.actors import fakemeter
from grug.messages import MeterImage
from grug.model import Role, Wire, WireFraming
from grug.protocol.rtu import with_crc
from grug.runtime.clock import MonotonicClock
from grug.runtime.feed import Feed
from grug.transport.line import Line, LineOpener
from grug.transport.maps import load_map
from grug.transport.ports import port_opener
from grug.transport.tap import WireTap

ROUNDS = 15
EXCHANGES = 4000
QUERIES = 60
BAUDRATE = 115_200
REPLY = with_crc(bytes((1, 3, 40)) + bytes(40))
REQUEST = with_crc(bytes((1, 3, 0, 0, 0, 20)))


class NoWire:
    """A line whose other end answers at once, so that only its own cost is seen."""

    async def send_all(self, data: bytes) -> None:
        pass

    async def receive_some(self) -> bytes:
        return REPLY

    def discard_input(self) -> int:
        return 0

    async def aclose(self) -> None:
        pass


async def open_none() -> Line:
    return NoWire()


async def exchange_us(open_line: LineOpener) -> float:
    """Microseconds of one exchange: what a bus owner does with its line."""
    line = await open_line()
    started_s = time.perf_counter()
    for _ in range(EXCHANGES):
        line.discard_input()
        await line.send_all(REQUEST)
        await line.receive_some()
    return (time.perf_counter() - started_s) / EXCHANGES * 1e6


def ask(master: int) -> list[float]:
    """Seconds from each query to the whole reply, as an inverter sees it."""
    query = with_crc(bytes((1, 3, 0, 0, 0, 12)))
    taken_s = []
    for _ in range(QUERIES):
        started_s = time.perf_counter()
        os.write(master, query)
        received = 0
        while received < 5 + 24:
            received += len(os.read(master, 256))
        taken_s.append(time.perf_counter() - started_s)
    return taken_s


async def reply_times() -> dict[bool, list[float]]:
    """Seconds until a fake meter has replied, through a tap and without, by turns."""
    feed, tap = Feed(), WireTap()
    wire = Wire("bench", Role.SERVER, WireFraming.RTU)
    profile = load_map("acrel_1_phase")
    found: dict[bool, list[float]] = {False: [], True: []}
    masters = {}
    async with trio.open_nursery() as nursery:
        for is_tapped in found:
            masters[is_tapped], slave = os.openpty()
            tty.setraw(slave)
            opener = port_opener(os.ttyname(slave), BAUDRATE, "8N1")
            start = partial(
                fakemeter.run,
                feed,
                name="bench",
                unit_id=1,
                profile=profile,
                open_line=tap.tapped(wire, opener) if is_tapped else opener,
                baudrate=BAUDRATE,
                line_name="bench",
            )
            nursery.start_soon(start)
        await trio.sleep(0.2)
        now_s = trio.current_time()
        feed.publish(MeterImage("bench", ("active_power",), (100.0,), now_s, now_s + 600.0))
        for _ in range(ROUNDS):
            for is_tapped, master in masters.items():
                found[is_tapped] += await trio.to_thread.run_sync(ask, master)
                tap.take(0.0, is_last=True)
        nursery.cancel_scope.cancel()
    return found


async def main() -> None:
    tap = WireTap()
    tapped = tap.tapped(Wire("bench", Role.CLIENT, WireFraming.RTU), open_none)
    plain_us, tapped_us, take_us = [], [], []
    for _ in range(ROUNDS):
        plain_us.append(await exchange_us(open_none))
        tapped_us.append(await exchange_us(tapped))
        started_s = time.perf_counter()
        tap.take(0.0, is_last=True)
        take_us.append((time.perf_counter() - started_s) / EXCHANGES / 2 * 1e6)
    frame_us = (statistics.median(tapped_us) - statistics.median(plain_us)) / 2
    sys.stdout.write(
        f"a frame costs its line {frame_us:.2f} us more with a tap"
        f" (an exchange {statistics.median(plain_us):.2f} and"
        f" {statistics.median(tapped_us):.2f} us),"
        f" and {statistics.median(take_us):.2f} us to carry it away\n"
    )
    found = await reply_times()
    for is_tapped, name in ((False, "without"), (True, "with")):
        times_ms = sorted(taken_s * 1000 for taken_s in found[is_tapped])
        sys.stdout.write(
            f"a fake meter {name} a tap replies after {statistics.median(times_ms):.3f} ms,"
            f" 99 % within {times_ms[len(times_ms) * 99 // 100]:.3f} ms\n"
        )


if __name__ == "__main__":
    trio.run(main, clock=MonotonicClock())
