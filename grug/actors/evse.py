"""EVSE actor: keeps one charger at its current limit, by sending it again and again.

In:    nothing yet but its settings
Out:   SetRegisters to the gate; Decided at every sending, Noted when writes begin to fail or work
       again
Owns:  the charger's current limit; nothing else of the charger is ever written
Stops: when asked; leaves the limit of ``on_stop_a`` behind if there is one, within 2 s

A charger forgets its limit now and then (field notes of the seed system), hence the repetition. A
write is dropped when the next one is due: an old limit is never obeyed late.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from grug.control.evse import Limit, decide_limit
from grug.messages import Decided, Noted, RegistersSet, SetRegisters
from grug.model import WriteState
from grug.runtime.calls import WriteCaller
from grug.runtime.feed import Feed

STOP_S_MAX = 2.0
"""The last write must not hold up the end of the run."""


@dataclass(frozen=True, slots=True)
class EvseSettings:
    """The part of the configuration that one charger's controller needs."""

    device: str
    register: str
    """The map's current limit, in A."""
    limit_a: float
    """Under 6 pauses the car."""
    resend_s: float = 10.0
    on_stop_a: float | None = None
    """Limit to leave behind when grug stops; None leaves the last one."""


async def run(
    writes: WriteCaller, feed: Feed, *, settings: EvseSettings, stopping: trio.Event
) -> None:
    """Send the limit every ``resend_s`` until ``stopping``."""
    sender = _Sender(writes, feed, settings)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.keep_sending)
        await stopping.wait()
        nursery.cancel_scope.cancel()
    if settings.on_stop_a is not None:
        limit = decide_limit(settings.on_stop_a, "limit to leave behind")
        with trio.move_on_after(STOP_S_MAX):
            await sender.send(limit, trio.current_time() + STOP_S_MAX)


class _Sender:
    """Writes limits and keeps track of how that goes."""

    def __init__(self, writes: WriteCaller, feed: Feed, settings: EvseSettings) -> None:
        self._writes = writes
        self._feed = feed
        self._settings = settings
        self._who = f"evse/{settings.device}"
        self._failures = 0

    async def keep_sending(self) -> None:
        """Send the fixed limit at its period, whatever became of the one before."""
        limit = decide_limit(self._settings.limit_a)
        due_s = trio.current_time()
        while True:
            due_s = max(due_s + self._settings.resend_s, trio.current_time())
            with trio.move_on_at(due_s) as period:
                await self.send(limit, due_s)
            if period.cancelled_caught:
                self._take_failure("no answer from the bus until the next was due")
            await trio.sleep_until(due_s)

    async def send(self, limit: Limit, deadline_s: float) -> None:
        """Write one limit and tell what was decided."""
        settings = self._settings
        self._feed.publish(
            Decided(
                self._who,
                trio.current_time(),
                ("current_limit_a", "failures"),
                (limit.current_a, self._failures),
                limit.reason,
            )
        )
        request = SetRegisters(
            settings.device,
            ((settings.register, limit.current_a),),
            deadline_s,
            self._who,
            limit.reason,
            keeps_alive=True,
            verifies=False,
            is_watched=False,
        )
        self._take(await self._writes.ask(request))

    def _take(self, reply: RegistersSet) -> None:
        # What limit a charger obeys it says in another register, which is polled: that the write
        # was acknowledged is all there is to see here.
        is_taken = all(record.state is not WriteState.REFUSED for record in reply.records)
        if is_taken and not reply.reason:
            self._take_success()
        else:
            self._take_failure(reply.reason)

    def _take_success(self) -> None:
        if self._failures:
            self._note(f"limit is taken again, after {self._failures} failed writes")
        self._failures = 0

    def _take_failure(self, text: str) -> None:
        if not self._failures:
            self._note(f"limit was not taken: {text}")
        self._failures += 1

    def _note(self, text: str) -> None:
        self._feed.publish(Noted(self._who, text, trio.current_time()))
