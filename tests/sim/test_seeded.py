"""Seeded runs: one seed, one order of events."""

from __future__ import annotations

import pytest
import trio

from grug.sim.seeded import run_seeded, seeded_order, sleep_until


async def race(tasks: int, rounds: int) -> list[tuple[float, int]]:
    """Tasks that are always ready together; returns when which of them ran."""
    trace: list[tuple[float, int]] = []

    async def run(number: int) -> None:
        for _ in range(rounds):
            await trio.sleep(0.1)
            trace.append((trio.current_time(), number))

    async with trio.open_nursery() as nursery:
        for number in range(tasks):
            nursery.start_soon(run, number)
    return trace


def test_one_seed_gives_one_order_and_another_seed_another() -> None:
    first = run_seeded(race, 6, 20, seed=1)
    assert run_seeded(race, 6, 20, seed=1) == first
    other = run_seeded(race, 6, 20, seed=2)
    assert other != first
    assert sorted(other) == sorted(first)


def test_virtual_time_starts_at_zero_and_costs_none() -> None:
    async def sleep_a_day() -> float:
        await trio.sleep(86400)
        return trio.current_time()

    assert run_seeded(sleep_a_day, seed=1) == 86400.0


def test_what_trio_did_before_is_restored_even_after_a_crash() -> None:
    internals = trio._core._run
    before = internals._ALLOW_DETERMINISTIC_SCHEDULING, internals._r

    async def crash() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run_seeded(crash, seed=1)
    assert (internals._ALLOW_DETERMINISTIC_SCHEDULING, internals._r) == before


def test_order_is_seeded_only_within_the_block() -> None:
    with seeded_order(1):
        assert trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING


def test_sleepers_wake_in_the_order_of_their_times_and_a_cancelled_one_does_not() -> None:
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, until_s: float) -> None:
        await sleep_until(until_s)
        woken.append((name, trio.current_time()))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleeper, "late", 3.0)
            nursery.start_soon(sleeper, "early", 1.0)
            with trio.move_on_at(2.0):
                await sleeper("cancelled", 2.5)
            woken.append(("main", trio.current_time()))
            await sleeper("past", 1.5)

    run_seeded(main, seed=1)
    assert woken == [("early", 1.0), ("main", 2.0), ("past", 2.0), ("late", 3.0)]


async def test_sleeping_works_on_any_clock(autojump_clock: trio.testing.MockClock) -> None:
    start_s = trio.current_time()
    await sleep_until(start_s + 5)
    assert trio.current_time() == pytest.approx(start_s + 5)
