"""What was learned of a unit holds for that unit with that firmware, and not for ever."""

from __future__ import annotations

from test_queue import TIMING, Asked, Bench, span

from grug.errors import ExceptionReply, NoReplyError
from grug.messages import ReadFailed, ReadRegisters, RegistersRead
from grug.model import FailureKind, Span
from grug.planner.queue import BusQueue, ReadJob
from grug.planner.traits import UnitTraits
from grug.planner.verdicts import VERDICT_S_MAX, Verdict

SERIAL = span(100, 2)


class Store:
    def __init__(self) -> None:
        self.kept: dict[str, tuple[Verdict, ...]] = {}

    def load(self, identity: str) -> tuple[Verdict, ...]:
        return self.kept.get(identity, ())

    def save(self, identity: str, verdicts: tuple[Verdict, ...]) -> None:
        self.kept[identity] = verdicts


class House:
    """A line with one unit, which has a serial number and lacks some addresses."""

    def __init__(self, store: Store | None, *identity: Span, base: str = "meter com/1") -> None:
        self.bench = Bench()
        traits = {1: UnitTraits(identity=base, identity_spans=identity)}
        publish = self.bench.facts.append
        self.bench.queue = BusQueue("line", TIMING, traits, publish, store)
        self.bench.queue.line_opened(0.0)
        self.serial = b"\0\0\0\7"
        self.lacks = {5}
        self.now_s = 0.0

    def ask(self, *spans: Span) -> Asked:
        asked = Asked(ReadRegisters(1, spans, 1e9))
        self.bench.queue.add(asked, self.now_s)
        return asked

    def reads(self, *spans: Span) -> list[Span]:
        """Ask for these, and give all that was read for it."""
        asked = self.ask(*spans)
        reads = []
        while (job := self.bench.queue.pick(self.now_s)) is not None:
            assert isinstance(job, ReadJob)
            read = job.transaction.span
            reads.append(read)
            started_s, self.now_s = self.now_s, self.now_s + 0.1
            if self.lacks.intersection(range(read.address, read.end)):
                self.bench.queue.failed(job, ExceptionReply(2), started_s, self.now_s)
                continue
            block = self.serial if read == SERIAL else bytes(2 * read.count)
            self.bench.queue.succeeded(job, block, started_s, self.now_s)
        assert isinstance(asked.answer, RegistersRead)
        return reads

    def be_silent(self) -> None:
        """Until the unit is offline, and its next probe is due."""
        for _ in range(3):
            self.ask(span(0))
            self.bench.fail_next(self.now_s)
            self.now_s += 0.3
        self.now_s += 10


WANTED = (span(0, 4), span(8, 4))
APART = [span(0, 4), span(8, 4)]
FOUND_OUT = [span(0, 12), *APART]


def test_what_was_refused_is_known_after_a_restart() -> None:
    store = Store()
    assert House(store).reads(*WANTED) == FOUND_OUT
    assert House(store).reads(*WANTED) == APART
    other = House(store, base="meter com/2")
    other.lacks = set()
    assert other.reads(*WANTED) == [span(0, 12)]


def test_a_unit_is_asked_who_it_is_once_and_before_anything_is_believed() -> None:
    store = Store()
    house = House(store, SERIAL)
    assert house.reads(*WANTED) == [SERIAL, *FOUND_OUT]
    assert house.reads(*WANTED) == APART
    assert list(store.kept) == ["meter com/1 00000007"]
    again = House(store, SERIAL)
    assert again.reads(*WANTED) == [SERIAL, *APART]


def test_another_unit_in_its_place_is_not_taken_for_it() -> None:
    store = Store()
    House(store, SERIAL).reads(*WANTED)
    other = House(store, SERIAL)
    other.serial = b"\0\0\0\x08"
    other.lacks = set()
    assert other.reads(*WANTED) == [SERIAL, span(0, 12)]
    assert House(store, SERIAL).reads(*WANTED) == [SERIAL, *APART]  # And the first is still known.


def test_a_unit_that_was_away_may_come_back_as_another() -> None:
    house = House(Store(), SERIAL)
    house.reads(*WANTED)
    house.be_silent()
    house.serial, house.lacks = b"\0\0\0\x09", set()
    assert house.reads(*WANTED) == [span(0, 4), SERIAL, span(8, 4)]  # The first is the probe.
    assert house.reads(*WANTED) == [span(0, 12)]


def test_a_unit_that_comes_back_as_it_was_is_believed_what_was_known() -> None:
    house = House(Store(), SERIAL)
    house.reads(*WANTED)
    house.be_silent()
    assert house.reads(*WANTED) == [span(0, 4), SERIAL, span(8, 4)]
    house.bench.queue.line_opened(house.now_s)
    assert house.reads(*WANTED) == [SERIAL, *APART]


def test_a_unit_that_will_not_say_is_known_by_its_place() -> None:
    store = Store()
    house = House(store, SERIAL)
    house.lacks = {5, 100}
    assert house.reads(*WANTED) == [SERIAL, *FOUND_OUT]
    assert house.reads(*WANTED) == APART
    again = House(store, SERIAL)
    again.lacks = {5, 100}
    assert again.reads(*WANTED) == [SERIAL, *APART]


def test_silence_when_asked_who_it_is_is_the_answer_to_who_asked() -> None:
    house = House(Store(), SERIAL)
    asked = house.ask(span(0))
    job = house.bench.queue.pick(0.0)
    assert job is not None
    house.bench.queue.failed(job, NoReplyError("silence"), 0.0, 0.3)
    assert isinstance(asked.answer, ReadFailed)
    assert asked.answer.kind is FailureKind.NO_REPLY


def test_where_nothing_is_kept_nobody_is_asked() -> None:
    assert House(None, SERIAL).reads(*WANTED) == FOUND_OUT
    assert House(Store(), SERIAL, base="").reads(*WANTED) == FOUND_OUT


def test_after_a_week_a_verdict_is_found_out_anew() -> None:
    store = Store()
    house = House(store)
    house.reads(*WANTED)
    house.bench.queue.counted(house.now_s)
    house.now_s += VERDICT_S_MAX - 10
    house.bench.queue.counted(house.now_s)
    assert house.reads(*WANTED) == APART
    house.now_s += 11
    house.bench.queue.counted(house.now_s)
    assert store.kept == {"meter com/1": ()}
    assert house.reads(*WANTED) == FOUND_OUT
    ((verdict,),) = store.kept.values()
    assert verdict.age_s == 0.0


def test_a_verdict_that_was_old_already_is_not_believed_at_all() -> None:
    store = Store()
    store.kept["meter com/1"] = (Verdict(span(4, 4), VERDICT_S_MAX + 1),)
    assert House(store).reads(*WANTED) == FOUND_OUT
    store.kept["meter com/1"] = (Verdict(span(4, 4), VERDICT_S_MAX - 5),)
    house = House(store)
    assert house.reads(*WANTED) == APART
    for _ in range(2):
        house.bench.queue.counted(house.now_s)
        house.now_s += 6
    assert house.reads(*WANTED) == FOUND_OUT
