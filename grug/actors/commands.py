"""Commands actor: takes wishes from other processes on a Unix socket, and answers each.

In:    one JSON object per line, as ``grug.control.commands`` and ``grug.control.desk`` have it;
       Decided, SetOffset and Readings; FakeMeterAsked, FakeMeterCounted and BeliefEstimated
Out:   SetOffset, SetRegisters and GetRegisters; one JSON object per line, ``{"accepted": {...}}``,
       ``{"refused": "why"}``, ``{"offset_w": ..., "reason": ..., "wishes": [...]}``,
       ``{"records": [...]}``, ``{"values": {...}}``, ``{"fakemeters": [...]}``,
       ``{"beliefs": [...]}`` or ``{"powers": {...}}``
Owns:  the socket; only its own user may connect
Stops: when cancelled
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import trio

from grug.control.commands import HOUSE, Refused, parse_offset
from grug.control.desk import answer_of, parse_read, parse_write
from grug.control.offset import CONTROLLER, OffsetSettings
from grug.control.powers import HeldWish, Powers, PowersBook
from grug.control.wishes import bounds_w, take_wish, without_expired
from grug.messages import (
    BeliefEstimated,
    Decided,
    FakeMeterAsked,
    FakeMeterCounted,
    Message,
    Readings,
    SetOffset,
)
from grug.model import Aim
from grug.runtime.calls import ValueCaller, WriteCaller
from grug.runtime.feed import Feed, Subscription
from grug.transport.desk import keep_desk

SOCKET = "command.sock"
"""In the house's state directory."""
REQUEST_BYTES_MAX = 10_000
"""No wish is longer."""
COMMANDS = "offset, show, powers, write, read, fakemeters and beliefs"


async def run(
    feed: Feed,
    *,
    socket_path: Path,
    settings: OffsetSettings | None,
    writes: WriteCaller | None = None,
    values: ValueCaller | None = None,
) -> None:
    """Serve until cancelled.

    Args:
        feed: where wishes go.
        socket_path: where askers connect.
        settings: of the offset; None in a house that steers nothing.
        writes: the gate; None in a house without one.
        values: likewise.
    """
    book = None if settings is None else PowersBook(settings)
    wanted = _nothing if book is None else book.is_wanted
    with (
        feed.subscribe("commands", Readings, key=_group_of, wanted=wanted) as readings,
        feed.subscribe("commands", SetOffset) as wishes,
        feed.subscribe("commands", Decided, key=_controller_of, wanted=_is_offset) as decisions,
        feed.subscribe("commands", *_STATES, key=_state_of) as states,
    ):
        watch = None if book is None else _Watch(book, readings, decisions)
        clerk = _Clerk(feed, settings, wishes, watch, states, writes, values)
        await keep_desk(socket_path, clerk.answer, request_bytes_max=REQUEST_BYTES_MAX)


class _Watch:
    """What is known of the house now; it is looked at only when somebody asks."""

    def __init__(self, book: PowersBook, readings: Subscription, decisions: Subscription) -> None:
        self._book = book
        self._sources = (readings, decisions)

    def now(self, now_s: float, wishes: Sequence[HeldWish]) -> Powers:
        """Take what came meanwhile, and say how things are."""
        for source in self._sources:
            for message in source.drain():
                self._book.take(message)
        return self._book.now(now_s, wishes)


class _Clerk:
    """Everything that is known about the wishes, from whatever path they came."""

    def __init__(
        self,
        feed: Feed,
        settings: OffsetSettings | None,
        wishes: Subscription,
        watch: _Watch | None,
        states: Subscription,
        writes: WriteCaller | None,
        values: ValueCaller | None,
    ) -> None:
        self._states = states
        self._latest: dict[tuple[str, str], dict[str, Any]] = {}
        self._writes = writes
        self._values = values
        self._feed = feed
        self._settings = settings
        self._wishes = wishes
        self._watch = watch
        self._held: tuple[SetOffset, ...] = ()

    async def answer(self, line: bytes) -> bytes:
        """Answer one request."""
        return json.dumps(await self._answer(line)).encode()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = msgspec.json.decode(line)  # Takes no text that cannot be passed on.
        except (ValueError, RecursionError):
            return {"refused": "not one JSON object on one line"}
        match request:
            case {"command": "show", **others} if not others and self._watch is not None:
                return self._show(self._watch)
            case {"command": "powers", **others} if not others and self._watch is not None:
                return self._powers(self._watch)
            case {"command": "offset"} if self._settings is not None:
                return self._offset(request, self._settings)
            case {"command": "write"} if self._writes is not None:
                return await self._write(request, self._writes)
            case {"command": "read"} if self._values is not None:
                return await self._read(request, self._values)
            case {"command": "fakemeters", **others} if not others:
                return self._fakemeters()
            case {"command": "beliefs", **others} if not others:
                return {"beliefs": self._states_of(BeliefEstimated)}
        return {"refused": "the commands are " + COMMANDS}

    async def _write(self, request: dict[str, Any], writes: WriteCaller) -> dict[str, Any]:
        wish = parse_write(request, trio.current_time())
        if isinstance(wish, Refused):
            return {"refused": wish.reason}
        return answer_of(await writes.ask(wish))

    async def _read(self, request: dict[str, Any], values: ValueCaller) -> dict[str, Any]:
        wish = parse_read(request, trio.current_time())
        if isinstance(wish, Refused):
            return {"refused": wish.reason}
        reply = await values.ask(wish)
        if reply.reason:
            return {"refused": reply.reason}
        return {"values": dict(zip(wish.names, reply.values, strict=True))}

    def _offset(self, request: dict[str, Any], settings: OffsetSettings) -> dict[str, Any]:
        now_s = trio.current_time()
        names = tuple(inverter.name for inverter in settings.inverters)
        wish = parse_offset(request, names, now_s)
        if isinstance(wish, Refused):
            return {"refused": wish.reason}
        accepted = _plain(wish, now_s)
        lowest_w, highest_w = bounds_w(settings.limits, self._now_held())
        if wish.aim is Aim.OFFSET and not lowest_w <= wish.power_w <= highest_w:
            accepted["limited_to_w"] = min(max(wish.power_w, lowest_w), highest_w)
        if request.get("dry_run"):
            return {"would_accept": accepted}
        self._feed.publish(wish)
        return {"accepted": accepted}

    def _show(self, watch: _Watch) -> dict[str, Any]:
        now_s = trio.current_time()
        wishes = [_plain(wish, now_s) for wish in self._now_held()]
        powers = watch.now(now_s, ())
        return {"offset_w": powers.offset_w, "reason": powers.reason, "wishes": wishes}

    def _powers(self, watch: _Watch) -> dict[str, Any]:
        """What the house knows at this moment, for programs that act on it."""
        wishes = [
            HeldWish(wish.who, wish.target, wish.power_w, wish.why) for wish in self._now_held()
        ]
        powers = watch.now(trio.current_time(), wishes)
        return {"powers": msgspec.to_builtins(powers)}

    def _fakemeters(self) -> dict[str, Any]:
        """What each fake meter was asked, with its counters."""
        now_s = trio.current_time()
        asked = {each["fakemeter"]: each for each in self._states_of(FakeMeterAsked)}
        meters = []
        for counted in self._states_of(FakeMeterCounted):
            questions = asked.get(counted["fakemeter"], {}).get("questions", [])
            for question in questions:
                question["ago_s"] = round(now_s - question["last_s"], 1)
            meters.append({"questions": questions} | counted)
        return {"fakemeters": meters}

    def _states_of(self, kind: type[Message]) -> list[dict[str, Any]]:
        """The latest of these messages, by name."""
        for message in self._states.drain():
            # What is not known is null: JSON has no NaN.
            plain = json.loads(msgspec.json.encode(msgspec.structs.asdict(message)))
            self._latest[_state_of(message)] = plain
        name = kind.__name__
        return [each for (of, _), each in sorted(self._latest.items()) if of == name]

    def _now_held(self) -> tuple[SetOffset, ...]:
        """The wishes that hold now, the newest last."""
        for message in self._wishes.drain():
            if isinstance(message, SetOffset):
                self._held = take_wish(self._held, message)
        self._held = without_expired(self._held, trio.current_time())
        return self._held


def _plain(wish: SetOffset, now_s: float) -> dict[str, Any]:
    return {
        "target": wish.target or HOUSE,
        "aim": wish.aim,
        "power_w": wish.power_w,
        "per_soc_w": wish.per_soc_w,
        "for_s": round(wish.expires_s - now_s, 1),
        "who": wish.who,
        "why": wish.why,
    }


_STATES = (FakeMeterAsked, FakeMeterCounted, BeliefEstimated)


def _state_of(message: Message) -> tuple[str, str]:
    """What states are conflated by: their kind and whose they are."""
    assert isinstance(message, _STATES), "the subscription has no other kinds"
    whose = message.inverter if isinstance(message, BeliefEstimated) else message.fakemeter
    return type(message).__name__, whose


def _group_of(message: Message) -> tuple[str, tuple[str, ...]]:
    """Readings are conflated by poll group."""
    assert isinstance(message, Readings), "the subscription has no other kind"
    return message.device, message.names


def _nothing(message: Message) -> bool:
    """A house that steers nothing has no powers to tell."""
    return False


def _controller_of(message: Message) -> str:
    assert isinstance(message, Decided), "the subscription has no other kind"
    return message.controller


def _is_offset(message: Message) -> bool:
    return isinstance(message, Decided) and message.controller == CONTROLLER
