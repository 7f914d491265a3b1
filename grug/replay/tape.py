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

    def expect(self, answered: GateAnswered) -> None:
        """Take what was recorded."""
        self.who.add(answered.who)
        key = (answered.who, answered.is_write, answered.names)
        self._waiting.setdefault(key, deque()).append(answered)

    def end(self, at_s: float) -> None:
        """What was written until then and nobody asked for is different."""
        late_s = LOOSE_S_MAX if self._judge.is_loose else EARLY_S_MAX
        for waiting in self._waiting.values():
            while waiting and waiting[0].answered_s < at_s - late_s:
                answered = waiting.popleft()
                if answered.is_write:
                    text, problem = _text_of(answered), "not written"
                    self._judge.wrote(answered.answered_s, text, is_equal=False, problem=problem)

    async def got(self, request: GetRegisters) -> RegistersGot | None:
        """The answer to a question; None when none was recorded."""
        found = self._next((request.who, False, request.names))
        if found is None:
            return None
        await trio.sleep_until(found.answered_s)
        return RegistersGot(found.values, found.reason)

    async def set(self, request: SetRegisters) -> RegistersSet | None:
        """The answer to a write; None when none was recorded."""
        names, values = zip(*request.values, strict=True)
        now_s = trio.current_time()
        found = self._next((request.who, True, names))
        if found is None or (found.values, found.why) != (values, request.why):
            ours = GateAnswered(
                request.who, request.device, names, values, "", now_s, True, request.why
            )
            text = "nothing" if found is None else _text_of(found)
            self._judge.wrote(now_s, text, is_equal=False, problem=_text_of(ours))
        else:
            self._judge.wrote(found.answered_s, "", is_equal=True)
        if found is None:
            return None
        await trio.sleep_until(found.answered_s)
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
        early_s = LOOSE_S_MAX if self._judge.is_loose else EARLY_S_MAX
        while waiting:
            if waiting[0].answered_s > now_s + ANSWER_S_MAX:
                return None
            found = waiting.popleft()
            if found.answered_s >= now_s - early_s:
                return found
        return None


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
