"""Far more is asked for than a line can carry one by one, and whoever matters notices nothing.

A line that serves single-register requests in the order in which they come saturates at one request
in the time of one such read. All of these are offered at four times that rate, or without end.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from played_line import PlayedLine

from grug.messages import ReadFailed, ReadRegisters
from grug.model import FailureKind, Priority, Span, Table
from grug.planner.traits import UnitTraits, WireTiming

HOLDING = Table.HOLDING_REGISTER
TIMING = WireTiming(character_s=10 / 9600, gap_s=0.005, reply_timeout_s=0.3)
TRAITS = UnitTraits(turnaround_s=0.015)
SINGLE_S = TRAITS.read_cost(TIMING).read_s(HOLDING, 1)
"""41 ms: of such reads a line carries 24 each second, one after the other."""
LOAD = 4.0
POLL_S = 0.2
POLLED = tuple(Span(HOLDING, address, 2) for address in range(0, 10, 2))
UNTIL_S = 30.0


def line_of(units: Sequence[int], traits: UnitTraits = TRAITS) -> PlayedLine:
    """A line with a poll of 5 Hz, which takes 30 % of its time."""
    line = PlayedLine(TIMING, dict.fromkeys(units, traits))
    line.poll(1, POLLED, POLL_S, UNTIL_S)
    return line


def offer(line: PlayedLine, units: Sequence[int], registers: int, patience_s: float) -> None:
    """Single registers of all units, at random times, by people who wait for so long."""
    dice = Random(1)
    now_s = dice.expovariate(LOAD / SINGLE_S)
    while now_s < UNTIL_S:
        span = Span(HOLDING, dice.randrange(registers), 1)
        until_s = now_s + patience_s
        line.at(now_s, ReadRegisters(dice.choice(units), (span,), until_s, who="people"))
        now_s += dice.expovariate(LOAD / SINGLE_S)


def check_polls(line: PlayedLine) -> None:
    """Every tick has its reading before the next one."""
    polls = line.asked_by("poll")
    assert len(polls) == round(UNTIL_S / POLL_S)
    assert all(each.is_in_time for each in polls)


def first_come_first_served(line: PlayedLine) -> float:
    """Part of the requests for single registers that are in time if each is read by itself."""
    free_s, in_time = 0.0, 0
    people = line.asked_by("people")
    for each in people:
        free_s = max(free_s, each.asked_s) + SINGLE_S
        in_time += free_s <= each.request.deadline_s
    return in_time / len(people)


def test_four_times_what_single_reads_can_carry_is_served_wholly_from_one_unit() -> None:
    line = line_of([1])
    offer(line, [1], registers=60, patience_s=1.0)
    line.run(UNTIL_S)
    check_polls(line)
    people = line.asked_by("people")
    assert len(people) > 0.95 * LOAD * UNTIL_S / SINGLE_S
    assert all(each.is_in_time for each in people)
    assert line.waiting_max < LOAD / SINGLE_S  # Nobody waits for as long as a second.
    assert first_come_first_served(line) < 0.05


@pytest.mark.parametrize("units", [(1, 2, 3, 4), tuple(range(1, 10))])
def test_what_the_line_cannot_carry_expires_and_the_polls_notice_nothing(
    units: Sequence[int],
) -> None:
    line = line_of(units)
    offer(line, units, registers=100, patience_s=1.0)
    line.run(UNTIL_S)
    check_polls(line)
    people = line.asked_by("people")
    served = [each for each in people if not isinstance(each.answer, ReadFailed)]
    expired = [each for each in people if isinstance(each.answer, ReadFailed)]
    assert len(served) > 0.35 * len(people)
    assert {each.answer.kind for each in expired if isinstance(each.answer, ReadFailed)} == {
        FailureKind.EXPIRED
    }
    # No more wait than are offered while one of them waits, and one transaction.
    assert line.waiting_max < (1.0 + 0.3) * LOAD / SINGLE_S
    # And no unit has to starve for the others.
    shares = Counter(each.request.unit_id for each in served)
    assert min(shares.values()) > 0.3 * max(shares.values())


@pytest.mark.parametrize(("period_s", "registers", "share"), [(2.0, 60, 1.0), (1.0, 100, 0.35)])
def test_polls_of_four_times_what_single_reads_can_carry_are_merged(
    period_s: float, registers: int, share: float
) -> None:
    units = (1, 2, 3, 4)
    line = line_of(units)
    dice = Random(2)
    for _ in range(round(LOAD / SINGLE_S * period_s)):
        span = Span(HOLDING, dice.randrange(registers), 1)
        line.poll(
            dice.choice(units),
            (span,),
            period_s,
            UNTIL_S,
            Priority.NORMAL,
            who="people",
            phase_s=dice.random() * period_s,
        )
    line.run(UNTIL_S)
    check_polls(line)
    people = line.asked_by("people")
    assert sum(each.is_in_time for each in people) >= share * len(people)


@pytest.mark.slow
def test_who_has_no_deadline_waits_and_is_served() -> None:
    units = (1, 2, 3, 4)
    line = line_of(units)
    offer(line, units, registers=600, patience_s=math.inf)
    line.run(UNTIL_S + 30)
    check_polls(line)
    people = [each for each in line.asked if each.request.who == "people"]
    assert len(people) > 0.95 * LOAD * UNTIL_S / SINGLE_S
    assert all(each.is_in_time for each in people)


def dump(line: PlayedLine, unit_id: int, spans: tuple[Span, ...]) -> None:
    """Somebody in no hurry reads these for ever."""
    request = ReadRegisters(unit_id, spans, math.inf, Priority.BACKGROUND, "dump")
    line.again = lambda asked: request if asked.request is request else None
    line.at(1.0, request)


REGISTERS = tuple(Span(HOLDING, address, 1) for address in range(600))
FEW = REGISTERS[:100]
BLOCKS = tuple(Span(HOLDING, address, 125) for address in (0, 125))


@pytest.mark.parametrize("unit_id", [1, 2])
def test_a_dump_without_a_limit_for_its_reads_costs_no_tick(unit_id: int) -> None:
    line = line_of([1, 2])
    dump(line, unit_id, REGISTERS)
    line.run(UNTIL_S)
    check_polls(line)
    assert len(line.asked_by("dump")) > 7
    assert line.busy_s > 0.8 * UNTIL_S


def test_a_dump_in_short_reads_delays_no_tick() -> None:
    line = line_of([1, 2], UnitTraits(turnaround_s=0.015, transaction_s_max=0.1))
    dump(line, 2, REGISTERS)
    line.run(UNTIL_S)
    assert max(each.done_s - each.asked_s for each in line.asked_by("poll")) < 0.06
    assert len(line.asked_by("dump")) > 5


def test_a_dump_does_not_forget_the_silence_that_the_unit_wants() -> None:
    traits = UnitTraits(turnaround_s=0.015, gap_s=0.05)
    line = line_of([1], traits)
    dump(line, 1, FEW)
    line.run(UNTIL_S)
    check_polls(line)
    assert len(line.asked_by("dump")) >= 7  # Five registers fit between two polls.


@pytest.mark.parametrize("unit_id", [1, 2])
def test_a_dump_of_what_cannot_be_split_costs_a_tick_now_and_then(unit_id: int) -> None:
    # 125 words at once hold the line for 0.29 s, of which nobody else can have any.
    line = line_of([1, 2])
    dump(line, unit_id, BLOCKS)
    line.run(UNTIL_S)
    polls = line.asked_by("poll")
    lost = sum(not each.is_in_time for each in polls)
    assert 0 < lost <= 0.05 * len(polls)
    assert line.asked_by("dump")


def test_many_dumps_cost_no_more_ticks_than_one() -> None:
    line = line_of([1, 2])
    for at in range(10):
        spans = (BLOCKS[0], Span(HOLDING, 600 + at, 1))
        line.at(1.0, ReadRegisters(2, spans, math.inf, Priority.BACKGROUND, f"dump {at}"))
    line.run(UNTIL_S)
    polls = line.asked_by("poll")
    assert sum(not each.is_in_time for each in polls) <= 0.05 * len(polls)
    assert all(line.asked_by(f"dump {at}") for at in range(10))
