"""SQL straight over a log: its rows go into tables that end with the question."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from grug.errors import ShipError, StorageError
from grug.storage.segment import FrameKind
from grug.storage.show import TimeRange
from grug.transport.asking import ONLY_READS, is_read_only
from grug.transport.clickhouse import Answer, Database, Ship
from grug.transport.engine import MEMORY_URL
from grug.transport.logfiles import LogBlock, LogReader
from grug.transport.logrows import rows_of, series_of

SAMPLES_MAX = 50_000_000
"""Three days at 160 a second, and about a minute until the answer."""
_ROWS_PER_BATCH = 200_000
_FRAMES_AT_ONCE = 60


def ask_log(
    directory: Path,
    sql: str,
    times: TimeRange,
    *,
    samples_max: int = SAMPLES_MAX,
    told: Callable[[float], None] = lambda share: None,
) -> Answer:
    """Answer one statement as the database would that has this log, and nothing else. Blocks.

    Args:
        directory: of the log; a house may write it meanwhile.
        sql: a statement that reads.
        times: what is outside does not exist for the statement.
        samples_max: more are refused.
        told: called with the share that has been read, 0 to 1.

    Raises:
        StorageError: the log cannot be read, or has more than ``samples_max`` in that time.
        ShipError: the statement is refused, or the engine is not installed.
    """
    if not is_read_only(sql):
        raise ShipError(ONLY_READS)
    samples = sum(
        block.frame.entries
        for block in _blocks(directory, times)
        if block.frame.kind == FrameKind.SAMPLES
    )
    if samples > samples_max:
        raise StorageError(
            f"the log has {samples:,} samples in that time, and {samples_max:,} are as many as are"
            " read for one question: say --since and --until, or bring it into a database with"
            " grug ship"
        )
    database = Database(MEMORY_URL)
    try:
        done = 0
        for batch in _batches(_blocks(directory, times)):
            done += _insert(database, batch, times)
            told(done / max(1, samples))
        return database.query(sql)
    finally:
        database.close()


def _blocks(directory: Path, times: TimeRange) -> Iterator[LogBlock]:
    """Blocks that have something in a range, and all series tables."""
    reader = LogReader(directory)
    while blocks := reader.read(frames_max=_FRAMES_AT_ONCE):
        for block in blocks:
            is_table = block.frame.kind == FrameKind.SERIES
            if is_table or times.meets(block.t_min_ms, block.t_max_ms):
                yield block


def _batches(blocks: Iterator[LogBlock]) -> Iterator[list[LogBlock]]:
    """Blocks of one epoch, some 200 000 rows together."""
    batch: list[LogBlock] = []
    rows = 0
    for block in blocks:
        is_other = batch and (batch[0].log_id, batch[0].epoch) != (block.log_id, block.epoch)
        if is_other or rows >= _ROWS_PER_BATCH:
            yield batch
            batch, rows = [], 0
        batch.append(block)
        rows += block.frame.entries
    if batch:
        yield batch


def _insert(database: Database, batch: list[LogBlock], times: TimeRange) -> int:
    first, last = batch[0], batch[-1]
    ship = Ship(first.log_id.hex(), first.epoch, first.frame.seq, last.frame.seq, 0)
    readings, events = rows_of(batch, times)
    database.insert(ship, readings=readings, events=events, series=series_of(batch))
    return sum(block.frame.entries for block in batch if block.frame.kind == FrameKind.SAMPLES)
