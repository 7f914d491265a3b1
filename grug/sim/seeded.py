"""Seeded runs: trio in virtual time, with trio's own order of tasks decided by a seed.

trio shuffles the tasks of each batch on purpose. Under ``run_seeded`` that shuffle follows the
seed, so that two runs with one seed do the same things in the same order, and another seed is
another order that the house may have taken.

Source: ``trio/_core/_run.py`` of trio 0.35: with ``_ALLOW_DETERMINISTIC_SCHEDULING`` each batch is
sorted by the tasks' age and then shuffled by ``_r``. Both are private; the test of this module
says so when a version of trio has moved them.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, TypeVarTuple

import trio
from trio.testing import MockClock

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
        return trio.run(async_fn, *args, clock=MockClock(autojump_threshold=0))


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
