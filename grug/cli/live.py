"""``grug log tail --live``: what a house on another machine publishes, before it is on its disk."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import trio

from grug.errors import LinkError
from grug.transport.http import get

_RECEIVE_BYTES = 65_536


def follow(url: str, token: str, wanted: Callable[[str], bool], only_events: bool) -> int:
    """Show what comes until Ctrl-C or the house stops; exit status 1 when there is none."""
    status = 1
    try:
        trio.run(_follow, url, token, wanted, only_events)
        sys.stderr.write(f"{url} has ended\n")
        status = 0
    except* LinkError as group:
        sys.stderr.write(f"{group.exceptions[0]}\n")
    except* KeyboardInterrupt:
        status = 130
    return status


async def _follow(url: str, token: str, wanted: Callable[[str], bool], only_events: bool) -> None:
    stream, reply = await get(url, "/live", token)
    waiting = reply.body
    async with stream:
        while True:
            *lines, waiting = waiting.split(b"\n")
            sys.stdout.write("".join([_shown(line, wanted, only_events) for line in lines]))
            sys.stdout.flush()
            try:
                data = await stream.receive_some(_RECEIVE_BYTES)
            except trio.BrokenResourceError:
                return
            if not data:
                return
            waiting += data


def _shown(line: bytes, wanted: Callable[[str], bool], only_events: bool) -> str:
    """One row as ``grug log tail`` shows it; empty when it is not wanted."""
    try:
        row = json.loads(line)
        if only_events and wanted(row.get("source", "")) and "text" in row:
            return f"{row['ts']}  {row['source']} {row['kind']}: {row['text']}\n"
        if not only_events and "series" in row and wanted(row["series"]):
            return f"{row['ts']}  {row['series']} = {row['value']}\n"
    except (ValueError, KeyError) as error:
        raise LinkError(f"what arrived cannot be understood: {error}") from error
    return ""
