"""What a unit's reads take is learned from them, and then steers which holes pay."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.model import Span, Table
from grug.planner.learned import CHARACTERS, SAMPLES_MIN, LearnedCost
from grug.planner.plan import ReadCost, plan_reads
from grug.planner.traits import UnitTraits, WireTiming
from grug.planner.units import Unit

ASSUMED = ReadCost(character_s=0.001, interframe_delay_s=0.005, turnaround_s=0.01)
HOLDING = Table.HOLDING_REGISTER


def read_s(data_bytes: int, turnaround_s: float, character_s: float = 0.001) -> float:
    return (CHARACTERS + data_bytes) * character_s + turnaround_s


def test_until_there_are_enough_reads_the_assumption_holds() -> None:
    learned = LearnedCost(ASSUMED)
    for _ in range(SAMPLES_MIN - 1):
        assert not learned.add(20, read_s(20, 0.1))
    assert learned.cost == ASSUMED
    assert learned.add(20, read_s(20, 0.1))
    assert learned.cost.turnaround_s == pytest.approx(0.095, abs=0.002)


@given(
    st.floats(0.0, 0.2),
    st.sampled_from([0.0005, 0.001, 0.003]),
    st.lists(st.integers(1, 250), min_size=2, max_size=6, unique=True),
    st.integers(0, 1000),
)
def test_delay_and_speed_are_found_whatever_lengths_are_read(
    turnaround_s: float, character_s: float, lengths: list[int], seed: int
) -> None:
    dice = random.Random(seed)
    learned = LearnedCost(ASSUMED)
    for _ in range(400):
        length = dice.choice(lengths)
        learned.add(length, read_s(length, turnaround_s, character_s) * dice.uniform(0.98, 1.02))
    for length in lengths:
        truth_s = read_s(length, turnaround_s, character_s) + 0.005
        assert learned.cost.read_s(HOLDING, (length + 1) // 2) > 0.9 * truth_s - 0.002
        expected_s = learned.base_s + learned.per_byte_s * length + 0.005
        assert expected_s == pytest.approx(truth_s, rel=0.12)


def test_a_unit_always_asked_for_the_same_is_taken_to_send_at_the_line_s_speed() -> None:
    learned = LearnedCost(ASSUMED)
    for _ in range(100):
        learned.add(80, read_s(80, 0.05))
    assert learned.per_byte_s == pytest.approx(0.001)
    assert learned.base_s == pytest.approx(0.063)


def test_one_delayed_reply_changes_no_plan() -> None:
    learned = LearnedCost(ASSUMED)
    for turn in range(200):
        learned.add(20 + turn % 2, read_s(20 + turn % 2, 0.01))
    before = learned.cost
    assert not any(learned.add(20, 5.0 if turn == 7 else read_s(20, 0.01)) for turn in range(20))
    assert learned.cost == before


def test_a_unit_that_becomes_slower_is_followed() -> None:
    learned = LearnedCost(ASSUMED)
    for turn in range(1000):
        learned.add(20, read_s(20, 0.01 if turn < 200 else 0.15))
    assert learned.base_s == pytest.approx(0.013 + 0.15, rel=0.05)


def spans(*addresses: int) -> frozenset[Span]:
    return frozenset(Span(HOLDING, address, 1) for address in addresses)


def unit_of(traits: UnitTraits) -> Unit:
    return Unit("line", 1, traits, WireTiming(0.001, 0.005, 0.3), lambda message: None)


def test_the_silence_that_a_unit_wants_makes_longer_holes_pay() -> None:
    # 13 characters, two gaps and 10 ms are worth 16 words; another 95 ms are worth 47 more.
    assert len(unit_of(UnitTraits()).plan(spans(0, 40))) == 2
    assert len(unit_of(UnitTraits(gap_s=0.1)).plan(spans(0, 40))) == 1
    assert len(unit_of(UnitTraits(gap_s=0.1)).plan(spans(0, 70))) == 2


def test_a_slow_unit_s_holes_are_read_over_once_that_is_known() -> None:
    unit = unit_of(UnitTraits())
    wanted = spans(0, 40)
    assert len(unit.plan(wanted)) == 2
    for turn in range(100):
        count = 1 + turn % 30
        data = 2 * count
        unit.took(Span(HOLDING, 0, count), bytes(data), data, turn, read_s(data, 0.1))
    assert len(unit.plan(wanted)) == 1
    assert unit.plan(wanted) is unit.plan(wanted)  # Remembered.
    known = UnitTraits(turnaround_s=0.095).read_cost(WireTiming(0.001, 0.005, 0.3))
    assert unit.plan(wanted) == plan_reads(wanted, known)
