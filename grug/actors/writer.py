"""Writer actor: the one gate that every write of the house passes.

In:    calls with SetRegisters and GetRegisters, from controllers and the command desk; Readings
Out:   RegistersSet or RegistersGot, exactly one per call, and GateAnswered with that for whoever is
       replayed; WriteRecorded for whatever becomes known
       of a written register, then and later; Noted when the ledger cannot be written
Owns:  the ledger, and what is known of registers that were written
Stops: when cancelled, which is after all controllers have stopped
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from grug.messages import (
    GateAnswered,
    GetRegisters,
    Message,
    Noted,
    Readings,
    RegistersGot,
    RegistersSet,
    SetRegisters,
)
from grug.runtime.calls import Call, ValueCalls, WriteCalls
from grug.runtime.clock import whole_ms
from grug.runtime.feed import Feed
from grug.runtime.gate import Gate

NAME = "writer"
_ONLY_RAM = "only registers in RAM are written until that is mended"
LOOK_EVERY_S = 5.0
"""How often it is seen whether a written register is due to be looked at."""


async def run(
    calls: WriteCalls, questions: ValueCalls, feed: Feed, *, make_gate: Callable[[Feed], Gate]
) -> None:
    """Answer calls until cancelled."""
    gate = make_gate(feed)
    if gate.problem:
        feed.publish(Noted(NAME, f"{gate.problem}: {_ONLY_RAM}", trio.current_time()))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch, gate, feed)
        nursery.start_soon(_look, gate)
        nursery.start_soon(_answer_questions, gate, feed, questions)
        async for call in calls:
            if not call.is_abandoned:
                nursery.start_soon(_answer, gate, feed, call)


async def _answer_questions(gate: Gate, feed: Feed, questions: ValueCalls) -> None:
    async with trio.open_nursery() as nursery:  # A device that is silent keeps no other waiting.
        async for call in questions:
            if not call.is_abandoned:
                nursery.start_soon(_answer_question, gate, feed, call)


async def _answer_question(gate: Gate, feed: Feed, call: Call[GetRegisters, RegistersGot]) -> None:
    reply = RegistersGot((), "the gate failed before it was read")
    try:
        reply = await gate.get(call.request)
    finally:  # Nobody waits for ever because we crash.
        if call.request.is_taped:
            feed.publish(_got(call.request, reply))
        call.reply(reply)


async def _answer(gate: Gate, feed: Feed, call: Call[SetRegisters, RegistersSet]) -> None:
    was_recorded = gate.is_recorded
    reply = RegistersSet((), "the gate failed: what became of it is unknown", is_known=False)
    try:
        reply = await gate.set(call.request)
    finally:
        if call.request.is_taped:
            feed.publish(_set(call.request, reply))
        call.reply(reply)
    if gate.is_recorded is not was_recorded:
        text = "the ledger of writes works again"
        text = text if gate.is_recorded else f"the ledger cannot be written: {_ONLY_RAM}"
        feed.publish(Noted(NAME, text, trio.current_time()))


def _got(request: GetRegisters, reply: RegistersGot) -> GateAnswered:
    """The answer to a question, to be replayed: in whole milliseconds, as the log has it."""
    answered_s = whole_ms(trio.current_time())
    who, device, names = request.who, request.device, request.names
    return GateAnswered(who, device, names, reply.values, reply.reason, answered_s)


def _set(request: SetRegisters, reply: RegistersSet) -> GateAnswered:
    """The answer to a write, likewise."""
    names, values = zip(*request.values, strict=True)
    return GateAnswered(
        request.who,
        request.device,
        names,
        values,
        reply.reason,
        whole_ms(trio.current_time()),
        is_write=True,
        why=request.why,
        is_sent=reply.may_be_sent,
        has_records=bool(reply.records),
    )


async def _watch(gate: Gate, feed: Feed) -> None:
    """Compare what is polled anyway with what was written."""

    def is_news(message: Message) -> bool:
        # Nearly all readings are not, and they shall wake nobody.
        return isinstance(message, Readings) and gate.differs(
            message.device, message.names, message.values
        )

    with feed.subscribe(NAME, Readings, wanted=is_news) as news:
        while True:
            for message in await news.receive_batch():
                if isinstance(message, Readings) and not message.qualities:
                    await gate.take_values(
                        message.device, message.names, message.values, message.read_s
                    )


async def _look(gate: Gate) -> None:
    while True:
        await trio.sleep_until(max(gate.next_look_s(), trio.current_time() + LOOK_EVERY_S))
        await gate.look()
