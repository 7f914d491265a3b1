"""Other ways to steer, to compare with: the inverters left alone, their plain part, the seed's law.

In:    Readings and ReadingsMissing of the grid meter, Readings of inverters and their AC meters,
       UnitChanged of the inverters
Out:   MeterImage per fake meter, at every good reading of the grid's power
Owns:  nothing but its memory
Stops: when cancelled

All are told the truth as often as grug is, and are silent when it is; none knows an offset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import trio

from grug.config.types import HouseConfig
from grug.messages import Message, MeterImage, Readings, UnitChanged
from grug.model import UnitHealth
from grug.runtime.feed import Feed

IMAGE_NAMES = ("active_power",)


class Law(Protocol):
    """What each inverter is told, from what is known."""

    def told_w(self, grid_w: float, charging_w: Mapping[str, float], now_s: float) -> list[float]:
        """Active power for each inverter's meter port.

        Args:
            grid_w: plus = import.
            charging_w: by inverter that is there, PV less what leaves its AC port; in order.
            now_s: monotonic.
        """


class NoControl:
    """Every inverter sees the meter at the house's connection, as if it were alone."""

    def told_w(self, grid_w: float, charging_w: Mapping[str, float], now_s: float) -> list[float]:
        """See ``Law.told_w``."""
        return [grid_w] * len(charging_w)


class PlainLaw:
    """Every inverter is told an equal part of the grid's power, and nothing else."""

    def told_w(self, grid_w: float, charging_w: Mapping[str, float], now_s: float) -> list[float]:
        """See ``Law.told_w``."""
        return [grid_w / len(charging_w)] * len(charging_w)


BALANCE = 0.1
"""Part of the difference to the mean battery power that each inverter is told to make up for."""
BOOST_STEPS = ((200.0, 2.0), (500.0, 1.0), (1000.0, 1.0))
"""(threshold in W, how many times what is above it is added)."""
BOOST_PER_S = 0.3
BOOST_W_MAX = 15_000.0


@dataclass(slots=True)
class SeedLaw:
    """Half of the grid's power each, a balance term, and a boost of import that tires.

    Source: the seed's public program (its controller's fake meter part), read for its numbers. The
    boost's strength goes up while there is nothing to boost, and down while it is in use. That the
    strength moves once per inverter and reading is the seed's own.
    """

    _boost: float = field(default=0.0, init=False)
    _moved_s: float | None = field(default=None, init=False)

    def told_w(self, grid_w: float, charging_w: Mapping[str, float], now_s: float) -> list[float]:
        """See ``Law.told_w``."""
        step = BOOST_PER_S * (0.0 if self._moved_s is None else now_s - self._moved_s)
        self._moved_s = now_s
        share = 1.0 / max(1, len(charging_w))
        mean_w = sum(charging_w.values()) * share
        told = []
        for one_w in charging_w.values():
            power_w = grid_w * share + BALANCE * (one_w - mean_w)
            extra_w = sum(max(0.0, power_w - above_w) * times for above_w, times in BOOST_STEPS)
            if extra_w:
                told.append(min(BOOST_W_MAX, power_w + extra_w * self._boost))
                self._boost = max(0.0, self._boost - step)
            else:
                told.append(power_w)
                self._boost = min(1.0, self._boost + step)
        return told


async def run(feed: Feed, *, config: HouseConfig, law: Law) -> None:
    """Tell every fake meter what the law says, at each reading of the grid's power."""
    assert config.grid is not None, "a house that is steered has a grid meter"
    known = _Known(config)
    grid_device, register = config.grid.device, config.grid.register
    with feed.subscribe("baseline", Readings, UnitChanged) as subscription:
        while True:
            for message in await subscription.receive_batch():
                known.take(message)
                if not isinstance(message, Readings) or message.device != grid_device:
                    continue
                if register in message.names:
                    grid_w = float(message.values[message.names.index(register)])
                    told_w = law.told_w(grid_w, known.charging_w(), trio.current_time())
                    for image in known.images(told_w, message.read_s):
                        feed.publish(image)


class _Known:
    """The latest of every inverter's PV and AC power, and who is there."""

    def __init__(self, config: HouseConfig) -> None:
        self._config = config
        self._latest: dict[tuple[str, str], float] = {}
        self._offline: set[str] = set()
        self._units = {
            (config.device[inverter.device].line, config.device[inverter.device].unit): name
            for name, inverter in config.inverter.items()
        }

    def take(self, message: Message) -> None:
        """Note what matters of it."""
        if isinstance(message, Readings):
            for name in ("pv_power", "active_power"):
                if name in message.names:
                    value = message.values[message.names.index(name)]
                    self._latest[message.device, name] = float(value)
        elif isinstance(message, UnitChanged):
            name = self._units.get((message.line, message.unit_id), "")
            if message.health is UnitHealth.OFFLINE:
                self._offline.add(name)
            else:
                self._offline.discard(name)

    def charging_w(self) -> dict[str, float]:
        """By inverter that is there, what goes into its battery; 0 before it is known."""
        latest = self._latest
        return {
            name: latest.get((inverter.device, "pv_power"), 0.0)
            + latest.get((inverter.meter, "active_power"), 0.0)
            for name, inverter in self._config.inverter.items()
            if name not in self._offline
        }

    def images(self, told_w: list[float], read_s: float) -> list[MeterImage]:
        """One for each inverter that is there."""
        there = [name for name in self._config.inverter if name not in self._offline]
        images = []
        for name, power_w in zip(there, told_w, strict=True):
            meter = self._config.inverter[name].fakemeter
            until_s = read_s + self._config.fakemeter[meter].max_age
            images.append(MeterImage(meter, IMAGE_NAMES, (power_w,), read_s, until_s))
        return images
