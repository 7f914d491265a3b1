"""What a fast run comes to: energies, what the controllers did, what went wrong, as one object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import trio

from grug.messages import (
    ActorFailed,
    Decided,
    FakeMeterChanged,
    FakeMeterCounted,
    LineCounted,
    LogCounted,
    Message,
    UnitChanged,
    WriteDone,
    WriteFailed,
)
from grug.runtime.feed import Feed

COUNTED = (
    Decided,
    FakeMeterCounted,
    FakeMeterChanged,
    LineCounted,
    LogCounted,
    UnitChanged,
    WriteDone,
    WriteFailed,
    ActorFailed,
)
COUNT_EVERY_S = 60.0
WAITING_MESSAGES_MAX = 10_000
"""Between two counts there are some 700 of a house with two inverters."""


class Tally:
    """Counts what matters as it is published, keeping only sums."""

    def __init__(self, feed: Feed) -> None:
        self._steered = 0
        self._grid_power_w_sum = 0.0
        self._fakemeters: dict[str, FakeMeterCounted] = {}
        self._ages_s: dict[str, float] = {}
        self._lines: dict[str, LineCounted] = {}
        self._busy_pct: dict[str, float] = {}
        self._samples = 0
        self._events = {"fakemeter_silences": 0, "unit_changes": 0, "writes": 0}
        self._events |= {"writes_failed": 0, "actor_failures": 0}
        self._source = feed.subscribe("tally", *COUNTED, bound=WAITING_MESSAGES_MAX)

    async def run(self) -> None:
        """Count now and then until cancelled, so that little is kept."""
        while True:
            await trio.sleep(COUNT_EVERY_S)
            self._count_all()

    def _count_all(self) -> None:
        for message in self._source.drain():
            self._count(message)

    def _count(self, message: Message) -> None:
        match message:
            case Decided(controller="offset"):
                power_w = message.values[0]
                if not math.isnan(power_w):  # Else the meter was not read.
                    self._steered += 1
                    self._grid_power_w_sum += abs(power_w)
            case FakeMeterCounted():
                self._fakemeters[message.fakemeter] = message
                oldest_s = self._ages_s.get(message.fakemeter, 0.0)
                self._ages_s[message.fakemeter] = max(oldest_s, message.age_s)
            case LineCounted():
                self._lines[message.line] = message
                busy_pct = self._busy_pct.get(message.line, 0.0)
                self._busy_pct[message.line] = max(busy_pct, message.utilisation_pct)
            case LogCounted():
                self._samples = message.samples
            case FakeMeterChanged():
                self._events["fakemeter_silences"] += not message.is_live
            case UnitChanged():
                self._events["unit_changes"] += 1
            case WriteDone():
                self._events["writes"] += 1
            case WriteFailed():
                self._events["writes_failed"] += 1
            case ActorFailed():
                self._events["actor_failures"] += 1

    def summary(self, truth: Mapping[str, float], hours: float) -> dict[str, Any]:
        """The whole run as one object of plain values, the same for the same seed."""
        self._count_all()
        energies = {name: round(value, 1) for name, value in truth.items() if name.endswith("_wh")}
        charges = {name: round(value, 2) for name, value in truth.items() if name.endswith("_pct")}
        mean_w = self._grid_power_w_sum / self._steered if self._steered else 0.0
        return {
            "hours": hours,
            "energy": energies,
            "state_of_charge": charges,
            "steering": {"decisions": self._steered, "mean_abs_grid_power_w": round(mean_w, 1)},
            "fakemeters": {
                name: {
                    "answered": counted.answered,
                    "silent_stale": counted.silent_stale,
                    "age_s_max": round(self._ages_s[name], 3),
                }
                for name, counted in sorted(self._fakemeters.items())
            },
            "lines": {
                name: {
                    "transactions": counted.transactions,
                    "failures": counted.failures,
                    "utilisation_pct_max": round(self._busy_pct[name], 1),
                }
                for name, counted in sorted(self._lines.items())
            },
            "events": self._events,
            "log": {"samples": self._samples},
        }


def summary_text(summary: Mapping[str, Any]) -> str:
    """The summary for a person's eyes."""
    lines = [f"{summary['hours']:g} hours of the house"]
    for name, value in summary["energy"].items():
        lines.append(f"  {name.removesuffix('_wh').replace('_', ' '):<14}{value / 1000:9.2f} kWh")
    for name, value in summary["state_of_charge"].items():
        battery = name.removesuffix("_soc_pct")
        lines.append(f"  {battery + ' battery':<14}{value:9.1f} % charged")
    steering = summary["steering"]
    lines.append(
        f"steering: {steering['decisions']} decisions,"
        f" grid power {steering['mean_abs_grid_power_w']} W from zero on average"
    )
    for name, counted in summary["fakemeters"].items():
        lines.append(
            f"{name}: {counted['answered']} answers, {counted['silent_stale']} silences,"
            f" oldest image {counted['age_s_max'] * 1000:.0f} ms"
        )
    for name, counted in summary["lines"].items():
        lines.append(
            f"line {name}: {counted['transactions']} transactions, {counted['failures']} failures,"
            f" {counted['utilisation_pct_max']} % busy at most"
        )
    lines.append(", ".join(f"{name} {count}" for name, count in summary["events"].items()))
    lines.append(f"log: {summary['log']['samples']} samples")
    return "\n".join(lines) + "\n"
