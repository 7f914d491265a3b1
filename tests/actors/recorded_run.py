"""A run that repeats itself exactly, recorded and shipped; a process for tests to kill.

Usage: ``python recorded_run.py STATE``. It writes the number of each safe block on its output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import trio

from grug.actors import recorder, shipper
from grug.config.types import LogConfig, Seconds
from grug.messages import Decided, Message, Readings, StopRecording
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed
from grug.transport.asking import embedded_url
from grug.transport.clickhouse import SharedDatabase
from grug.transport.logfiles import Synced

POLLS = 30_000
SAMPLES = 2 * POLLS + POLLS // 10
EVENTS = POLLS // 1000
EVERY_S = 0.2
_AT_ONCE = 100


def messages() -> Iterator[Message]:
    for index in range(POLLS):
        at_s = index * EVERY_S
        yield Readings("grid", at_s, ("power", "count"), (index % 977 / 10, index))
        if index % 10 == 0:
            yield Decided("offset", at_s - 0.05, ("power_w",), (index / 7,), f"{index // 1000}")


async def main(state: Path) -> None:
    feed, synced = Feed(), Synced()
    shared = SharedDatabase(embedded_url(state))

    def tell(seq: int) -> None:
        os.write(1, f"{seq}\n".encode())
        synced.mark(seq)

    async def record(source: recorder.Subscription) -> None:
        await recorder.run(
            source,
            log_directory=state / "log",
            settings=LogConfig(block=Seconds(10.0), reserve_bytes=0),
            wall=WallClock(origin_s=1_700_000_000.0),
            feed=feed,
            on_block=tell,
            resume=True,
        )
        synced.end()

    with feed.subscribe("recorder", *recorder.KINDS, bound=POLLS * 3) as source:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(record, source)
            nursery.start_soon(
                partial(
                    shipper.run,
                    log_directory=state / "log",
                    database=shared,
                    synced=synced,
                    feed=feed,
                )
            )
            for index, message in enumerate(messages()):
                feed.publish(message)
                if index % _AT_ONCE == 0:
                    await trio.sleep(0.008)
            feed.publish(StopRecording(ship=True))
    await shared.close()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
