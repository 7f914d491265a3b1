"""SIGKILL of writer, shipper and database, hundreds of times: exact in every table.

``GRUG_KILLS`` (200) and ``GRUG_SEED`` (1) choose how often and when. With ``GRUG_RENAME_MS``
strace makes each rename of the database take so long (20 is good): a part is made visible by one,
right after its token was noted, so that kills come between the two often instead of hardly ever.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
import shipping_victims
from clickhouse_front import ClickHouseFront

from grug.storage.block import decode_samples
from grug.storage.schema import AGGREGATES
from grug.storage.segment import FrameKind, decode_events
from grug.transport.logfiles import LogReader

KILLS = int(os.environ.get("GRUG_KILLS", "200"))
SEED = int(os.environ.get("GRUG_SEED", "1"))
RENAME_MS = int(os.environ.get("GRUG_RENAME_MS", "0"))
INSERTS_MAX = 6
MOMENT_S_MAX = 0.04
"""A life is some inserts long, and a part of one."""
IDLE_S_MAX = 10.0
WEIGHTS = {"server": 4, "shipper": 4, "writer": 1}
"""How often each is killed."""


class Victims:
    """The three processes; each is started again after it was killed."""

    def __init__(self, tmp_path: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(shipping_victims.PRELOAD)
        self.log, self.data, self.port = tmp_path / "log", tmp_path / "server", free_port()
        self._event = context.Event
        self._inserts = context.Value("i", 0, lock=False)
        self._make = {
            "writer": partial(context.Process, target=shipping_victims.write),
            "server": partial(context.Process, target=shipping_victims.serve),
            "shipper": partial(context.Process, target=shipping_victims.ship),
        }
        self._args: dict[str, tuple[Any, ...]] = {
            "writer": (self.log, 1 << 30),
            "shipper": (self.log, self.port, None),
        }
        self._living: dict[str, BaseProcess] = {}
        self.killed: Counter[str] = Counter()
        self._holders: list[subprocess.Popen[bytes]] = []
        self._standby = self._stand_by()

    def start(self, name: str, *args: Any) -> BaseProcess:
        if name == "server":
            self._living[name], go = self._standby
            go.set()
            self._standby = self._stand_by()
            wait_for_port(self.port)
            if RENAME_MS:
                self._holders.append(hold_up(self._living[name].pid))
        else:
            self._living[name] = self._make[name](args=args or self._args[name], daemon=True)
            self._living[name].start()
        return self._living[name]

    def _stand_by(self) -> tuple[BaseProcess, Event]:
        """The next server, that has only to open its data."""
        go = self._event()
        process = self._make["server"](args=(self.data, self.port, go, self._inserts), daemon=True)
        process.start()
        return process, go

    def kill(self, name: str) -> None:
        """Kill one that is still alive."""
        process = self._living.pop(name)
        assert process.is_alive(), f"{name} ended by itself with {process.exitcode}"
        process.kill()
        process.join()
        process.close()
        self.killed[name] += 1

    def wait_for_inserts(self, count: int) -> None:
        """Wait until the server has begun so many more."""
        goal = self._inserts.value + count
        deadline_s = time.monotonic() + IDLE_S_MAX
        while self._inserts.value < goal and time.monotonic() < deadline_s:
            time.sleep(0.001)

    def kill_all(self) -> None:
        for process in [*self._living.values(), self._standby[0]]:
            process.kill()
            process.join()
        for holder in self._holders:
            holder.wait()


def hold_up(pid: int | None) -> subprocess.Popen[bytes]:
    """Make each rename of a process take long; it ends with the process."""
    inject = f"inject=rename:delay_enter={RENAME_MS * 1000}"
    command = ["strace", "-f", "-p", str(pid), "-e", "trace=rename", "-e", inject]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_for_port(port: int) -> None:
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise TimeoutError("the server does not listen")


def in_log(directory: Path) -> tuple[int, float, int, int]:
    """Samples, their sum, events and the last number of all complete blocks."""
    samples, total, events, last_seq = 0, 0.0, 0, -1
    for block in LogReader(directory).read():
        last_seq = block.frame.seq
        if block.frame.kind == FrameKind.SAMPLES:
            for column in decode_samples(block.frame.unpack()):
                samples += len(column.times)
                total += sum(column.values())
        elif block.frame.kind == FrameKind.EVENTS:
            events += len(decode_events(block.frame.unpack()))
    return samples, total, events, last_seq


@pytest.mark.slow
@pytest.mark.timeout(240 + 3 * KILLS)
def test_whoever_is_killed_whenever_every_row_is_there_once(tmp_path: Path) -> None:
    victims = Victims(tmp_path)
    samples, total, events = kill_often(victims, KILLS)
    with shipped_to(victims) as front:
        tables = [("readings", "count(), sum(value)")]
        tables += [(aggregate.name, "sum(n), sum(s)") for aggregate in AGGREGATES]
        for table, sums in tables:
            ((count, value),) = front.query(f"SELECT {sums} FROM {table}")
            assert (table, int(count), float(value)) == (table, samples, pytest.approx(total))
        assert front.query("SELECT uniqExact(series, ts) FROM readings") == [[str(samples)]]
        assert front.query("SELECT count() FROM events") == [[str(events)]]
        ((batches,),) = front.query("SELECT uniqExact(epoch, first, last) FROM ships")
        assert front.query("SHOW TABLES LIKE 'mend_%'") == []
    notes = shipping_victims.notes_of(victims.log)
    told = notes.read_text().splitlines() if notes.exists() else []
    mended = Counter(text.partition(" rows of ")[2].partition(" ")[0] for text in told)
    print(f"\n{dict(victims.killed)}, {samples} samples, {batches} batches, mended {dict(mended)}")  # noqa: T201
    assert int(batches) >= KILLS / 4, "many lives were long enough to ship something"


def kill_often(victims: Victims, kills: int) -> tuple[int, float, int]:
    """Kill at random, then ship what is left; samples, their sum and events of the log."""
    chance = random.Random(SEED)
    try:
        for name in ("writer", "server", "shipper"):
            victims.start(name)
        for _ in range(kills):
            victims.wait_for_inserts(chance.randrange(INSERTS_MAX))
            time.sleep(chance.uniform(0.0, MOMENT_S_MAX))
            (name,) = chance.choices([*WEIGHTS], [*WEIGHTS.values()])
            victims.kill(name)
            victims.start(name)
        for name in ("writer", "shipper"):
            victims.kill(name)
        samples, total, events, last_seq = in_log(victims.log)
        rest = victims.start("shipper", victims.log, victims.port, last_seq)
        rest.join(120)
        assert rest.exitcode == 0
    finally:
        victims.kill_all()
    assert sum(victims.killed.values()) == kills + 2
    return samples, total, events


@contextmanager
def shipped_to(victims: Victims) -> Iterator[ClickHouseFront]:
    """The database as it was left."""
    front = ClickHouseFront(victims.data)
    try:
        yield front
    finally:
        front.close()
