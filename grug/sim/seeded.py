"""Seeded runs: trio in virtual time, with trio's own order of tasks decided by a seed.

trio shuffles the tasks of each batch on purpose. Under ``run_seeded`` that shuffle follows the
seed, so that two runs with one seed do the same things in the same order, and another seed is
another order that the house may have taken. Time jumps as soon as all tasks sleep.

Source: ``trio/_core/_run.py`` of trio 0.35: with ``_ALLOW_DETERMINISTIC_SCHEDULING`` each batch is
sorted by the tasks' age and then shuffled by ``_r``. Both are private; the test of this module
says so when a version of trio has moved them.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, TypeVarTuple

import trio

Result = TypeVar("Result")
Args = TypeVarTuple("Args")


def run_seeded(
    async_fn: Callable[[*Args], Awaitable[Result]],
    *args: *Args,
    seed: int,
) -> Result:
    """Run in virtual time that jumps whenever all tasks sleep.

    Args:
        async_fn: the main task.
        args: for it.
        seed: of the order of tasks; everything else that is random takes its own seed.

    Returns:
        What the main task returns. The clock starts at 0.
    """
    with seeded_order(seed):
        return trio.run(async_fn, *args, clock=JumpClock())


@contextmanager
def seeded_order(seed: int) -> Iterator[None]:
    """While this lasts, trio runs that begin within it order their tasks by the seed."""
    internals: Any = trio._core._run
    before = internals._ALLOW_DETERMINISTIC_SCHEDULING, internals._r
    internals._ALLOW_DETERMINISTIC_SCHEDULING = True
    internals._r = random.Random(f"{seed} tasks")
    try:
        yield
    finally:
        internals._ALLOW_DETERMINISTIC_SCHEDULING, internals._r = before


class JumpClock(trio.abc.Clock):
    """Virtual time that jumps to the next deadline when all tasks sleep.

    Like ``trio.testing.MockClock`` with autojump, at less cost: it jumps when trio asks how long it
    may sleep, which it does just when no task can run. So nothing outside is waited for: a run
    under it may not use threads, sockets or signals, except where it blocks on them.
    """

    def __init__(self, start_s: float = 0.0) -> None:
        """Begin.

        Args:
            start_s: the time that it shows at first.
        """
        self._now_s = start_s
        self._runner: Any = None
        self._alarms: list[tuple[float, int, list[trio.lowlevel.Task]]] = []
        """When, in which order of asking, and the sleeper; an empty list has been cancelled."""
        self._asked = 0

    def start_clock(self) -> None:
        """Learn whose clock this is. See ``trio.abc.Clock.start_clock``."""
        internals: Any = trio._core._run
        self._runner = internals.GLOBAL_RUN_CONTEXT.runner

    def current_time(self) -> float:
        """Virtual seconds."""
        return self._now_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Jump there, or to the first alarm before it, and sleep not at all."""
        if self._runner.waiting_for_idle:
            return math.inf  # Somebody waits until nothing happens: that comes before any jump.
        alarms = self._alarms
        if alarms and alarms[0][0] <= deadline:
            deadline = alarms[0][0]
            while alarms and alarms[0][0] <= deadline:
                for task in heapq.heappop(alarms)[2]:
                    trio.lowlevel.reschedule(task)
        if self._now_s < deadline < math.inf:
            self._now_s = deadline
        return 0.0

    async def sleep_until(self, at_s: float) -> None:
        """Sleep without the cancel scope that ``trio.sleep_until`` makes: a third of its cost."""
        sleeper = [trio.lowlevel.current_task()]

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            sleeper.clear()
            return trio.lowlevel.Abort.SUCCEEDED

        self._asked += 1
        heapq.heappush(self._alarms, (at_s, self._asked, sleeper))
        await trio.lowlevel.wait_task_rescheduled(abort)


async def sleep_until(at_s: float) -> None:
    """Like ``trio.sleep_until``, and cheaper in a seeded run."""
    clock = trio.lowlevel.current_clock()
    if isinstance(clock, JumpClock) and at_s > clock.current_time():
        await clock.sleep_until(at_s)
    else:
        await trio.sleep_until(at_s)
