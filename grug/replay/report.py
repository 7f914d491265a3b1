"""What a replay came to, as text for a person, or as plain values for a program. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from grug.messages import (
    DispatchChanged,
    Message,
    Readings,
    ReadingsMissing,
    SetOffset,
    UnitChanged,
)
from grug.replay.judge import SETTLE_S, Divergence
from grug.replay.measure import Measures
from grug.replay.run import Replayed
from grug.storage.show import show_time

OPEN_LOOP = (
    "The house does what it did when it was recorded, whatever is decided now: powers and kWh"
    " are what was asked\nof the inverters and the charger, not what they would have made of it."
)
GAPS_SHOWN = 10
_NAMES_SHOWN = 4
"""Of a reading's registers."""


def result_text(found: Replayed) -> str:
    """The outcome of a replay with nothing to compare but the recording."""
    lines = [
        f"{show_time(found.since_ms)} to {show_time(found.until_ms)}, {_count(found.runs, 'run')}"
    ]
    lines += found.notes
    for at_ms, text in found.gaps[:GAPS_SHOWN]:
        lines.append(f"gap at {show_time(at_ms)}: {text}")
    if len(found.gaps) > GAPS_SHOWN:
        lines.append(f"and {len(found.gaps) - GAPS_SHOWN} gaps more")
    if found.passed:
        lines.append(f"{found.passed} differed after gaps, or as the run was stopped: let pass")
    for text in found.crashes:
        lines.append(f"CRASHED in the replay: {text.splitlines()[0]} {text.splitlines()[-1]}")
    if found.divergence is None:
        answers = f", {found.answers} answers to inverters" if found.answers else ""
        lines.append(f"EQUAL: {found.equal} decisions and writes{answers}, all as recorded")
        lines += [f"although {cause}" for cause in found.causes]
    else:
        total = found.equal + found.divergence_count
        lines.append(f"DIFFERENT: {found.divergence_count} of {total} decisions and writes")
        lines += _divergence_lines(found, found.divergence)
    return "\n".join(lines) + "\n"


def _divergence_lines(found: Replayed, first: Divergence) -> Iterator[str]:
    yield f"the first at {show_time(first.time_ms)}, by {first.controller}:"
    width = max(len(each.series) for each in first.differences)
    for each in first.differences:
        yield f"  {each.series:<{width}}  recorded {each.recorded}"
        yield f"  {'':<{width}}  replayed {each.replayed}"
    yield "heard before it, the newest last:"
    for message in first.inputs:
        yield f"  {_heard_text(message, first.zero_ms)}"
    yield "why:"
    for cause in causes_of(found):
        yield f"  {cause}"


def causes_of(found: Replayed) -> list[str]:
    """What may be behind the first divergence, the likeliest first."""
    first = found.divergence
    if first is None:
        return []
    causes = [*found.causes, *found.notes]
    before = [gap for gap in found.gaps if gap[0] <= first.time_ms]
    if before:
        since_s = (first.time_ms - before[-1][0]) / 1000
        causes.append(
            f"{since_s:.0f} s before there is a gap ({before[-1][1]}): more than {SETTLE_S:.0f} s"
            " after one, a controller is expected to be itself again"
        )
    if found.crashes:
        causes.append(f"an actor crashed in the replay: {found.crashes[0].splitlines()[-1]}")
    if not causes:
        causes.append(
            "configuration, version and register maps are those of the recording, and nothing is"
            " missing in it: the code decides differently"
        )
    return causes


def comparison_text(recorded: Replayed, other: Replayed, name: str) -> str:
    """The measures of both configurations, side by side."""
    lines = [
        f"{show_time(recorded.since_ms)} to {show_time(recorded.until_ms)},"
        f" {_count(recorded.runs, 'run')}",
        f"the recorded configuration, beside {name}:",
    ]
    lines += [f"  {cause}" for cause in other.causes] or ["  nothing is different in them"]
    lines += recorded.notes
    if recorded.divergence is not None:
        lines.append(
            f"WARNING: with the recorded configuration {recorded.divergence_count} decisions are"
            " not what was recorded;\nsay `grug replay` without --compare"
        )
    for text in other.crashes:
        lines.append(f"CRASHED: {text.splitlines()[0]} {text.splitlines()[-1]}")
    lines += ["", *_table(recorded.measures, other.measures), "", OPEN_LOOP]
    return "\n".join(lines) + "\n"


def _table(recorded: Measures, other: Measures) -> list[str]:
    one, two = recorded.rows(), other.rows()
    names = [*one, *(name for name in two if name not in one)]
    width = max((len(name) for name in names), default=0)
    lines = [f"{'':<{width}}  {'recorded':>12}  {'other':>12}  {'difference':>12}"]
    for name in names:
        a, b = one.get(name, 0.0), two.get(name, 0.0)
        change = f"{_number(b - a, sign='+'):>12}" if a != b else f"{'':>12}"
        lines.append(f"{name:<{width}}  {_number(a):>12}  {_number(b):>12}  {change}".rstrip())
    return lines


def _number(value: float, sign: str = "") -> str:
    if value == int(value):
        return format(int(value), sign + "d")
    return format(value, sign + (".3f" if abs(value) < 1000 else ".1f"))


def plain(found: Replayed, other: Replayed | None = None) -> dict[str, Any]:
    """The same as plain values; with the measures when another configuration was compared."""
    values: dict[str, Any] = {
        "since": show_time(found.since_ms),
        "until": show_time(found.until_ms),
        "runs": found.runs,
        "equal": found.equal,
        "equal_answers": found.answers,
        "different": found.divergence_count,
        "passed_after_gaps": found.passed,
        "gaps": [{"time": show_time(at_ms), "text": text} for at_ms, text in found.gaps],
        "notes": found.notes,
        "crashes": found.crashes,
    }
    if found.divergence is not None:
        first = found.divergence
        values["first"] = {
            "time": show_time(first.time_ms),
            "controller": first.controller,
            "differences": [
                {"series": each.series, "recorded": each.recorded, "replayed": each.replayed}
                for each in first.differences
            ],
            "heard": [_heard_text(message, first.zero_ms) for message in first.inputs],
            "causes": causes_of(found),
        }
    if other is not None:
        values["changed"] = other.causes
        values["measures"] = {
            "recorded": found.measures.rows(),
            "other": other.measures.rows(),
        }
    return values


def _heard_text(message: Message, zero_ms: int) -> str:
    """One message to controllers, short."""

    def at(time_s: float) -> str:
        return show_time(round(time_s * 1000) + zero_ms)[11:23]

    match message:
        case Readings():
            shown = [
                f"{name} {value:g}" if isinstance(value, float | int) else f"{name} {value}"
                for name, value in zip(message.names[:_NAMES_SHOWN], message.values, strict=False)
            ]
            more = len(message.names) - _NAMES_SHOWN
            rest = f", {more} more" if more > 0 else ""
            return f"{at(message.read_s)} {message.device}: {', '.join(shown)}{rest}"
        case ReadingsMissing():
            return f"{at(message.failed_s)} {message.device} not read: {message.text}"
        case SetOffset():
            until = "never" if math.isinf(message.expires_s) else at(message.expires_s)
            return f"offset of {message.power_w:g} W until {until} by {message.who}: {message.why}"
        case UnitChanged():
            place = f"{message.line}/{message.unit_id}"
            return f"{at(message.changed_s)} unit {place} {message.health}: {message.cause}"
        case DispatchChanged():
            doubt = ", in doubt" if message.is_doubt else ""
            carried = f"{message.power_w:g} W by registers{doubt}: {message.reason}"
            return f"{at(message.changed_s)} {message.inverter}: {carried}"
        case _:
            return type(message).__name__


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
