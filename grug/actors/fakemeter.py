"""Fake meter actor: answers an inverter on its meter port, in the meter's place.

In:    MeterImage with its name; the inverter's requests on the line
Out:   replies on the line; FakeMeterChanged, FakeMeterCounted, FakeMeterAsked, LineChanged, Noted,
       and Readings of when it answered
Owns:  the line; nobody else touches it
Stops: when cancelled

It never says what it does not know: without an image, or when the image has expired, it is silent,
so that the inverter's own logic for a lost meter acts. Whatever else fails or hangs, images cease
to come, and silence follows. Nor does it answer a question that may have waited: the inverter would
take the answer for that to its next one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import trio

from grug.codec.registers import RegisterMap, UnknownReads
from grug.codec.served import ServedImage
from grug.control.meterport import LOOK_EVERY_S, UNKNOWN, Answer, MeterTally, Punctuality
from grug.errors import EncodeError, LineError
from grug.messages import (
    ANSWERS,
    FakeMeterAsked,
    FakeMeterChanged,
    FakeMeterCounted,
    LineChanged,
    Message,
    MeterImage,
    Noted,
    Readings,
)
from grug.protocol.rtu import character_s, interframe_delay_s
from grug.protocol.server import (
    ILLEGAL_DATA_ADDRESS,
    ILLEGAL_FUNCTION,
    RequestFramer,
    ServerRequest,
    exception_reply,
    read_reply,
)
from grug.runtime.clock import whole_ms
from grug.runtime.feed import Feed
from grug.transport.line import Line, LineOpener

COUNT_EVERY_S = 1.0
LIST_EVERY_S = 5.0
"""How often the list of questions is published: it is for a person who asks."""
REOPEN_DELAY_S = 0.5
REOPEN_DELAY_S_MAX = 30.0
CLOSE_S_MAX = 1.0
"""An adapter that is gone may not let go; closing it must not hold the actor."""

SEND_S_MAX = 0.2
"""A port takes a reply into its buffer at once, unless what is behind it has stopped."""
REPLIES_MAX = 64
"""Different requests that are remembered per image: inverters ask one to a handful."""


class Reply(NamedTuple):
    """One encoded reply."""

    adu: bytes
    """Empty where the policy is not to answer."""
    answer: Answer


@dataclass(frozen=True, slots=True)
class MeterSettings:
    """One fake meter, as the house has it."""

    name: str
    unit_id: int
    """The one it answers to, 1..247; frames for others are only counted."""
    profile: RegisterMap
    """The map of the meter that it pretends to be."""
    baudrate: int
    line_name: str
    """As the facts name it."""
    turnaround_s: float | None = None
    """Silence between question and answer; None means 3.5 characters."""
    phases: Sequence[int] = ()
    """Phases that the power is told on; none named means all."""
    identity: Mapping[str, float] = field(default_factory=dict)
    """By register, on top of what the profile says."""
    unknown: UnknownReads | None = None
    """What unknown reads are answered with; None leaves that to the profile."""


async def run(
    feed: Feed,
    settings: MeterSettings,
    *,
    open_line: LineOpener,
    tally: MeterTally | None = None,
) -> None:
    """Answer for one meter, for ever.

    Args:
        feed: where images come from and facts go to.
        settings: what it pretends to be.
        open_line: opens the meter port's line.
        tally: counters that outlive a crash of the actor.
    """
    meter = _Meter(feed, settings, tally or MeterTally())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(meter.take_images)
        nursery.start_soon(meter.count)
        nursery.start_soon(meter.list_questions)
        await _keep_line(feed, meter, open_line, settings)


async def _keep_line(
    feed: Feed, meter: _Meter, open_line: LineOpener, settings: MeterSettings
) -> None:
    """Open the line, serve it until it is lost, open it again."""
    line_name = settings.line_name
    is_up: bool | None = None
    delay_s = REOPEN_DELAY_S
    while True:
        queries, opened_s = meter.tally.queries, math.inf
        try:
            line = await open_line()
            opened_s = trio.current_time()
            feed.publish(LineChanged(line_name, True, "opened", opened_s))
            is_up = True
            try:
                await _serve(meter, line, settings)
            finally:
                with trio.move_on_after(CLOSE_S_MAX, shield=True):
                    await line.aclose()
        except LineError as error:
            if is_up is not False:
                feed.publish(LineChanged(line_name, False, str(error), trio.current_time()))
            is_up = False
        # A line that carried a query or lasted has proved itself; one that opens and breaks at once
        # is not tried any faster than one that does not open.
        if meter.tally.queries > queries or trio.current_time() - opened_s > REOPEN_DELAY_S_MAX:
            delay_s = REOPEN_DELAY_S
        await trio.sleep(delay_s)
        delay_s = min(2 * delay_s, REOPEN_DELAY_S_MAX)


async def _serve(meter: _Meter, line: Line, settings: MeterSettings) -> None:
    """Answer requests until the line is lost."""
    baudrate, turnaround_s = settings.baudrate, settings.turnaround_s
    if turnaround_s is None:
        turnaround_s = interframe_delay_s(baudrate)
    framer = RequestFramer(baudrate)
    port = Punctuality(character_s(baudrate), trio.current_time())
    line.discard_input()
    while True:
        with trio.move_on_after(LOOK_EVERY_S) as look:
            data = await line.receive_some()
        if look.cancelled_caught:
            # The loop sees input before deadlines: until this one there was none.
            port.empty_until(look.deadline)
            continue
        received_s = trio.current_time()
        if not port.received(received_s):
            line.discard_input()
            meter.note_held_up()
            continue
        requests = framer.receive(data, received_s)
        request = meter.take_requests(requests) if requests else None
        if request is None:
            continue
        # A master that has just stopped sending needs the silence that ends its frame.
        if turnaround_s:
            await trio.sleep_until(received_s + turnaround_s)
        now_s = trio.current_time()
        reply = meter.reply_to(request, now_s, is_late=port.is_late(now_s))
        if reply:
            with trio.move_on_after(SEND_S_MAX) as sending:
                await line.send_all(reply)
            if sending.cancelled_caught:
                # What waits in the port would come out one day; opening it anew throws it away.
                raise LineError(f"{settings.line_name} takes no bytes")
            port.sent(len(reply), now_s)
            meter.tally.took(trio.current_time() - received_s)


class _Meter:
    """What is said, what was counted, and whether it may be said now."""

    def __init__(self, feed: Feed, settings: MeterSettings, tally: MeterTally) -> None:
        self.tally = tally
        self._feed = feed
        self._name = settings.name
        self._unit_id = settings.unit_id
        self._image = ServedImage(settings.profile, settings.phases, settings.identity)
        self._unknown = settings.unknown or settings.profile.facts.served.unknown
        self._replies: dict[bytes, Reply] = {}
        self._read_s = math.nan
        self._valid_until_s = -math.inf
        self._is_live = False
        self._problem = ""
        self._age_s = math.nan
        self._answered_s = -math.inf
        """When the last answer was given."""

    async def take_images(self) -> None:
        """Encode every image as it comes."""
        with self._feed.subscribe(
            f"fakemeter/{self._name}", MeterImage, key=_fakemeter_of, wanted=self._is_mine
        ) as subscription:
            while True:
                for message in await subscription.receive_batch():
                    if isinstance(message, MeterImage):
                        self._take_image(message)

    async def count(self) -> None:
        """Publish the counters once a second, and notice silence also when nobody asks."""
        due_s = trio.current_time()
        before, told_s = self.tally.queries, -math.inf
        while True:
            due_s += COUNT_EVERY_S
            await trio.sleep_until(due_s)
            now_s = trio.current_time()
            self._check_live(now_s)
            rate = (self.tally.queries - before) / (now_s - due_s + COUNT_EVERY_S)
            before, due_s = self.tally.queries, now_s
            counted = self._counted(rate, now_s)
            if self._answered_s > told_s:
                told_s = self._answered_s
                self._feed.publish(
                    Readings(self._name, whole_ms(told_s), ANSWERS, (counted.answered,))
                )
            self._feed.publish(counted)

    async def list_questions(self) -> None:
        """Publish what was asked, now and then."""
        while True:
            await trio.sleep(LIST_EVERY_S)
            tally = self.tally
            self._feed.publish(
                FakeMeterAsked(
                    self._name,
                    trio.current_time(),
                    tally.questions(),
                    tally.other_questions,
                )
            )

    def _counted(self, rate: float, now_s: float) -> FakeMeterCounted:
        tally, counts = self.tally, self.tally.counts
        p50_ms, p99_ms, max_ms = tally.latencies_ms()
        return FakeMeterCounted(
            self._name,
            now_s,
            rate,
            answered=counts[Answer.ANSWERED] + counts[Answer.UNKNOWN_ZEROS],
            silent_stale=counts[Answer.STALE],
            refused=counts[Answer.REFUSED] + counts[Answer.UNKNOWN_REFUSED],
            foreign=tally.foreign,
            age_s=self._age_s,
            unknown=sum(counts[answer] for answer in UNKNOWN),
            silent_late=counts[Answer.LATE] + tally.held_up,
            latency_p50_ms=p50_ms,
            latency_p99_ms=p99_ms,
            latency_max_ms=max_ms,
        )

    def note_held_up(self) -> None:
        """What had come was thrown away: nobody knows how long it had waited."""
        self.tally.held_up += 1

    def take_requests(self, requests: list[ServerRequest]) -> ServerRequest | None:
        """Count requests that came together; returns the last one, if it is for us.

        A client has one request on the way. When several came at once we were away, and only the
        last one can still have somebody waiting for its reply.
        """
        mine = sum(request.unit_id == self._unit_id for request in requests)
        self.tally.queries += mine
        self.tally.foreign += len(requests) - mine
        return requests[-1] if requests[-1].unit_id == self._unit_id else None

    def reply_to(self, request: ServerRequest, now_s: float, *, is_late: bool) -> bytes | None:
        """What to send at this very moment; None means silence, whatever was asked."""
        self._age_s = now_s - self._read_s
        if now_s > self._valid_until_s:
            self._note_answer(request, Answer.STALE, now_s)
            self._check_live(now_s)
            return None
        if is_late:
            self._note_answer(request, Answer.LATE, now_s)
            return None
        reply = self._replies.get(request.adu)
        if reply is None:
            if len(self._replies) >= REPLIES_MAX:
                self._replies.clear()
            reply = self._replies[request.adu] = self._make_reply(request)
        if reply.answer is Answer.ANSWERED:
            self._answered_s = now_s
        self._note_answer(request, reply.answer, now_s)
        return reply.adu

    def _note_answer(self, request: ServerRequest, answer: Answer, now_s: float) -> None:
        """Count it; what is asked for the first time is told, since it tells of the inverter."""
        adu, function = request.adu, request.function
        if self.tally.note(adu, function, request.address, request.count, answer, now_s):
            text = f"function {function}, address {request.address}, {request.count}: {answer}"
            self._feed.publish(Noted(f"fakemeter/{self._name}", f"is asked {text}", now_s))

    def _is_mine(self, message: Message) -> bool:
        return isinstance(message, MeterImage) and message.fakemeter == self._name

    def _take_image(self, image: MeterImage) -> None:
        """Encode it; one that does not fit the profile leaves us silent at once."""
        self._replies.clear()
        try:
            self._image.take(image.names, image.values)
        except EncodeError as error:
            # The image before it is no longer true either.
            self._valid_until_s = -math.inf
            self._note(f"image refused: {error}")
            self._check_live(trio.current_time())
            return
        self._problem = ""
        self._read_s = image.read_s
        self._valid_until_s = image.valid_until_s
        self._check_live(trio.current_time())

    def _check_live(self, now_s: float) -> None:
        """Publish going live and going silent, once per change."""
        is_live = now_s <= self._valid_until_s
        if is_live == self._is_live:
            return
        self._is_live = is_live
        if is_live:
            cause = "fresh image"
        else:
            cause = (
                self._problem or f"no fresh image, the last is of {now_s - self._read_s:.1f} s ago"
            )
        self._feed.publish(FakeMeterChanged(self._name, is_live, cause, now_s))

    def _note(self, problem: str) -> None:
        """Publish the first of a row of problems."""
        if not self._problem:
            self._feed.publish(Noted(f"fakemeter/{self._name}", problem, trio.current_time()))
        self._problem = problem

    def _make_reply(self, request: ServerRequest) -> Reply:
        """Encode the reply from the image."""
        if request.fault:
            return Reply(exception_reply(request, request.fault), Answer.REFUSED)
        if not request.is_read:
            return Reply(exception_reply(request, ILLEGAL_FUNCTION), Answer.REFUSED)
        block = self._image.registers.read(request.table, request.address, request.count)
        if block is not None:
            return Reply(read_reply(request, block), Answer.ANSWERED)
        match self._unknown:
            case "zeros":
                zeros = bytes(request.count * (1 if request.table.is_bits else 2))
                return Reply(read_reply(request, zeros), Answer.UNKNOWN_ZEROS)
            case "silent":
                return Reply(b"", Answer.UNKNOWN_IGNORED)
            case "exception":
                refusal = exception_reply(request, ILLEGAL_DATA_ADDRESS)
                return Reply(refusal, Answer.UNKNOWN_REFUSED)


def _fakemeter_of(message: Message) -> str:
    """What images are conflated by."""
    assert isinstance(message, MeterImage), "the subscription has no other kind"
    return message.fakemeter
