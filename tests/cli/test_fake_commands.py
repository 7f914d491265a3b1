"""grug fake: what a person sees of the fake meters, of a house that runs and of a log."""

from __future__ import annotations

import json
import math
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from log_writing import NO_LIMITS, T0

from grug.actors import commands
from grug.cli import fake
from grug.control.belief import REPORTED
from grug.messages import (
    BeliefEstimated,
    Decided,
    FakeMeterAsked,
    FakeMeterCounted,
    Message,
    MeterQuestion,
    Noted,
    Readings,
)
from grug.runtime.feed import Feed
from grug.storage.collect import Collector
from grug.transport.logwriter import LogWriter

EVERYTHING = (None, None)


@asynccontextmanager
async def house(path: Path) -> AsyncIterator[Feed]:
    """A house that only answers for itself."""
    feed = Feed()
    serve = partial(commands.run, feed, socket_path=path / commands.SOCKET, settings=None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        for _ in range(1000):
            with suppress(OSError):
                await (await trio.open_unix_socket(str(path / commands.SOCKET))).aclose()
                break
            await trio.sleep(0.001)
        yield feed
        nursery.cancel_scope.cancel()


async def say(job: Callable[..., int], path: Path, *, as_json: bool = False) -> int:
    return await trio.to_thread.run_sync(job, path, as_json)


def belief(inverter: str, scale: float, verdict: str) -> BeliefEstimated:
    return BeliefEstimated(inverter, 1.0, scale, 3.0, 0.5, 0.99, 100, verdict, "why", "do this")


async def test_report_lists_who_asked_what_and_what_became_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with house(tmp_path) as feed:
        now_s = trio.current_time()
        counted = FakeMeterCounted("fake1", now_s, 14.0, 100, 3, 1, 2, 0.11, 7, 4, 4.1, 5.2, 8.0)
        feed.publish(counted)
        feed.publish(FakeMeterCounted("fake2", now_s, 0.0, 0, 0, 0, 0, math.nan))
        questions = (
            MeterQuestion(3, 0, 65, 93, 13.9, "answered", now_s),
            MeterQuestion(3, 0x7D1, 2, 7, 0.1, "unknown: zeros", now_s - 60.0),
        )
        feed.publish(FakeMeterAsked("fake1", now_s, questions, 0))
        assert await say(fake.report_house, tmp_path) == 0
        text = capsys.readouterr().out
        assert "fake1: 14.0 questions a second, 100 answered" in text
        assert "silent 3 times without a fresh image and 4 times too late" in text
        assert "1 refused, 7 unknown, 2 for others" in text
        assert "left 4.1 ms after their question was read (median; 5.2 99th percentile" in text
        lines = [line.split() for line in text.splitlines()]
        assert ["3", "2001", "2", "7", "0.10", "60", "s", "ago", "unknown:", "zeros"] in lines
        assert "fake2: 0.0 questions a second" in text
        assert await say(fake.report_house, tmp_path, as_json=True) == 0
        (one, two) = json.loads(capsys.readouterr().out)["fakemeters"]
        assert one["questions"][1]["address"] == 2001
        assert two["age_s"] is None


async def test_calibrate_shows_each_inverter_with_advice_and_tells_trouble_by_its_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with house(tmp_path) as feed:
        assert await say(fake.calibrate_house, tmp_path) == 0
        assert "nothing compared yet" in capsys.readouterr().out
        feed.publish(belief("one", 1.0, "agrees"))
        feed.publish(belief("two", math.nan, "not known yet"))
        assert await say(fake.calibrate_house, tmp_path) == 0
        feed.publish(belief("one", -0.97, "reversed"))
        capsys.readouterr()
        assert await say(fake.calibrate_house, tmp_path) == 1
        text = capsys.readouterr().out
        lines = [line.split() for line in text.splitlines()]
        assert ["one", "0.97", "-", "3", "W", "0.5", "s", "0.99", "reversed"] in lines
        assert "one: why; do this" in text


async def test_a_demo_is_found_by_its_own_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`grug demo --state DIR` keeps its house in DIR/live; nobody has to know."""
    (tmp_path / "live").mkdir()
    async with house(tmp_path / "live"):
        assert await say(fake.report_house, tmp_path) == 0
        assert "no fake meter that counted" in capsys.readouterr().out


async def test_no_house_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await say(fake.report_house, tmp_path) == 1
    assert "no house runs" in capsys.readouterr().err


def write_log(directory: Path, messages: list[tuple[float, Message]]) -> None:
    """One block of messages, each at its second."""
    collector, writer = Collector(), LogWriter(directory, NO_LIMITS, is_durable=False)
    for at_s, message in messages:
        collector.add(message, T0 + round(1000 * at_s))
    writer.append(
        lambda seq: collector.cut(seq, boot_id="b"),
        lambda seq: collector.table_frame(seq, boot_id="b", time_ms=T0),
        now_ms=T0,
    )
    writer.close()


def test_calibrate_from_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance, messages, power_w = random.Random(1), list[tuple[float, Message]](), 0.0
    names = ("grid_power_w", "offset_w", "served_w/sun")
    for second in range(100):
        messages.append((second, Readings("sun", second, (REPORTED,), (-power_w,))))
        power_w = chance.gauss(0.0, 500.0)
        values = (power_w, 0.0, power_w)
        messages.append((second + 0.1, Decided("offset", second, names, values, "")))
    write_log(tmp_path, messages)
    assert fake.calibrate_log(tmp_path, EVERYTHING, True) == 1
    (found,) = json.loads(capsys.readouterr().out)["beliefs"]
    assert (found["inverter"], found["verdict"]) == ("sun", "reversed")
    assert found["scale"] == pytest.approx(-1.0, abs=0.01)
    assert found["lag_s"] == pytest.approx(0.45, abs=0.3)


def test_report_from_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counted = FakeMeterCounted("fake1", 1.0, 14.0, 100, 3, 1, 2, 0.11, 7, 4, 4.1, 5.2, 8.0)
    noted = Noted("fakemeter/fake1", "is asked function 3, address 0, 65: answered", 1.0)
    write_log(tmp_path, [(1.0, noted), (2.0, counted)])
    assert fake.report_log(tmp_path, EVERYTHING) == 0
    text = capsys.readouterr().out
    assert "fake1: is asked function 3, address 0, 65: answered" in text
    assert ["fake1", "14", "100", "3", "4", "1", "7", "2", "0.11", "4.1", "5.2"] in [
        line.split() for line in text.splitlines()
    ]
