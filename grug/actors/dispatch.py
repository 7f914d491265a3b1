"""Dispatch actor: tells one inverter by its registers, and lets go of it in good time.

In:    Decided of the offset controller, and UnitChanged of the inverter; in a replay Recall
Out:   SetRegisters and GetRegisters to the gate; DispatchChanged whenever what the registers carry
       changes, is armed anew, or may be something else, which is said before anything is sent,
       and the same again after a minute, for whoever missed it;
       Noted when the firmware has none, and for every failure; every few minutes Remembered
Owns:  the inverter's dispatch registers; if grug dies, the inverter's own timer ends what they say
Stops: when asked; the inverter is given back to self use, within 2.8 s
"""

from __future__ import annotations

import math
from functools import partial

import trio
from msgspec.structs import replace

from grug.control.dispatch import (
    CHECKED,
    EARLIER_S_MAX,
    ENABLED,
    PROBE,
    SAFE,
    SENDING_S_MAX,
    WISH_S_MAX,
    Act,
    DispatchSettings,
    DispatchState,
    Phase,
    Plan,
    came_back,
    decide,
    failed,
    in_doubt,
    is_as_told,
    probed,
    seen,
    steps,
    wish_of,
)
from grug.control.memory import (
    AFTER_OFFSET_S,
    DispatchKnown,
    decode_known,
    encode_known,
    remember_next_s,
)
from grug.messages import (
    Decided,
    DispatchChanged,
    GetRegisters,
    Lagged,
    Message,
    Noted,
    RegistersGot,
    RegistersSet,
    Remembered,
    SetRegisters,
    UnitChanged,
)
from grug.model import UnitHealth, Value
from grug.runtime.calls import ValueCaller, WriteCaller
from grug.runtime.feed import Feed
from grug.runtime.recall import run_recalled

OFFSET = "offset"
"""Name of the controller whose decisions are obeyed."""
LOOK_S = 1.0
PATIENCE_S = 5.0
REPEAT_S = 60.0
"""What was said last of the registers is said again: whoever missed it waits no longer."""
LAST_WORD_S = 0.01
"""At the end the offset controller has its say before us: in that order a replay has it, too."""
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
        nursery.start_soon(dispatcher.follow, stopping)
        await stopping.wait()
        nursery.cancel_scope.cancel()
    await trio.sleep(LAST_WORD_S)
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
        self._wanted_w: float | None = None
        """By the offset controller's last decision."""
        self._wanted_s = -math.inf
        """When that was decided."""
        self._remember_s = remember_next_s(trio.current_time(), AFTER_OFFSET_S)
        """When to tell next what is known."""
        self._may_hold = False
        """Whether its registers may say anything; known only when they were seen to be off."""
        self._was_offline = False
        """Whether its unit was, since it answered last."""
        self._said: DispatchChanged | None = None
        self._last_note = ""

    async def follow(self, stopping: trio.Event) -> None:
        """Look at the offset, and do what is due."""
        self._doubt(self._state, EARLIER_S_MAX, "not asked yet what its registers carry")
        await run_recalled(self._feed, self._who, partial(self._obey, stopping), self._recall)

    async def _obey(self, stopping: trio.Event) -> None:
        """Do what is due until ``stopping``; an offset of 0 at the end is not for us."""
        kinds = (Decided, UnitChanged)
        with self._feed.subscribe(self._who, *kinds, wanted=self._is_wanted) as inbox:
            while not stopping.is_set():
                self._take(inbox.drain())
                self._remember()
                await self._act(self._plan())
                self._say_again()
                with trio.move_on_after(LOOK_S):
                    self._take(await inbox.receive_batch())

    async def let_go(self) -> None:
        """Give the inverter back, at the end."""
        if self._may_hold:
            await self._release(Plan(Act.RELEASE, 0.0, "grug stops"), verifies=False)

    def _is_wanted(self, message: Message) -> bool:
        if isinstance(message, UnitChanged):
            settings = self._settings
            return (message.line, message.unit_id) == (settings.line, settings.unit_id)
        return isinstance(message, Decided) and message.controller == OFFSET

    def _take(self, messages: list[Message]) -> None:
        for message in messages:
            match message:
                case Decided():
                    self._wanted_w = wish_of(self._settings, message.names, message.values)
                    self._wanted_s = message.decided_s
                case UnitChanged(health=UnitHealth.OFFLINE) | Lagged():
                    self._was_offline = True
                case UnitChanged(health=UnitHealth.HEALTHY) if self._was_offline:
                    # A lost reply alone is no reason: it would end the rest after its own failure.
                    self._was_offline = False
                    self._state = came_back(self._state)

    def _plan(self) -> Plan:
        now_s = trio.current_time()
        wanted_w = self._wanted_w if now_s - self._wanted_s <= WISH_S_MAX else None
        return decide(self._settings, self._state, wanted_w, now_s)

    def _remember(self) -> None:
        """Tell from time to time all that the next act depends on, while none is under way."""
        now_s = trio.current_time()
        if now_s >= self._remember_s:
            self._remember_s = remember_next_s(now_s, AFTER_OFFSET_S)
            known = DispatchKnown(
                self._state, self._wanted_w, self._wanted_s, self._may_hold, self._was_offline
            )
            self._feed.publish(Remembered(encode_known(known), now_s, self._who))

    def _recall(self, memory: bytes) -> None:
        """Go on from what was known elsewhere."""
        known = decode_known(memory)
        if isinstance(known, DispatchKnown):
            self._state = known.state
            self._wanted_w, self._wanted_s = known.wanted_w, known.wanted_s
            self._may_hold, self._was_offline = known.may_hold, known.was_offline

    async def _act(self, plan: Plan) -> None:
        match plan.act:
            case Act.PROBE:
                await self._probe()
            case Act.LOOK:
                await self._look()
            case Act.START | Act.ARM | Act.MOVE:
                await self._command(plan)
            case Act.RELEASE:
                await self._release(plan)
            case Act.FORGET:
                self._may_hold = False
                self._know(DispatchState(failures=self._state.failures), plan.reason)

    async def _probe(self) -> None:
        """See whether there are registers, and end what an earlier run has left in them."""
        got = await self._get(PROBE)
        if got.reason:
            self._fail(f"not asked yet: {got.reason}")
            return
        phase, reason = probed(self._settings, got.values[0])
        if phase is Phase.ABSENT:
            self._note(reason)
            self._know(DispatchState(phase, tried_s=trio.current_time()), reason)
            return
        left = await self._get(ENABLED)
        if left.reason or left.values[0] is None:
            self._fail(f"its master switch cannot be read: {left.reason}")
        elif left.values[0]:
            plan = Plan(Act.RELEASE, 0.0, "left by an earlier run")
            await self._release(plan, timer_s=EARLIER_S_MAX)
        else:
            failures = self._state.failures
            self._know(DispatchState(phase, failures=failures), "the firmware has them")

    async def _look(self) -> None:
        """See what became of what was sent."""
        got = await self._get(*CHECKED)
        state = None if got.reason else seen(self._state, *got.values)
        if state is not None:
            self._may_hold = state.phase is not Phase.IDLE
            self._know(state, "read back")
        elif got.reason:
            self._fail(f"not known what its registers carry: {got.reason}")
        else:  # Somebody else's command, or an earlier one's ruins.
            await self._release(Plan(Act.RELEASE, 0.0, "it does something else"))

    async def _command(self, plan: Plan) -> None:
        """Write what is due; after a failed step the inverter is given back."""
        before = self._state
        if before.phase is not Phase.ACTIVE or plan.power_w != before.power_w:
            self._doubt(before._replace(power_w=plan.power_w), self._longest_s, plan.reason)
        might_hold, self._may_hold = self._may_hold, True
        values = steps(self._settings, plan)
        reply = await self._set(values, plan.reason, verifies=plan.act is Act.START)
        if reply.reason and not reply.may_be_sent:
            self._may_hold = might_hold
            self._know(failed(before, trio.current_time()), f"not sent: {reply.reason}")
            self._note(reply.reason)
            return
        if not reply.reason and plan.act is Act.ARM:
            reply = await self._checked(plan, reply)
        if reply.reason:
            self._fail(reply.reason)
            await self._release(Plan(Act.RELEASE, 0.0, "it does not do as told"), is_cure=True)
            return
        done_s = trio.current_time()  # From the answer on, so that a replay keeps the same pace.
        armed_s = before.armed_s if plan.act is Act.MOVE else done_s
        state = DispatchState(Phase.ACTIVE, plan.power_w, armed_s, done_s)
        self._last_note = ""
        self._know(state, plan.reason)

    async def _checked(self, plan: Plan, reply: RegistersSet) -> RegistersSet:
        """See whether the registers still hold what was written."""
        got = await self._get(*CHECKED)
        if got.reason or is_as_told(got.values, plan.power_w):
            return reply
        held = ", ".join(f"{name} {value}" for name, value in zip(CHECKED, got.values, strict=True))
        return RegistersSet(reply.records, f"reverted: it holds {held}")

    async def _release(
        self,
        plan: Plan,
        *,
        verifies: bool = True,
        is_cure: bool = False,
        timer_s: float | None = None,
    ) -> None:
        """Give the inverter back to itself.

        Args:
            plan: with the reason.
            verifies: whether to read before and after; without an answer it is sent all the same.
            is_cure: of a command that failed: the next one rests.
            timer_s: how long the inverter's timer may run; None is the configured one.
        """
        before = self._state
        self._doubt(before, self._longest_s if timer_s is None else timer_s, plan.reason)
        values = steps(self._settings, plan)
        reply = await self._set(values, plan.reason, verifies=verifies)
        if reply.reason and verifies and not reply.may_be_sent:
            reply = await self._set(values, plan.reason, verifies=False)
        now_s = trio.current_time()
        if not reply.reason:
            self._may_hold = False
            kept = before if is_cure else DispatchState()
            state = DispatchState(Phase.IDLE, tried_s=kept.tried_s, failures=kept.failures)
            self._know(state, plan.reason)
            return
        lasts_s = self._settings.surely_over_s if timer_s is None else timer_s
        state = before if is_cure else failed(before, now_s)
        self._state = in_doubt(state, now_s, lasts_s)
        self._doubt(self._state, lasts_s, plan.reason)
        self._note(f"not released: {reply.reason}; its own timer ends it")

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
                is_taped=True,
            )
        )

    async def _get(self, *names: str) -> RegistersGot:
        deadline_s = trio.current_time() + PATIENCE_S
        return await self._questions.ask(
            GetRegisters(self._settings.device, names, deadline_s, self._who, is_taped=True)
        )

    @property
    def _longest_s(self) -> float:
        """How long what is sent from now on may have an effect."""
        return SENDING_S_MAX + self._settings.surely_over_s

    def _know(self, state: DispatchState, reason: str) -> None:
        """Say what the registers carry, until the latest time at which they may still do.

        A meter that said it as well would double the offset; one that is late to say it loses it.
        """
        self._state, now_s = state, trio.current_time()
        is_held = state.phase is Phase.ACTIVE
        until_s = state.moved_s + self._settings.surely_over_s if is_held else now_s
        power_w = state.power_w if is_held else 0.0
        self._say(DispatchChanged(self._settings.inverter, power_w, until_s, reason, now_s))

    def _doubt(self, state: DispatchState, lasts_s: float, reason: str) -> None:
        """Say that nobody knows what the registers carry; before something is sent, and after."""
        now_s = trio.current_time()
        until_s, name = now_s + lasts_s, self._settings.inverter
        self._say(DispatchChanged(name, state.power_w, until_s, reason, now_s, is_doubt=True))

    def _say(self, changed: DispatchChanged) -> None:
        self._said = changed
        self._feed.publish(changed)

    def _say_again(self) -> None:
        """Repeat what was said last, if that was a while ago; it ends no later for that."""
        now_s = trio.current_time()
        if self._said is not None and now_s - self._said.changed_s >= REPEAT_S:
            self._say(replace(self._said, changed_s=now_s))

    def _fail(self, text: str) -> None:
        self._state = failed(self._state, trio.current_time())
        self._note(text)

    def _note(self, text: str) -> None:
        """Say what is wrong, once."""
        if text != self._last_note:
            self._last_note = text
            self._feed.publish(Noted(self._who, text, trio.current_time()))
