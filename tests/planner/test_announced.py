"""A long read waits, although the line is free, where it would make an announced one late."""

from __future__ import annotations

import math

import pytest
from test_queue import HOLDING, TIMING, Asked, Bench, span

from grug.messages import ReadRegisters
from grug.model import Priority, Span
from grug.planner.announced import GRACE_S, HELD_PERIODS_MAX
from grug.planner.queue import ReadJob
from grug.planner.traits import UnitTraits

FAST_S = 0.2
LATE_S = 0.15
"""In a period of the fast read: what begins then and takes 0.15 s makes the next one late."""
TRAITS = UnitTraits(turnaround_s=0.01)
COST = TRAITS.read_cost(TIMING)


class Line(Bench):
    """Unit 1 has been read at 0 s and will be at 0.2 s; that read takes ``work_s``."""

    def __init__(self, words: int, priority: Priority = Priority.NORMAL) -> None:
        super().__init__(dict.fromkeys((1, 2), TRAITS))
        self.work_s = COST.read_s(HOLDING, words)
        self.fast = span(0, words)
        self.priority = priority
        self.ask_fast(0.0)
        self.free_s = self.carry_out(0.0)

    def ask_fast(self, now_s: float) -> Asked:
        """As a poller asks each 0.2 s."""
        times = (now_s + FAST_S, self.priority, "", 0.0, False, False)
        asked = Asked(
            ReadRegisters(1, (self.fast,), *times, now_s + FAST_S, now_s + 2 * FAST_S),
        )
        self.queue.add(asked, now_s)
        return asked

    def carry_out(self, now_s: float) -> float:
        """Do what is picked; when the line is free again."""
        job = self.queue.pick(now_s)
        assert isinstance(job, ReadJob)
        read = job.transaction.span
        free_s = now_s + COST.read_s(HOLDING, read.count)
        self.queue.succeeded(job, bytes(2 * read.count), now_s, free_s - TIMING.gap_s)
        return free_s


def words_of(held_s: float) -> int:
    """The longest read that holds the line for no longer."""
    return int((held_s - COST.read_s(HOLDING, 0)) / (2 * TIMING.character_s) + 1e-9)


def test_a_long_read_waits_for_a_fast_one_that_it_would_make_late() -> None:
    line = Line(40)  # 0.11 s of each 0.2 s.
    slow = span(100, words_of(0.15))
    line.read(2, slow, now_s=LATE_S)
    assert line.queue.pick(LATE_S) is None
    assert line.queue.wake_s == pytest.approx(FAST_S + GRACE_S)
    asked = line.ask_fast(FAST_S)
    assert line.reading(FAST_S) == line.fast
    free_s = line.carry_out(FAST_S)
    assert asked.answer is not None
    assert line.reading(free_s) == slow  # It ends at 0.46 s: the next fast one is not late.


def test_a_read_that_makes_nothing_late_begins_at_once() -> None:
    line = Line(40)
    slow = span(100, words_of(0.15))
    line.read(2, slow, now_s=line.free_s)
    assert line.reading(line.free_s) == slow
    line = Line(10)
    line.read(2, slow, now_s=LATE_S)
    assert line.reading(LATE_S) == slow


def test_what_was_announced_and_does_not_come_is_not_waited_for() -> None:
    line = Line(40)
    slow = span(100, words_of(0.15))
    line.read(2, slow, now_s=LATE_S)
    assert line.queue.pick(LATE_S) is None
    assert line.reading(line.queue.wake_s) == slow


def test_a_read_that_is_due_sooner_does_not_wait() -> None:
    line = Line(40)
    slow = span(100, words_of(0.15))
    line.read(2, slow, now_s=LATE_S, until_s=0.35)
    assert line.reading(LATE_S) == slow


def test_a_read_that_would_be_late_itself_by_waiting_does_not_wait() -> None:
    line = Line(40)
    slow = span(100, words_of(0.15))
    line.read(2, slow, now_s=LATE_S, until_s=0.45)
    assert line.reading(LATE_S) == slow


def test_what_is_less_urgent_is_waited_for_by_nobody() -> None:
    line = Line(40, Priority.BACKGROUND)
    slow = span(100, words_of(0.15))
    line.read(2, slow, now_s=LATE_S)
    assert line.reading(LATE_S) == slow


def test_a_read_that_never_fits_comes_in_shorter_pieces() -> None:
    line = Line(60)  # 0.153 s of each 0.2 s, so that 0.099 s is the longest that ever fits.
    wanted = [span(100 + 4 * at, 4) for at in range(12)]
    assert COST.read_s(HOLDING, 48) > 2 * (FAST_S - line.work_s) + TIMING.gap_s
    asked = line.read(2, *wanted, now_s=line.free_s)
    now_s, late, reads = line.free_s, 0, 0
    fast = line.ask_fast(FAST_S) if now_s >= FAST_S else None
    tick_s = FAST_S
    while asked.answer is None:
        if now_s >= tick_s:
            fast = line.ask_fast(tick_s)
            tick_s += FAST_S
        if line.queue.pick(now_s) is None:
            now_s = tick_s
            continue
        now_s = line.carry_out(now_s)
        reads += 1
        if fast is not None and fast.answer is not None:
            late += now_s - TIMING.gap_s > tick_s + 1e-9
            fast = None
    assert late == 0
    assert reads >= 3


def test_a_single_value_that_never_fits_begins_at_once() -> None:
    line = Line(60)
    line.read(2, span(100, 48), now_s=line.free_s)
    assert line.reading(line.free_s) == span(100, 48)


def test_a_read_is_not_held_back_for_ever() -> None:
    line = Line(40)
    slow = span(100, words_of(0.15))
    line.read(2, slow, now_s=LATE_S, until_s=math.inf)
    held, tick_s = 0, FAST_S
    now_s = LATE_S
    while line.queue.pick(now_s) is None:  # Something else takes the time after each fast read.
        line.ask_fast(tick_s)
        line.carry_out(tick_s)
        now_s = tick_s + LATE_S
        tick_s += FAST_S
        held += 1
    assert held == HELD_PERIODS_MAX


def test_what_waits_along_is_left_out_where_it_would_make_a_read_late() -> None:
    line = Line(40)
    line.read(1, *[Span(HOLDING, 60 + 20 * at, 10) for at in range(3)], now_s=FAST_S)
    line.ask_fast(FAST_S)
    assert line.reading(FAST_S) == line.fast
    roomy = Line(4)
    roomy.read(1, span(6, 2), now_s=FAST_S)
    roomy.ask_fast(FAST_S)
    assert roomy.reading(FAST_S) == span(0, 8)


@pytest.mark.parametrize("until_s", [0.5, 0.25])
def test_nothing_rides_at_the_cost_of_what_was_announced(until_s: float) -> None:
    bench = Bench(dict.fromkeys((1, 2), TRAITS))
    times = (0.2, Priority.NORMAL, "", 0.0, False, False)
    bench.queue.add(Asked(ReadRegisters(2, (span(0, 10),), *times, 0.2, until_s)), 0.0)
    job = bench.queue.pick(0.0)
    assert isinstance(job, ReadJob)
    bench.queue.succeeded(job, bytes(20), 0.0, 0.05)
    bench.read(1, span(0, 10), now_s=0.15, until_s=0.4)
    bench.read(1, span(20, 20), now_s=0.15, until_s=5.0)
    # Together they hold the line until 0.263 s, and the first one alone until 0.203 s.
    assert bench.reading(0.15) == (span(0, 40) if until_s == 0.5 else span(0, 10))


def poll(bench: Bench, unit_id: int, words: int, every_s: float, now_s: float) -> None:
    """Ask as a poller does, and read at once what it wants."""
    times = (now_s + every_s, Priority.NORMAL, "", 0.0, False, False)
    wanted = span(0, words)
    asked = Asked(ReadRegisters(unit_id, (wanted,), *times, now_s + every_s, now_s + 2 * every_s))
    bench.queue.add(asked, now_s)
    job = bench.queue.pick(now_s)
    assert isinstance(job, ReadJob)
    assert job.transaction.span == wanted
    bench.queue.succeeded(job, bytes(2 * words), now_s, now_s + 0.01)


@pytest.mark.parametrize("now_s", [0.35, 0.39])
def test_what_comes_while_the_next_ones_are_read_is_not_made_late_either(now_s: float) -> None:
    # Of each 0.4 s, 0.347 s are taken: twice 0.113 s within 0.2 s each, and 0.121 s.
    bench = Bench(dict.fromkeys((1, 2, 3), TRAITS))
    poll(bench, 2, words_of(0.121), 0.4, 0.0)
    poll(bench, 1, 40, FAST_S, FAST_S)
    slow = span(100, words_of(0.08))
    bench.read(3, slow, now_s=now_s)
    if now_s < 0.36:  # It ends at 0.43 s, and all that then is late by that comes until 0.777 s.
        assert bench.reading(now_s) == slow
    else:  # It would end at 0.47 s, the two after it at 0.704 s, and the next of 0.6 s at 0.817 s.
        assert bench.queue.pick(now_s) is None


def test_nothing_rides_at_the_cost_of_a_poll_that_waits() -> None:
    bench = Bench(dict.fromkeys((1, 2), TRAITS))
    times = (0.27, Priority.NORMAL, "", 0.0, False, False)
    bench.read(1, span(0, 10), now_s=0.15, until_s=0.26)
    bench.read(1, span(20, 20), now_s=0.15, until_s=5.0)
    bench.queue.add(Asked(ReadRegisters(2, (span(7, 10),), *times, 0.27, 0.5)), 0.15)
    # With the first alone before it the poll is done at 0.251 s, and with both at 0.311 s.
    assert bench.reading(0.15) == span(0, 10)
