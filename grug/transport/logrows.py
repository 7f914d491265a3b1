"""Blocks of the log as rows for the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from grug.storage.native import Origin, Rows, Series, events_rows, readings_rows
from grug.storage.segment import Event, FrameKind, decode_series
from grug.storage.show import TimeRange
from grug.transport.logfiles import LogBlock

EVER = TimeRange()


def rows_of(batch: Sequence[LogBlock], times: TimeRange = EVER) -> tuple[Rows, Rows]:
    """Decode blocks into rows of readings and of events.

    Samples whose series table is damaged, in all segments of the epoch up to here, are left out.
    numpy, which comes with the database's driver, is imported at the first call.

    Args:
        batch: of one log and epoch.
        times: what is wanted of them.
    """
    from grug.storage.bulk import PackedBlock, packed_rows

    last = batch[-1]
    origin = Origin(last.site, last.log_id.hex(), last.epoch)
    samples = [
        PackedBlock(block.frame.seq, block.names, block.frame.unpack(), block.shift_ms)
        for block in batch
        if block.frame.kind == FrameKind.SAMPLES
    ]
    events = [
        (block.frame.seq, _events(block, times))
        for block in batch
        if block.frame.kind == FrameKind.EVENTS
    ]
    readings = packed_rows(origin, samples, times) if samples else readings_rows(origin, ())
    return readings, events_rows(origin, events)


def series_of(batch: Iterable[LogBlock]) -> list[Series]:
    """What the series tables among some blocks say; the last word about each."""
    said: dict[tuple[str, str], Series] = {}
    for block in batch:
        if block.frame.kind == FrameKind.SERIES:
            table = decode_series(block.frame.unpack())
            for index, name in enumerate(table.series):
                facts = table.facts(index)
                said[(table.site, name)] = Series(table.site, name, facts, block.t_max_ms)
    return list(said.values())


def _events(block: LogBlock, times: TimeRange) -> list[Event]:
    events = block.events()
    return [event for event in events if times.meets(event.time_ms, event.time_ms)]
