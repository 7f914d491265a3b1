"""Calls: a request that waits for exactly one reply, between actors.

The asker's cancellation leaves no trace: the answering actor sees ``is_abandoned`` and drops it.
"""

from __future__ import annotations

from typing import Generic, TypeAlias, TypeVar

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

CALLS_WAITING_MAX = 64
"""Callers that may queue for one actor before the next one waits: more than a line serves in a few
seconds at 9600 baud, so only a runaway asker ever blocks here."""


class Call(Generic[Request, Reply]):
    """One request on its way, and the place for its reply."""

    __slots__ = ("_done", "_reply", "is_abandoned", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.is_abandoned = False
        self._done = trio.Event()
        self._reply: Reply | None = None

    def reply(self, reply: Reply) -> None:
        """Answer; exactly once per call."""
        assert self._reply is None, "a call is answered once"
        self._reply = reply
        self._done.set()

    async def wait(self) -> Reply:
        """Wait for the reply."""
        try:
            await self._done.wait()
        except trio.Cancelled:
            self.is_abandoned = True
            raise
        assert self._reply is not None, "done means answered"
        return self._reply


class Caller(Generic[Request, Reply]):
    """The asking end."""

    def __init__(self, channel: trio.MemorySendChannel[Call[Request, Reply]]) -> None:
        self._channel = channel

    async def ask(self, request: Request) -> Reply:
        """Send the request and wait for its reply."""
        call: Call[Request, Reply] = Call(request)
        try:
            self._channel.send_nowait(call)  # Waiting comes next: to yield twice would be dear.
        except trio.WouldBlock:
            await self._channel.send(call)
        return await call.wait()


def open_calls(
    bound: int = CALLS_WAITING_MAX,
) -> tuple[Caller[Request, Reply], trio.MemoryReceiveChannel[Call[Request, Reply]]]:
    """Make the two ends: one to ask, one for the answering actor."""
    send, receive = trio.open_memory_channel[Call[Request, Reply]](bound)
    return Caller(send), receive


BusRequest: TypeAlias = ReadRegisters | WriteRegisters
BusReply: TypeAlias = RegistersRead | ReadFailed | WriteDone | WriteFailed
BusCaller: TypeAlias = Caller[BusRequest, BusReply]
BusCalls: TypeAlias = trio.MemoryReceiveChannel[Call[BusRequest, BusReply]]
WriteCaller: TypeAlias = Caller[SetRegisters, RegistersSet]
"""How everybody but the gate writes."""
WriteCalls: TypeAlias = trio.MemoryReceiveChannel[Call[SetRegisters, RegistersSet]]
ValueCaller: TypeAlias = Caller[GetRegisters, RegistersGot]
"""How registers are asked for by name."""
ValueCalls: TypeAlias = trio.MemoryReceiveChannel[Call[GetRegisters, RegistersGot]]
