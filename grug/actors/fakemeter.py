"""Fake meter actor: answers an inverter on its meter port, in the meter's place.

In:    MeterImage with its name; the inverter's requests on the line
Out:   replies on the line; FakeMeterChanged, FakeMeterCounted, LineChanged, Noted, and Readings of
       when it answered
Owns:  the line; nobody else touches it
Stops: when cancelled

It never says what it does not know: without an image, or when the image has expired, it is silent,
so that the inverter's own logic for a lost meter acts. Whatever else fails or hangs, images cease
to come, and silence follows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import trio

from grug.codec.image import RegisterImage
from grug.codec.registers import RegisterMap
from grug.errors import EncodeError, LineError
from grug.messages import (
    ANSWERS,
    FakeMeterChanged,
    FakeMeterCounted,
    LineChanged,
    Message,
    MeterImage,
    Noted,
    Readings,
)
from grug.protocol.rtu import interframe_delay_s
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
REOPEN_DELAY_S = 0.5
REOPEN_DELAY_S_MAX = 30.0
CLOSE_S_MAX = 1.0
"""An adapter that is gone may not let go; closing it must not hold the actor."""

REPLY_LATE_S_MAX = 0.2
"""Later than this a reply would fall into the client's next exchange: we were held up, and say
nothing. A Solis gives up after about 0.3 s (the seed's notes)."""

REPLIES_MAX = 64
"""Different requests that are remembered per image: inverters ask one to a handful."""


class Reply(NamedTuple):
    """One encoded reply."""

    adu: bytes
    refuses: bool


async def run(
    feed: Feed,
    *,
    name: str,
    unit_id: int,
    profile: RegisterMap,
    open_line: LineOpener,
    baudrate: int,
    line_name: str,
) -> None:
    """Answer for one meter, for ever.

    Args:
        feed: where images come from and facts go to.
        name: of this fake meter.
        unit_id: the one it answers to, 1..247; frames for others are only counted.
        profile: the map of the meter that it pretends to be.
        open_line: opens the meter port's line.
        baudrate: of the line, for the turnaround.
        line_name: of the line, as the facts name it.
    """
    meter = _Meter(feed, name, unit_id, profile)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(meter.take_images)
        nursery.start_soon(meter.count)
        await _keep_line(feed, meter, open_line, baudrate, line_name)


async def _keep_line(
    feed: Feed, meter: _Meter, open_line: LineOpener, baudrate: int, line_name: str
) -> None:
    """Open the line, serve it until it is lost, open it again."""
    is_up: bool | None = None
    delay_s = REOPEN_DELAY_S
    while True:
        queries, opened_s = meter.queries, math.inf
        try:
            line = await open_line()
            opened_s = trio.current_time()
            feed.publish(LineChanged(line_name, True, "opened", opened_s))
            is_up = True
            try:
                await _serve(meter, line, baudrate)
            finally:
                with trio.move_on_after(CLOSE_S_MAX, shield=True):
                    await line.aclose()
        except LineError as error:
            if is_up is not False:
                feed.publish(LineChanged(line_name, False, str(error), trio.current_time()))
            is_up = False
        # A line that carried a query or lasted has proved itself; one that opens and breaks at once
        # is not tried any faster than one that does not open.
        if meter.queries > queries or trio.current_time() - opened_s > REOPEN_DELAY_S_MAX:
            delay_s = REOPEN_DELAY_S
        await trio.sleep(delay_s)
        delay_s = min(2 * delay_s, REOPEN_DELAY_S_MAX)


async def _serve(meter: _Meter, line: Line, baudrate: int) -> None:
    """Answer requests until the line is lost."""
    framer = RequestFramer(baudrate)
    turnaround_s = interframe_delay_s(baudrate)
    while True:
        data = await line.receive_some()
        received_s = trio.current_time()
        requests = framer.receive(data, received_s)
        if not requests:
            continue
        request = meter.take_requests(requests)
        if request is None:
            continue
        # A master that has just stopped sending needs the silence that ends its frame.
        await trio.sleep_until(received_s + turnaround_s)
        now_s = trio.current_time()
        if now_s - received_s > REPLY_LATE_S_MAX:
            continue
        reply = meter.reply_to(request, now_s)
        if reply is not None:
            await line.send_all(reply)


class _Meter:
    """What is said, what was counted, and whether it may be said now."""

    def __init__(self, feed: Feed, name: str, unit_id: int, profile: RegisterMap) -> None:
        self.queries = 0
        self._feed = feed
        self._name = name
        self._unit_id = unit_id
        self._image = RegisterImage(profile)
        self._replies: dict[bytes, Reply] = {}
        self._read_s = math.nan
        self._valid_until_s = -math.inf
        self._is_live = False
        self._problem = ""
        self._answered = self._silent_stale = self._refused = self._foreign = 0
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
        before, told_s = 0, -math.inf
        while True:
            due_s += COUNT_EVERY_S
            await trio.sleep_until(due_s)
            now_s = trio.current_time()
            self._check_live(now_s)
            rate = (self.queries - before) / (now_s - due_s + COUNT_EVERY_S)
            before, due_s = self.queries, now_s
            if self._answered_s > told_s:
                told_s = self._answered_s
                answers = Readings(self._name, whole_ms(told_s), ANSWERS, (self._answered,))
                self._feed.publish(answers)
            self._feed.publish(
                FakeMeterCounted(
                    self._name,
                    now_s,
                    rate,
                    self._answered,
                    self._silent_stale,
                    self._refused,
                    self._foreign,
                    self._age_s,
                )
            )

    def take_requests(self, requests: list[ServerRequest]) -> ServerRequest | None:
        """Count requests that came together; returns the last one, if it is for us.

        A client has one request on the way. When several came at once we were away, and only the
        last one can still have somebody waiting for its reply.
        """
        mine = sum(request.unit_id == self._unit_id for request in requests)
        self.queries += mine
        self._foreign += len(requests) - mine
        return requests[-1] if requests[-1].unit_id == self._unit_id else None

    def reply_to(self, request: ServerRequest, now_s: float) -> bytes | None:
        """What to send at this very moment; None means silence, whatever was asked."""
        self._age_s = now_s - self._read_s
        if now_s > self._valid_until_s:
            self._silent_stale += 1
            self._check_live(now_s)
            return None
        reply = self._replies.get(request.adu)
        if reply is None:
            if len(self._replies) >= REPLIES_MAX:
                self._replies.clear()
            reply = self._replies[request.adu] = self._make_reply(request)
        if reply.refuses:
            self._refused += 1
        else:
            self._answered += 1
            self._answered_s = now_s
        return reply.adu

    def _is_mine(self, message: Message) -> bool:
        return isinstance(message, MeterImage) and message.fakemeter == self._name

    def _take_image(self, image: MeterImage) -> None:
        """Encode it; one that does not fit the profile leaves us silent at once."""
        self._replies.clear()
        try:
            self._image.set_many(image.names, image.values)
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
            return Reply(exception_reply(request, request.fault), True)
        if not request.is_read:
            return Reply(exception_reply(request, ILLEGAL_FUNCTION), True)
        block = self._image.read(request.table, request.address, request.count)
        if block is None:
            return Reply(exception_reply(request, ILLEGAL_DATA_ADDRESS), True)
        return Reply(read_reply(request, block), False)


def _fakemeter_of(message: Message) -> str:
    """What images are conflated by."""
    assert isinstance(message, MeterImage), "the subscription has no other kind"
    return message.fakemeter
