"""Three processes for tests to kill: one writes a log, one ships it, one is the database server.

They are forked from a process that has imported nearly everything, so that a life can be short.
"""

from __future__ import annotations

import time
from ctypes import c_int
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path

import trio
from log_writing import T0, TestLog

from grug.actors import shipper
from grug.messages import Noted, ShipCounted
from grug.runtime.feed import Feed
from grug.transport.clickhouse import SharedDatabase
from grug.transport.logfiles import Synced

PRELOAD = ["shipping_victims", "clickhouse_connect", "clickhouse_connect.driver.httpclient"]
ROWS_PER_BATCH = 100
ROWS_PER_BATCH_LAST = 20_000
BLOCK_EVERY_S = 0.05
LOOK_EVERY_S = 0.02


def write(directory: Path, until_s: int) -> None:
    """Go on with a log where it ends, until it has so many seconds."""
    with TestLog(directory) as log:
        last_ms = log.writer.last_ms
        log.at_s = 0 if last_ms is None else (last_ms - T0) // 1000 + 1
        while log.at_s < until_s:
            log.write()
            time.sleep(BLOCK_EVERY_S)


def serve(directory: Path, port: int, go: Event, inserts: c_int) -> None:
    """Be a database server, from when it is told until killed; counts inserts as they come."""
    from clickhouse_front import ClickHouseFront, Fault  # The engine does not survive a fork.

    go.wait()

    def count(statement: str) -> Fault:
        if statement.lstrip().upper().startswith("INSERT"):
            inserts.value += 1
        return Fault.NONE

    front = ClickHouseFront(directory, port, count)
    while True:
        time.sleep(3600)
        assert front.port == port


def ship(directory: Path, port: int, until_seq: int | None) -> None:
    """Ship what the log has and what comes; end when a block has arrived."""
    shipper.ROWS_PER_BATCH = ROWS_PER_BATCH if until_seq is None else ROWS_PER_BATCH_LAST
    shipper.REST_S = 0.0
    shipper.BACKOFF_S_MIN = shipper.BACKOFF_S_MAX = 0.03
    trio.run(_ship, directory, port, until_seq)


async def _ship(directory: Path, port: int, until_seq: int | None) -> None:
    feed, synced = Feed(), Synced()
    run = partial(
        shipper.run,
        log_directory=directory,
        database=SharedDatabase(f"http://127.0.0.1:{port}/"),
        synced=synced,
        feed=feed,
    )
    with feed.subscribe("end", ShipCounted, Noted, bound=1000) as told:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            nursery.start_soon(_look, synced)
            while True:
                for count in await told.receive_batch():
                    if isinstance(count, Noted):
                        _note(directory, count.text)
                        continue
                    assert isinstance(count, ShipCounted)
                    if until_seq is not None and count.shipped_seq >= until_seq and not count.cause:
                        nursery.cancel_scope.cancel()


def _note(directory: Path, text: str) -> None:
    with notes_of(directory).open("a") as file:
        file.write(f"{text}\n")


def notes_of(directory: Path) -> Path:
    """Where a shipper writes down what it notes, if anything."""
    return directory.with_name("notes")


async def _look(synced: Synced) -> None:
    """What is complete survives any SIGKILL, so all of it may be shipped."""
    seq = 1 << 60
    while True:
        seq += 1
        synced.mark(seq)
        await trio.sleep(LOOK_EVERY_S)
