"""``grug log frames``: what was on the lines, frame by frame, in words."""

from __future__ import annotations

import sys
import time
from collections import deque
from functools import partial
from pathlib import Path

import asyncclick as click

from grug.cli.log import (
    FOLLOW_S,
    Job,
    on_log,
    range_options,
    state_option,
    times_of,
    wanted_by,
)
from grug.protocol.describe import describe
from grug.protocol.seen import FrameFinder, Seen, SeenKind
from grug.storage.show import TimeRange, show_time
from grug.transport.capture import find_frames
from grug.transport.framereads import follow_traced, ring_beside
from grug.transport.logfiles import LogReader

_SIGNS = {
    SeenKind.REQUEST: "->",
    SeenKind.REPLY: "<-",
    SeenKind.SILENCE: "..",
    SeenKind.NOISE: "??",
    SeenKind.LINE: "==",
}


@click.command()
@click.argument("lines", nargs=-1, metavar="[LINE]...")
@range_options
@click.option("-n", "--last", type=click.IntRange(min=0), metavar="COUNT", help="Only so many.")
@click.option("-f", "--follow", is_flag=True, help="Go on while the house runs, until Ctrl-C.")
@state_option
def frames(
    lines: tuple[str, ...],
    since: str | None,
    until: str | None,
    last: int | None,
    follow: bool,
    state: Path | None,
) -> Job:
    """Show what was on LINE, such as 'solis*', or on all: -> asks, <- answers, .. says nothing.

    They reach the disk every minute. For Wireshark: grug log export --pcap FILE.
    """
    return partial(on_log, state, _frames, lines, (since, until), last, follow)


def _frames(
    directory: Path,
    lines: tuple[str, ...],
    since_until: tuple[str | None, str | None],
    last: int | None,
    follow: bool,
) -> int:
    ring = ring_beside(directory)
    times = times_of(ring, since_until)
    reader, finder, wanted = LogReader(ring), FrameFinder(), wanted_by(lines)
    found = find_frames(finder, follow_traced(reader, times), wanted)
    if last is not None:
        found = iter(deque(found, maxlen=last))
    for seen in found:
        sys.stdout.write(_line(seen))
    try:
        while follow:
            sys.stdout.flush()
            time.sleep(FOLLOW_S)
            for seen in find_frames(finder, follow_traced(reader, TimeRange()), wanted):
                sys.stdout.write(_line(seen))
    except KeyboardInterrupt:
        return 130
    return 0


def _line(seen: Seen) -> str:
    milliseconds, microseconds = divmod(seen.time_us, 1000)
    moment = f"{show_time(milliseconds).rstrip('Z')}{microseconds:03d}Z"
    return f"{moment}  {seen.wire.line:<12}  {_SIGNS[seen.kind]} {describe(seen)}\n"
