"""grug as a library: values that may be a little old, and values of one moment."""

from __future__ import annotations

import pytest
import trio
from pump import PUMP, Clock, Watched, open_cellar

import grug
from grug.codec.image import RegisterImage
from grug.protocol.server import ServerRequest
from grug.sim.line import SimLine


class Counting(Watched):
    """Shows in ``far`` how often it was asked."""

    def answer(self, request: ServerRequest, now_s: float) -> bytes | None:
        self.image.set("far", len(self.requests) + 1)
        return super().answer(request, now_s)


def counting() -> tuple[Counting, SimLine]:
    unit = Counting(7, RegisterImage(PUMP))
    return unit, SimLine("cellar", {"pump": unit})


async def test_who_accepts_an_age_gets_what_was_read_and_never_anything_older(
    autojump_clock: Clock,
) -> None:
    unit, line = counting()
    async with open_cellar(line) as bus:
        device = bus.device(PUMP)
        assert await device.read("far") == {"far": 1}
        read_s = trio.current_time()  # The end of the transaction, or a little later.
        await trio.sleep_until(read_s + 4.9)
        assert await device.read("far", max_age_s=5.0) == {"far": 1}
        await trio.sleep_until(read_s + 5.01)
        assert await device.read("far", max_age_s=5.0) == {"far": 2}
        assert await device.read("far") == {"far": 3}
    assert len(unit.requests) == 3


async def test_readings_say_when_they_were_read(autojump_clock: Clock) -> None:
    unit, line = counting()
    async with open_cellar(line) as bus:
        device = bus.device(PUMP)
        (first,) = (await device.readings("far")).values()
        await trio.sleep(3.0)
        (same,) = (await device.readings("far", max_age_s=5.0)).values()
        assert same == first
        assert trio.current_time() - same.read_s >= 3.0
    assert len(unit.requests) == 1


async def test_what_was_written_since_is_read_anew_whatever_its_age(autojump_clock: Clock) -> None:
    _, line = counting()
    async with open_cellar(line) as bus:
        device = bus.device(PUMP)
        await device.read("mode")
        await device.write(mode=3, why="test")
        assert await device.read("mode", max_age_s=60.0) == {"mode": 3}


async def test_values_of_one_moment_come_in_one_transaction_or_not_at_all(
    autojump_clock: Clock,
) -> None:
    unit, line = counting()
    async with open_cellar(line) as bus:
        device = bus.device(PUMP)
        await device.read("level", "far", at_once=True)
        assert [(each.address, each.count) for each in unit.requests] == [(0, 21)]
        with pytest.raises(grug.RefusedError, match="it is of 2 tables"):
            await device.read("level", "hours", at_once=True)
