"""Draws what happens on each line, as SVG: a row for each unit, a bar for each read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from grug.cli.svg import svg_text
from grug.config.planned import PlannedLine, PlannedUnit
from grug.planner.schedule import PlayedRead

CHART = 1110
"""Of the time, from left to right."""
LEFT_MIN = 150
"""Beside it, for the names of devices; more where one is long."""
LETTER = 8
"""Of a name, at most."""
RIGHT = 20
TOP = 86
ROW = 26
BAR = 18
HEAD = 44
"""Above the rows of a line: its name and numbers."""
AXIS = 30
"""Below them: the time."""
SHOWN_S_MIN = 2.0
SHOWN_TICKS = 8
"""Of the fastest group at least; more would be too fine to see."""

COLOURS = (
    "#3b6fb5",
    "#e08a1e",
    "#2f9e6e",
    "#b5486b",
    "#7a5fb0",
    "#7d7d3a",
    "#3aa6b9",
    "#8a5a3c",
    "#d678b3",
    "#555555",
)
"""By period, the fastest first; further ones share the last."""
SILENCE = "#e3e3e3"


def draw(lines: Sequence[PlannedLine]) -> str:
    """The picture as text."""
    groups = _groups_by_speed(lines)
    colours = {name: COLOURS[min(at, len(COLOURS) - 1)] for at, name in enumerate(groups)}
    units = [unit for line in lines for unit in line.units]
    names = [_row_name(unit) for unit in units] + [line.line for line in lines]
    left = max([LEFT_MIN, *(30 + LETTER * len(name) for name in names)])
    body: list[str] = []
    top = TOP
    for line in lines:
        body += _line(line, top, left, colours)
        top += _height(line)
    width = left + CHART + RIGHT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}"'
            f' viewBox="0 0 {width} {top}" font-family="Helvetica, Arial, sans-serif">',
            f'<rect width="{width}" height="{top}" fill="white"/>',
            *_legend(colours, has_silence=any(unit.own_silence_ms for unit in units)),
            *body,
            "</svg>\n",
        ]
    )


def _row_name(unit: PlannedUnit) -> str:
    return f"{unit.device} ({unit.unit})"


def _groups_by_speed(lines: Sequence[PlannedLine]) -> list[str]:
    periods = {
        group: line.schedule.ticks[unit, group].period_s
        for line in lines
        for unit, group in line.schedule.ticks
    }
    return sorted(periods, key=lambda name: (periods[name], name))


def _height(line: PlannedLine) -> int:
    return HEAD + ROW * len(line.units) + AXIS + 14


def _legend(colours: dict[str, str], *, has_silence: bool) -> Iterator[str]:
    yield svg_text(16, 28, "What is on the lines, and for which poll groups", 17, weight="bold")
    at = 16
    for name, colour in colours.items():
        yield f'<rect x="{at}" y="40" width="14" height="14" fill="{colour}"/>'
        yield svg_text(at + 20, 52, name)
        at += 36 + LETTER * len(name)
    yield svg_text(16, 74, "a bar of several colours: slow values ride with fast ones")
    if has_silence:
        yield f'<rect x="416" y="68" width="14" height="4" fill="{SILENCE}"/>'
        yield svg_text(436, 74, "silence that the unit wants, the line is free")


def _line(line: PlannedLine, top: int, left: int, colours: dict[str, str]) -> Iterator[str]:
    plan = line.schedule
    fastest_s = min(ticks.period_s for ticks in plan.ticks.values())
    shown_s = min(plan.cycle_s, max(SHOWN_S_MIN, SHOWN_TICKS * fastest_s))
    per_s = CHART / shown_s
    numbers = (
        f"{line.baudrate} baud · {plan.utilisation:.0%} busy · time taken"
        f" {plan.used / line.bound:.2f} x the lower bound ·"
        f" {line.speed_up:.1f} times faster than one by one ·"
        f" the first {shown_s:g} of {plan.cycle_s:g} s"
    )
    yield svg_text(16, top + 28, line.line, 15, weight="bold")
    yield svg_text(left, top + 28, numbers, 13, colour="#444")
    if plan.late:
        late = ", ".join(f"{each.unit} {each.group}" for each in plan.late)
        yield svg_text(left + CHART, top + 28, f"LATE: {late}", 13, colour="#c00", anchor="end")
    bottom = top + HEAD + ROW * len(line.units)
    yield from _axis(shown_s, per_s, left, top + HEAD, bottom)
    for row, unit in enumerate(line.units):
        y = top + HEAD + ROW * row
        yield svg_text(left - 10, y + 17, _row_name(unit), 13, anchor="end")
        for read in plan.reads:
            if read.unit == unit.device and read.started_s < shown_s:
                yield from _bar(read, unit, left, y + (ROW - BAR) / 2, per_s, shown_s, colours)


def _axis(shown_s: float, per_s: float, left: int, top: int, bottom: int) -> Iterator[str]:
    step_s = next(
        (step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10) if shown_s / step <= 20),
        shown_s / 10,
    )
    for number in range(int(shown_s / step_s + 1e-6) + 1):
        x = left + number * step_s * per_s
        yield (
            f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom + 4}"'
            ' stroke="#ccc" stroke-width="1"/>'
        )
        yield svg_text(x, bottom + 18, f"{number * step_s:.3g} s", 11, "#666", "middle")


def _bar(
    read: PlayedRead,
    unit: PlannedUnit,
    left: int,
    y: float,
    per_s: float,
    shown_s: float,
    colours: dict[str, str],
) -> Iterator[str]:
    x = left + read.started_s * per_s
    width = (min(read.ended_s, shown_s) - read.started_s) * per_s
    silence = min(unit.own_silence_ms / 1e3, shown_s - read.ended_s) * per_s
    if silence > 0:
        yield (
            f'<rect x="{x + width:.1f}" y="{y + BAR / 2 - 2:.1f}" width="{silence:.1f}"'
            f' height="4" fill="{SILENCE}"/>'
        )
    span = read.transaction.span
    said = (
        f"{unit.device}: {span.table} {span.address}+{span.count} for {', '.join(read.groups)},"
        f" {1e3 * (read.ended_s - read.started_s):.0f} ms from {1e3 * read.started_s:.0f} ms"
    )
    groups = [name for name in colours if name in read.groups]
    height = BAR / max(1, len(groups))
    yield f"<g><title>{escape(said)}</title>"
    for at, name in enumerate(groups):
        yield (
            f'<rect x="{x:.1f}" y="{y + at * height:.1f}" width="{max(width, 1):.1f}"'
            f' height="{height:.1f}" fill="{colours[name]}"/>'
        )
    yield "</g>"
