"""What is refused has no schedule, and what is said to be feasible has one; all are tried."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.model import Span, Table
from grug.planner.feasible import (
    Often,
    Why,
    can_all_be_in_time,
    can_be_in_time,
    crowded_out,
    infeasible,
)
from grug.planner.groups import Group, UnitLoad
from grug.planner.schedule import schedule_line
from grug.planner.traits import UnitTraits, WireTiming


class Asked(NamedTuple):
    """A value: whose it is, how often it is wanted and with which others at once."""

    unit: int
    group: int
    address: int
    words: int


class Line(NamedTuple):
    """A line in whole units of time."""

    periods: tuple[int, ...]
    """Of each group."""
    values: tuple[Asked, ...]
    base: int
    """What a read takes beside its words."""
    gap: int
    """Of that, the silence in the end, in which the read has been in time already."""


def has_schedule(line: Line) -> bool:
    """Whether there are phases with which all can be in time, by trying all there is."""
    _, *others = (range(period) for period in line.periods)
    return any(is_served(line, (0, *phases)) for phases in itertools.product(*others))


def has_schedule_always(line: Line) -> bool:
    """Whether all can be in time with any phases, by trying all."""
    _, *others = (range(period) for period in line.periods)
    return all(is_served(line, (0, *phases)) for phases in itertools.product(*others))


def is_served(line: Line, phases: Sequence[int]) -> bool:
    """Whether some order with any idle times goes on for ever.

    Whole times are enough: rounding all of a schedule down keeps it one.
    """
    cycle = math.lcm(*line.periods)
    reads = tuple(reads_of(line))
    flags = tuple(itertools.product((False, True), repeat=len(line.values)))
    states = {(now, done) for now in range(cycle) for done in flags}
    after = {
        state: {
            ((state[0] + lasts) % cycle, done)
            for lasts, brought in ((1, frozenset[int]()), *reads)
            if (done := then(line, phases, *state, lasts, brought)) is not None
        }
        for state in states
    }
    while dead := {state for state in states if not after[state] & states}:
        states -= dead
    return bool(states)


def reads_of(line: Line) -> Iterator[tuple[int, frozenset[int]]]:
    """Every read of some of a unit's values: how long it takes, and what it brings."""
    for first, last in itertools.product(line.values, repeat=2):
        end = last.address + last.words
        if first.unit == last.unit and first.address <= last.address:
            brings = frozenset(
                at
                for at, value in enumerate(line.values)
                if value.unit == first.unit
                and first.address <= value.address
                and value.address + value.words <= end
            )
            yield line.base + end - first.address, brings


def then(
    line: Line,
    phases: Sequence[int],
    now: int,
    done: tuple[bool, ...],
    lasts: int,
    brings: frozenset[int],
) -> tuple[bool, ...] | None:
    """What of each value's period is done after a read; None when something came too late."""
    flags = list(done)
    for at, value in enumerate(line.values):
        period = line.periods[value.group]
        due = now + period - (now - phases[value.group]) % period
        if at in brings and now + lasts - line.gap <= due:
            flags[at] = True
        if now + lasts >= due:
            if not flags[at] or now + lasts >= due + period:
                return None
            flags[at] = False
    return tuple(flags)


def units_of(line: Line) -> tuple[WireTiming, tuple[UnitLoad, ...]]:
    """The line as the planner has it: a word is a second, and so on."""
    turnaround_s = line.base - 13 / 2 - 2 * line.gap
    units: dict[int, dict[int, list[Span]]] = {}
    for value in line.values:
        span = Span(Table.HOLDING_REGISTER, value.address, value.words)
        units.setdefault(value.unit, {}).setdefault(value.group, []).append(span)
    return WireTiming(0.5, line.gap, 1.0), tuple(
        UnitLoad(
            f"unit {unit}",
            unit + 1,
            tuple(
                Group(f"group {group}", line.periods[group], tuple(spans))
                for group, spans in groups.items()
            ),
            UnitTraits(turnaround_s=turnaround_s),
        )
        for unit, groups in units.items()
    )


def line_of(values: Sequence[tuple[int, int, int, int, int]], base: int, gap: int) -> Line:
    """A line of values, each with its unit, group, period, words and the hole before it."""
    numbers = {group: at for at, group in enumerate(sorted({each[1] for each in values}))}
    owners: dict[int, int] = {}
    periods: dict[int, int] = {}
    reached: dict[int, int] = {}
    asked: list[Asked] = []
    for unit, group, period, words, hole in values:
        owner = owners.setdefault(group, unit)
        periods.setdefault(group, period)
        address = reached.get(owner, 0) + hole
        count = max(1, min(words, periods[group] - base))
        reached[owner] = address + count
        asked.append(Asked(owner, numbers[group], address, count))
    return Line(tuple(periods[group] for group in sorted(numbers)), tuple(asked), base, gap)


VALUES = st.tuples(
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from((3, 4, 6, 12)),
    st.sampled_from((1, 1, 1, 2, 2, 3, 4, 5)),
    st.integers(0, 4),
)
LINES_TRIED = 1000

LINES = st.integers(0, 1).flatmap(
    lambda gap: st.builds(
        line_of, st.lists(VALUES, min_size=2, max_size=3), st.integers(gap, 1), st.just(gap)
    )
)
"""Two or three values of up to three units, busy enough to be of interest."""


@given(LINES)
def test_what_is_refused_has_no_schedule(line: Line) -> None:
    if infeasible(*units_of(line)):
        assert not has_schedule(line)


@given(LINES)
def test_what_is_feasible_for_any_phases_is_never_refused_and_has_a_schedule(line: Line) -> None:
    if can_be_in_time(*units_of(line)):
        assert not infeasible(*units_of(line))
        assert has_schedule_always(line)


ONE = "group 0"


def why(*values: tuple[int, int, int, int, int], gap: int = 0) -> list[tuple[Why, str]]:
    """Why no schedule is in time, and whose group is blamed, where a read takes its words."""
    line = line_of(values, gap, gap)
    reasons = infeasible(*units_of(line))
    assert bool(reasons) == (not has_schedule(line))
    return [(reason.why, reason.group) for reason in reasons]


def test_a_line_carries_no_more_than_all_of_its_time() -> None:
    assert why((0, 0, 4, 2, 0), (1, 1, 4, 2, 0)) == []
    assert why((0, 0, 4, 2, 0), (1, 1, 4, 3, 0)) == [(Why.LINE, "group 1")]


def test_values_that_ride_take_less() -> None:
    apart, together = (1, 1, 4, 2, 0), (0, 1, 4, 2, 0)
    assert infeasible(*units_of(line_of([(0, 0, 4, 1, 0), apart], 1, 0)))
    assert not infeasible(*units_of(line_of([(0, 0, 4, 1, 0), together], 1, 0)))


def test_a_read_fits_between_an_early_and_a_late_one() -> None:
    assert why((0, 0, 4, 2, 0), (1, 1, 12, 4, 0)) == []
    assert why((0, 0, 4, 2, 0), (1, 1, 12, 5, 0)) == [(Why.PAUSE, ONE)]
    assert why((0, 0, 3, 2, 0), (1, 1, 12, 3, 0)) == [(Why.PAUSE, ONE)]


def test_a_pause_is_not_long_twice_in_a_row() -> None:
    """A read of 6 among those of 4 in each 7 leaves each other pause short."""
    fast = Often(7, 4)
    assert crowded_out(fast, [[Often(14, 6)]]) is None
    crowded = crowded_out(fast, [[Often(13, 6)]])
    assert crowded is not None
    assert (crowded.read_s, crowded.most) == (6, 0.5)
    assert crowded_out(fast, [[Often(28, 6)], [Often(28, 5)]]) is None
    assert crowded_out(fast, [[Often(28, 6)], [Often(21, 6)]])


def test_a_value_too_far_away_to_ride_needs_a_pause_too() -> None:
    assert why((0, 0, 3, 1, 0), (0, 1, 12, 2, 0)) == []
    assert why((0, 0, 3, 2, 0), (0, 1, 12, 3, 4)) == [(Why.PAUSE, ONE)]


def test_a_value_that_would_make_a_group_late_by_riding_needs_a_pause_too() -> None:
    # 2 + 3 of each 6 are taken; the value between the two makes that 4 + 3, or takes 3 by itself.
    line = Line((6, 12), (Asked(0, 0, 3, 1), Asked(0, 1, 4, 2), Asked(0, 0, 8, 2)), base=1, gap=0)
    (reason,) = infeasible(*units_of(line))
    assert (reason.why, reason.group) == (Why.PAUSE, ONE)
    assert not has_schedule(line)


@pytest.mark.slow
def test_hardly_a_line_is_neither_refused_nor_in_time() -> None:
    """What is in time in grug's own schedule has one; what is left over is a warning."""
    dice = Random(1)
    refused = in_time = 0
    for _ in range(LINES_TRIED):
        gap = dice.randint(0, 1)
        values = [
            (
                dice.randint(0, 2),
                dice.randint(0, 2),
                dice.choice((3, 4, 6, 12)),
                dice.choice((1, 1, 1, 2, 2, 3, 4, 5)),
                dice.randint(0, 4),
            )
            for _ in range(dice.randint(2, 3))
        ]
        timing, units = units_of(line_of(values, dice.randint(gap, 1), gap))
        if infeasible(timing, units):
            refused += 1
        else:
            in_time += not schedule_line(timing, units).late
    assert refused > 0.5 * LINES_TRIED
    assert in_time > 0.2 * LINES_TRIED
    assert refused + in_time > 0.995 * LINES_TRIED


def test_a_units_own_silence_is_no_hindrance_to_others() -> None:
    group = Group("all", 1.0, (Span(Table.COIL, 0, 1),))
    timing = WireTiming(0.001, 0.01, 1.0)
    silent = UnitTraits(gap_s=0.6)
    units = [UnitLoad(name, at, (group,), silent) for at, name in enumerate("ab", 1)]
    assert infeasible(timing, units) == ()
    hasty = UnitLoad("c", 3, (Group("all", 0.5, group.spans),), silent)
    (reason,) = infeasible(timing, [*units, hasty])
    assert (reason.why, reason.unit) == (Why.UNIT, "c")
    assert reason.least == pytest.approx(2 * (0.014 + 0.01 + 0.01 + 0.6))


def test_jeffays_condition() -> None:
    assert can_all_be_in_time([Often(4, 2), Often(4, 2)])
    assert can_all_be_in_time([Often(4, 2), Often(12, 2)])
    assert not can_all_be_in_time([Often(4, 2), Often(12, 3)])
    assert not can_all_be_in_time([Often(4, 2), Often(4, 3)])
    assert can_all_be_in_time([])
