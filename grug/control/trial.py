"""A trial of small steps of offset on a house that runs: what is asked when, until when. Pure.

One inverter after the other is asked for small offsets of alternating sign, each with an expiry a
little after its step. Before each inverter the grid has to be calm. Whatever is out of the ordinary
ends the trial at once: it is a measurement, and can be made at another time.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import msgspec

from grug.control.identify import Seen
from grug.control.plant import Asking
from grug.control.powers import InverterPowers, Powers

STEP_W_MAX = 800.0
"""No step is larger: any house takes that without anybody noticing."""
SIGNS = (1.0, -1.0, 0.0, 1.0, -1.0, 1.0, 0.0, -1.0)
"""Of the steps, over and over; the sum of a round is zero, so that the batteries stay where they
are."""


@dataclass(frozen=True, slots=True)
class TrialSettings:
    """How it is done, and what it must not be done in."""

    inverters: tuple[str, ...]
    """One after the other."""
    step_w: float = 400.0
    step_s: float = 6.0
    """Longer than any inverter takes to follow."""
    rounds: int = 2
    """Of ``SIGNS``, for each inverter."""
    expiry_s: float = 2.0
    """So long after its step a wish ends by itself."""
    soc_pct: tuple[float, float] = (20.0, 90.0)
    """Outside of it a battery may refuse what it is told."""
    calm_w_max: float = 2000.0
    """The mean grid power, either way, of a calm moment."""
    grid_w_max: float = 6000.0
    """Grid power, either way, at which the trial ends."""
    quiet_w: float = 150.0
    """Standard deviation of the grid power in a calm moment."""
    quiet_s: float = 10.0
    """How long a moment is."""
    wait_s_max: float = 600.0
    """Longer than this nobody waits for a calm moment."""
    ac_s_max: float = 3.0
    """An inverter whose AC power was read longer ago does not answer."""
    soc_s_max: float = 120.0
    """An older state of charge is not known."""
    decided_s_max: float = 1.5
    """A house that decided nothing for longer does not steer."""
    gap_s_max: float = 1.0
    """Two looks at the house that are further apart miss what it was told."""


class Trial(msgspec.Struct, frozen=True):
    """How far it has come."""

    at: int = 0
    """Which inverter."""
    step: int = -1
    """Which of its steps holds; -1 waits for a calm moment."""
    since_s: float | None = None
    """When that began; None before the first look."""
    looked_s: float | None = None
    grid: tuple[tuple[float, float], ...] = ()
    """(time, W) of the grid's readings of the last moment."""


class Ask(msgspec.Struct, frozen=True):
    """Ask for an offset of one inverter."""

    target: str
    power_w: float
    for_s: float
    """0 ends what was asked before."""


class Done(msgspec.Struct, frozen=True):
    """It is over."""

    problem: str = ""
    """Why it ended early; empty when all steps were taken."""


START = Trial()


def seconds_of(settings: TrialSettings) -> float:
    """How long it lasts when it never has to wait."""
    steps_s = settings.rounds * len(SIGNS) * settings.step_s
    return len(settings.inverters) * (settings.quiet_s + steps_s)


def advance(
    settings: TrialSettings, trial: Trial, powers: Powers, who: str
) -> tuple[Trial, Ask | Done | None]:
    """Look at the house and say what is next.

    Args:
        settings: how it is done.
        trial: as the last look left it.
        powers: the house now.
        who: whose name our own wishes have.

    Returns:
        What to remember, and what to do now; None waits for the next look.
    """
    problem = _problem(settings, trial, powers, who)
    if problem:
        return trial, Done(problem)
    now_s = powers.now_s
    since_s = now_s if trial.since_s is None else trial.since_s
    trial = msgspec.structs.replace(
        trial, since_s=since_s, looked_s=now_s, grid=_grid(settings, trial, powers)
    )
    if trial.step < 0:
        noise = _noise(settings, trial)
        if not noise:
            return _take_step(settings, trial, 0, now_s)
        if now_s - since_s > settings.wait_s_max:
            return trial, Done(f"no calm moment within {settings.wait_s_max:.0f} s: {noise}")
        return trial, None
    if now_s - since_s < settings.step_s:
        return trial, None
    if trial.step + 1 < settings.rounds * len(SIGNS):
        return _take_step(settings, trial, trial.step + 1, now_s)
    if trial.at + 1 == len(settings.inverters):
        return trial, Done()
    end = Ask(settings.inverters[trial.at], 0.0, 0.0)
    return Trial(trial.at + 1, -1, now_s, now_s), end


def _take_step(
    settings: TrialSettings, trial: Trial, step: int, now_s: float
) -> tuple[Trial, Ask | Done | None]:
    power_w = settings.step_w * SIGNS[step % len(SIGNS)]
    ask = Ask(settings.inverters[trial.at], power_w, settings.step_s + settings.expiry_s)
    return msgspec.structs.replace(trial, step=step, since_s=now_s), ask


def _problem(settings: TrialSettings, trial: Trial, powers: Powers, who: str) -> str:
    """Why the trial must not go on, or an empty text."""
    now_s, grid_w = powers.now_s, powers.grid_w
    if grid_w is None or now_s - powers.grid_s > powers.live_s:
        return "the grid meter is not live"
    if powers.decided_s is None or now_s - powers.decided_s > settings.decided_s_max:
        return "the house steers nothing just now"
    if trial.looked_s is not None and now_s - trial.looked_s > settings.gap_s_max:
        return f"the house was not seen for {now_s - trial.looked_s:.1f} s"
    others = [wish for wish in powers.wishes if wish.who != who]
    if others:
        of, why = others[0], f" ({others[0].why})" if others[0].why else ""
        return f"a wish of {of.who}{why} for {of.target or 'the house'} holds"
    if trial.step >= 0 and not powers.wishes:
        return "the house does not know our wish any more; was it started again?"
    if abs(grid_w) > settings.grid_w_max:
        return f"the grid is at {grid_w:.0f} W, beyond {settings.grid_w_max:.0f} W"
    by_name = {each.name: each for each in powers.inverters}
    for name in settings.inverters:
        if name not in by_name:
            return f"there is no inverter {name!r}; there are {', '.join(by_name)}"
        if by_name[name].told_w is None:
            return f"{name} is told nothing: {powers.reason}"
        problem = _problem_of(settings, by_name[name], now_s)
        if problem:
            return f"{name} {problem}"
    return ""


def _problem_of(settings: TrialSettings, inverter: InverterPowers, now_s: float) -> str:
    low_pct, high_pct = settings.soc_pct
    if inverter.is_off_grid:
        return "is off grid"
    if inverter.ac_w is None or now_s - inverter.ac_s > settings.ac_s_max:
        age = "never" if inverter.ac_w is None else f"{now_s - inverter.ac_s:.0f} s ago"
        return f"does not answer: its AC power was read {age}"
    soc_pct = inverter.soc_pct
    if soc_pct is None or now_s - inverter.soc_s > settings.soc_s_max:
        return "does not tell its state of charge"
    if not low_pct <= soc_pct <= high_pct:
        return f"has {soc_pct:.0f} % state of charge, outside of {low_pct:.0f} to {high_pct:.0f} %"
    return ""


def _grid(settings: TrialSettings, trial: Trial, powers: Powers) -> tuple[tuple[float, float], ...]:
    """The grid's readings of the last moment, with a little more so that it is a whole one."""
    grid_w, read_s = powers.grid_w, powers.grid_s
    if grid_w is None or (trial.grid and trial.grid[-1][0] >= read_s):
        return trial.grid
    oldest_s = read_s - 1.1 * settings.quiet_s
    return (*(each for each in trial.grid if each[0] >= oldest_s), (read_s, grid_w))


def _noise(settings: TrialSettings, trial: Trial) -> str:
    """Why this is no calm moment; empty when it is one."""
    if not trial.grid or trial.grid[-1][0] - trial.grid[0][0] < settings.quiet_s:
        return "the grid was not watched for long enough"
    watched_w = [grid_w for _, grid_w in trial.grid]
    mean_w, spread_w = statistics.fmean(watched_w), statistics.pstdev(watched_w)
    if abs(mean_w) > settings.calm_w_max:
        return f"the grid is at {mean_w:.0f} W, {settings.calm_w_max:.0f} W are too much"
    if spread_w > settings.quiet_w:
        return f"the grid varies by {spread_w:.0f} W, {settings.quiet_w:.0f} W are too much"
    return ""


class Record:
    """What was seen of every inverter during a trial."""

    def __init__(self) -> None:
        self._told: dict[str, list[tuple[float, float]]] = {}
        self._ac: dict[str, list[tuple[float, float]]] = {}
        self._asking: dict[str, list[Asking]] = {}

    def take(self, powers: Powers) -> None:
        """Note what is new since the last look."""
        for inverter in powers.inverters:
            told = self._told.setdefault(inverter.name, [])
            ac = self._ac.setdefault(inverter.name, [])
            asking = self._asking.setdefault(inverter.name, [])
            decided_s = powers.decided_s
            is_new = decided_s is not None and (not told or decided_s > told[-1][0])
            if is_new and decided_s is not None and inverter.told_w is not None:
                told.append((decided_s, inverter.told_w))
            if inverter.ac_w is not None and (not ac or inverter.ac_s > ac[-1][0]):
                ac.append((inverter.ac_s, inverter.ac_w))
            if inverter.asking is not None and (not asking or inverter.asking != asking[-1]):
                asking.append(inverter.asking)

    def inverters(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """Those that were wanted, or all that were seen."""
        return wanted or tuple(self._told)

    def seen(self, inverter: str) -> Seen:
        """Everything of one inverter."""
        return Seen(
            tuple(self._told.get(inverter, ())),
            tuple(self._ac.get(inverter, ())),
            tuple(self._asking.get(inverter, ())),
        )
