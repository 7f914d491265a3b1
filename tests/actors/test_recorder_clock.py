"""A machine without a clock of its own: what it wrote too early gets the right times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from grug.actors import recorder, tracer
from grug.config.types import LogConfig, Seconds
from grug.messages import Message, Noted, Readings, StopRecording, WireTraced
from grug.model import WireKind, WireRecord
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed
from grug.runtime.recording import CLOCK_WAIT_S
from grug.storage.segment import FrameKind
from grug.storage.show import TimeRange
from grug.transport import logwriter
from grug.transport.framereads import read_traced
from grug.transport.logfiles import LogReader, Synced
from grug.transport.logwriter import Limits

TRUE_S = 1_700_000_000
"""When the machine was booted."""
POLL_S = 1.0
LIMITS = Limits.of(200_000_000, 60.0, 0)
SETTINGS = LogConfig(block=Seconds(10.0), reserve_bytes=0)


@dataclass(frozen=True)
class LateClock(WallClock):
    """Wrong until a time service sets it."""

    wrong_s: float = 0.0
    set_s: float = 100.0
    """Monotonic; infinite is never."""
    is_expected: bool = True
    booted_s: float = TRUE_S
    now: list[float] = field(default_factory=lambda: [0.0])

    def utc_ms(self, monotonic_s: float) -> int:
        self.now[0] = max(self.now[0], monotonic_s)
        wrong_s = self.wrong_s if self.now[0] < self.set_s else 0.0
        return round((self.booted_s + monotonic_s + wrong_s) * 1000)

    def is_synchronised(self) -> bool:
        return self.now[0] >= self.set_s

    def will_be_set(self) -> bool:
        return self.is_expected


@dataclass
class House:
    """A log that is written by one boot after the other."""

    directory: Path
    synced: Synced = field(default_factory=Synced)
    notes: list[str] = field(default_factory=list)

    async def run(self, wall: LateClock, first: int, count: int) -> None:
        """One run of the recorder: polls of consecutive seconds since boot."""
        feed = Feed()
        with (
            feed.subscribe("test", Noted) as heard,
            feed.subscribe("recorder", *recorder.KINDS, bound=100_000) as source,
        ):
            polls: list[Message] = [
                Readings("grid", index * POLL_S, ("power",), (float(index),))
                for index in range(first, first + count)
            ]
            for message in [*polls, StopRecording(ship=False)]:
                feed.publish(message)
            await recorder.run(
                source,
                log_directory=self.directory,
                settings=SETTINGS,
                wall=wall,
                feed=feed,
                on_block=self.synced.mark,
                is_durable=False,
            )
            self.notes += [note.text for note in heard.drain() if isinstance(note, Noted)]

    def samples(self, *, awaits_clock: bool = True) -> list[tuple[int, float]]:
        """Time since the true boot and value of each sample that a shipper would get."""
        found = []
        reader = LogReader(self.directory, awaits_clock=awaits_clock)
        while blocks := reader.read(frames_max=3):
            for block in blocks:
                if block.frame.kind == FrameKind.SAMPLES:
                    for column in block.columns():
                        found += zip(column.times, column.values(), strict=True)
        return [(time_ms - TRUE_S * 1000, value) for time_ms, value in found]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def boot(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the machine have been booted anew."""
    return lambda boot_id: monkeypatch.setattr(logwriter, "_boot_id", lambda: boot_id)


def right(first: int, count: int) -> list[tuple[int, float]]:
    return [(index * 1000, float(index)) for index in range(first, first + count)]


@pytest.mark.parametrize("wrong_s", [-1.7e9, -3e7, -90.0, -0.4, 0.0, 0.4, 90.0, 3e7, 3e8])
async def test_times_before_the_clock_was_set_are_corrected(
    house: House, autojump_clock: object, wrong_s: float
) -> None:
    await house.run(LateClock(wrong_s=wrong_s), 0, 300)
    assert house.samples() == right(0, 300)
    assert house.samples(awaits_clock=False) == right(0, 300)
    assert f"corrected by {0.0 - wrong_s:+g} s" in house.notes[-1]


async def test_nothing_is_published_before_the_clock_is_set(
    house: House, autojump_clock: object
) -> None:
    await house.run(LateClock(wrong_s=-3e7), 0, 95)
    assert house.synced.seq == 0
    assert house.samples() == []
    wrong = [(time_ms - 30_000_000_000, value) for time_ms, value in right(0, 95)]
    assert house.samples(awaits_clock=False) == wrong
    assert "held back" in house.notes[0]
    # grug is started again, and only then is the clock set.
    await house.run(LateClock(wrong_s=-3e7, set_s=110.0), 95, 100)
    assert house.samples() == right(0, 195)
    last = LogReader(house.directory).read()[-1]
    assert house.synced.seq == last.frame.seq


async def test_boot_that_never_knew_the_time_holds_nothing_up(
    house: House, autojump_clock: object, boot: Callable[[str], None]
) -> None:
    boot("first")
    await house.run(LateClock(wrong_s=-500.0, set_s=float("inf")), 0, 50)
    assert house.samples() == []
    boot("second")
    later = LateClock(wrong_s=-9000.0, set_s=30.0, booted_s=TRUE_S + 1000)
    await house.run(later, 0, 100)
    samples = house.samples()
    guessed = [(time_ms - 500_000, value) for time_ms, value in right(0, 50)]
    assert samples[:50] == guessed
    assert samples[50:] == [(time_ms + 1_000_000, value) for time_ms, value in right(0, 100)]


async def test_boots_are_not_mixed_up(
    house: House, autojump_clock: object, boot: Callable[[str], None]
) -> None:
    expected = []
    for number, wrong_s in enumerate((-3e6, 70.0, -50.0)):
        boot(f"boot {number}")
        booted_s = TRUE_S + number * 10_000
        await house.run(LateClock(wrong_s=wrong_s, set_s=45.0, booted_s=booted_s), 0, 90)
        expected += [(at_ms + number * 10_000_000, value) for at_ms, value in right(0, 90)]
    assert house.samples() == expected


async def test_waiting_for_the_clock_has_an_end(house: House, autojump_clock: object) -> None:
    wait_s = round(CLOCK_WAIT_S)
    await house.run(LateClock(wrong_s=-3e7, set_s=float("inf")), 0, wait_s + 100)
    assert house.synced.seq > 0
    wrong = [(time_ms - 30_000_000_000, value) for time_ms, value in right(0, wait_s + 100)]
    assert house.samples() == wrong


async def test_machine_whose_clock_nobody_sets_is_not_waited_for(
    house: House, autojump_clock: object
) -> None:
    await house.run(LateClock(set_s=float("inf"), is_expected=False), 0, 50)
    assert house.samples() == right(0, 50)
    assert house.notes == []


async def test_clock_that_was_far_in_the_future_is_obeyed_when_it_is_set_back(
    house: House, autojump_clock: object
) -> None:
    await house.run(LateClock(wrong_s=3e8, is_expected=False), 0, 200)
    assert house.samples()[100:] == right(100, 100)


@pytest.mark.parametrize("wrong_s", [-3e7, -0.4, 90.0])
async def test_frames_are_corrected_like_the_log(
    tmp_path: Path, autojump_clock: object, wrong_s: float
) -> None:
    feed = Feed()
    with feed.subscribe("tracer", *tracer.KINDS) as source:
        for second in range(300):
            record = WireRecord(0, WireKind.SENT, second * 1_000_000, b"ask")
            feed.publish(WireTraced(("grid/client/rtu",), (record,)))
        feed.publish(StopRecording(ship=False))
        wall = LateClock(wrong_s=wrong_s)
        await tracer.run(source, directory=tmp_path, limits=LIMITS, wall=wall, feed=feed)
    times_us = [each.time_us - TRUE_S * 1_000_000 for each in read_traced(tmp_path)]
    assert times_us == [second * 1_000_000 for second in range(300)]
    since = TimeRange(TRUE_S * 1000 + 40_000, TRUE_S * 1000 + 50_000)
    assert len(list(read_traced(tmp_path, since))) == 10


def test_kernel_can_be_asked() -> None:
    assert WallClock(origin_s=0.0).is_synchronised()
    assert WallClock().is_synchronised() in (True, False)
    assert WallClock().will_be_set() in (True, False)
