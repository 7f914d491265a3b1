"""Calls: a request that waits for exactly one reply, between actors.

The asker's cancellation leaves no trace: the answering actor sees ``is_abandoned`` and drops it.
Each side parks its task and is woken by the other, with nothing in between: a memory channel and an
event would cost as much again as the two task switches themselves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, Self, TypeAlias, TypeVar

import trio

from grug.messages import (
    GetRegisters,
    ReadFailed,
    ReadRegisters,
    RegistersGot,
    RegistersRead,
    RegistersSet,
    SetRegisters,
    WriteDone,
    WriteFailed,
    WriteRegisters,
)

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class Call(Generic[Request, Reply]):
    """One request on its way, and the place for its reply."""

    __slots__ = ("_asker", "answer", "is_abandoned", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.is_abandoned = False
        self._asker: trio.lowlevel.Task | None = None
        self.answer: Reply | None = None
        """None until it was answered."""

    def reply(self, reply: Reply) -> None:
        """Answer; exactly once per call."""
        assert self.answer is None, "a call is answered once"
        self.answer = reply
        if self._asker is not None:
            trio.lowlevel.reschedule(self._asker)
            self._asker = None

    async def wait(self) -> Reply:
        """Wait for the reply."""
        if self.answer is None:
            self._asker = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abandon)
        else:
            await trio.lowlevel.checkpoint()
        assert self.answer is not None, "the asker is woken by the reply"
        return self.answer

    def _abandon(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._asker = None
        self.is_abandoned = True
        return trio.lowlevel.Abort.SUCCEEDED


Carry: TypeAlias = Callable[[Call[Request, Reply]], Awaitable[bool]]


class Calls(Generic[Request, Reply]):
    """The answering end, for one task: the calls that wait, oldest first.

    There is no bound but the number of tasks that ask, since each of them waits for its reply.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._waiting: deque[Call[Request, Reply]] = deque()
        self._reader: trio.lowlevel.Task | None = None
        self._carry: Carry[Request, Reply] | None = None
        """What is lent while the reader waits."""
        self._is_carried = False
        """Whether an asker is at it: the reader is not woken meanwhile."""
        self._waits = 0
        """How often a reader has waited: what was lent goes back to the same wait only."""
        self._is_closed = False

    def __len__(self) -> int:
        """Calls waiting."""
        return len(self._waiting)

    @property
    def is_lent(self) -> bool:
        """Whether the answering task sleeps, and lets an asker carry out its own call."""
        return self._carry is not None

    @property
    def has_ended(self) -> bool:
        """Whether nobody will ask any more, and all calls were taken."""
        return self._is_closed and not self._waiting

    def take(self) -> list[Call[Request, Reply]]:
        """Take over all calls that wait."""
        calls = list(self._waiting)
        self._waiting.clear()
        return calls

    async def wait(self, carry: Carry[Request, Reply] | None = None) -> None:
        """Wait until there are calls, or there will be none any more.

        Args:
            carry: what an asker may do itself with its call meanwhile, in its own task. It tells
                whether the answering task may sleep on; that is woken too when the asker is
                cancelled. Calls that come meanwhile wait, for ``take``.
        """
        if self._waiting or self._is_closed:
            await trio.lowlevel.checkpoint()
            return
        if self._reader is not None:
            raise trio.BusyResourceError("two tasks wait for the same calls")
        self._reader = trio.lowlevel.current_task()
        self._carry = carry
        self._waits += 1
        await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)

    def _stop_waiting(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._reader = self._carry = None
        self._is_carried = False  # Whoever is at it has nothing to give back any more.
        return trio.lowlevel.Abort.SUCCEEDED

    def __aiter__(self) -> Self:
        """One call after the other, until there will be none any more."""
        return self

    async def __anext__(self) -> Call[Request, Reply]:
        """The oldest call that waits."""
        await self.wait()
        if not self._waiting:
            raise StopAsyncIteration
        return self._waiting.popleft()

    def put(self, call: Call[Request, Reply]) -> None:
        """For askers: leave a call, and wake the answering task."""
        if self._is_closed:
            raise trio.ClosedResourceError
        self._waiting.append(call)
        self._wake()

    async def carry(self, call: Call[Request, Reply]) -> None:
        """For askers, while ``is_lent``: do oneself what can be done; the rest is done as usual."""
        carry, waits = self._carry, self._waits
        assert carry is not None, "it is lent"
        self._carry = None
        self._is_carried = True
        sleeps_on = None
        try:
            sleeps_on = await carry(call)
        finally:
            call.is_abandoned = sleeps_on is None
            if self._is_carried and waits == self._waits:
                self._is_carried = False
                if sleeps_on and not self._waiting and not self._is_closed:
                    self._carry = carry
                else:
                    self._wake()

    def close(self) -> None:
        """For askers: there will be no more calls."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._is_carried:
            trio.lowlevel.reschedule(self._reader)
            self._reader = self._carry = None


class Caller(Generic[Request, Reply]):
    """The asking end, for any number of tasks."""

    def __init__(self, calls: Calls[Request, Reply]) -> None:
        self._calls = calls

    async def ask(self, request: Request) -> Reply:
        """Send the request and wait for its reply."""
        call: Call[Request, Reply] = Call(request)
        if not self._calls.is_lent:
            self._calls.put(call)
        else:
            await self._calls.carry(call)
            if (reply := call.answer) is not None:
                return reply
        return await call.wait()

    def close(self) -> None:
        """Ask no more; the answering actor ends when it has answered what waits."""
        self._calls.close()


def open_calls() -> tuple[Caller[Request, Reply], Calls[Request, Reply]]:
    """Make the two ends: one to ask, one for the answering actor."""
    calls: Calls[Request, Reply] = Calls()
    return Caller(calls), calls


BusRequest: TypeAlias = ReadRegisters | WriteRegisters
BusReply: TypeAlias = RegistersRead | ReadFailed | WriteDone | WriteFailed
BusCall: TypeAlias = Call[BusRequest, BusReply]
BusCaller: TypeAlias = Caller[BusRequest, BusReply]
BusCalls: TypeAlias = Calls[BusRequest, BusReply]
WriteCaller: TypeAlias = Caller[SetRegisters, RegistersSet]
"""How everybody but the gate writes."""
WriteCalls: TypeAlias = Calls[SetRegisters, RegistersSet]
ValueCaller: TypeAlias = Caller[GetRegisters, RegistersGot]
"""How registers are asked for by name."""
ValueCalls: TypeAlias = Calls[GetRegisters, RegistersGot]
