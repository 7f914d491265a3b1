"""The recorder, in virtual time, over real files."""

from __future__ import annotations

import math
from collections import defaultdict
from functools import partial
from pathlib import Path

import pytest
import trio

from grug.actors import recorder
from grug.config.types import LogConfig, Seconds
from grug.errors import StorageError
from grug.messages import (
    Decided,
    LogCounted,
    Message,
    Noted,
    Readings,
    ReadingsMissing,
    StopRecording,
)
from grug.model import FailureKind, Quality
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed
from grug.storage.block import decode_samples
from grug.storage.segment import Event, FrameKind, decode_events
from grug.transport import logwriter
from grug.transport.logfiles import LogReader
from grug.transport.logwriter import LogWriter

WALL = WallClock(origin_s=1_700_000_000.0)
SETTINGS = LogConfig(block=Seconds(10.0), reserve_bytes=0)
NAMES = ("power", "voltage")

Samples = dict[str, list[tuple[int, float]]]


def read_log(directory: Path) -> tuple[Samples, list[Event]]:
    samples: Samples = defaultdict(list)
    events: list[Event] = []
    for block in LogReader(directory).read():
        if block.frame.kind == FrameKind.SAMPLES:
            for column in decode_samples(block.frame.unpack()):
                samples[block.names[column.series]] += zip(
                    column.times, column.values(), strict=True
                )
        elif block.frame.kind == FrameKind.EVENTS:
            events += decode_events(block.frame.unpack())
    return dict(samples), events


def readings(at_s: float, power: float = 1.5) -> Readings:
    return Readings("grid", at_s, NAMES, (power, 230.1))


async def record(
    directory: Path,
    messages: list[Message],
    *,
    wall: WallClock = WALL,
    resume: bool = False,
    end: bool = True,
) -> list[Message]:
    """Record the messages; gives what the recorder published."""
    feed = Feed()
    told: list[Message] = []
    with (
        feed.subscribe("test", LogCounted, Noted) as heard,
        feed.subscribe("recorder", *recorder.KINDS, bound=100_000) as source,
    ):
        for message in messages:
            feed.publish(message)
        if end:
            feed.publish(StopRecording(ship=False))
        with trio.move_on_after(1000 if end else 1):
            await recorder.run(
                source,
                log_directory=directory,
                settings=SETTINGS,
                wall=wall,
                feed=feed,
                resume=resume,
                is_durable=False,
            )
        told += heard.drain()
    return told


async def test_what_is_published_is_in_the_log(tmp_path: Path, autojump_clock: object) -> None:
    at = [index * 0.2 for index in range(300)]
    await record(tmp_path, [readings(at_s, at_s) for at_s in at])
    samples, _ = read_log(tmp_path)
    assert samples["grid/power"] == [(WALL.utc_ms(at_s), at_s) for at_s in at]
    assert {value for _, value in samples["grid/voltage"]} == {230.1}


async def test_text_and_bad_values_become_events_once(
    tmp_path: Path, autojump_clock: object
) -> None:
    good, bad = Quality.GOOD, Quality.BAD
    await record(
        tmp_path,
        [
            Readings("inverter", 0.0, ("state", "power"), ("run", 5)),
            Readings("inverter", 1.0, ("state", "power"), ("run", 65535), (good, bad)),
            Readings("inverter", 2.0, ("state", "power"), ("run", 65535), (good, bad)),
            Readings("inverter", 3.0, ("state", "power"), ("stop", 6)),
        ],
    )
    samples, events = read_log(tmp_path)
    assert samples == {
        "inverter/power": [(WALL.utc_ms(0.0), 5.0), (WALL.utc_ms(3.0), 6.0)],
    }
    assert [(event.source, event.kind, event.text) for event in events] == [
        ("inverter/state", "text", "run"),
        ("inverter/power", "quality", "bad"),
        ("inverter/power", "quality", "good"),
        ("inverter/state", "text", "stop"),
    ]


async def test_silence_is_noted_once_and_so_is_its_end(
    tmp_path: Path, autojump_clock: object
) -> None:
    missing = [
        ReadingsMissing("grid", NAMES, FailureKind.NO_REPLY, "silent", index * 0.2)
        for index in range(100)
    ]
    await record(tmp_path, [*missing, readings(21.0), readings(21.2)])
    _, events = read_log(tmp_path)
    assert [event.text for event in events] == ["no_reply: silent", "answers again"]


async def test_reason_is_recorded_when_it_changes(tmp_path: Path, autojump_clock: object) -> None:
    reasons = ["wait", "wait", "go", "go"]
    await record(
        tmp_path,
        [
            Decided("offset", float(index), ("power_w",), (index * 1.5,), reason)
            for index, reason in enumerate(reasons)
        ],
    )
    samples, events = read_log(tmp_path)
    assert [value for _, value in samples["offset/power_w"]] == [0.0, 1.5, 3.0, 4.5]
    assert [event.text for event in events] == ["wait", "go"]


async def test_register_in_two_polls_keeps_every_sample(
    tmp_path: Path, autojump_clock: object
) -> None:
    """Two groups read together have one time; a register in both must not have two values at it."""
    messages: list[Message] = []
    for index in range(30):
        messages.append(Readings("grid", float(index), ("power", "voltage"), (index, 230)))
        if index >= 10:
            messages.append(Readings("grid", float(index), ("energy", "power"), (7, index + 0.5)))
    await record(tmp_path, messages)
    samples, _ = read_log(tmp_path)
    times = [time_ms for time_ms, _ in samples["grid/power"]]
    assert len(times) == len(set(times)) == 50
    assert samples["grid/voltage"] == [(WALL.utc_ms(index), 230.0) for index in range(30)]


async def test_repeated_run_adds_only_what_was_lost(tmp_path: Path, autojump_clock: object) -> None:
    """As after SIGKILL: the last block is missing, one poll of the kept ones came late."""
    messages: list[Message] = []
    for index in range(400):
        at_s = index * 0.2
        messages.append(readings(at_s, math.sin(at_s)))
        if index % 10 == 0:
            messages.append(Readings("slow", at_s - 0.7, ("energy",), (index,)))
            messages.append(Decided("offset", at_s, ("power_w",), (1.0,), f"reason {index}"))
    await record(tmp_path / "whole", messages)
    await record(tmp_path / "killed", messages[:333], end=False)
    kept, _ = read_log(tmp_path / "killed")
    assert 0 < len(kept["grid/power"]) < 270
    told = await record(tmp_path / "killed", messages, resume=True)
    again = await record(tmp_path / "killed", messages, resume=True)
    whole, events = read_log(tmp_path / "whole")
    resumed, resumed_events = read_log(tmp_path / "killed")
    assert resumed == whole
    assert resumed_events == events
    counts = [message for message in again if isinstance(message, LogCounted)]
    assert counts[-1].blocks == 0
    assert counts[-1].samples == sum(map(len, whole.values()))
    assert [m.samples for m in told if isinstance(m, LogCounted)][-1] == counts[-1].samples


@pytest.mark.parametrize("step_s", [-30.0, 30.0, -1e7, 1e7])
async def test_clock_step_loses_no_sample(
    tmp_path: Path, autojump_clock: object, step_s: float
) -> None:
    class SteppedClock(WallClock):
        def utc_ms(self, monotonic_s: float) -> int:
            return round((1.7e9 + monotonic_s + (step_s if monotonic_s > 20 else 0)) * 1000)

    told = await record(
        tmp_path, [readings(index * 0.2) for index in range(500)], wall=SteppedClock()
    )
    samples, _ = read_log(tmp_path)
    times = [time_ms for time_ms, _ in samples["grid/power"]]
    assert len(set(times)) == 500
    assert [message.text for message in told if isinstance(message, Noted)] == [
        f"the system's clock was set by {step_s:+.3f} s"
    ]


async def test_log_that_cannot_be_opened_is_tried_again(
    tmp_path: Path, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log").write_text("a file where the directory should be")
    monkeypatch.setattr(recorder, "REOPEN_AFTER_S", 0.01)
    feed = Feed()
    with (
        feed.subscribe("test", Noted) as told,
        feed.subscribe("recorder", *recorder.KINDS) as source,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                partial(
                    recorder.run,
                    source,
                    log_directory=tmp_path / "log",
                    settings=SETTINGS,
                    wall=WALL,
                    feed=feed,
                )
            )
            (noted,) = await told.receive_batch()
            assert isinstance(noted, Noted)
            assert "nothing is recorded" in noted.text
            (tmp_path / "log").unlink()
            while not list(tmp_path.glob("log/*.grug")):  # noqa: ASYNC240
                feed.publish(readings(1.0))
                feed.publish(readings(12.0))
                await trio.sleep(0.1)
            feed.publish(StopRecording(ship=False))


async def test_full_device_is_reported_and_recording_goes_on(
    tmp_path: Path, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_append = LogWriter.append
    calls = []

    def append(self: LogWriter, *args: object, **options: object) -> int:
        calls.append(1)
        if len(calls) in (2, 3):
            real_append(self, *args, **options)  # type: ignore[arg-type]
            self._end_segment()
            raise StorageError("the log cannot be written: no space left")
        return real_append(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(LogWriter, "append", append)
    told = await record(tmp_path, [readings(index * 1.0) for index in range(60)])
    assert [message.text for message in told if isinstance(message, Noted)] == [
        "the log cannot be written: no space left; samples are being lost until it can",
        "the log is written again; 40 samples were lost",
    ]


def test_second_writer_is_told_who_holds_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logwriter, "LOCK_WAIT_S", 0.0)
    limits = logwriter.Limits(1 << 30, 1 << 40, 0)
    first = LogWriter(tmp_path, limits)
    with pytest.raises(StorageError, match=r"written by process \d+"):
        LogWriter(tmp_path, limits)
    first.close()
    LogWriter(tmp_path, limits).close()
