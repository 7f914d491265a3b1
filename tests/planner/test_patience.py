"""What is announced on a line, and what waits for it: probes of offline units, and long dumps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.errors import NoReplyError
from grug.messages import ReadFailed, ReadRegisters, RegistersRead
from grug.model import FailureKind, Priority, Span, Table
from grug.planner.announced import ANNOUNCED_MAX, BACKGROUND_HELD_S_MAX, GRACE_S, Announced
from grug.planner.probing import PROBE_OVERRUN_S
from grug.planner.queue import BusQueue, ReadJob
from grug.planner.traits import UnitTraits, WireTiming
from grug.planner.units import Unit

TIMING = WireTiming(character_s=0.001, gap_s=0.005, reply_timeout_s=0.3)
WIRE_S = (13 + 2) * 0.001 + 2 * 0.005
"""Of a read of one word."""


class Asked:
    """A call, without anybody who waits."""

    is_abandoned = False

    def __init__(self, request: ReadRegisters) -> None:
        self.request = request
        self.answer: object = None

    def reply(self, reply: object) -> None:
        assert self.answer is None
        self.answer = reply


class House:
    """A queue whose unit 9 is offline and may be probed from ``due_s`` on."""

    def __init__(self) -> None:
        self.queue = BusQueue("line", TIMING, {1: UnitTraits()}, lambda _: None)
        self.queue.line_opened(0.0)
        for now_s in (0.0, 1.0, 2.0):
            self.ask(9, now_s, now_s + 0.5)
            self.fail(self.pick(now_s), now_s)
        self.due_s = 100.0

    def ask(
        self,
        unit_id: int,
        now_s: float,
        until_s: float,
        priority: Priority = Priority.NORMAL,
        count: int = 1,
    ) -> Asked:
        spans = (Span(Table.HOLDING_REGISTER, 0, count),)
        asked = Asked(ReadRegisters(unit_id, spans, until_s, priority))
        self.queue.add(asked, now_s)  # type: ignore[arg-type]
        return asked

    def announce(self, now_s: float, next_s: float, priority: Priority = Priority.NORMAL) -> Asked:
        """As a poller asks."""
        asked = Asked(announcing(priority, next_s, every_s=next_s - now_s))
        self.queue.add(asked, now_s)  # type: ignore[arg-type]
        return asked

    def pick(self, now_s: float) -> ReadJob:
        job = self.queue.pick(now_s)
        assert isinstance(job, ReadJob)
        return job

    def fail(self, job: ReadJob, now_s: float) -> None:
        self.queue.failed(job, NoReplyError("silence"), now_s, now_s + job.timeout_s)

    def tick(self, now_s: float, until_s: float) -> None:
        """A poll comes, is carried out at once, and tells when it comes again."""
        asked = self.announce(now_s, until_s)
        job = self.pick(now_s)
        assert job.unit.unit_id == 1
        self.queue.succeeded(job, b"\0\1", now_s, now_s + 0.02)
        assert isinstance(asked.answer, RegistersRead)


ONE = (Span(Table.HOLDING_REGISTER, 0, 1),)


def announcing(
    priority: Priority, next_s: float, spans: tuple[Span, ...] = ONE, every_s: float = 1.0
) -> ReadRegisters:
    """A poll that says when it comes next."""
    until_s = next_s + every_s
    return ReadRegisters(1, spans, next_s, priority, next_s=next_s, next_deadline_s=until_s)


def unit() -> Unit:
    return Unit("line", 1, UnitTraits(), TIMING, lambda _: None)


def test_who_announces_a_time_is_expected_then_and_no_longer() -> None:
    announced = Announced(TIMING.gap_s)
    other = (Span(Table.HOLDING_REGISTER, 7, 1),)
    announced.expect(unit(), announcing(Priority.NORMAL, 5.0), 0.0)
    announced.expect(unit(), announcing(Priority.BACKGROUND, 3.0, other), 0.0)
    assert announced.next_s(Priority.NORMAL, 0.0) == 5.0
    assert announced.next_s(Priority.BACKGROUND, 0.0) == 3.0
    assert announced.next_s(Priority.CONTROL, 0.0) == math.inf
    assert announced.next_s(Priority.NORMAL, 5.0 + GRACE_S / 2) == 5.0 + GRACE_S / 2
    assert announced.next_s(Priority.NORMAL, 5.0 + 2 * GRACE_S) == math.inf


def test_who_announces_nothing_is_not_expected() -> None:
    announced = Announced(TIMING.gap_s)
    announced.expect(unit(), ReadRegisters(1, ONE, 5.0, Priority.CONTROL), 0.0)
    assert announced.next_s(Priority.BACKGROUND, 0.0) == math.inf


def test_who_has_come_is_not_expected_at_the_same_time_again() -> None:
    announced = Announced(TIMING.gap_s)
    announced.expect(unit(), announcing(Priority.NORMAL, 5.0), 0.0)
    announced.expect(unit(), announcing(Priority.NORMAL, 10.0), 5.001)
    assert announced.next_s(Priority.NORMAL, 5.002) == 10.0


def test_polls_of_a_unit_that_is_offline_need_no_line() -> None:
    announced = Announced(TIMING.gap_s)
    silent = unit()
    announced.expect(silent, announcing(Priority.NORMAL, 5.0), 0.0)
    silent.is_offline = True
    assert announced.next_s(Priority.NORMAL, 0.0) == math.inf


@given(
    st.lists(
        st.tuples(st.sampled_from(Priority), st.floats(0, 100), st.floats(0, 5), st.integers(0, 9))
    )
)
def test_what_is_expected_is_never_over(
    requests: list[tuple[Priority, float, float, int]],
) -> None:
    announced = Announced(TIMING.gap_s)
    now_s = 0.0
    for priority, within_s, later_s, address in requests * 3:
        spans = (Span(Table.HOLDING_REGISTER, address, 1),)
        announced.expect(unit(), announcing(priority, now_s + within_s, spans), now_s)
        now_s += later_s
        assert announced.next_s(priority, now_s) >= now_s


def test_who_announces_without_end_is_not_remembered_without_end() -> None:
    announced = Announced(TIMING.gap_s)
    for at in range(2 * ANNOUNCED_MAX + 1):
        spans = (Span(Table.HOLDING_REGISTER, at, 1),)
        announced.expect(unit(), announcing(Priority.NORMAL, 1e9, spans), 0.0)
        assert len(announced._coming) <= ANNOUNCED_MAX


def test_what_is_known_of_a_unit_has_changed_and_its_polls_may_have_become_too_long() -> None:
    traits = {1: UnitTraits()}
    queue = BusQueue("line", TIMING, traits, lambda _: None)
    queue.line_opened(0.0)
    fast = (Span(Table.HOLDING_REGISTER, 0, 100),)
    queue.add(Asked(announcing(Priority.CONTROL, 0.5, fast)), 0.0)  # type: ignore[arg-type]
    job = queue.pick(0.0)
    assert isinstance(job, ReadJob)
    queue.succeeded(job, bytes(200), 0.0, 0.25)
    traits[1] = UnitTraits(words_max=10)
    slow = tuple(Span(Table.HOLDING_REGISTER, at, 1) for at in range(100))
    queue.add(Asked(ReadRegisters(1, slow, math.inf, Priority.BACKGROUND)), 0.49)  # type: ignore[arg-type]
    assert isinstance(queue.pick(0.49), ReadJob)


@pytest.mark.parametrize("free_s", [0.11, 0.12, 0.14])
def test_a_probe_is_over_before_the_next_tick(free_s: float) -> None:
    house = House()
    now_s = house.due_s
    house.tick(now_s, now_s + WIRE_S + free_s)
    house.ask(9, now_s, now_s + 1)
    job = house.pick(now_s)
    assert job.unit.unit_id == 9
    assert job.timeout_s == pytest.approx(free_s)


def test_a_probe_for_somebody_in_no_hurry_need_only_fit() -> None:
    house = House()
    now_s = house.due_s
    house.tick(now_s, now_s + WIRE_S + 0.12)
    house.ask(9, now_s, math.inf, Priority.BACKGROUND)
    assert house.pick(now_s).timeout_s == pytest.approx(0.12)


def test_a_probe_that_has_no_time_waits_for_the_tick_and_is_sent_after_it() -> None:
    house = House()
    now_s = house.due_s
    house.tick(now_s, now_s + WIRE_S + 0.05)
    house.ask(9, now_s, now_s + 1)
    assert house.queue.pick(now_s) is None
    tick_s = now_s + WIRE_S + 0.05
    assert tick_s < house.queue.wake_s <= tick_s + 2 * GRACE_S
    house.tick(tick_s, tick_s + 0.2)
    assert house.pick(tick_s + 0.03).unit.unit_id == 9


def test_a_line_without_any_free_time_is_probed_all_the_same_after_a_while() -> None:
    house = House()
    begin_s = now_s = house.due_s
    job = None
    while job is None:
        house.tick(now_s, now_s + 0.06)
        asked = house.ask(9, now_s, now_s + 0.05)
        job = house.queue.pick(now_s + 0.02)
        if job is None:
            assert house.queue.pick(now_s + 0.055) is None
            assert isinstance(asked.answer, ReadFailed)
            assert asked.answer.kind is FailureKind.UNIT_OFFLINE
        now_s += 0.06
    assert begin_s + PROBE_OVERRUN_S - 0.1 < now_s < begin_s + PROBE_OVERRUN_S + 0.2
    assert isinstance(job, ReadJob)
    assert job.timeout_s == pytest.approx(0.15)


def test_a_unit_that_used_to_be_slow_is_not_probed_in_less_time_than_it_takes() -> None:
    house = House()
    now_s = house.due_s
    house.ask(9, now_s, now_s + 1)
    house.queue.succeeded(house.pick(now_s), b"\0\1", now_s, now_s + WIRE_S + 0.1)
    for later_s in (1.0, 2.0, 3.0):  # It answered, and falls silent again.
        house.ask(9, now_s + later_s, now_s + later_s + 1)
        house.fail(house.pick(now_s + later_s), now_s + later_s)
    now_s += 100
    house.tick(now_s, now_s + WIRE_S + 0.12)
    house.ask(9, now_s, now_s + 1)
    assert house.queue.pick(now_s + 0.001) is None
    house.tick(now_s + 0.2, now_s + 0.2 + WIRE_S + 0.18)
    assert house.pick(now_s + 0.2).timeout_s == pytest.approx(0.15)


@pytest.mark.parametrize("latency_s", [0.06, 0.12, 0.25])
@pytest.mark.parametrize("known_s", [None, 0.02])
def test_a_unit_that_comes_back_slower_is_found_beside_a_quick_poll(
    latency_s: float, known_s: float | None
) -> None:
    house = House()
    begin_s = house.due_s
    if known_s is not None:
        house.ask(9, begin_s, begin_s + 1)
        house.queue.succeeded(house.pick(begin_s), b"\0\1", begin_s, begin_s + WIRE_S + known_s)
    for tick in range(1, 5 * 1200):  # It is away for ten minutes.
        now_s = begin_s + tick * 0.2
        house.tick(now_s, now_s + 0.2)
        if not tick % 5:
            house.ask(9, now_s, now_s + 1)
        job = house.queue.pick(now_s + 0.025)
        if isinstance(job, ReadJob):
            if now_s > begin_s + 600 and job.timeout_s >= latency_s:
                assert now_s < begin_s + 600 + (70 if latency_s <= 0.1 else 300)
                return
            house.fail(job, now_s + 0.025)
    pytest.fail("it is never found")


def test_what_nobody_is_in_a_hurry_for_does_not_delay_a_tick() -> None:
    house = House()
    now_s = house.due_s
    house.tick(now_s, now_s + 0.2)
    house.ask(1, now_s, math.inf, Priority.BACKGROUND, count=60)
    assert house.pick(now_s + 0.03).unit.unit_id == 1  # There is time for its 0.153 s.
    assert house.queue.pick(now_s + 0.1) is None
    house.ask(1, now_s + 0.1, math.inf, Priority.NORMAL)
    assert house.pick(now_s + 0.1).transaction.span.count == 60  # It rides with that.


def poll(house: House, now_s: float) -> float:
    """A poll of each 0.1 s, which leave no time for a read of 100 words; when it is done."""
    house.announce(now_s, now_s + 0.1, Priority.CONTROL)
    job = house.pick(now_s)
    assert job.unit.unit_id == 1
    house.queue.succeeded(job, b"\0\1", now_s, now_s + 0.02)
    return now_s + 0.03


def test_and_yet_it_gets_its_turn() -> None:
    house = House()
    begin_s = now_s = poll(house, house.due_s)
    house.ask(2, now_s, math.inf, Priority.BACKGROUND, count=100)
    while house.queue.pick(now_s) is None:
        assert now_s < house.queue.wake_s <= begin_s + BACKGROUND_HELD_S_MAX
        now_s = poll(house, now_s + 0.07)
    assert now_s == pytest.approx(begin_s + BACKGROUND_HELD_S_MAX, abs=0.11)


def test_what_nobody_is_in_a_hurry_for_comes_in_pieces_that_fit_between_polls() -> None:
    house = House()
    now_s = poll(house, house.due_s)
    spans = tuple(Span(Table.HOLDING_REGISTER, at, 1) for at in range(100))
    asked = Asked(ReadRegisters(2, spans, math.inf, Priority.BACKGROUND))
    house.queue.add(asked, now_s)  # type: ignore[arg-type]
    job = house.pick(now_s)
    assert 1 < job.transaction.span.count < 30
    assert job.unit.held_s(job.transaction.span) <= 0.07 + 1e-9


def test_each_piece_waits_for_its_own_time() -> None:
    house = House()
    now_s = poll(house, house.due_s)
    spans = tuple(Span(Table.HOLDING_REGISTER, at, 1) for at in range(100))
    asked = Asked(ReadRegisters(2, spans, math.inf, Priority.BACKGROUND))
    house.queue.add(asked, now_s)  # type: ignore[arg-type]
    tick_s = house.due_s + 0.1
    while asked.answer is None:
        assert now_s < house.due_s + 10
        job = house.queue.pick(now_s)
        if isinstance(job, ReadJob):
            span = job.transaction.span
            held_s = job.unit.held_s(span)
            assert now_s + held_s <= tick_s + 1e-9
            now_s += held_s
            house.queue.succeeded(job, bytes(2 * span.count), now_s - held_s, now_s - 0.005)
        else:
            now_s = tick_s
        if now_s >= tick_s - 1e-9:
            now_s = poll(house, tick_s)
            tick_s += 0.1


def test_what_is_worth_nothing_later_does_not_wait() -> None:
    house = House()
    now_s = poll(house, house.due_s)
    house.ask(2, now_s, now_s + 0.3, Priority.BACKGROUND, count=100)
    assert house.pick(now_s).transaction.span.count == 100


def test_at_its_very_deadline_a_request_is_not_looked_at_for_ever() -> None:
    house = House()
    now_s = house.due_s
    house.queue._unit(1).ready_s = now_s + 1
    house.ask(1, now_s, now_s + 0.5)
    assert house.queue.pick(now_s) is None
    wake_s = house.queue.wake_s
    assert house.queue.pick(wake_s) is None
    assert house.queue.wake_s > wake_s
