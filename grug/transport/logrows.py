"""Blocks of the log as rows for the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from grug.storage.block import Column
from grug.storage.native import Origin, Rows, SampleBlock, Series, events_rows, readings_rows
from grug.storage.segment import Event, FrameKind, decode_series
from grug.storage.show import TimeRange
from grug.transport.logfiles import LogBlock

EVER = TimeRange()


def rows_of(batch: Sequence[LogBlock], times: TimeRange = EVER) -> tuple[Rows, Rows]:
    """Decode blocks into rows of readings and of events.

    Samples whose series table is damaged, in all segments of the epoch up to here, are left out.

    Args:
        batch: of one log and epoch.
        times: what is wanted of them.
    """
    last = batch[-1]
    origin = Origin(last.site, last.log_id.hex(), last.epoch)
    samples = [
        SampleBlock(block.frame.seq, block.names, _columns(block, times))
        for block in batch
        if block.frame.kind == FrameKind.SAMPLES
    ]
    events = [
        (block.frame.seq, _events(block, times))
        for block in batch
        if block.frame.kind == FrameKind.EVENTS
    ]
    return readings_rows(origin, samples), events_rows(origin, events)


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


def _columns(block: LogBlock, times: TimeRange) -> list[Column]:
    columns = block.columns()
    return columns if times is EVER else [times.cut(column) for column in columns]


def _events(block: LogBlock, times: TimeRange) -> list[Event]:
    events = block.events()
    return [event for event in events if times.meets(event.time_ms, event.time_ms)]
