"""Recorded units in the place of lines, bus owners and pollers: they say what they said.

In:    blocks of a session; calls with ReadRegisters and WriteRegisters, per line
Out:   on the feed whatever was published to controllers, in its order and at its times; replies
Owns:  how far the session has been played
Stops: at the end of the run that is played
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Set
from typing import NamedTuple

import trio
import trio.testing

from grug.app.control import House
from grug.app.parts import Maps
from grug.codec.image import RegisterImage
from grug.control.memory import decode_known
from grug.errors import EncodeError
from grug.messages import (
    DispatchChanged,
    GateAnswered,
    Message,
    ReadFailed,
    Readings,
    ReadRegisters,
    Recall,
    RegistersRead,
    Remembered,
    RunStarted,
    RunStopping,
    WriteDone,
    WriteFailed,
    WriteRegisters,
)
from grug.model import FailureKind, Quality
from grug.replay.judge import LOOSE_S_MAX, OFFSET, WRITE_LATE_S_MAX, Judge
from grug.replay.session import Noticed, SessionBlock
from grug.replay.tape import Tape
from grug.runtime.calls import BusCaller, BusCalls, BusReply, BusRequest, open_calls
from grug.sim.seeded import sleep_until
from grug.storage.series import event_of

_WRITES = ("write", "write_failed")


class Ledger:
    """The writes that were recorded, and those that the replay asks for."""

    def __init__(self, judge: Judge, wrote: Callable[[str], None]) -> None:
        """Begin; ``wrote`` is told the line and unit of every write that the replay asks for."""
        self._judge = judge
        self._wrote = wrote
        self._recorded: deque[Noticed] = deque()
        self.taped: Set[str] = frozenset()
        """Whose writes the tape has, so that they never come here."""

    def expect(self, block: SessionBlock) -> None:
        """Take what was recorded."""
        self._recorded.extend(
            each
            for each in block.noticed
            if each.kind in _WRITES and not any(f" by {who}:" in each.text for who in self.taped)
        )

    def match(self, line: str, request: WriteRegisters, now_s: float) -> Noticed | None:
        """What became of a write; None when it was never recorded."""
        self._wrote(f"{line}/{request.unit_id}")
        text = _text_of(line, request)
        late_s = LOOSE_S_MAX if self._judge.is_loose else WRITE_LATE_S_MAX
        for noticed in self._recorded:
            if noticed.at_s > now_s + late_s:
                break
            is_same = noticed.text == text or noticed.text.startswith(text + ": ")
            if noticed.source == f"line/{line}" and is_same:
                self._recorded.remove(noticed)
                self._judge.wrote(now_s, text, is_equal=True)
                return noticed
        self._judge.wrote(now_s, text, is_equal=False)
        return None

    def end(self, at_s: float, who: frozenset[str]) -> None:
        """What these were recorded to write until then and the replay did not is different."""
        late_s = LOOSE_S_MAX if self._judge.is_loose else WRITE_LATE_S_MAX
        while self._recorded and self._recorded[0].at_s < at_s - late_s:
            noticed = self._recorded.popleft()
            if any(f" by {each}:" in noticed.text for each in who):
                text = "not written"
                self._judge.wrote(noticed.at_s, noticed.text, is_equal=False, problem=text)


def _text_of(line: str, request: WriteRegisters) -> str:
    event = event_of(WriteDone(line, request, 0.0))
    assert event is not None, "a write is an event"
    return event.text


class _Unit(NamedTuple):
    """One unit as it was read last."""

    image: RegisterImage
    latest: dict[tuple[str, ...], Readings]
    """By names: not encoded until somebody reads."""


class Buses:
    """What answers the controllers' calls, line by line."""

    def __init__(self, house: House, maps: Maps, ledger: Ledger) -> None:
        """Prepare; nobody is answered before ``run``."""
        config = house.config
        self.callers: dict[str, BusCaller] = {}
        """By line."""
        self._calls: dict[str, BusCalls] = {}
        self._feed = house.feed
        self._ledger = ledger
        for name in config.line:
            self.callers[name], self._calls[name] = open_calls()
        self._units: dict[str, _Unit] = {}
        self._by_address: dict[tuple[str, int], _Unit] = {}
        for name, device in config.device.items():
            unit = _Unit(RegisterImage(maps[device.map]), {})
            self._units[name] = self._by_address[device.line, device.unit] = unit

    def take(self, readings: Readings) -> None:
        """A unit was read: these are its registers now."""
        unit = self._units.get(readings.device)
        if unit is not None:
            unit.latest[readings.names] = readings

    async def run(self) -> None:
        """Answer until cancelled."""
        async with trio.open_nursery() as nursery:
            for line, calls in self._calls.items():
                nursery.start_soon(self._serve, line, calls)

    async def _serve(self, line: str, calls: BusCalls) -> None:
        async for call in calls:
            if call.is_abandoned:
                continue
            reply = await self._answer(line, call.request)
            call.reply(reply)
            if isinstance(reply, WriteDone | WriteFailed):
                self._feed.publish(reply)

    async def _answer(self, line: str, request: BusRequest) -> BusReply:
        now_s = trio.current_time()
        unit = self._by_address.get((line, request.unit_id))
        if isinstance(request, ReadRegisters):
            return _read(unit, request, now_s)
        noticed = self._ledger.match(line, request, now_s)
        if unit is not None:
            unit.image.write(request.table, request.address, request.block)
        if noticed is None:
            return WriteDone(line, request, now_s)
        if noticed.at_s < now_s + WRITE_LATE_S_MAX:
            await trio.sleep_until(noticed.at_s)
        done_s = trio.current_time()
        if noticed.kind == "write":
            return WriteDone(line, request, done_s)
        rest = noticed.text.removeprefix(_text_of(line, request)).removeprefix(": ")
        kind, _, text = rest.partition(": ")
        return WriteFailed(line, request, FailureKind(kind), text, done_s)


def _read(unit: _Unit | None, request: ReadRegisters, now_s: float) -> BusReply:
    """What a unit would have answered, as far as it was read."""
    if unit is None:
        return ReadFailed(FailureKind.NO_REPLY, "no such unit in the recording", now_s)
    for readings in unit.latest.values():
        qualities = readings.qualities or (Quality.GOOD,) * len(readings.names)
        for name, value, quality in zip(readings.names, readings.values, qualities, strict=True):
            if quality is Quality.GOOD:
                try:
                    unit.image.set(name, value)
                except EncodeError:
                    continue
    unit.latest.clear()
    blocks = []
    for span in request.spans:
        block = unit.image.read(span.table, span.address, span.count)
        if block is None:
            return ReadFailed(FailureKind.REFUSED, "not in the unit's map", now_s, 2)
        blocks.append(block)
    return RegistersRead(tuple(blocks), now_s)


class Player:
    """Plays the blocks of one run."""

    def __init__(
        self,
        house: House,
        buses: Buses,
        judge: Judge,
        ledger: Ledger,
        tape: Tape,
        look: Callable[[], None],
        until_s: float = math.inf,
        *,
        is_same: bool = True,
        is_whole: bool = True,
    ) -> None:
        """Prepare.

        Args:
            house: what the controllers listen to.
            buses: told what was read.
            judge: told what was recorded.
            ledger: likewise, of the writes.
            tape: likewise, of what the gate answered.
            look: called whenever something may have been decided.
            until_s: nothing later is played.
            is_same: whether it is the recorded configuration: then controllers hear what registers
                were recorded to carry, at exactly that place, and not what the replay says.
            is_whole: whether the run is played from its beginning.
        """
        self._tape = tape
        self._is_same = is_same
        self._lacks_memory = not is_whole
        """Whether something was missed: controllers are told next what they knew."""
        self._recalled: set[str] = set()
        """Who has been told since."""
        self._published: DispatchChanged | None = None
        """What is being played just now."""
        self._carried: set[str] = set()
        """Inverters of which the recording says what their registers carry."""
        self._house = house
        self._buses = buses
        self._judge = judge
        self._ledger = ledger
        self._look = look
        self._until_s = until_s
        self._who: set[str] = set()
        self.played_s = -math.inf
        """The time of the last message."""

    async def run(self, blocks: Iterator[SessionBlock]) -> None:
        """Play all blocks, each judged with the next one in view."""
        now = next(blocks)
        self._expect(now)
        await trio.testing.wait_all_tasks_blocked()  # Controllers have subscribed.
        for following in blocks:
            self._expect(following)
            await self._play(now)
            now = following
        await self._play(now)
        await trio.testing.wait_all_tasks_blocked()
        self._look()
        self._judge.end(self.played_s)
        self._ledger.end(self.played_s, frozenset(self._who))

    def allows(self, message: Message) -> bool:
        """Whether controllers may hear a message; not what the replay itself says of registers."""
        if not isinstance(message, DispatchChanged) or message is self._published:
            return True
        return not self._is_same or message.inverter not in self._carried

    def _expect(self, block: SessionBlock) -> None:
        for _, _, message in block.heard:
            if isinstance(message, GateAnswered) and self._is_same:
                self._tape.expect(message)
            elif isinstance(message, DispatchChanged):
                self._carried.add(message.inverter)
            elif isinstance(message, Remembered):
                self._tape.remembered(message)
        self._ledger.taped = self._tape.who
        self._judge.expect(block)
        self._ledger.expect(block)
        for noticed in block.noticed:
            if noticed.kind == "reason":
                self._who.add(noticed.source)

    async def _play(self, block: SessionBlock) -> None:
        """Publish one block's messages, each at its time."""
        publish, take, heard = self._house.feed.publish, self._buses.take, self._judge.heard
        now_s = trio.current_time()
        for gap in block.gaps:
            self._judge.pass_over(gap)
            if self._is_same:  # With another configuration they have their own.
                self._lacks_memory = True
                self._recalled.clear()
        for at_s, floor_s, message in block.heard:
            if at_s > self._until_s:
                break
            if floor_s > now_s:
                await sleep_until(floor_s)
                now_s = floor_s
                self._look()
            if floor_s > at_s:
                # A decision of that moment was first: what was due by then must happen before this.
                await trio.testing.wait_all_tasks_blocked()
            if isinstance(message, Readings):
                take(message)
            if isinstance(message, Remembered):
                await self._recall(message)
            elif self._is_for_controllers(message):
                heard(message)
                publish(message)
            self.played_s = max(self.played_s, at_s)
        self._ledger.end(self.played_s, frozenset(self._who))
        self._tape.end(self.played_s)

    async def _recall(self, remembered: Remembered) -> None:
        """Where something was missed, what was known is a matter of record from here on."""
        who = remembered.who
        if not self._lacks_memory or who in self._recalled:
            return
        if who != OFFSET and (not self._is_same or OFFSET not in self._recalled):
            return  # What the others do follows from the offset, and from what was answered.
        if decode_known(remembered.memory) is None:
            return
        self._recalled.add(who)
        self._house.feed.publish(Recall(who, remembered.memory))
        self._look()
        self._judge.recalled(who, remembered.remembered_s)
        if who != OFFSET:
            self._tape.recall(remembered)
            await trio.testing.wait_all_tasks_blocked()  # It has begun anew.

    def _is_for_controllers(self, message: Message) -> bool:
        """Act on what is about the run itself."""
        if isinstance(message, RunStopping):
            self._judge.stopping(message.stopping_s)
            self._house.stop_asked.set()
        if isinstance(message, DispatchChanged):
            self._published = message
            return self._is_same
        return not isinstance(message, RunStarted | RunStopping | GateAnswered)
