"""Hours of a house through the recorder and the shipper: bytes, CPU, rows per second, memory.

Usage: ``python bench/bench_log_and_ship.py [HOURS]``. Numbers are of one run on this machine; what
can be compared with other machines are the ratios.
"""

from __future__ import annotations

import heapq
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import trio
import trio.testing

from grug.actors import recorder, shipper
from grug.config.types import LogConfig, Seconds
from grug.messages import Decided, Message, Readings, StopRecording
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed
from grug.transport.asking import embedded_url
from grug.transport.clickhouse import SharedDatabase
from grug.transport.logfiles import LogReader, Synced
from grug.transport.logrows import rows_of

DEVICES = (
    # Device, period in s, registers, decimals: a meter, two inverters with their meters.
    ("grid", 0.2, 13, 1),
    ("meter1", 0.2, 2, 1),
    ("meter2", 0.2, 2, 1),
    ("inverter1", 1.0, 12, 0),
    ("inverter2", 1.0, 12, 0),
    ("inverter1", 10.0, 30, 1),
    ("inverter2", 10.0, 30, 1),
)


def house(hours: float) -> Iterator[Message]:
    """Half of the registers wander, half stand still."""
    chance = random.Random(1)
    steps = [chance.gauss(0, 3) for _ in range(9973)]
    step = 0
    groups = [tuple(f"r{period:g}_{index}" for index in range(n)) for _, period, n, _ in DEVICES]
    state = [[chance.uniform(0, 1000) for _ in names] for names in groups]
    due = [(index * 0.01, index) for index in range(len(DEVICES))]
    while due[0][0] < hours * 3600:
        at_s, index = heapq.heappop(due)
        device, period_s, _, decimals = DEVICES[index]
        values = state[index]
        for register in range(0, len(values), 2):
            step = (step + 7) % len(steps)
            values[register] += steps[step]
        step = (step + 1) % len(steps)
        numbers = tuple([round(value, decimals) for value in values])
        yield Readings(device, at_s, groups[index], numbers)
        if index == 0:
            power_w, grid_w = round(values[0], 1), values[1] / 3
            yield Decided("offset", at_s, ("power_w", "grid_w"), (power_w, grid_w), "bench")
        heapq.heappush(due, (at_s + period_s, index))


def memory() -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    kept = dict(line.split(":") for line in lines if line.startswith(("VmRSS", "RssAnon")))
    return ", ".join(f"{name} {int(size.split()[0]) // 1024} MB" for name, size in kept.items())


def log_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*.grug"))


async def record(directory: Path, hours: float, feed: Feed) -> int:
    """Record; the time to make the messages is not counted."""
    samples = messages = 0
    spent_s = 0.0
    async with trio.open_nursery() as nursery:
        source = feed.subscribe("recorder", *recorder.KINDS, bound=1 << 30)
        run = partial(
            recorder.run,
            source,
            log_directory=directory,
            settings=LogConfig(block=Seconds(10.0), reserve_bytes=0),
            wall=WallClock(origin_s=1.7e9),
            feed=feed,
            is_durable=False,
        )
        nursery.start_soon(run)
        for message in house(hours):
            feed.publish(message)
            messages += 1
            samples += len(message.values)  # type: ignore[attr-defined]
            if messages % 1000 == 0:
                start_s = time.perf_counter()
                await trio.testing.wait_all_tasks_blocked()
                spent_s += time.perf_counter() - start_s
        feed.publish(StopRecording(ship=True))
        start_s = time.perf_counter()
    spent_s += time.perf_counter() - start_s
    size = log_bytes(directory)
    print(f"{samples} samples in {messages} messages: {spent_s / messages * 1e6:.2f} us a message")
    print(f"record {spent_s / samples * 1e6:.2f} us a sample, {size / samples:.2f} B a sample")
    print(memory())
    return samples


async def ship(state: Path, samples: int, feed: Feed) -> None:
    start_s = time.perf_counter()
    reader = LogReader(state / "log")
    while blocks := reader.read(frames_max=200):
        rows_of(blocks)
    print(f"decode {samples / (time.perf_counter() - start_s) / 1e6:.2f} M rows/s")
    database = SharedDatabase(embedded_url(state))
    await database.call(lambda opened: None)
    print(f"database open: {memory()}")
    synced = Synced()
    synced.mark(1 << 60)
    synced.end()
    start_s = time.perf_counter()
    await shipper.run(log_directory=state / "log", database=database, synced=synced, feed=feed)
    print(f"ship {samples / (time.perf_counter() - start_s) / 1e6:.2f} M rows/s: {memory()}")
    sizes = await database.call(
        lambda opened: opened.query(
            "SELECT table, sum(bytes_on_disk) FROM system.parts"
            " WHERE active AND database = currentDatabase() GROUP BY table ORDER BY table"
        )
    )
    for table, size in sizes.rows:
        print(f"{table} {size / samples:.3f} B a sample")
    await database.close()


async def main(hours: float) -> None:
    feed = Feed()
    with tempfile.TemporaryDirectory() as directory:
        samples = await record(Path(directory) / "log", hours, feed)
        await ship(Path(directory), samples, feed)


if __name__ == "__main__":
    trio.run(main, float(sys.argv[1]) if len(sys.argv) > 1 else 24.0)
