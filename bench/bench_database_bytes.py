"""Bytes a row in the database beside the forerunner's schema, as the synthetic day goes on.

Usage: ``python bench/bench_database_bytes.py [HOURS ...]`` (3 8; with 24, the whole day, it takes
some minutes). One log is written and shipped piece by piece, as by a house; the very same rows are
put into the forerunner's table each time.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import trio
from bench_log_and_ship import T0_MS, append
from database import backfill, seed_bytes, sizes
from workloads import samples_per_s, synthetic

from grug.messages import Message, Readings
from grug.storage.collect import Collector
from grug.transport.logwriter import Limits, LogWriter

BLOCK_S = 10.0


def write(messages: Iterator[Message], directory: Path, until_s: float) -> Iterator[Message]:
    """Go on with a log for so long; gives the messages after that."""
    writer = LogWriter(directory, Limits(1 << 40, 1 << 50, 0), is_durable=False)
    collector, end_s = Collector(), 0.0
    for message in messages:
        assert isinstance(message, Readings)
        if message.read_s >= end_s:
            if end_s:
                append(writer, collector, end_s)
            end_s = (message.read_s // BLOCK_S + 1) * BLOCK_S
            if message.read_s >= until_s:
                messages = chain((message,), messages)
                break
        collector.add(message, T0_MS + round(message.read_s * 1000))
    writer.close()
    return messages


def main(hours: list[float]) -> None:
    with tempfile.TemporaryDirectory() as name:
        state = Path(name)
        messages: Iterator[Message] = synthetic(max(hours) + 0.1)
        for each in sorted(hours):
            messages = write(messages, state / "log", each * 3600)
            trio.run(backfill, state, 1)
            ours, theirs = sizes(state), seed_bytes(state)
            rows = each * 3600 * samples_per_s() / 1e6
            print(
                f"{each:4g} h, {rows:5.2f} M rows: {ours.row_bytes:.3f} B a row, the forerunner's"
                f" {theirs:.3f}: {ours.row_bytes / theirs:.2f}; aggregates"
                f" + {ours.aggregate_bytes:.3f}"
            )


if __name__ == "__main__":
    main([float(argument) for argument in sys.argv[1:]] or [3.0, 8.0])
