"""The log and the database, beside other ways to keep the same samples, in one run.

Usage: ``python bench/bench_log_and_ship.py [HOURS]`` (4; 24 is the whole synthetic day and takes
many minutes). What can be compared with other machines are the ratios. Bytes that reach the device
are counted on a file system of their own behind a loop device, which needs root.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import formats
import trio
import trio.testing
from database import Speed, backfill, forerunner, row_wise, seed_bytes, sizes
from formats import Kept, Row
from workloads import samples_per_s, series_count, synthetic

from grug.actors import recorder
from grug.config.types import LogConfig, Seconds
from grug.messages import Message, Readings, StopRecording
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed
from grug.storage.collect import Collector
from grug.storage.native import Rows
from grug.storage.segment import FrameKind
from grug.transport.logfiles import LogReader
from grug.transport.logrows import rows_of
from grug.transport.logwriter import Limits, LogWriter

T0_MS = 1_700_000_000_000
BLOCKS_S = (10.0, 30.0, 60.0)
DEVICE_BLOCKS = 360
DEMO_HOURS = 1.0
FORMAT_HOURS = 2.0
ROUNDS = 3


def rows_of_messages(messages: Sequence[Message]) -> list[Row]:
    """One row a sample, as a writer of lines gets them."""
    rows = []
    for message in messages:
        assert isinstance(message, Readings)
        time_ms = T0_MS + round(message.read_s * 1000)
        for name, value in zip(message.names, message.values, strict=True):
            assert not isinstance(value, str)
            rows.append(Row(time_ms, f"{message.device}/{name}", value))
    return rows


def collect(messages: Sequence[Message], block_s: float) -> Kept:
    """The log's own path from messages to bytes: append each poll, cut each block."""
    collector = Collector()
    size, seq, end_s = 64, 1, block_s
    start_s = time.process_time()
    for message in messages:
        assert isinstance(message, Readings)
        if message.read_s >= end_s:
            frames = collector.cut(seq, boot_id="b")
            size += sum(map(len, frames))
            seq += len(frames)
            end_s += block_s
        collector.add(message, T0_MS + round(message.read_s * 1000))
    size += sum(map(len, collector.cut(seq, boot_id="b")))
    return Kept(size, time.process_time() - start_s)


async def record(directory: Path, messages: Sequence[Message]) -> float:
    """Through the recorder actor; gives microseconds a poll, the feed's queue included."""
    feed = Feed()
    settings = LogConfig(block=Seconds(10.0), reserve_bytes=0)
    spent_s = 0.0
    async with trio.open_nursery() as nursery:
        source = feed.subscribe("recorder", *recorder.KINDS, bound=1 << 30)
        run = partial(
            recorder.run,
            source,
            log_directory=directory,
            settings=settings,
            wall=WallClock(origin_s=T0_MS / 1000),
            feed=feed,
            is_durable=False,
        )
        nursery.start_soon(run)
        for index in range(0, len(messages), 1000):
            start_s = time.process_time()
            for message in messages[index : index + 1000]:
                feed.publish(message)
            await trio.testing.wait_all_tasks_blocked()
            spent_s += time.process_time() - start_s
        feed.publish(StopRecording(ship=False))
    return spent_s / len(messages) * 1e6


@contextmanager
def own_device(directory: Path) -> Iterator[tuple[Path, Path] | None]:
    """A file system behind a loop device and the device's counters; None without the right to."""
    image, place = directory / "image", directory / "mounted"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(256 << 20)
    made = ["mkfs.ext4", "-q", "-F", str(image)], ["mount", "-o", "loop,noatime", image, place]
    if os.geteuid() != 0 or any(subprocess.run(step, check=False).returncode for step in made):
        yield None
        return
    try:
        found = subprocess.run(
            ["findmnt", "-n", "-o", "SOURCE", str(place)],
            check=True,
            capture_output=True,
            text=True,
        )
        yield place, Path("/sys/block", Path(found.stdout.strip()).name, "stat")
    finally:
        subprocess.run(["umount", str(place)], check=True)


class Wear(NamedTuple):
    """What reaches the device in a day."""

    written_mb: float
    device_mb: float


def wear(messages: Sequence[Message], block_s: float) -> Wear | None:
    """Write blocks one by one, each waited for as in a house, and count the device's sectors."""
    with tempfile.TemporaryDirectory() as name, own_device(Path(name)) as device:
        if device is None:
            return None
        place, counters = device
        writer = LogWriter(place / "log", Limits(1 << 40, 1 << 50, 0))
        collector = Collector()
        blocks, end_s = 0, block_s
        os.sync()
        before = _sectors(counters)
        for message in messages:
            assert isinstance(message, Readings)
            if message.read_s >= end_s:
                append(writer, collector, end_s)
                blocks, end_s = blocks + 1, end_s + block_s
                if blocks == DEVICE_BLOCKS:
                    break
            collector.add(message, T0_MS + round(message.read_s * 1000))
        device_bytes = (_sectors(counters) - before) * 512
        written = writer.bytes_written
        writer.close()
    per_day = 86_400 / (blocks * block_s) / 1e6
    return Wear(written * per_day, device_bytes * per_day)


def append(writer: LogWriter, collector: Collector, now_s: float) -> None:
    now_ms = T0_MS + round(now_s * 1000)
    writer.append(
        lambda seq: collector.cut(seq, boot_id="b"),
        lambda seq: collector.table_frame(seq, boot_id="b", time_ms=now_ms),
        now_ms=now_ms,
    )


def _sectors(counters: Path) -> int:
    return int(counters.read_text().split()[6])


def demo_rows(state: Path) -> tuple[list[Row], int]:
    """Record the demo, and give its samples and the log's bytes."""
    command = [sys.executable, "-m", "grug", "demo", "--fast", "--hours", str(DEMO_HOURS)]
    command += ["--fidelity", "message", "--start-hour", "11", "--state", str(state)]
    subprocess.run(command, check=True, capture_output=True)
    directory = state / "fast" / "log"
    rows = [
        Row(time_ms, block.names[column.series], value)
        for block in LogReader(directory).read()
        if block.frame.kind == FrameKind.SAMPLES
        for column in block.columns()
        for time_ms, value in zip(column.times, column.values(), strict=True)
    ]
    rows.sort(key=lambda row: row.time_ms)
    return rows, sum(path.stat().st_size for path in directory.glob("*.grug"))


def native(directory: Path) -> Iterator[Rows]:
    reader = LogReader(directory)
    while blocks := reader.read(frames_max=60):
        yield rows_of(blocks)[0]


def line(name: str, kept: Kept, samples: int, seed: Kept, lost: str) -> None:
    cpu = "" if kept.cpu_s != kept.cpu_s else f"{kept.cpu_s / samples * 1e9:8.0f} ns"
    share = "" if kept.cpu_s != kept.cpu_s else f"{kept.cpu_s / seed.cpu_s:5.2f}"
    print(f"{name:34} {kept.size_bytes / samples:6.2f} B {cpu:>11} {share:>6}  {lost}")


async def main(hours: float) -> None:
    messages = list(synthetic(hours))
    some = [m for m in messages if isinstance(m, Readings) and m.read_s < FORMAT_HOURS * 3600]
    samples = sum(len(message.values) for message in messages)  # type: ignore[attr-defined]
    print(f"synthetic day, {hours:g} h: {series_count()} series, {samples_per_s():.1f} samples/s,")
    print(f"{samples} samples in {len(messages)} polls; formats: of its first {FORMAT_HOURS:g} h\n")
    with tempfile.TemporaryDirectory() as name:
        rows = rows_of_messages(some)
        await _tell_formats(Path(name), some, rows)
        state = Path(name) / "day"
        poll_us = await record(state / "log", messages)
        print(f"\nappend as the recorder pays it: {poll_us:.1f} us a poll")
        await _tell_database(state, samples, rows)
        _tell_wear(messages)
        _tell_demo(state / "demo")


async def _tell_formats(state: Path, messages: Sequence[Message], rows: Sequence[Row]) -> None:
    """Each in turn, three times; the quickest counts, since others use the machine too."""
    seeds, kepts = [], [[] for _ in BLOCKS_S]
    for _ in range(ROUNDS):
        seeds.append(formats.seed_json(rows))
        for kept, block_s in zip(kepts, BLOCKS_S, strict=True):
            kept.append(collect(messages, block_s))
    seed = min(seeds, key=lambda kept: kept.cpu_s)
    print(f"{'':34} {'a sample':>8} {'CPU':>11} {'ratio':>6}  lost at a power cut")
    line("JSON lines, zstd 7 (forerunner)", seed, len(rows), seed, "up to 120 s")
    for block_s, tried in zip(BLOCKS_S, kepts, strict=True):
        kept = min(tried, key=lambda kept: kept.cpu_s)
        line(f"grug's log, {block_s:g} s blocks", kept, len(rows), seed, f"up to {block_s:g} s")
    await record(state / "log", messages)
    line("Parquet, zstd, sorted", formats.parquet(native(state / "log")), len(rows), seed, "a file")
    line("Gorilla, 2 h blocks", formats.gorilla(rows), len(rows), seed, "up to 2 h")


async def _tell_database(state: Path, samples: int, rows: Sequence[Row]) -> None:
    """Each way in turn, three times; the middle one counts."""
    ours, theirs, tuples = [], [], []
    packed = formats.json_lines(rows)
    for number in range(ROUNDS):
        if number:
            (state / str(number)).mkdir()
            (state / str(number) / "log").symlink_to(state / "log")
        ours.append(await backfill(state / str(number) if number else state, samples))
        theirs.append(forerunner(state / f"seed{number}", packed, len(rows)))
        tuples.append(row_wise(state / f"tuples{number}", rows))
    took, smaller = sizes(state), seed_bytes(state)
    print(f"\ndatabase: {took.row_bytes:.3f} B a row, forerunner's schema {smaller:.3f}:", end=" ")
    print(f"{took.row_bytes / smaller:.2f}; aggregates + {took.aggregate_bytes:.3f}")
    shipped = middle(ours)
    print(f"backfill: {shipped.rows_per_s:,.0f} rows/s, {shipped.cpu_ns:.0f} ns CPU, with views")
    ways = {"forerunner's files into its table": middle(theirs)}
    ways |= {f"tuples, {n} a time": middle([each[n] for each in tuples]) for n in tuples[0]}
    for name, each in ways.items():
        print(
            f"  beside {name}: {each.rows_per_s:,.0f} rows/s, {each.cpu_ns:.0f} ns;"
            f" {shipped.rows_per_s / each.rows_per_s:.1f} times,"
            f" CPU {shipped.cpu_ns / each.cpu_ns:.2f}"
        )


def middle(speeds: Sequence[Speed]) -> Speed:
    return Speed(*(statistics.median(each) for each in zip(*speeds, strict=True)))


def _tell_wear(messages: Sequence[Message]) -> None:
    print()
    for block_s in BLOCKS_S:
        worn = wear(messages, block_s)
        if worn is None:
            print("bytes that reach the device: not measured, needs root and a loop device")
            return
        print(
            f"a day of {block_s:g} s blocks: {worn.written_mb:.0f} MB written,"
            f" {worn.device_mb:.0f} MB reach the device"
        )


def _tell_demo(state: Path) -> None:
    rows, log_bytes = demo_rows(state)
    seconds = (rows[-1].time_ms - rows[0].time_ms) / 1000
    names = len({row.series for row in rows})
    print(f"\nthe demo, {DEMO_HOURS:g} h: {names} series, {len(rows) / seconds:.1f} samples/s")
    seed = formats.seed_json(rows)
    nothing = float("nan")
    line("JSON lines, zstd 7 (forerunner)", seed, len(rows), seed, "")
    line("grug's log, 10 s blocks, events too", Kept(log_bytes, nothing), len(rows), seed, "")
    packed = formats.parquet(native(state / "fast" / "log"))
    line("Parquet, zstd, sorted", packed, len(rows), seed, "")
    line("Gorilla, 2 h blocks", formats.gorilla(rows), len(rows), seed, "")
    same = sum(a.time_ms == b.time_ms for a, b in pairwise(rows))
    print(f"{same / len(rows):.0%} of its samples share their time with the one before")


if __name__ == "__main__":
    trio.run(main, float(sys.argv[1]) if len(sys.argv) > 1 else 4.0)
