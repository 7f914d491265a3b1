"""``grug replay``: let the app decide again what it decided, and see whether that is the same."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import asyncclick as click
import msgspec

from grug.cli.replay_picture import draw
from grug.errors import StorageError
from grug.replay.measure import Measures
from grug.replay.report import comparison_text, plain, result_text
from grug.replay.run import Other, Replayed, load_other, replay, span_ms
from grug.storage.show import TimeRange, parse_time

Job: TypeAlias = Callable[[], int]
_PATH = click.Path(path_type=Path)


@click.command(name="replay")
@click.argument("session", type=_PATH)
@click.option(
    "--from", "since", metavar="TIME", help="2026-06-21T11:00 (UTC), or 2h before its end."
)
@click.option("--to", "until", metavar="TIME", help="Likewise.")
@click.option("--config", type=_PATH, help="Another house.toml in the place of the recorded one.")
@click.option("--compare", is_flag=True, help="With --config: what is different, as a table.")
@click.option("--plot", type=_PATH, help="With --compare: the picture, by default replay.svg.")
@click.option("--maps", type=_PATH, help="Directory of the house's own register maps.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(
    session: Path,
    since: str | None,
    until: str | None,
    config: Path | None,
    compare: bool,
    plot: Path | None,
    maps: Path | None,
    as_json: bool,
) -> Job:
    """Run the app over SESSION in virtual time, and compare its decisions with the recorded ones.

    SESSION is a house's state directory, a log's directory, or a file of blocks (grug log export
    part.grug). Exit status 1 when anything is decided differently.
    """
    if compare and config is None:
        raise click.BadParameter("say what with: --config new.toml", param_hint="--compare")
    if plot is not None and not compare:
        raise click.BadParameter("is for --compare", param_hint="--plot")
    run = _compare if compare else _replay
    return partial(_guarded, run, session, (since, until), config, maps, plot, as_json)


def _guarded(run: Callable[..., int], session: Path, *arguments: object) -> int:
    try:
        return run(session, *arguments)
    except StorageError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _replay(
    session: Path,
    texts: tuple[str | None, str | None],
    config: Path | None,
    maps: Path | None,
    _plot: Path | None,
    as_json: bool,
) -> int:
    times = _times(session, texts)
    other = None if config is None else load_other(config)
    found = _timed(session, times, other, maps, Measures())
    if as_json:
        _write_json(plain(found))
    else:
        sys.stdout.write(result_text(found))
    return 0 if found.divergence is None and not found.crashes else 1


def _compare(
    session: Path,
    texts: tuple[str | None, str | None],
    config: Path,
    maps: Path | None,
    plot: Path | None,
    as_json: bool,
) -> int:
    times = _times(session, texts)
    other = load_other(config)
    first_ms, last_ms = span_ms(session)
    since_s, until_s = max(first_ms, times.since_ms) / 1e3, min(last_ms, times.until_ms) / 1e3
    recorded = _timed(session, times, None, maps, Measures(since_s, until_s))
    changed = _timed(session, times, other, maps, Measures(since_s, until_s))
    picture = plot or Path("replay.svg")
    picture.write_text(draw(recorded.measures, changed.measures, other.name), encoding="utf-8")
    if as_json:
        _write_json(plain(recorded, changed))
    else:
        sys.stdout.write(comparison_text(recorded, changed, other.name))
    sys.stderr.write(f"the picture is in {picture}\n")
    return 0 if recorded.divergence is None and not (recorded.crashes or changed.crashes) else 1


def _timed(
    session: Path, times: TimeRange, other: Other | None, maps: Path | None, measures: Measures
) -> Replayed:
    started_s = time.perf_counter()
    found = replay(session, other=other, times=times, maps=maps, measures=measures)
    elapsed_s = time.perf_counter() - started_s
    played_s = (found.until_ms - found.since_ms) / 1000
    speed = f"{played_s / elapsed_s:.0f} times real time"
    sys.stderr.write(f"{played_s / 3600:.2f} h in {elapsed_s:.1f} s: {speed}\n")
    return found


def _times(session: Path, texts: tuple[str | None, str | None]) -> TimeRange:
    everything = TimeRange()
    if texts == (None, None):
        return everything
    newest_ms = span_ms(session)[1]
    try:
        since, until = (None if text is None else parse_time(text, newest_ms) for text in texts)
    except ValueError as error:
        raise StorageError(f"not a time, such as 2026-06-21T11:00 or 2h: {error}") from error
    return TimeRange(
        everything.since_ms if since is None else since,
        everything.until_ms if until is None else until,
    )


def _write_json(values: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(values)).decode() + "\n")
