"""``grug sim evaluate --margins``: inverters that are not what the configuration says they are.

Gain and dead time of both simulated inverters are half, once and twice what the house's file says
of them; the law goes on believing the file. Beside it the plain law, which assumes nothing.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import msgspec

from grug.control.plant import Plant
from grug.demo.evaluate import Run, evaluation_house, score_of
from grug.sim.evaluate import Score, mean_score
from grug.sim.inverter import InverterSetup
from grug.sim.scenarios import SCENARIOS, Scenario

LAWS = ("plain", "grug")
FACTORS = (0.5, 1.0, 2.0)
"""The margins that a loop is usually asked for."""
USUAL = "clear"
"""The scenario unless another is asked for: what swings there, swings by the loop alone."""
STEP_S = 0.2
"""The simulated inverter's own time step: no dead time is shorter."""


@dataclass(frozen=True, slots=True)
class Row:
    """One pair of inverters under one law: the mean over the seeds."""

    scenario: str
    gain: float
    """Times what the file says."""
    dead_time: float
    law: str
    score: Score


def margins(
    names: Sequence[str], laws: Sequence[str], seeds: Sequence[int], hours: float, *, as_json: bool
) -> int:
    """Make all runs and print the table; exit status 1 when anything stale was served."""
    config = evaluation_house()
    # They differ by less than the file's one pair of numbers can say; the first stands for all.
    said = next(iter(config.inverter.values()))
    said_s = said.dead_time or Plant().dead_s
    rows = []
    for scenario in SCENARIOS:
        if scenario.name.replace(" ", "-") not in (names or (USUAL,)):
            continue
        for gain, dead_time in itertools.product(FACTORS, FACTORS):
            other = stretched(scenario, gain, (dead_time - 1.0) * said_s)
            for law in laws:
                runs = [Run(other, law, seed, hours) for seed in seeds]
                score = mean_score(score_of(config, run) for run in runs)
                rows.append(Row(scenario.name, gain, dead_time, law, score))
                if not as_json:
                    sys.stdout.write(("" if len(rows) > 1 else HEADER) + row_text(rows[-1]))
                    sys.stdout.flush()
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(rows)).decode() + "\n")
    return 1 if any(row.score.stale for row in rows) else 0


def stretched(scenario: Scenario, gain: float, more_s: float) -> Scenario:
    """The same day with inverters of other strength and speed.

    Args:
        scenario: as it is.
        gain: times their own.
        more_s: added to their own dead time.
    """

    def other(inverter: InverterSetup) -> InverterSetup:
        return replace(
            inverter,
            gain_per_s=inverter.gain_per_s * gain,
            dead_time_s=max(STEP_S, inverter.dead_time_s + more_s),
        )

    first, second = scenario.inverters
    return replace(scenario, inverters=(other(first), other(second)))


COLUMNS = (
    ("grid_w", "grid W", 8, ".1f"),
    ("import_wh", "imp Wh/h", 9, ".1f"),
    ("settle_s", "settle s", 9, ".1f"),
    ("overshoot_w", "over W", 8, ".0f"),
    ("oscillation_w", "osc W/min", 10, ".0f"),
    ("circulating_wh", "circ Wh/h", 10, ".1f"),
    ("stale", "stale", 6, ".0f"),
)
"""What of a score tells how near the loop is to swinging."""
HEADER = (
    f"{'scenario':<15}{'gain':>5}{'dead time':>10}  {'law':<6}"
    + "".join(f"{title:>{width}}" for _, title, width, _ in COLUMNS)
    + "\n"
)


def row_text(row: Row) -> str:
    """One line of the table."""
    values = asdict(row.score)
    cells = "".join(f"{values[name]:>{width}{style}}" for name, _, width, style in COLUMNS)
    start = (
        f"{row.scenario:<15}{'x' + format(row.gain, 'g'):>5}{'x' + format(row.dead_time, 'g'):>10}"
    )
    return f"{start}  {row.law:<6}{cells}\n"
