"""What a replay came to: energies, ages, silences, starts. Pure.

An open loop: the house does what it did when it was recorded, whatever is decided now. So these are
measures of what was *asked*, not of what would have happened.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from grug.messages import Decided, MeterImage

HOLD_S_MAX = 30.0
"""A decision that is not followed by another one holds for this long at most: chargers' limits are
repeated every 10 s."""
CHARGE_A_MIN = 6.0
"""The least a car charges with. Source: IEC 61851-1."""
BINS = 1200
"""Of the pictures' time axis."""


@dataclass(slots=True)
class Curve:
    """One decided series over the time, in UTC, in bins."""

    since_s: float
    bin_s: float
    sums: list[float] = field(default_factory=lambda: [0.0] * BINS)
    """In each bin, value times seconds."""
    seconds: list[float] = field(default_factory=lambda: [0.0] * BINS)

    def add(self, from_s: float, to_s: float, value: float) -> None:
        """The value held from one moment to another."""
        first = min(max(int((from_s - self.since_s) / self.bin_s), 0), BINS - 1)
        last = min(max(int((to_s - self.since_s) / self.bin_s), 0), BINS - 1)
        for index in range(first, last + 1):
            begin_s = self.since_s + index * self.bin_s
            held_s = min(to_s, begin_s + self.bin_s) - max(from_s, begin_s)
            if held_s > 0.0:
                self.sums[index] += value * held_s
                self.seconds[index] += held_s

    def means(self) -> Iterator[tuple[float, float | None]]:
        """Middle of each bin, and the mean there; None where nothing was decided."""
        for index, seconds in enumerate(self.seconds):
            at_s = self.since_s + (index + 0.5) * self.bin_s
            yield at_s, self.sums[index] / seconds if seconds else None


@dataclass(slots=True)
class _Series:
    """One decided number."""

    value: float
    at_s: float
    plus: float = 0.0
    """Sum of value times seconds, where it was above zero."""
    minus: float = 0.0
    held_s: float = 0.0
    starts: int = 0
    curve: Curve | None = None
    zero_s: float = 0.0
    """UTC at monotonic zero."""

    def hold(self, until_s: float) -> None:
        """Count what the last value came to."""
        until_s = min(until_s, self.at_s + HOLD_S_MAX)
        seconds = until_s - self.at_s
        if seconds <= 0.0 or math.isnan(self.value):
            return
        self.held_s += seconds
        if self.value > 0.0:
            self.plus += self.value * seconds
        else:
            self.minus -= self.value * seconds
        if self.curve is not None:
            self.curve.add(self.at_s + self.zero_s, until_s + self.zero_s, self.value)


@dataclass(slots=True)
class _Meter:
    """What one fake meter had to say."""

    valid_until_s: float
    at_s: float
    """Of the last image."""
    read_s: float
    live_s: float = 0.0
    aged: float = 0.0
    """Sum of age times seconds, while live."""
    oldest_s: float = 0.0
    silent_s: float = 0.0
    silences: int = 0

    def live_until(self, now_s: float) -> None:
        """Count the time since the last image; between two runs nothing is counted."""
        if self.at_s > now_s:
            return
        end_s = max(self.at_s, min(now_s, self.valid_until_s))
        young_s, old_s = self.at_s - self.read_s, end_s - self.read_s
        self.live_s += end_s - self.at_s
        self.aged += (old_s * old_s - young_s * young_s) / 2.0
        self.oldest_s = max(self.oldest_s, old_s)
        if now_s > self.valid_until_s:
            self.silences += 1
            self.silent_s += now_s - max(self.valid_until_s, self.at_s)


class Measures:
    """Sums over everything that was decided."""

    def __init__(self, since_s: float = math.nan, until_s: float = math.nan) -> None:
        """Begin.

        Args:
            since_s: begin of the curves, UTC; without it there are none.
            until_s: their end.
        """
        self.series: dict[str, _Series] = {}
        self.meters: dict[str, _Meter] = {}
        self.decisions: dict[str, int] = {}
        """By controller."""
        self.writes: dict[str, int] = {}
        """By line and unit."""
        self._since_s, self._until_s = since_s, until_s
        self._zero_s = 0.0

    @property
    def curves(self) -> dict[str, Curve]:
        """By series."""
        return {name: each.curve for name, each in self.series.items() if each.curve is not None}

    def begin(self, zero_s: float) -> None:
        """A run begins.

        Args:
            zero_s: UTC at its monotonic zero.
        """
        self._zero_s = zero_s

    def decided(self, decided: Decided) -> None:
        """Take one decision."""
        controller, at_s = decided.controller, decided.decided_s
        self.decisions[controller] = self.decisions.get(controller, 0) + 1
        for name, value in zip(decided.names, decided.values, strict=True):
            series = self.series.get(f"{controller}/{name}")
            if series is None:
                series = self.series[f"{controller}/{name}"] = _Series(value, at_s)
                if self._until_s > self._since_s:
                    bin_s = (self._until_s - self._since_s) / BINS
                    series.curve = Curve(self._since_s, bin_s)
                    series.zero_s = self._zero_s
                series.starts += value >= CHARGE_A_MIN
                continue
            series.hold(at_s)
            series.starts += value >= CHARGE_A_MIN and not series.value >= CHARGE_A_MIN
            series.value, series.at_s, series.zero_s = value, at_s, self._zero_s

    def served(self, image: MeterImage, now_s: float) -> None:
        """Take one image, at the moment when it is published."""
        meter = self.meters.get(image.fakemeter)
        if meter is None:
            self.meters[image.fakemeter] = _Meter(image.valid_until_s, now_s, image.read_s)
            return
        meter.live_until(now_s)
        meter.valid_until_s, meter.at_s = image.valid_until_s, now_s
        meter.read_s = image.read_s

    def wrote(self, place: str) -> None:
        """Take one write; ``place`` says where."""
        self.writes[place] = self.writes.get(place, 0) + 1

    def end(self, at_s: float) -> None:
        """The run is over: count what its last decisions came to."""
        for series in self.series.values():
            series.hold(at_s)
            series.value = math.nan
        for meter in self.meters.values():
            meter.live_until(at_s)
            meter.at_s = meter.read_s = meter.valid_until_s = math.inf

    def rows(self) -> dict[str, float]:
        """Every measure by name, with its unit in the name."""
        rows: dict[str, float] = {}
        for controller, count in self.decisions.items():
            rows[f"{controller} decisions"] = count
        for name, series in self.series.items():
            unit = unit_of(name)
            if unit == "w":
                plus, minus = ("import", "export") if name.endswith("grid_power_w") else ("+", "-")
                rows[f"{name} {plus}, kWh"] = series.plus / 3.6e6
                rows[f"{name} {minus}, kWh"] = series.minus / 3.6e6
            elif unit == "a":
                rows[f"{name} mean, A"] = series.plus / series.held_s if series.held_s else 0.0
                rows[f"{name}, Ah"] = series.plus / 3600.0
                rows[f"{name} starts"] = series.starts
        for name, meter in self.meters.items():
            rows[f"{name} silent, s"] = meter.silent_s
            rows[f"{name} silences"] = meter.silences
            rows[f"{name} mean age, s"] = meter.aged / meter.live_s if meter.live_s else 0.0
            rows[f"{name} largest age, s"] = meter.oldest_s
        for place, count in self.writes.items():
            rows[f"writes to {place}"] = count
        return rows


def unit_of(series: str) -> str:
    """``w`` or ``a`` by the series' name, or empty for what is no power and no current."""
    ends = [part.rpartition("_")[2] for part in series.split("/")]
    return next((end for end in reversed(ends) if end in ("w", "a")), "")
