"""How a simulated inverter really answers to its meter, to hold a measurement against. Pure.

What ``grug identify-plant`` finds is the whole way of an answer: from its first byte on the wire,
over the inverter's own dead time and lag, until a meter shows the AC port's power. The numbers of
``InverterSetup`` are only parts of that. So the same thing is measured here, on the inverter alone.
"""

from __future__ import annotations

import random
import statistics

from grug.sim.inverter import Inverter, InverterSetup

EVERY_S = 0.25
"""Between two answers."""
PULSE_W = 400.0
"""Told by one answer, between others of 0 W."""
PULSE_S = 5.0
"""When that is, about."""
WATCH_S = 12.0
PHASES = 10
"""An answer may come at any time within a step of the physics: so many of them are tried."""


def true_answer(
    setup: InverterSetup, step_s: float, answer_wire_s: float = 0.0
) -> tuple[float, float]:
    """Gain per second, and the mean delay of what the AC port's power is seen to do, in s.

    The delay is that of the move's centre: dead time and lag together, with the answer's own time
    on the wire, the wait for the next step of the physics, and the age of what is read.

    Args:
        setup: the inverter.
        step_s: of the physics.
        answer_wire_s: from an answer's begin until the inverter has it whole.
    """
    answers = [_answer(setup, step_s, step_s * phase / PHASES) for phase in range(PHASES)]
    gain_per_s = statistics.fmean(gain for gain, _ in answers)
    return gain_per_s, answer_wire_s + statistics.fmean(delay_s for _, delay_s in answers)


def _answer(setup: InverterSetup, step_s: float, late_s: float) -> tuple[float, float]:
    """The same for answers that come so long after a step."""
    inverter = Inverter(setup, random.Random(1), step_s)
    seen_w: list[float] = []
    told = 0
    for step in range(1, round(WATCH_S / step_s) + 1):
        while told * EVERY_S + late_s <= step * step_s:
            power_w = PULSE_W if told == round(PULSE_S / EVERY_S) else 0.0
            inverter.believe(power_w, told * EVERY_S + late_s)
            told += 1
        inverter.step(step * step_s, step_s)
        seen_w.append(inverter.ac_w)
    moved_w = seen_w[-1]
    # What is seen of a step is seen until the next one; all before the answer is not moved yet.
    lacking_s = sum((1.0 - ac_w / moved_w) * step_s for ac_w in seen_w) + step_s
    return moved_w / (PULSE_W * EVERY_S), lacking_s - (PULSE_S + late_s)
