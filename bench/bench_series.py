"""What each series of a log costs: its bytes are those by which the log shrinks without it.

Usage: ``python bench/bench_series.py LOG_DIRECTORY [ROWS [BLOCKS]]``, over the last 60 blocks when
not told otherwise, for instance of ``house/fast/log`` after ``grug demo --fast --state house``.
Events are told apart by source and kind.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from grug.storage.block import Column, Poll, decode_block
from grug.storage.encode import SampleEncoder
from grug.storage.segment import Event, FrameKind, encode_events, encode_frame
from grug.transport.logfiles import LogBlock, LogReader

DAY_S = 86_400


def polls_of(columns: Iterable[Column], values: dict[int, list[float]], without: int) -> list[Poll]:
    """The columns of a block as they came, but for one series."""
    groups: dict[int, list[Column]] = defaultdict(list)
    for column in columns:
        if column.series != without:
            groups[id(column.times)].append(column)
    polls = []
    for group in groups.values():
        poll = Poll(tuple(column.series for column in group))
        poll.times = group[0].times
        poll.rows = list(zip(*[values[column.series] for column in group], strict=True))
        polls.append(poll)
    return polls


def size_of(kind: FrameKind, payload: bytes) -> int:
    """Packed, with its header."""
    return len(encode_frame(kind, payload, seq=1, count=1, t_min_ms=0, t_max_ms=0, monotonic_ms=0))


def tell_series(blocks: list[LogBlock], rows: int, seconds: float) -> None:
    """Print what the dearest series cost."""
    names = blocks[-1].names
    sizes: Counter[int] = Counter()
    samples: Counter[int] = Counter()
    whole = 0
    for block in blocks:
        columns, journal = decode_block(block.frame.unpack())
        values = {column.series: column.values() for column in columns}
        full = size_of(
            FrameKind.SAMPLES, SampleEncoder().encode(polls_of(columns, values, -1)) + journal
        )
        whole += full
        for column in columns:
            samples[column.series] += len(column.times)
            rest = SampleEncoder().encode(polls_of(columns, values, column.series))
            sizes[column.series] += full - size_of(FrameKind.SAMPLES, rest + journal)
    print(f"{len(samples)} series, {samples.total()} samples, {whole / samples.total():.3f} B each")
    print(f"{'series':48} {'a day':>9} {'samples/s':>10} {'B each':>7} {'share':>6}")
    for series, size in sizes.most_common(rows):
        count = samples[series]
        print(
            f"{names[series]:48} {size / seconds * DAY_S / 1000:6.0f} kB {count / seconds:10.2f}"
            f" {size / count:7.2f} {size / whole:6.1%}"
        )


def tell_events(events: list[Event], size: int, rows: int, seconds: float) -> None:
    """Print which events take the most; their shares are those of the bytes before compression."""
    plain: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for event in events:
        key = f"{event.source} {event.kind}"
        plain[key] += len(encode_events([event]))
        counts[key] += 1
    print(f"\n{len(events)} events, {size / seconds * DAY_S / 1000:.0f} kB a day")
    for key, length in plain.most_common(rows):
        print(f"{key:48} {counts[key] / seconds * DAY_S:9.0f} a day {length / plain.total():6.1%}")


def main(directory: Path, rows: int = 20, blocks_max: int = 60) -> None:
    """Read a log and tell."""
    blocks = LogReader(directory).read()
    samples = [block for block in blocks if block.frame.kind == FrameKind.SAMPLES][-blocks_max:]
    tell_series(samples, rows, (samples[-1].t_max_ms - samples[0].t_min_ms) / 1000)
    written = [block for block in blocks if block.frame.kind == FrameKind.EVENTS]
    size = sum(len(block.frame.encode()) for block in written)
    seconds = (blocks[-1].t_max_ms - blocks[0].t_min_ms) / 1000
    tell_events([each for block in written for each in block.events()], size, rows, seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
