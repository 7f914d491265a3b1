"""Dispatch actor: tells one inverter by its registers, and lets go of it in good time.

In:    Decided of the offset controller
Out:   SetRegisters and GetRegisters to the gate; DispatchChanged whenever what the registers carry
       changes or is armed anew; Noted when the firmware has none, and for every failure
Owns:  the inverter's dispatch registers; if grug dies, the inverter's own timer ends what they say
Stops: when asked; the inverter is given back to self use, within 2.8 s
"""

from __future__ import annotations

import trio

from grug.control.dispatch import (
    CHECKED,
    ENABLED,
    PROBE,
    SAFE,
    WISH_S_MAX,
    Act,
    DispatchSettings,
    DispatchState,
    Phase,
    Plan,
    decide,
    is_as_told,
    probed,
    steps,
    wish_of,
)
from grug.messages import (
    Decided,
    DispatchChanged,
    GetRegisters,
    Message,
    Noted,
    RegistersGot,
    RegistersSet,
    SetRegisters,
)
from grug.model import Value
from grug.runtime.calls import ValueCaller, WriteCaller
from grug.runtime.feed import Feed

OFFSET = "offset"
"""Name of the controller whose decisions are obeyed."""
LOOK_S = 1.0
PATIENCE_S = 5.0
STOP_S_MAX = 2.8
"""A start that is under way takes two seconds, and giving back half of one."""


async def run(
    writes: WriteCaller,
    questions: ValueCaller,
    feed: Feed,
    *,
    settings: DispatchSettings,
    stopping: trio.Event,
) -> None:
    """Follow the offset until ``stopping``."""
    dispatcher = _Dispatcher(writes, questions, feed, settings)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dispatcher.follow)
        await stopping.wait()
        nursery.cancel_scope.cancel()
    with trio.move_on_after(STOP_S_MAX):
        await dispatcher.let_go()


class _Dispatcher:
    """One inverter, and what its registers carry."""

    def __init__(
        self,
        writes: WriteCaller,
        questions: ValueCaller,
        feed: Feed,
        settings: DispatchSettings,
    ) -> None:
        self._writes = writes
        self._questions = questions
        self._feed = feed
        self._settings = settings
        self._who = f"dispatch/{settings.inverter}"
        self._state = DispatchState()
        self._decided: Decided | None = None
        self._may_hold = False
        """Whether its registers may say anything; known only when they were seen to be off."""
        self._last_note = ""

    async def follow(self) -> None:
        """Look at the offset, and do what is due."""
        with self._feed.subscribe(
            self._who, Decided, key=_the_only, wanted=_is_offset
        ) as decisions:
            while True:
                for message in decisions.drain():
                    assert isinstance(message, Decided), "the subscription has no other kind"
                    self._decided = message
                await self._act(self._plan())
                with trio.move_on_after(LOOK_S):
                    for message in await decisions.receive_batch():
                        assert isinstance(message, Decided), "the subscription has no other kind"
                        self._decided = message

    async def let_go(self) -> None:
        """Give the inverter back, at the end."""
        if self._may_hold:
            await self._release(Plan(Act.RELEASE, 0.0, "grug stops"), verifies=False)

    def _plan(self) -> Plan:
        now_s = trio.current_time()
        wanted_w = None
        decided = self._decided
        if decided is not None and now_s - decided.decided_s <= WISH_S_MAX:
            wanted_w = wish_of(self._settings, decided.names, decided.values)
        return decide(self._settings, self._state, wanted_w, now_s)

    async def _act(self, plan: Plan) -> None:
        match plan.act:
            case Act.PROBE:
                await self._probe()
            case Act.START | Act.ARM | Act.MOVE:
                await self._command(plan)
            case Act.RELEASE:
                await self._release(plan)

    async def _probe(self) -> None:
        """See whether there are registers, and end what an earlier run has left in them."""
        got = await self._get(PROBE)
        if got.reason:
            self._fail(f"not asked yet: {got.reason}")
            return
        phase, reason = probed(self._settings, got.values[0])
        if phase is Phase.ABSENT:
            self._state = DispatchState(phase, tried_s=trio.current_time())
            self._note(reason)
            return
        left = await self._get(ENABLED)
        if left.reason or left.values[0] is None:
            self._fail(f"its master switch cannot be read: {left.reason}")
        elif left.values[0]:
            await self._release(Plan(Act.RELEASE, 0.0, "left by an earlier run"))
        else:
            self._state = self._state._replace(phase=phase)
            self._tell("the firmware has dispatch registers")

    async def _command(self, plan: Plan) -> None:
        """Write what is due; a failed step leaves the master switch off."""
        now_s = trio.current_time()
        is_start = plan.act is Act.START
        self._may_hold = True
        reply = await self._set(steps(self._settings, plan), plan.reason, verifies=is_start)
        if not reply.reason and plan.act is Act.ARM:
            reply = await self._checked(plan, reply)
        if reply.reason:
            self._fail(reply.reason)
            # The gate has left the master switch off, if anything was sent: nothing is carried.
            await self._release(Plan(Act.RELEASE, 0.0, "it does not do as told"))
            return
        armed_s = self._state.armed_s if plan.act is Act.MOVE else now_s
        self._state = DispatchState(Phase.ACTIVE, plan.power_w, armed_s, trio.current_time())
        self._tell(plan.reason)

    async def _checked(self, plan: Plan, reply: RegistersSet) -> RegistersSet:
        """See whether the registers still hold what was written."""
        got = await self._get(*CHECKED)
        if got.reason or is_as_told(got.values, plan.power_w):
            return reply
        held = ", ".join(f"{name} {value}" for name, value in zip(CHECKED, got.values, strict=True))
        return RegistersSet(reply.records, f"reverted: it holds {held}")

    async def _release(self, plan: Plan, *, verifies: bool = True) -> None:
        reply = await self._set(steps(self._settings, plan), plan.reason, verifies=verifies)
        if reply.reason:
            self._fail(f"not released: {reply.reason}; its own timer ends it")
            if (
                self._state.phase is Phase.UNKNOWN
                or trio.current_time() < self._state.moved_s + self._settings.timer_s
            ):
                return
        self._may_hold = bool(reply.reason)
        self._state = DispatchState(Phase.IDLE, tried_s=self._state.tried_s)
        self._tell(plan.reason)

    async def _set(
        self, values: tuple[tuple[str, Value], ...], why: str, *, verifies: bool
    ) -> RegistersSet:
        return await self._writes.ask(
            SetRegisters(
                self._settings.device,
                values,
                trio.current_time() + PATIENCE_S,
                self._who,
                why,
                is_ordered=True,
                may_guarded=True,
                keeps_alive=True,
                verifies=verifies,
                is_watched=False,
                safe=SAFE,
            )
        )

    async def _get(self, *names: str) -> RegistersGot:
        deadline_s = trio.current_time() + PATIENCE_S
        return await self._questions.ask(
            GetRegisters(self._settings.device, names, deadline_s, self._who)
        )

    def _tell(self, reason: str) -> None:
        """Say what the registers carry, until the latest time at which they may still do.

        A meter that said it as well would double the offset; one that is late to say it loses it.
        """
        state, now_s = self._state, trio.current_time()
        until_s = state.moved_s + self._settings.timer_s if state.phase is Phase.ACTIVE else now_s
        self._last_note = ""
        self._feed.publish(
            DispatchChanged(self._settings.inverter, state.power_w, until_s, reason, now_s)
        )

    def _fail(self, text: str) -> None:
        self._state = self._state._replace(tried_s=trio.current_time())
        self._note(text)

    def _note(self, text: str) -> None:
        """Say what is wrong, once."""
        if text != self._last_note:
            self._last_note = text
            self._feed.publish(Noted(self._who, text, trio.current_time()))


def _the_only(message: Message) -> str:
    """What decisions are conflated by: the latest is all that matters."""
    return OFFSET


def _is_offset(message: Message) -> bool:
    return isinstance(message, Decided) and message.controller == OFFSET
