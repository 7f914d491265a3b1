"""Draws what two configurations decide over one recording, as SVG: a panel for each series."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Sequence

from grug.cli.svg import svg_text
from grug.replay.measure import Curve, Measures, unit_of

WIDTH = 1280
LEFT = 90
RIGHT = 24
TOP = 76
PANEL = 150
GAP = 46
"""Between two panels: the name of the next one."""
AXIS = 30
RECORDED = "#8a8a8a"
OTHER = "#c2541b"
_UNITS = {"w": "W", "a": "A"}
_STEPS_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800)


def draw(recorded: Measures, other: Measures, name: str) -> str:
    """The picture as text."""
    ours, theirs = other.curves, recorded.curves
    series = [each for each in theirs if unit_of(each)]
    series += [each for each in ours if unit_of(each) and each not in theirs]
    height = TOP + (PANEL + GAP) * max(1, len(series)) + AXIS
    body = [
        svg_text(
            16, 28, "What was decided, and what another configuration decides", 17, weight="bold"
        ),
        *_legend(name),
    ]
    if not series:
        body.append(svg_text(16, TOP + 20, "Nothing was decided."))
    for index, each in enumerate(series):
        top = TOP + GAP * (index + 1) + PANEL * index - GAP // 2
        body += _panel(each, theirs.get(each), ours.get(each), top)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
            f' viewBox="0 0 {WIDTH} {height}" font-family="Helvetica, Arial, sans-serif">',
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            *body,
            "</svg>\n",
        ]
    )


def _legend(name: str) -> Iterator[str]:
    at = 16.0
    for colour, width, text in ((RECORDED, 3.5, "as recorded"), (OTHER, 1.5, name)):
        yield (
            f'<line x1="{at}" y1="50" x2="{at + 26}" y2="50" stroke="{colour}"'
            f' stroke-width="{width}"/>'
        )
        yield svg_text(at + 34, 55, text)
        at += 60 + 8 * len(text)
    yield svg_text(at, 55, "the house itself does not react: it did what it did", colour="#666")


def _panel(name: str, one: Curve | None, other: Curve | None, top: int) -> Iterator[str]:
    """One series of both sides, over the time."""
    curves = [curve for curve in (one, other) if curve is not None]
    values = [mean for curve in curves for _, mean in curve.means() if mean is not None]
    low, high = _range(values)
    yield svg_text(LEFT, top - 8, f"{name}, {_UNITS[unit_of(name)]}", 13, weight="bold")
    if one is not None and other is not None:
        difference = max(
            (
                abs(a - b)
                for (_, a), (_, b) in zip(one.means(), other.means(), strict=True)
                if a is not None and b is not None
            ),
            default=0.0,
        )
        text = f"largest difference {difference:.4g}" if difference else "no difference"
        yield svg_text(WIDTH - RIGHT, top - 8, text, 12, "#666", "end")
    yield (
        f'<rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - RIGHT}" height="{PANEL}"'
        ' fill="#fafafa" stroke="#ccc"/>'
    )
    for value in _ticks(low, high):
        y = top + PANEL * (high - value) / (high - low)
        colour = "#999" if value == 0 else "#e2e2e2"
        ends = f'x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"'
        yield f'<line {ends} stroke="{colour}"/>'
        yield svg_text(LEFT - 8, y + 4, f"{value:g}", 11, "#666", "end")
    yield from _times(curves[0], top)
    for curve, colour, width in ((one, RECORDED, 3.5), (other, OTHER, 1.5)):
        if curve is not None:
            yield from _line(curve, low, high, top, colour, width)


def _line(
    curve: Curve, low: float, high: float, top: int, colour: str, width: float
) -> Iterator[str]:
    """The curve, broken where nothing was decided."""
    points: list[str] = []
    bins = len(curve.seconds)
    per_bin = (WIDTH - LEFT - RIGHT) / bins
    for index, (_, mean) in enumerate([*curve.means(), (0.0, None)]):
        if mean is not None:
            y = top + PANEL * (high - mean) / (high - low)
            points.append(f"{LEFT + (index + 0.5) * per_bin:.1f},{y:.1f}")
        elif points:
            yield (
                f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}"'
                f' stroke-width="{width}" stroke-linejoin="round"/>'
            )
            points = []


def _times(curve: Curve, top: int) -> Iterator[str]:
    """The axis of the time, in UTC."""
    whole_s = curve.bin_s * len(curve.seconds)
    step_s = next((step for step in _STEPS_S if whole_s / step <= 12), whole_s)
    at_s = math.ceil(curve.since_s / step_s) * step_s
    while at_s <= curve.since_s + whole_s:
        x = LEFT + (at_s - curve.since_s) / whole_s * (WIDTH - LEFT - RIGHT)
        moment = datetime.datetime.fromtimestamp(at_s, datetime.UTC)
        yield f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{top + PANEL}" stroke="#ececec"/>'
        yield svg_text(x, top + PANEL + 15, moment.strftime("%H:%M"), 11, "#666", "middle")
        at_s += step_s


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Least and largest value to show, with a margin."""
    low, high = min([0.0, *values]), max([0.0, *values])
    margin = 0.06 * (high - low) or 1.0
    return low - (margin if low < 0.0 else 0.0), high + margin


def _ticks(low: float, high: float) -> Iterator[float]:
    """Three to seven round numbers between two."""
    step = 10.0 ** math.floor(math.log10((high - low) / 3.0))
    step = next(each for each in (step, 2 * step, 5 * step, 10 * step) if (high - low) / each <= 6)
    number = math.ceil(low / step)
    while number * step <= high:
        yield number * step
        number += 1
