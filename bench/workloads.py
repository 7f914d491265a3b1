"""A synthetic day of a house, after what the forerunner's house logs: 200 series, 163 samples/s.

Meters at 5 Hz, inverters at 1 Hz, slow registers every 10 s; values at the resolution of their
registers. Powers and currents wander and are noisy, voltages and the frequency stay near a mean,
counters grow, temperatures creep, and a third of the slow registers never change. The same seed
gives the same day.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator

from grug.messages import Message, Readings

Signal = Callable[[], float]

GROUPS = (
    # Device, period in s, and how many registers of each kind: power, voltage, frequency, counter,
    # temperature, constant.
    ("grid", 0.2, (4, 3, 1, 1, 0, 2)),
    ("meter1", 0.2, (2, 1, 0, 0, 0, 0)),
    ("meter2", 0.2, (2, 1, 0, 0, 0, 0)),
    ("evse_meter", 0.5, (3, 3, 0, 0, 0, 0)),
    ("inverter1", 1.0, (10, 4, 1, 0, 2, 7)),
    ("inverter2", 1.0, (10, 4, 1, 0, 2, 7)),
    ("charger", 2.0, (3, 3, 0, 1, 0, 6)),
    ("grid_slow", 10.0, (12, 3, 0, 9, 0, 4)),
    ("inverter1_slow", 10.0, (8, 4, 0, 8, 6, 18)),
    ("inverter2_slow", 10.0, (8, 4, 0, 8, 6, 18)),
)


def series_count() -> int:
    """How many series there are."""
    return sum(sum(kinds) for _, _, kinds in GROUPS)


def samples_per_s() -> float:
    """How many samples come in a second."""
    return sum(sum(kinds) / period_s for _, period_s, kinds in GROUPS)


def synthetic(hours: float, seed: int = 1) -> Iterator[Message]:
    """The messages of so many hours, in the order of their times."""
    chance = random.Random(seed)
    names, signals = [], []
    for _, period_s, kinds in GROUPS:
        made = _signals(chance, kinds, period_s)
        signals.append(made)
        names.append(tuple(f"register_{index}" for index in range(len(made))))
    due = [(0.013 * index, index) for index in range(len(GROUPS))]
    while due[0][0] < hours * 3600:
        at_s, index = heapq.heappop(due)
        device, period_s, _ = GROUPS[index]
        late_s = min(abs(chance.gauss(0, 0.004)), 0.05)
        values = tuple([signal() for signal in signals[index]])
        yield Readings(device, at_s + late_s, names[index], values)
        heapq.heappush(due, (at_s + period_s, index))


def _signals(chance: random.Random, kinds: tuple[int, ...], period_s: float) -> list[Signal]:
    make = (_power, _voltage, _frequency, _counter, _temperature, _constant)
    return [
        build(chance, period_s)
        for build, count in zip(make, kinds, strict=True)
        for _ in range(count)
    ]


def _power(chance: random.Random, period_s: float) -> Signal:
    """W, 1 W: wanders, is noisy, and jumps now and then as kettles do."""
    level = [chance.uniform(100, 3000)]
    noise_w, step_w = chance.uniform(0.5, 4), 3 * period_s**0.5

    def read() -> float:
        level[0] += chance.gauss(0, step_w)
        if chance.random() < 0.002 * period_s:
            level[0] += chance.choice((-1, 1)) * chance.uniform(200, 2000)
        return round(level[0] + chance.gauss(0, noise_w))

    return read


def _voltage(chance: random.Random, period_s: float) -> Signal:
    """V, 0.1 V: comes back to its mean."""
    level = [0.0]
    pull, step = min(1.0, 0.02 * period_s), 0.15 * period_s**0.5

    def read() -> float:
        level[0] += chance.gauss(0, step) - pull * level[0]
        return round(231.0 + level[0], 1)

    return read


def _frequency(chance: random.Random, period_s: float) -> Signal:
    """Hz, 0.01 Hz."""
    level = [0.0]

    def read() -> float:
        level[0] += chance.gauss(0, 0.004 * period_s**0.5) - 0.02 * level[0]
        return round(50.0 + level[0], 2)

    return read


def _counter(chance: random.Random, period_s: float) -> Signal:
    """kWh, 0.01 kWh: grows with a power of up to 3 kW."""
    total, kw = [chance.uniform(0, 20_000)], chance.uniform(0, 3)

    def read() -> float:
        total[0] += kw * period_s / 3600
        return round(total[0], 2)

    return read


def _temperature(chance: random.Random, period_s: float) -> Signal:
    """Degrees, 0.1: creeps."""
    level = [chance.uniform(15, 45)]

    def read() -> float:
        level[0] += chance.gauss(0, 0.02 * period_s**0.5)
        return round(level[0], 1)

    return read


def _constant(chance: random.Random, period_s: float) -> Signal:
    """A state or a setting."""
    value = chance.randrange(100)
    return lambda: value
