"""Does an inverter believe its fake meter? What it was told against what it reports. Pure.

Some inverters report what their meter said (a Solis its meter's total active power). That is
compared with what was served: if the report follows it as ``scale * served + offset``, ``lag_s``
later, with a scale of 1, the meter is understood. A scale of -1 is a meter that was set up the
wrong way round, 0.1 or 10 a wrong profile, and no relation at all a wrong cable.

The fit is least squares at each of a range of lags; the lag with the smallest rest wins. Nothing
can be learned while nothing moves, so a verdict wants a swing.
"""

from __future__ import annotations

import enum
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from grug.messages import BeliefEstimated

REPORTED = "meter_total_active_power"
"""Register in which an inverter says what its meter said, by the name that the maps have for it. A
Solis has it at input 33263. Source: the map solis_s5_eh1p."""


SURE = 3.0
"""Standard errors that a number must be off by until it counts as wrong."""
SAME_FIT = 1e-4
"""Fits that differ by less are equally good."""


@dataclass(frozen=True, slots=True)
class BeliefSettings:
    """How a report is compared with what was served."""

    window_s: float = 120.0
    """Reports of so long are compared."""
    reports_min: int = 20
    swing_w: float = 150.0
    """Standard deviation of what was served under which nothing can be learned."""
    lag_s_max: float = 10.0
    """An inverter that reports later than this could not be steered either."""
    lag_step_s: float = 0.25
    scale_off_max: float = 0.1
    """A scale this near to 1 is right: what is served changes while a report is on its way."""
    fit_min: float = 0.7
    """Share of the reports' variance that what was served explains, when they are related."""
    offset_w_max: float = 60.0
    lag_s_slow: float = 3.0
    """More than this, and the controller acts on what has been over for long."""
    alarm_after: int = 30
    """Estimates in a row that disagree until it is an alarm, and that agree until it is none: more
    than two windows. Those of one window share their reports, and all are wrong when a few steps of
    the load fell between two questions of the inverter; simulated loops rang every few minutes."""


class Verdict(enum.StrEnum):
    """What a comparison says."""

    AGREES = "agrees"
    UNKNOWN = "not known yet"
    REVERSED = "reversed"
    SCALED = "scaled"
    SHIFTED = "shifted"
    LATE = "late"
    UNRELATED = "unrelated"

    @property
    def is_bad(self) -> bool:
        """Whether the inverter is not told what we think that it is."""
        return self not in (Verdict.AGREES, Verdict.UNKNOWN)


_ADVICE = {
    Verdict.AGREES: "nothing to do",
    Verdict.UNKNOWN: "let the power change: `grug offset house 500 --for 1min`, then back",
    Verdict.REVERSED: "the inverter counts import as export: swap its meter placement or CT"
    " direction setting (grid side or load side), or use a profile that shows -active_power",
    Verdict.SCALED: "wrong profile or meter type: the register is read in another unit",
    Verdict.SHIFTED: "the inverter adds something to its meter: look for its own power offset or"
    " a second meter",
    Verdict.LATE: "the inverter asks its meter seldom or smooths it: expect swings, lower the gain",
    Verdict.UNRELATED: "the inverter does not listen to this fake meter: look at the cable, at"
    " [inverter] device and fakemeter, and at `grug fake report`",
}


@dataclass(frozen=True, slots=True)
class Fit:
    """How reports follow what was served."""

    scale: float
    offset_w: float
    lag_s: float
    fit: float
    """Share of the reports' variance that is explained, 0..1."""
    swing_w: float
    reports: int


class BeliefBook:
    """What one inverter was told and what it reported, lately."""

    def __init__(self, settings: BeliefSettings) -> None:
        self._settings = settings
        self._served: deque[tuple[float, float]] = deque()
        self._reports: deque[tuple[float, float]] = deque()

    def serve(self, power_w: float, at_s: float) -> None:
        """From this time on the fake meter says so; NaN while it says nothing."""
        self._served.append((at_s, power_w))
        oldest_s = at_s - self._settings.window_s - self._settings.lag_s_max
        while len(self._served) > 1 and self._served[1][0] < oldest_s:
            self._served.popleft()

    def report(self, power_w: float, at_s: float) -> None:
        """The inverter said that its meter says so."""
        if not math.isfinite(power_w):
            return
        self._reports.append((at_s, power_w))
        while self._reports[0][0] < at_s - self._settings.window_s:
            self._reports.popleft()

    def fit(self) -> Fit | None:
        """The best relation; None when there is too little to compare."""
        settings = self._settings
        if len(self._reports) < settings.reports_min or not self._served:
            return None
        times = [at_s for at_s, _ in self._served]
        values = [power_w for _, power_w in self._served]
        fits: list[Fit] = []
        for number in range(round(settings.lag_s_max / settings.lag_step_s) + 1):
            lag_s = number * settings.lag_step_s
            pairs = []
            for at_s, reported_w in self._reports:
                index = bisect_right(times, at_s - lag_s) - 1
                if index >= 0 and math.isfinite(values[index]):
                    pairs.append((values[index], reported_w))
            if len(pairs) >= settings.reports_min:
                fits.append(_least_squares(pairs, lag_s))
        if not fits:
            return None
        # While what is served stands still any lag will do: the middle of the good ones is taken.
        best = max(each.fit for each in fits)
        good = [each for each in fits if each.fit >= best - SAME_FIT]
        return good[len(good) // 2]


def _least_squares(pairs: Sequence[tuple[float, float]], lag_s: float) -> Fit:
    """The line through pairs of what was served and what was reported."""
    count = len(pairs)
    mean_x = sum(x for x, _ in pairs) / count
    mean_y = sum(y for _, y in pairs) / count
    var_x = sum((x - mean_x) ** 2 for x, _ in pairs) / count
    var_y = sum((y - mean_y) ** 2 for _, y in pairs) / count
    if var_x <= 0.0:
        return Fit(math.nan, math.nan, lag_s, 0.0, 0.0, count)
    both = sum((x - mean_x) * (y - mean_y) for x, y in pairs) / count
    scale = both / var_x
    fit = both * both / (var_x * var_y) if var_y > 0.0 else 0.0
    return Fit(scale, mean_y - scale * mean_x, lag_s, fit, math.sqrt(var_x), count)


def judge(settings: BeliefSettings, fit: Fit | None) -> tuple[Verdict, str]:
    """What a fit means, and the reason as text."""
    if fit is None:
        return Verdict.UNKNOWN, f"no {REPORTED} to compare with yet"
    if fit.swing_w < settings.swing_w:
        return Verdict.UNKNOWN, f"what was served moved by {fit.swing_w:.0f} W only"
    if fit.fit < settings.fit_min:
        return Verdict.UNRELATED, f"{fit.fit:.0%} of what it reports follows from what was served"
    text = f"reports {fit.scale:.3g} times what was served, {fit.lag_s:.1f} s later"
    if fit.scale < 0.0:
        return Verdict.REVERSED, text
    # How far off the line may be for what it does not explain, by the usual arithmetic.
    unsure = SURE * abs(fit.scale) * math.sqrt((1.0 / fit.fit - 1.0) / max(1, fit.reports - 2))
    if abs(fit.scale - 1.0) > settings.scale_off_max + unsure:
        return Verdict.SCALED, text
    if abs(fit.offset_w) > settings.offset_w_max + unsure * fit.swing_w:
        return Verdict.SHIFTED, f"{text}, and {fit.offset_w:+.0f} W"
    if fit.lag_s > settings.lag_s_slow:
        return Verdict.LATE, text
    return Verdict.AGREES, text


def estimate(
    settings: BeliefSettings, inverter: str, book: BeliefBook, now_s: float
) -> BeliefEstimated:
    """The comparison of one inverter as a message."""
    fit = book.fit()
    verdict, reason = judge(settings, fit)
    is_known = fit is not None and verdict is not Verdict.UNKNOWN
    return BeliefEstimated(
        inverter,
        now_s,
        scale=fit.scale if fit is not None and is_known else math.nan,
        offset_w=fit.offset_w if fit is not None and is_known else math.nan,
        lag_s=fit.lag_s if fit is not None and is_known else math.nan,
        fit=fit.fit if fit is not None and is_known else math.nan,
        reports=fit.reports if fit is not None else 0,
        verdict=verdict,
        reason=reason,
        advice=_ADVICE[verdict],
    )


class Alarm:
    """Rings when several estimates in a row disagree, and rests when as many agree."""

    def __init__(self, settings: BeliefSettings) -> None:
        self.is_ringing = False
        self._settings = settings
        self._others = 0

    def take(self, verdict: Verdict) -> bool:
        """Note one verdict; returns whether the alarm has changed. Not knowing changes nothing."""
        if verdict is Verdict.UNKNOWN:
            return False
        if verdict.is_bad is self.is_ringing:
            self._others = 0
            return False
        self._others += 1
        if self._others < self._settings.alarm_after:
            return False
        self.is_ringing, self._others = not self.is_ringing, 0
        return True
