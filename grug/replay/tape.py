"""What the gate answered controllers, in its place: the same questions, the same answers.

In:    GateAnswered of the session, a block ahead; requests of controllers that were recorded
Out:   replies at the times at which they were given
Owns:  the answers that wait for their question
Never: answers what was not asked by a controller whose answers are recorded: that goes to the gate
"""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

import trio

from grug.messages import (
    GateAnswered,
    GetRegisters,
    RegistersGot,
    RegistersSet,
    Remembered,
    SetRegisters,
    WriteRecorded,
)
from grug.model import WriteState
from grug.replay.judge import LOOSE_S_MAX, Judge
from grug.runtime.calls import Caller, ValueCaller, WriteCaller

EARLY_S_MAX = 1.0
"""A controller may ask this much later than it did: its answer was given before that."""
ANSWER_S_MAX = 60.0
"""Longer than any answer takes."""
_Key: TypeAlias = tuple[str, bool, tuple[str, ...]]


class Tape:
    """The recorded answers."""

    def __init__(self, judge: Judge) -> None:
        """Begin with none."""
        self.who: set[str] = set()
        """Whose answers are recorded."""
        self._judge = judge
        self._waiting: dict[_Key, deque[GateAnswered]] = {}
        self._before: dict[tuple[str, float], list[GateAnswered]] = {}
        """By who told at what time what it knew: what had been answered then and still waits."""
        self._recalled: set[str] = set()
        """Who knows what it knew, and so asks when it did."""

    def expect(self, answered: GateAnswered) -> None:
        """Take what was recorded."""
        self.who.add(answered.who)
        key = (answered.who, answered.is_write, answered.names)
        self._waiting.setdefault(key, deque()).append(answered)

    def remembered(self, remembered: Remembered) -> None:
        """Note which answers a controller had when it told what it knew."""
        who = remembered.who
        had = [each for key, waiting in self._waiting.items() if key[0] == who for each in waiting]
        self._before[who, remembered.remembered_s] = had

    def recall(self, remembered: Remembered) -> None:
        """A controller goes on from what it told then: it does not ask again what it knew."""
        self._recalled.add(remembered.who)
        had = self._before.get((remembered.who, remembered.remembered_s), [])
        for key, waiting in self._waiting.items():
            if key[0] == remembered.who:
                left = [each for each in waiting if all(each is not other for other in had)]
                self._waiting[key] = deque(left)

    def end(self, at_s: float) -> None:
        """What was written until then and nobody asked for is different."""
        self._before = {each: had for each, had in self._before.items() if each[1] >= at_s}
        for (who, _, _), waiting in self._waiting.items():
            late_s = self._late_s(who)
            while waiting and waiting[0].answered_s < at_s - late_s:
                answered = waiting.popleft()
                if answered.is_write:
                    text, problem = _text_of(answered), "not written"
                    then_s = answered.answered_s
                    self._judge.wrote(then_s, text, is_equal=False, problem=problem, who=who)

    async def got(self, request: GetRegisters) -> RegistersGot | None:
        """The answer to a question; None when none was recorded."""
        key = (request.who, False, request.names)
        found = self._next(key)
        if found is None:
            return None
        await self._wait_for(key, found)
        return RegistersGot(found.values, found.reason)

    async def set(self, request: SetRegisters) -> RegistersSet | None:
        """The answer to a write; None when none was recorded."""
        names, values = zip(*request.values, strict=True)
        now_s = trio.current_time()
        key = (request.who, True, names)
        found = self._next(key)
        is_equal = found is not None and (found.values, found.why) == (values, request.why)
        if not is_equal:
            ours = GateAnswered(
                request.who, request.device, names, values, "", now_s, True, request.why
            )
            text = "nothing" if found is None else _text_of(found)
            problem = _text_of(ours)
            self._judge.wrote(now_s, text, is_equal=False, problem=problem, who=request.who)
        if found is None:
            return None
        await self._wait_for(key, found)
        if is_equal:
            self._judge.wrote(found.answered_s, "", is_equal=True)
        records = tuple(
            WriteRecorded(
                request.device, name, request.who, request.why, value, None, None,
                WriteState.PENDING, found.reason, found.answered_s, is_sent=found.is_sent,
            )
            for name, value in request.values
        ) if found.has_records else ()  # fmt: skip
        # Without a word on any register only a gate that failed may have sent something.
        is_known = found.has_records or not found.is_sent
        return RegistersSet(records, found.reason, is_known)

    def _next(self, key: _Key) -> GateAnswered | None:
        now_s = trio.current_time()
        waiting = self._waiting.get(key)
        early_s = self._late_s(key[0])
        while waiting:
            if waiting[0].answered_s > now_s + ANSWER_S_MAX:
                return None
            found = waiting.popleft()
            if found.answered_s >= now_s - early_s:
                return found
        return None

    async def _wait_for(self, key: _Key, found: GateAnswered) -> None:
        """Wait until it was answered; who begins anew meanwhile will ask for it again."""
        try:
            await trio.sleep_until(found.answered_s)
        except trio.Cancelled:
            if found.answered_s > trio.current_time():
                self._waiting[key].appendleft(found)
            raise

    def _late_s(self, who: str) -> float:
        """How much later than it did a controller may ask."""
        is_loose = self._judge.is_loose and who not in self._recalled
        return LOOSE_S_MAX if is_loose else EARLY_S_MAX


def _text_of(answered: GateAnswered) -> str:
    pairs = zip(answered.names, answered.values, strict=True)
    values = ", ".join(f"{name} = {value}" for name, value in pairs)
    return f"{answered.device}: {values} by {answered.who}: {answered.why}"


class TapedWrites(Caller[SetRegisters, RegistersSet]):
    """How controllers write in a replay."""

    def __init__(self, tape: Tape, gate: WriteCaller) -> None:
        self._tape = tape
        self._gate = gate

    async def ask(self, request: SetRegisters) -> RegistersSet:
        """See ``Caller.ask``."""
        reply = await self._tape.set(request) if request.who in self._tape.who else None
        return await self._gate.ask(request) if reply is None else reply


class TapedValues(Caller[GetRegisters, RegistersGot]):
    """How controllers ask what registers hold, in a replay."""

    def __init__(self, tape: Tape, gate: ValueCaller) -> None:
        self._tape = tape
        self._gate = gate

    async def ask(self, request: GetRegisters) -> RegistersGot:
        """See ``Caller.ask``."""
        reply = await self._tape.got(request) if request.who in self._tape.who else None
        return await self._gate.ask(request) if reply is None else reply
