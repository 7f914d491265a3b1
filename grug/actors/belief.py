"""Belief check actor: does each inverter report what its fake meter told it?

In:    Decided of the offset controller (what each inverter is told); Readings of the inverters
       that report what their meter said
Out:   BeliefEstimated per inverter, every 10 s; Noted when the alarm begins and ends
Owns:  nothing; it lives in the data process, since an estimate takes milliseconds
Stops: when cancelled
"""

from __future__ import annotations

from collections.abc import Mapping

import trio

from grug.control.belief import (
    REPORTED,
    Alarm,
    BeliefBook,
    BeliefSettings,
    Verdict,
    estimate,
)
from grug.control.offset import CONTROLLER
from grug.messages import Decided, Message, Noted, Readings
from grug.model import Quality
from grug.runtime.feed import Feed

ESTIMATE_EVERY_S = 10.0
SERVED = "served_w/"
"""How the offset controller's decisions name what an inverter is told."""
WAITING_MESSAGES_MAX = 5000


async def run(
    feed: Feed, *, devices: Mapping[str, str], settings: BeliefSettings | None = None
) -> None:
    """Compare until cancelled.

    Args:
        feed: of the data process.
        devices: by inverter, the device at its COM port.
        settings: how it is compared.
    """
    check = _Check(feed, devices, settings or BeliefSettings())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(check.take_all)
        while True:
            await trio.sleep(ESTIMATE_EVERY_S)
            for inverter in devices:
                check.estimate(inverter)
                await trio.lowlevel.checkpoint()


class _Check:
    """The books of all inverters."""

    def __init__(self, feed: Feed, devices: Mapping[str, str], settings: BeliefSettings) -> None:
        self._feed = feed
        self._settings = settings
        self._books = {inverter: BeliefBook(settings) for inverter in devices}
        self._alarms = {inverter: Alarm(settings) for inverter in devices}
        self._inverters = {device: inverter for inverter, device in devices.items()}

    async def take_all(self) -> None:
        """Note what was told and what was reported."""
        with self._feed.subscribe(
            "belief", Decided, Readings, bound=WAITING_MESSAGES_MAX, wanted=self._is_wanted
        ) as source:
            while True:
                for message in await source.receive_batch():
                    self._take(message)

    def estimate(self, inverter: str) -> None:
        """Say how things are, and ring or rest."""
        now_s = trio.current_time()
        found = estimate(self._settings, inverter, self._books[inverter], now_s)
        self._feed.publish(found)
        alarm = self._alarms[inverter]
        if alarm.take(Verdict(found.verdict)):
            text = f"{inverter} does not believe its fake meter: {found.verdict}"
            if not alarm.is_ringing:
                text = f"{inverter} believes its fake meter again"
            self._feed.publish(Noted("belief", f"{text}: {found.reason}; {found.advice}", now_s))

    def _is_wanted(self, message: Message) -> bool:
        if isinstance(message, Readings):
            return message.device in self._inverters and REPORTED in message.names
        return isinstance(message, Decided) and message.controller == CONTROLLER

    def _take(self, message: Message) -> None:
        if isinstance(message, Decided):
            for name, value in zip(message.names, message.values, strict=True):
                book = self._books.get(name.removeprefix(SERVED))
                if book is not None and name.startswith(SERVED):
                    book.serve(value, message.decided_s)
        elif isinstance(message, Readings):
            index = message.names.index(REPORTED)
            reported = message.values[index]
            is_good = not message.qualities or message.qualities[index] is Quality.GOOD
            if is_good and isinstance(reported, int | float):
                book = self._books[self._inverters[message.device]]
                book.report(float(reported), message.read_s)
