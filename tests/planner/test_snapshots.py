"""What has to be of one moment comes in one transaction, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grug.errors import ExceptionReply, LocalProtocolError, NoReplyError
from grug.messages import (
    Message,
    ReadFailed,
    ReadRegisters,
    RegistersRead,
    WriteDone,
    WriteFailed,
)
from grug.model import FailureKind, Span, Table
from grug.planner.plan import ReadLimits, whole_of
from grug.planner.queue import BusQueue, ReadJob
from grug.planner.schedule import Group, UnitLoad, line_bound, schedule_line
from grug.planner.traits import UnitTraits, WireTiming

HOLDING = Table.HOLDING_REGISTER
TIMING = WireTiming(character_s=0.001, gap_s=0.005, reply_timeout_s=0.3)


def span(address: int, count: int = 1) -> Span:
    return Span(HOLDING, address, count)


class Asked:
    """A call, without anybody who waits."""

    def __init__(self, request: ReadRegisters) -> None:
        self.request = request
        self.is_abandoned = False
        self.answer: RegistersRead | ReadFailed | WriteDone | WriteFailed | None = None

    def reply(self, reply: RegistersRead | ReadFailed | WriteDone | WriteFailed) -> None:
        assert self.answer is None
        self.answer = reply


class Line:
    """A queue on a line, with a unit that shows the number of the read in every word."""

    def __init__(self, *, lacks: frozenset[int] = frozenset(), reads_holes: bool = True) -> None:
        self.facts: list[Message] = []
        traits = {1: UnitTraits(reads_holes=reads_holes)}
        self.queue = BusQueue("line", TIMING, traits, self.facts.append)
        self.queue.line_opened(0.0)
        self.lacks = lacks
        self.reads: list[Span] = []
        self.now_s = 0.0

    def ask(self, *spans: Span, max_age_s: float = 0.0, is_snapshot: bool = True) -> Asked:
        asked = Asked(
            ReadRegisters(
                1,
                spans,
                1e9,
                max_age_s=max_age_s,
                is_partial=True,
                is_snapshot=is_snapshot,
            )
        )
        self.queue.add(asked, self.now_s)
        return asked

    def run(self) -> None:
        """Answer until nobody waits."""
        for _ in range(200):
            job = self.queue.pick(self.now_s)
            if job is None:
                assert not len(self.queue)
                return
            assert isinstance(job, ReadJob)
            read = job.transaction.span
            self.reads.append(read)
            started_s, self.now_s = self.now_s, self.now_s + 0.05
            if self.lacks.intersection(range(read.address, read.end)):
                self.queue.failed(job, ExceptionReply(2), started_s, self.now_s)
            else:
                block = len(self.reads).to_bytes(2, "big") * read.count
                self.queue.succeeded(job, block, started_s, self.now_s)
        raise AssertionError("it never ends")


def moments(asked: Asked) -> set[bytes]:
    """In which reads the parts of an answer came."""
    assert isinstance(asked.answer, RegistersRead)
    return {block[:2] for block in asked.answer.blocks if block}


def test_a_snapshot_is_one_read_however_large_its_holes_are() -> None:
    line = Line()
    asked = line.ask(span(0, 2), span(100, 2))
    line.run()
    assert line.reads == [span(0, 102)]
    assert len(moments(asked)) == 1
    plain = line.ask(span(0, 2), span(100, 2), is_snapshot=False)
    line.run()
    assert line.reads[1:] == [span(0, 2), span(100, 2)]
    assert len(moments(plain)) == 2


def test_others_ride_with_it() -> None:
    line = Line()
    asked = [line.ask(span(0, 2), span(100, 2)), line.ask(span(50), is_snapshot=False)]
    line.run()
    assert line.reads == [span(0, 102)]
    assert all(len(moments(each)) == 1 for each in asked)


def test_what_was_read_for_others_is_no_part_of_it() -> None:
    line = Line()
    line.ask(span(100, 2), is_snapshot=False)
    line.run()
    asked = line.ask(span(0, 2), span(100, 2), max_age_s=10)
    line.run()
    assert line.reads == [span(100, 2), span(0, 102)]
    again = line.ask(span(0, 2), span(100, 2), max_age_s=10)
    assert moments(again) == moments(asked)
    assert again.answer == asked.answer


@pytest.mark.parametrize(
    ("snapshot", "lacks", "is_read"),
    [
        ([span(0, 2), span(2), span(3, 2)], 4, True),
        ([span(0, 2), span(4, 2)], 3, False),
        ([span(0, 2), span(2), span(3, 2)], 2, False),
    ],
)
def test_what_the_unit_lacks_at_the_end_is_left_out_and_in_the_middle_ends_it(
    snapshot: list[Span], lacks: int, is_read: bool
) -> None:
    line = Line(lacks=frozenset({lacks}))
    for cycle in range(3):
        asked = line.ask(*snapshot)
        before = len(line.reads)
        line.run()
        if is_read:
            assert isinstance(asked.answer, RegistersRead)
            assert len(moments(asked)) == 1
            assert len(asked.answer.refused) == 1
        else:
            assert isinstance(asked.answer, ReadFailed)
            assert asked.answer.kind is FailureKind.REFUSED
            assert "no read goes over address 2" in asked.answer.text
        if cycle:
            assert len(line.reads) - before == is_read


def test_a_silent_unit_fails_it_as_a_whole() -> None:
    line = Line()
    asked = line.ask(span(0, 2), span(4, 2))
    for _ in range(3):
        job = line.queue.pick(line.now_s)
        assert job is not None
        line.queue.failed(job, NoReplyError("silence"), line.now_s, line.now_s + 0.3)
        line.now_s += 0.3
        assert isinstance(asked.answer, ReadFailed)
        asked = line.ask(span(0, 2), span(4, 2))
    line.now_s += 10
    asked = line.ask(span(0, 2), span(4, 2))
    line.run()
    assert line.reads == [span(0, 2), span(0, 6)]  # A short probe, and then the whole.
    assert len(moments(asked)) == 1


values = st.lists(st.builds(span, st.integers(0, 30), st.integers(1, 4)), min_size=1, max_size=5)


@settings(deadline=None)
@given(
    st.lists(values, min_size=1, max_size=3),
    values,
    st.frozensets(st.integers(0, 34), max_size=3),
    st.booleans(),
)
@example([[span(3), span(4)], [span(0), span(1), span(4)]], [span(0)], frozenset({0, 2}), True)
def test_whatever_the_unit_lacks_a_snapshot_is_of_one_moment(
    snapshots: list[list[Span]], others: list[Span], lacks: frozenset[int], reads_holes: bool
) -> None:
    line = Line(lacks=lacks, reads_holes=reads_holes)
    for _ in range(4):
        asked = [line.ask(*each) for each in snapshots]
        plain = line.ask(*others, is_snapshot=False)
        line.run()
        for each in asked:
            if isinstance(each.answer, RegistersRead):
                assert len(moments(each)) == 1
            else:
                assert isinstance(each.answer, ReadFailed)
                assert each.answer.kind is FailureKind.REFUSED
        good = [each for each in others if not lacks.intersection(range(each.address, each.end))]
        assert isinstance(plain.answer, RegistersRead if good else ReadFailed)
    # A value that is refused alone is not read over, although only a part of it may be missing.
    refused = {
        address
        for each in (*others, *(each for spans in snapshots for each in spans))
        if lacks.intersection(range(each.address, each.end))
        for address in range(each.address, each.end)
    }
    for each, spans in zip(asked, snapshots, strict=True):
        hull = range(min(s.address for s in spans), max(s.end for s in spans))
        wanted = {address for s in spans for address in range(s.address, s.end)}
        if not (lacks | refused).intersection(hull) and (reads_holes or len(wanted) == len(hull)):
            assert isinstance(each.answer, RegistersRead)
            assert not each.answer.refused


@pytest.mark.parametrize(
    ("snapshot", "limits", "text"),
    [
        ([span(0), span(125)], ReadLimits(), "it has 126 words, and a read 125"),
        ([span(0), span(45)], ReadLimits(words_max=40), "it has 46 words, and a read 40"),
        ([span(0), Span(Table.COIL, 1, 1)], ReadLimits(), "it is of 2 tables (coil, holding"),
        (
            [span(0), span(9)],
            ReadLimits(forbidden=frozenset({(HOLDING, 5)})),
            "no read goes over address 5",
        ),
        (
            [span(0), span(9)],
            ReadLimits(has_holes=False),
            "it has 8 addresses between its registers, and holes are not read here",
        ),
    ],
)
def test_why_it_cannot_be_is_told_with_numbers(
    snapshot: list[Span], limits: ReadLimits, text: str
) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        whole_of(snapshot, limits)
    assert text in str(caught.value)


def test_the_schedule_and_its_bound_count_a_snapshot_as_one_read() -> None:
    wanted = Group("1 s snapshot", 1.0, (span(0, 2), span(60, 2)), is_snapshot=True)
    fast = Group("200 ms", 0.2, (span(0, 2),))
    units = [UnitLoad("unit", 1, (fast, wanted))]
    schedule = schedule_line(TIMING, units)
    assert schedule.late == ()
    assert len(schedule.reads) == 5
    slow = [read for read in schedule.reads if "1 s snapshot" in read.groups]
    assert [read.transaction.span for read in slow] == [span(0, 62)]
    assert schedule.used == pytest.approx(line_bound(TIMING, units))
    apart = Group("1 s", 1.0, wanted.spans)
    assert line_bound(TIMING, [UnitLoad("unit", 1, (fast, apart))]) < schedule.used
