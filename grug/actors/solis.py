"""Solis actor: keeps one inverter's clock, and switches it off while it has nothing to give.

In:    nothing; it asks the gate what the inverter's registers hold
Out:   SetRegisters and GetRegisters to the gate; Decided at every look at the power, Noted when it
       switches or sets something, or fails to
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
from grug.control.power_save import PowerSaveSettings, PowerState, Seen, Switch
from grug.control.solis import Change, SolisError
from grug.messages import Decided, GetRegisters, Noted, RegistersGot, SetRegisters
from grug.model import Value
from grug.runtime.calls import ValueCaller, WriteCaller
from grug.runtime.feed import Feed

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
        if settings.power_save is not None:
            nursery.start_soon(keeper.save_power, settings.power_save)
        if settings.keeps_clock:
            nursery.start_soon(keeper.keep_clock)
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

    async def save_power(self, settings: PowerSaveSettings) -> None:
        """Look twice a minute, and switch when it is time."""
        state = PowerState()
        while True:
            seen = _seen(await self._get(POWER, SOC, *STRINGS))
            now_s = trio.current_time()
            plan = power_save.decide(settings, state, seen, now_s)
            state = plan.state
            self._tell(seen, plan.reason, now_s)
            if plan.switch is not Switch.NONE:
                is_on = plan.switch is Switch.ON
                # A budget that has run out keeps it from going off, never from coming back.
                await self._apply(solis.power(is_on), plan.reason, is_forced=is_on)
                state = power_save.switched(state, plan.switch, trio.current_time())
            await trio.sleep(LOOK_S)

    async def keep_clock(self) -> None:
        """Look a few times a day, and set the clock when two looks agree that it is wrong."""
        state = clockwork.started(trio.current_time())
        while True:
            await trio.sleep_until(state.look_s)
            got = await self._get(CLOCK)
            now = self._local_time()
            plan = clockwork.decide(state, _drift_s(got, now), trio.current_time())
            state = plan.state
            if plan.sets and now is not None:
                await self._apply(solis.clock(now), plan.reason)

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
