"""By which function something is written, and that other bits are never guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.errors import BusError, ExceptionReply, NoReplyError
from grug.messages import (
    Message,
    ReadFailed,
    ReadRegisters,
    RegistersRead,
    WriteDone,
    WriteFailed,
    WriteRegisters,
)
from grug.model import FailureKind, Span, Table
from grug.planner.queue import BusQueue, ReadJob, WriteJob
from grug.planner.traits import UnitTraits, WireTiming
from grug.planner.writes import (
    MASK_WRITE,
    READ_WRITE,
    masked,
    overwrites,
    write_function,
)

HOLDING = Table.HOLDING_REGISTER
BOTH = frozenset({MASK_WRITE, READ_WRITE})


@pytest.mark.parametrize(
    ("table", "count", "more", "function"),
    [
        (Table.COIL, 1, {}, 5),
        (Table.COIL, 1, {"is_multiple": True}, 15),
        (Table.COIL, 2, {}, 15),
        (HOLDING, 1, {}, 6),
        (HOLDING, 1, {"is_multiple": True}, 16),
        (HOLDING, 2, {"functions": BOTH}, 16),
        (HOLDING, 1, {"is_masked": True, "functions": BOTH}, 22),
        (HOLDING, 1, {"is_masked": True}, 0),
        (HOLDING, 2, {"is_masked": True, "functions": BOTH}, 0),
        (HOLDING, 1, {"reads_back": True}, 6),
        (HOLDING, 121, {"reads_back": True, "functions": BOTH}, 23),
        (HOLDING, 122, {"reads_back": True, "functions": BOTH}, 16),
        (HOLDING, 1, {"reads_back": True, "functions": {MASK_WRITE}}, 6),
        (Table.COIL, 1, {"reads_back": True, "functions": BOTH}, 5),
    ],
)
def test_the_function_is_the_shortest_that_the_unit_has(
    table: Table, count: int, more: dict[str, bool], function: int
) -> None:
    assert write_function(table, count, **more) == function  # type: ignore[arg-type]


words = st.integers(0, 0xFFFF).map(lambda word: word.to_bytes(2, "big"))


@given(words, words, words)
def test_bits_outside_the_mask_stay(before: bytes, block: bytes, mask: bytes) -> None:
    after = masked(before, block, mask)
    for byte in range(2):
        for bit in range(8):
            source = block if mask[byte] >> bit & 1 else before
            assert after[byte] >> bit & 1 == source[byte] >> bit & 1


@pytest.mark.parametrize(
    ("mask", "old_mask", "is_so"),
    [
        (b"", b"", True),
        (b"", b"\0\1", True),
        (b"\0\1", b"", False),
        (b"\0\3", b"\0\1", True),
        (b"\0\1", b"\0\3", False),
        (b"\0\1", b"\0\2", False),
    ],
)
def test_only_what_writes_all_the_same_bits_takes_a_write_s_place(
    mask: bytes, old_mask: bytes, is_so: bool
) -> None:
    assert overwrites(b"\0\0", mask, b"\0\0", old_mask) is is_so
    assert not overwrites(b"\0\0", mask, b"\0\0\0\0", old_mask)


# As the bus owner's queue does it


class Asked:
    """A call, without anybody who waits."""

    def __init__(self, request: ReadRegisters | WriteRegisters) -> None:
        self.request = request
        self.is_abandoned = False
        self.answers: list[RegistersRead | ReadFailed | WriteDone | WriteFailed] = []

    def reply(self, reply: RegistersRead | ReadFailed | WriteDone | WriteFailed) -> None:
        self.answers.append(reply)


class Line:
    """A queue on a line with one unit, which holds one register."""

    def __init__(self, functions: frozenset[int], *, gap_s: float = 0.0) -> None:
        traits = {1: UnitTraits(functions=functions, gap_s=gap_s)}
        timing = WireTiming(character_s=0.001, gap_s=0.005, reply_timeout_s=0.3)
        self.facts: list[Message] = []
        self.queue = BusQueue("line", timing, traits, self.facts.append)
        self.queue.line_opened(0.0)
        self.now_s = 0.0
        self.sent: list[tuple[int, bytes]] = []
        """Functions and contents; 3 and nothing for a read."""

    def ask(self, block: bytes, mask: bytes = b"", *, reads_back: bool = False) -> Asked:
        request = WriteRegisters(
            1, HOLDING, 5, block, 1e9, "me", "to see", mask=mask, reads_back=reads_back
        )
        asked = Asked(request)
        self.queue.add(asked, self.now_s)
        return asked

    def next(self, answer: bytes | BusError = b"", pause_s: float = 0.0) -> None:
        """Let the next job be answered so."""
        job = self.queue.pick(self.now_s)
        assert job is not None
        if isinstance(job, WriteJob):
            self.sent.append((job.function, job.block))
        else:
            assert isinstance(job, ReadJob)
            assert job.transaction.span == Span(HOLDING, 5, 1)
            self.sent.append((3, b""))
        started_s, self.now_s = self.now_s, self.now_s + 0.02
        if isinstance(answer, BusError):
            self.queue.failed(job, answer, started_s, self.now_s)
        else:
            self.queue.succeeded(job, answer, started_s, self.now_s)
        self.now_s += pause_s


def test_a_unit_with_the_function_masks_by_itself() -> None:
    line = Line(BOTH)
    asked = line.ask(b"\0\4", b"\0\6")
    line.next()
    assert line.sent == [(22, b"\0\4")]
    assert asked.answers == [WriteDone("line", asked.request, 0.02)]


def test_elsewhere_the_other_bits_are_read_right_before() -> None:
    line = Line(frozenset())
    asked = line.ask(b"\0\4", b"\0\6")
    line.next(b"\xab\x03")
    line.next()
    assert line.sent == [(3, b""), (6, b"\xab\x05")]
    (done,) = asked.answers
    assert isinstance(done, WriteDone)
    assert (done.request.block, done.request.mask) == (b"\0\4", b"\0\6")  # The ledger: as wanted.


def test_what_was_read_too_long_ago_is_read_again() -> None:
    line = Line(frozenset())
    line.ask(b"\0\4", b"\0\6")
    line.next(b"\xab\x03", pause_s=1.0)
    line.next(b"\xac\x03")
    line.next()
    assert line.sent == [(3, b""), (3, b""), (6, b"\xac\x05")]


def test_a_unit_s_own_silence_between_the_two_is_allowed_for() -> None:
    line = Line(frozenset(), gap_s=1.0)
    line.ask(b"\0\4", b"\0\6")
    line.next(b"\xab\x03", pause_s=1.0)
    line.next()
    assert line.sent == [(3, b""), (6, b"\xab\x05")]


@pytest.mark.parametrize("error", [NoReplyError("silence"), ExceptionReply(2), ExceptionReply(6)])
def test_nothing_is_written_where_the_other_bits_are_not_known(error: BusError) -> None:
    line = Line(frozenset())
    asked = line.ask(b"\0\4", b"\0\6")
    line.next(error)
    (failed,) = asked.answers
    assert isinstance(failed, WriteFailed)
    assert failed.kind is error.kind
    assert failed.text.endswith("it was not sent")
    assert line.queue.pick(line.now_s + 10) is None


def test_a_unit_that_lacks_the_function_after_all_is_written_the_long_way() -> None:
    line = Line(BOTH)
    for _ in range(2):
        asked = line.ask(b"\0\4", b"\0\6")
        while not asked.answers:
            wants_mask = line.queue._writes and not line.sent
            line.next(ExceptionReply(1) if wants_mask else b"\0\1")
        assert isinstance(asked.answers[0], WriteDone)
    assert [function for function, _ in line.sent] == [22, 3, 6, 3, 6]


def test_another_refusal_is_the_answer() -> None:
    line = Line(BOTH)
    asked = line.ask(b"\0\4", b"\0\6")
    line.next(ExceptionReply(2))
    (failed,) = asked.answers
    assert isinstance(failed, WriteFailed)
    assert (failed.kind, failed.code) == (FailureKind.REFUSED, 2)


def test_what_is_read_back_in_the_same_frame_is_told() -> None:
    line = Line(BOTH)
    asked = line.ask(b"\0\4", reads_back=True)
    line.next(b"\0\3")
    assert line.sent == [(23, b"\0\4")]
    assert asked.answers == [WriteDone("line", asked.request, 0.02, b"\0\3")]


def test_writes_of_other_bits_both_go_out_in_order() -> None:
    line = Line(BOTH)
    first, second = line.ask(b"\0\1", b"\0\1"), line.ask(b"\0\2", b"\0\2")
    third = line.ask(b"\0\0", b"\0\1")
    line.next()
    line.next()
    assert line.sent == [(22, b"\0\2"), (22, b"\0\0")]
    assert isinstance(first.answers[0], WriteFailed)  # The third took its place.
    assert isinstance(second.answers[0], WriteDone)
    assert isinstance(third.answers[0], WriteDone)


def test_a_late_answer_with_contents_is_not_taken_for_that_of_another_write() -> None:
    line = Line(BOTH)
    line.ask(b"\0\4", reads_back=True)
    line.next(NoReplyError("silence"))
    other = WriteRegisters(1, HOLDING, 9, b"\0\1", 1e9, "me", "to see", reads_back=True)
    line.queue.add(Asked(other), line.now_s)
    job = line.queue.pick(line.now_s)
    assert isinstance(job, ReadJob)
    assert job.blocked is not None
