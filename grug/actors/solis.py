"""Solis actor: keeps one inverter's clock, and switches it off while it has nothing to give.

In:    nothing but Recall in a replay; it asks the gate what the inverter's registers hold
Out:   SetRegisters and GetRegisters to the gate; Decided at every look at the power, Noted when it
       switches or sets something, or fails to; every few minutes Remembered
Owns:  the inverter's switch and clock, where the house says so
Stops: when asked; leaves everything as it is
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from dataclasses import dataclass

import trio

from grug.control import clockwork, power_save, solis
from grug.control.memory import (
    AFTER_OFFSET_S,
    KeeperKnown,
    decode_known,
    encode_known,
    remember_next_s,
)
from grug.control.power_save import PowerSaveSettings, PowerState, Seen, Switch
from grug.control.solis import Change, SolisError
from grug.messages import Decided, GetRegisters, Noted, RegistersGot, Remembered, SetRegisters
from grug.model import Value
from grug.runtime.calls import ValueCaller, WriteCaller
from grug.runtime.feed import Feed
from grug.runtime.recall import run_recalled

LOOK_S = 30.0
PATIENCE_S = 10.0
POWER, SOC = "power_on_off", "bms_battery_soc"
STRINGS = ("mppt1_voltage", "mppt2_voltage")
CLOCK = "real_time_clock"


@dataclass(frozen=True, slots=True)
class SolisSettings:
    """The part of the configuration that one inverter's keeper needs."""

    inverter: str
    device: str
    power_save: PowerSaveSettings | None = None
    keeps_clock: bool = False


async def run(
    writes: WriteCaller,
    questions: ValueCaller,
    feed: Feed,
    *,
    settings: SolisSettings,
    local_time: Callable[[], datetime.datetime | None],
    stopping: trio.Event,
) -> None:
    """Look after the inverter until ``stopping``."""
    keeper = _Keeper(writes, questions, feed, settings, local_time)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        await stopping.wait()
        nursery.cancel_scope.cancel()


class _Keeper:
    """One inverter, and how to reach it."""

    def __init__(
        self,
        writes: WriteCaller,
        questions: ValueCaller,
        feed: Feed,
        settings: SolisSettings,
        local_time: Callable[[], datetime.datetime | None],
    ) -> None:
        self._writes = writes
        self._questions = questions
        self._feed = feed
        self._settings = settings
        self._local_time = local_time
        self._who = f"solis/{settings.inverter}"
        self._power = PowerState()
        self._power_look_s = trio.current_time()
        """When to look at the power next."""
        self._clock = clockwork.started(trio.current_time())
        self._turn = trio.Lock()
        """Held through a look and what follows from it: what is known between is all there is."""

    async def run(self) -> None:
        """Look after it, in a replay of a part as if from before."""
        await run_recalled(self._feed, self._who, self._keep, self._recall)

    async def _keep(self) -> None:
        async with trio.open_nursery() as nursery:
            if self._settings.power_save is not None:
                nursery.start_soon(self._save_power, self._settings.power_save)
            if self._settings.keeps_clock:
                nursery.start_soon(self._keep_clock)
            nursery.start_soon(self._remember)

    async def _save_power(self, settings: PowerSaveSettings) -> None:
        """Look twice a minute, and switch when it is time."""
        while True:
            await trio.sleep_until(self._power_look_s)
            async with self._turn:
                await self._look_at_power(settings)
                self._power_look_s = trio.current_time() + LOOK_S

    async def _look_at_power(self, settings: PowerSaveSettings) -> None:
        seen = _seen(await self._get(POWER, SOC, *STRINGS))
        now_s = trio.current_time()
        plan = power_save.decide(settings, self._power, seen, now_s)
        self._power = plan.state
        self._tell(seen, plan.reason, now_s)
        if plan.switch is not Switch.NONE:
            is_on = plan.switch is Switch.ON
            # A budget that has run out keeps it from going off, never from coming back.
            await self._apply(solis.power(is_on), plan.reason, is_forced=is_on)
            self._power = power_save.switched(self._power, plan.switch, trio.current_time())

    async def _keep_clock(self) -> None:
        """Look a few times a day, and set the clock when two looks agree that it is wrong."""
        while True:
            await trio.sleep_until(self._clock.look_s)
            async with self._turn:
                got = await self._get(CLOCK)
                now = self._local_time()
                plan = clockwork.decide(self._clock, _drift_s(got, now), trio.current_time())
                self._clock = plan.state
                if plan.sets and now is not None:
                    await self._apply(solis.clock(now), plan.reason)

    async def _remember(self) -> None:
        """Tell from time to time all that the next looks depend on."""
        while True:
            await trio.sleep_until(remember_next_s(trio.current_time(), AFTER_OFFSET_S))
            async with self._turn:
                known = KeeperKnown(self._power, self._power_look_s, self._clock)
                now_s = trio.current_time()
                self._feed.publish(Remembered(encode_known(known), now_s, self._who))

    def _recall(self, memory: bytes) -> None:
        """Go on from what was known elsewhere."""
        known = decode_known(memory)
        if isinstance(known, KeeperKnown):
            self._power, self._power_look_s = known.power, known.power_look_s
            self._clock = known.clock

    def _tell(self, seen: Seen, reason: str, now_s: float) -> None:
        values = tuple(
            math.nan if value is None else float(value)
            for value in (seen.is_on, seen.soc_pct, seen.pv_v)
        )
        self._feed.publish(Decided(self._who, now_s, ("is_on", "soc_pct", "pv_v"), values, reason))

    async def _apply(self, change: Change, why: str, *, is_forced: bool = False) -> None:
        now_s = trio.current_time()
        reply = await self._writes.ask(
            SetRegisters(
                self._settings.device,
                tuple(change.values.items()),
                now_s + PATIENCE_S,
                self._who,
                why,
                may_guarded=True,
                is_forced=is_forced,
                is_taped=True,
            )
        )
        failed = f"; it did not go: {reply.reason}" if reply.reason else ""
        self._feed.publish(Noted(self._who, f"{change.text}: {why}{failed}", now_s))

    async def _get(self, *names: str) -> RegistersGot:
        deadline_s = trio.current_time() + PATIENCE_S
        return await self._questions.ask(
            GetRegisters(self._settings.device, names, deadline_s, self._who, is_taped=True)
        )


def _seen(got: RegistersGot) -> Seen:
    """What the registers say; nothing when they could not be read."""
    if got.reason:
        return Seen(None, None, None)
    power, soc, *strings = got.values
    is_on = {solis.POWER_ON: True, solis.POWER_OFF: False}.get(int(power or 0))
    volts = [volt for volt in map(_number, strings) if volt is not None]
    return Seen(is_on, _number(soc), max(volts) if len(volts) == len(strings) else None)


def _number(value: Value | None) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _drift_s(got: RegistersGot, now: datetime.datetime | None) -> float | None:
    """How far the clock is ahead; NaN when it shows no time, None when nobody can compare."""
    if got.reason or got.values[0] is None or now is None:
        return None
    try:
        return solis.drift_s(got.values[0], now)
    except SolisError:
        return math.nan
