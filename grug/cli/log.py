"""``grug log``: look into the log, check it, take it elsewhere. A house may run meanwhile."""

from __future__ import annotations

import fnmatch
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeAlias

import asyncclick as click

from grug.cli.live import follow as follow_live
from grug.cli.states import states
from grug.errors import ShipError, StorageError
from grug.storage.native import Origin, SampleBlock, readings_rows
from grug.storage.segment import FrameKind
from grug.storage.show import (
    EVENTS_TITLE,
    SAMPLES_TITLE,
    TextStyle,
    TimeRange,
    events_text,
    parse_time,
    samples_text,
    show_time,
)
from grug.storage.survey import Survey
from grug.transport.capture import read_seen, write_capture
from grug.transport.framereads import ring_beside
from grug.transport.logfiles import LogReader
from grug.transport.logreads import (
    Rows,
    Wanted,
    copy_blocks,
    find_log,
    last_rows,
    newest_ms,
    read_blocks,
    read_rows,
    rows_of_block,
    survey_log,
)
from grug.transport.parquet import write_parquet

Job: TypeAlias = Callable[[], int]

FOLLOW_S = 0.5
"""Between two looks at a log that is followed; blocks come every 10 s."""
_PARQUET_BLOCKS = 600
"""Of the log in one block of rows for Parquet."""


@click.group(name="log")
def group() -> None:
    """Look into the log, check it, take it elsewhere; also while a house is running."""


state_option = click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="State directory of the house; by default the demo's latest, else /var/lib/grug.",
)
_events_option = click.option("--events", is_flag=True, help="Events instead of samples.")
_pattern_argument = click.argument("patterns", nargs=-1, metavar="[SERIES]...")


def range_options(command: Callable[..., Job]) -> Callable[..., Job]:
    """Give a command ``--since`` and ``--until``."""
    for name in ("--until", "--since"):
        command = click.option(
            name, metavar="TIME", help="2026-06-21T11:00 (UTC), or 2h before the log's end."
        )(command)
    return command


@group.command()
@state_option
def ls(state: Path | None) -> Job:
    """List the segments: times, size, samples, bytes a sample."""
    return partial(on_log, state, _ls)


@group.command()
@click.argument("patterns", nargs=-1, metavar="[SERIES]...")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=20, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on while the house runs, until Ctrl-C.")
@_events_option
@click.option("--live", metavar="URL", help="Of a house that serves its log: what comes, at once.")
@click.option("--token", envvar="GRUG_TOKEN", default="", help="For --live; or GRUG_TOKEN.")
@state_option
def tail(
    patterns: tuple[str, ...],
    lines: int,
    follow: bool,
    events: bool,
    live: str | None,
    token: str,
    state: Path | None,
) -> Job:
    """Show the last samples, of SERIES such as 'grid/*' or of all."""
    if live is not None:
        return partial(follow_live, live, token, wanted_by(patterns), events)
    return partial(on_log, state, _tail, patterns, lines, follow, events)


@group.command()
@_pattern_argument
@range_options
@_events_option
@click.option("--format", "style", type=click.Choice(["csv", "json"]), default="csv")
@state_option
def cat(
    patterns: tuple[str, ...],
    since: str | None,
    until: str | None,
    events: bool,
    style: str,
    state: Path | None,
) -> Job:
    """Write samples, of SERIES such as 'grid/*' or of all, to standard output."""
    return partial(
        on_log, state, _cat, patterns, (since, until), events, TextStyle(style), sys.stdout
    )


@group.command()
@state_option
def verify(state: Path | None) -> Job:
    """Check every block and say what is damaged; exit status 1 if anything is."""
    return partial(on_log, state, _verify)


@group.command()
@click.argument("output", type=click.Path(path_type=Path))
@_pattern_argument
@range_options
@_events_option
@click.option("--pcap", is_flag=True, help="Frames for Wireshark; SERIES are lines then.")
@state_option
def export(
    output: Path,
    patterns: tuple[str, ...],
    since: str | None,
    until: str | None,
    events: bool,
    pcap: bool,
    state: Path | None,
) -> Job:
    """Write samples to OUTPUT: .csv, .jsonl (JSON lines) or .parquet, by its name.

    A .grug file gets whole blocks, as they are, for grug replay.

    With --pcap, what was on the lines goes to OUTPUT as a capture, for Wireshark.
    """
    if pcap or output.suffix in (".pcap", ".pcapng"):
        return partial(on_log, state, _capture, output, patterns, (since, until))
    if output.suffix == ".grug":
        if patterns or events:
            raise click.BadParameter("blocks are copied whole: without SERIES and --events")
        return partial(on_log, state, _blocks, output, (since, until))
    if output.suffix not in (".csv", ".jsonl", ".parquet"):
        text = "give a .csv, .jsonl, .parquet, .grug or .pcap file"
        raise click.BadParameter(text, param_hint="OUTPUT")
    if output.suffix == ".parquet" and events:
        raise click.BadParameter("events go to .csv or .jsonl", param_hint="--events")
    return partial(on_log, state, _export, output, patterns, (since, until), events)


def on_log(state: Path | None, job: Callable[..., int], *arguments: Any) -> int:
    """Run a job on the log of a state directory; exit status 1 when that fails."""
    places = states(state)
    directory = find_log(places)
    if directory is None:
        where = ", ".join(map(str, places))
        sys.stderr.write(f"no log in {where}; name a house's state directory by --state\n")
        return 1
    try:
        return job(directory, *arguments)
    except (StorageError, ShipError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except BrokenPipeError:  # Whoever reads us, such as head, has enough.
        sys.stderr.close()
        return 0


def _ls(directory: Path) -> int:
    titles = ("segment", "epoch", "from", "to", "bytes", "blocks", "samples", "events", "B/sample")
    rows = [titles]
    total_bytes = total_samples = 0
    for name, survey in survey_log(directory, is_deep=False):
        rows.append((name, *_shown(survey)))
        total_bytes += survey.size_bytes
        total_samples += survey.samples
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        sys.stdout.write("  ".join(cells) + "\n")
    each = f", {total_bytes / total_samples:.2f} bytes a sample" if total_samples else ""
    sys.stderr.write(f"{total_bytes} bytes, {total_samples} samples{each} in {directory}\n")
    return 0


def _shown(survey: Survey) -> tuple[str, str, str, str, str, str, str, str]:
    return (
        str(survey.header.epoch) if survey.header else "?",
        show_time(survey.t_min_ms) if survey.t_max_ms else "-",
        show_time(survey.t_max_ms) if survey.t_max_ms else "-",
        str(survey.size_bytes),
        str(survey.blocks),
        str(survey.samples),
        str(survey.events),
        f"{survey.sample_bytes:.2f}",
    )


def _verify(directory: Path) -> int:
    blocks = samples = damages = lost = 0
    last: Survey | None = None
    for name, survey in survey_log(directory, is_deep=True):
        blocks += survey.blocks
        samples += survey.samples
        for damage in survey.damages:
            sys.stdout.write(f"{name}, byte {damage.offset}: {damage.text}\n")
            damages += 1
            lost += damage.blocks
        missing = _missing_between(last, survey)
        if missing:
            sys.stdout.write(f"before {name}: {missing} blocks are missing\n")
            damages += 1
            lost += missing
        last = survey if survey.header else last
    found = f"{damages} damages, {lost} blocks lost" if damages else "all good"
    sys.stdout.write(f"{blocks} blocks, {samples} samples: {found}\n")
    return 1 if damages else 0


def _missing_between(last: Survey | None, survey: Survey) -> int:
    """Blocks of one epoch between two segments; between two epochs nothing is missing."""
    if last is None or last.header is None or survey.header is None or last.last_seq < 0:
        return 0
    if last.header.epoch != survey.header.epoch:
        return 0
    return max(0, survey.header.first_seq - last.last_seq - 1)


def _tail(
    directory: Path, patterns: Sequence[str], lines: int, follow: bool, only_events: bool
) -> int:
    wanted = wanted_by(patterns)
    rows, end = last_rows(directory, _kind(only_events), lines, wanted)
    _write_tail(rows, only_events)
    reader = LogReader(directory, end)
    try:
        while follow:
            sys.stdout.flush()
            for block in reader.read():
                if block.frame.kind == _kind(only_events):
                    _write_tail(rows_of_block(block, TimeRange(), wanted), only_events)
            time.sleep(FOLLOW_S)
    except KeyboardInterrupt:
        return 130
    return 0


def _write_tail(rows: Rows, only_events: bool) -> None:
    text = (
        events_text(rows.events, TextStyle.TEXT)
        if only_events
        else samples_text(rows.samples, TextStyle.TEXT)
    )
    sys.stdout.write(text)


def _kind(only_events: bool) -> FrameKind:
    return FrameKind.EVENTS if only_events else FrameKind.SAMPLES


def _cat(
    directory: Path,
    patterns: Sequence[str],
    since_until: tuple[str | None, str | None],
    only_events: bool,
    style: TextStyle,
    output: IO[str],
) -> int:
    if style is TextStyle.CSV:
        output.write(EVENTS_TITLE if only_events else SAMPLES_TITLE)
    times = times_of(directory, since_until)
    for rows in read_rows(directory, _kind(only_events), times, wanted_by(patterns)):
        output.write(
            events_text(rows.events, style) if only_events else samples_text(rows.samples, style)
        )
    return 0


def _export(
    directory: Path,
    output: Path,
    patterns: Sequence[str],
    since_until: tuple[str | None, str | None],
    only_events: bool,
) -> int:
    if output.suffix == ".parquet":
        times = times_of(directory, since_until)
        count = write_parquet(_native(directory, times, wanted_by(patterns)), output)
        sys.stderr.write(f"{count} samples in {output}\n")
        return 0
    style = TextStyle.CSV if output.suffix == ".csv" else TextStyle.JSON
    with output.open("w", encoding="utf-8", newline="") as file:
        return _cat(directory, patterns, since_until, only_events, style, file)


def _blocks(directory: Path, output: Path, since_until: tuple[str | None, str | None]) -> int:
    count = copy_blocks(directory, times_of(directory, since_until), output)
    sys.stderr.write(f"{count} blocks in {output}\n")
    return 0


def _capture(
    directory: Path,
    output: Path,
    patterns: Sequence[str],
    since_until: tuple[str | None, str | None],
) -> int:
    ring = ring_beside(directory)
    frames = read_seen(ring, times_of(ring, since_until), wanted_by(patterns))
    count = write_capture(frames, output)
    sys.stderr.write(f"{count} frames in {output}\n")
    return 0


def _native(directory: Path, times: TimeRange, wanted: Wanted) -> Iterator[bytes]:
    """Blocks of rows for the engine that writes Parquet."""
    waiting: list[SampleBlock] = []
    for block in read_blocks(directory, times):
        columns = [
            cut
            for column in block.columns()
            if wanted(block.names[column.series]) and (cut := times.cut(column)).times
        ]
        waiting.append(SampleBlock(block.frame.seq, [*block.names], columns))
        if len(waiting) >= _PARQUET_BLOCKS:
            yield readings_rows(Origin(block.site, block.log_id.hex(), block.epoch), waiting).data
            waiting.clear()
    yield readings_rows(Origin("", "", 0), waiting).data


def times_of(directory: Path, since_until: tuple[str | None, str | None]) -> TimeRange:
    """What ``--since`` and ``--until`` mean in a log.

    Raises:
        StorageError: they are no times.
    """
    newest = newest_ms(directory)
    everything = TimeRange()
    try:
        since, until = (None if text is None else parse_time(text, newest) for text in since_until)
    except ValueError as error:
        raise StorageError(f"not a time, such as 2026-06-21T11:00 or 2h: {error}") from error
    return TimeRange(
        everything.since_ms if since is None else since,
        everything.until_ms if until is None else until,
    )


def wanted_by(patterns: Sequence[str]) -> Wanted:
    """Whether a name matches any of the patterns; each name is asked often, so it is remembered."""
    if not patterns:
        return lambda name: True
    known: dict[str, bool] = {}

    def is_wanted(name: str) -> bool:
        found = known.get(name)
        if found is None:
            found = any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
            known[name] = found
        return found

    return is_wanted
