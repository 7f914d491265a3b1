"""``grug fake``: what the fake meters are asked, and whether the inverters believe them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import asyncclick as click

from grug.cli.house import ask_house
from grug.cli.log import on_log, range_options, state_option, times_of, wanted_by
from grug.control.belief import (
    REPORTED,
    BeliefBook,
    BeliefSettings,
    Verdict,
    estimate,
)
from grug.messages import BeliefEstimated
from grug.storage.segment import FrameKind
from grug.storage.show import Sample
from grug.transport.logreads import read_rows

Job: TypeAlias = Callable[[], int]

SERVED = "offset/served_w/"
COUNTERS = ("queries_per_s", "answered", "silent_stale", "silent_late", "refused", "unknown")
COUNTERS_ALL = (*COUNTERS, "foreign", "age_s", "latency_p50_ms", "latency_p99_ms")


@click.group(name="fake")
def group() -> None:
    """Look at the fake meters; see docs/fakemeter.md."""


def _asking(command: Callable[..., Job]) -> Callable[..., Job]:
    for decorate in (
        state_option,
        click.option("--json", "as_json", is_flag=True, help="As one JSON object."),
        click.option("--log", "from_log", is_flag=True, help="From the log, not the house itself."),
    ):
        command = decorate(command)
    return range_options(command)


@group.command()
@_asking
def report(
    since: str | None, until: str | None, state: Path | None, from_log: bool, as_json: bool
) -> Job:
    """Say who asked which fake meter for what, how often, and what became of it."""
    if from_log:
        return partial(on_log, state, report_log, (since, until))
    return partial(report_house, state, as_json)


@group.command()
@_asking
def calibrate(
    since: str | None, until: str | None, state: Path | None, from_log: bool, as_json: bool
) -> Job:
    """Compare what each inverter was told with what it reports that its meter said.

    Exit status 1 when one of them does not believe its fake meter.
    """
    if from_log:
        return partial(on_log, state, calibrate_log, (since, until), as_json)
    return partial(calibrate_house, state, as_json)


def report_house(state: Path | None, as_json: bool) -> int:
    """Ask the house that runs what its fake meters are asked; exit status 1 when none answers."""
    answer = ask_house({"command": "fakemeters"}, state)
    if answer is None:
        return 1
    if as_json:
        sys.stdout.write(json.dumps(answer) + "\n")
        return 0
    blocks = [_meter_text(meter) for meter in answer["fakemeters"]]
    sys.stdout.write("\n".join(blocks) or "this house has no fake meter that counted anything\n")
    return 0


def _meter_text(meter: dict[str, Any]) -> str:
    """One fake meter, for a person."""
    lines = [
        f"{meter['fakemeter']}: {meter['queries_per_s']:.1f} questions a second,"
        f" {meter['answered']} answered; silent {meter['silent_stale']} times without a fresh image"
        f" and {meter['silent_late']} times too late; {meter['refused']} refused,"
        f" {meter['unknown']} unknown, {meter['foreign']} for others",
        f"  replies left {_shown(meter['latency_p50_ms'])} ms after their question was read"
        f" (median; {_shown(meter['latency_p99_ms'])} 99th percentile,"
        f" {_shown(meter['latency_max_ms'])} longest), the wait for silence on the line included;"
        f" the last was of a reading {_shown(meter['age_s'])} s old",
    ]
    rows = [("function", "address", "count", "asked", "a second", "last", "answer")]
    rows += [
        (
            str(each["function"]),
            str(each["address"]),
            str(each["count"]),
            str(each["asked"]),
            f"{each['per_s']:.2f}",
            f"{each['ago_s']:.0f} s ago",
            each["answer"],
        )
        for each in meter["questions"]
    ]
    return "\n".join(lines + _table(rows)) + "\n"


def report_log(directory: Path, since_until: tuple[str | None, str | None]) -> int:
    """The counters at the end of the range, and every question that was new in it."""
    times = times_of(directory, since_until)
    wanted = wanted_by(["fakemeter/*"])
    latest: dict[str, float] = {}
    for rows in read_rows(directory, FrameKind.SAMPLES, times, wanted):
        latest |= {sample.series: sample.value for sample in rows.samples}
    meters = sorted({name.split("/")[1] for name in latest})
    table: list[tuple[str, ...]] = [("fake meter", *COUNTERS_ALL)]
    for meter in meters:
        numbers = [latest.get(f"fakemeter/{meter}/{name}") for name in COUNTERS_ALL]
        table.append((meter, *(_shown(number) for number in numbers)))
    sys.stdout.write("\n".join(_table(table)) + "\n")
    for rows in read_rows(directory, FrameKind.EVENTS, times, wanted):
        for event in rows.events:
            if event.kind in ("note", "fakemeter"):
                sys.stdout.write(f"{event.source.removeprefix('fakemeter/')}: {event.text}\n")
    return 0


def calibrate_house(state: Path | None, as_json: bool) -> int:
    """Ask the house that runs whether its inverters believe their meters."""
    answer = ask_house({"command": "beliefs"}, state)
    if answer is None:
        return 1
    beliefs: list[dict[str, Any]] = [
        {key: math.nan if value is None else value for key, value in each.items()}
        for each in answer.get("beliefs", [])
    ]
    return _tell([BeliefEstimated(**each) for each in beliefs], as_json)


def calibrate_log(
    directory: Path, since_until: tuple[str | None, str | None], as_json: bool
) -> int:
    """The same from a log: as long as its range, and not only the last minutes."""
    times = times_of(directory, since_until)
    wanted = wanted_by([f"{SERVED}*", f"*/{REPORTED}"])
    samples = [
        sample
        for rows in read_rows(directory, FrameKind.SAMPLES, times, wanted)
        for sample in rows.samples
    ]
    if not samples:
        return _tell([], as_json)
    lasted_s = (max(each.time_ms for each in samples) - min(each.time_ms for each in samples)) / 1e3
    settings = BeliefSettings(window_s=lasted_s + 1.0)
    samples.sort(key=lambda each: each.time_ms)
    names = {each.series for each in samples}
    reports = {name for name in names if not name.startswith(SERVED)}
    found = []
    for served in sorted(names - reports):
        inverter = served.removeprefix(SERVED)
        # The log does not say which device an inverter is; most often they are called the same.
        same = {f"{inverter}/{REPORTED}"} & reports or reports
        fits = [_estimate_log(settings, samples, served, report_) for report_ in sorted(same)]
        found.append(max(fits, key=lambda one: -1.0 if math.isnan(one.fit) else one.fit))
    return _tell(found, as_json)


def _estimate_log(
    settings: BeliefSettings, samples: Sequence[Sample], served: str, reported: str
) -> BeliefEstimated:
    """One inverter's served series against one reported one."""
    book = BeliefBook(settings)
    for sample in samples:
        if sample.series == served:
            book.serve(sample.value, sample.time_ms / 1e3)
        elif sample.series == reported:
            book.report(sample.value, sample.time_ms / 1e3)
    return estimate(settings, served.removeprefix(SERVED), book, samples[-1].time_ms / 1e3)


def _tell(beliefs: Sequence[BeliefEstimated], as_json: bool) -> int:
    """Print the table; the exit status says whether all is well."""
    status = 1 if any(Verdict(belief.verdict).is_bad for belief in beliefs) else 0
    if as_json:
        plain = [
            {name: getattr(each, name) for name in BeliefEstimated.__struct_fields__}
            for each in beliefs
        ]
        known = [
            {key: None if value != value else value for key, value in each.items()}
            for each in plain
        ]
        sys.stdout.write(json.dumps({"beliefs": known}) + "\n")
        return status
    if not beliefs:
        sys.stdout.write(f"nothing compared yet: is {REPORTED} of the inverters polled?\n")
        return status
    rows = [("inverter", "scale", "sign", "offset", "lag", "fit", "verdict")]
    for each in beliefs:
        sign = "" if math.isnan(each.scale) else "-" if each.scale < 0 else "+"
        rows.append(
            (
                each.inverter,
                _shown(abs(each.scale)),
                sign,
                f"{_shown(each.offset_w)} W",
                f"{_shown(each.lag_s)} s",
                _shown(each.fit),
                each.verdict,
            )
        )
    lines = _table(rows)
    lines += [f"{each.inverter}: {each.reason}; {each.advice}" for each in beliefs]
    sys.stdout.write("\n".join(lines) + "\n")
    return status


def _shown(number: float | None) -> str:
    return "-" if number is None or math.isnan(number) else f"{number:.4g}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
