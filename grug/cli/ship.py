"""``grug ship``: bring the log of another machine into a database here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import asyncclick as click
import trio

from grug.app.ship import ship_from
from grug.errors import LinkError, ShipError

Job: TypeAlias = Callable[[], int]


@click.command()
@click.option("--from", "source", required=True, metavar="URL", help="Such as http://pi:8765.")
@click.option("--to", required=True, metavar="URL", help="http://... or chdb:///directory.")
@click.option("--token", required=True, envvar="GRUG_TOKEN", help="Or GRUG_TOKEN.")
@click.option("--once", is_flag=True, help="End when caught up.")
def ship(source: str, to: str, token: str, once: bool) -> Job:
    """Bring the log of a house on another machine into a database, then follow it."""
    return partial(_ship, source, token, to, once)


def _ship(source: str, token: str, to: str, once: bool) -> int:
    status = 1
    try:
        status = trio.run(partial(ship_from, source, token, to, once=once))
    except* (LinkError, ShipError) as group:
        sys.stderr.write(f"{group.exceptions[0]}\n")
    except* KeyboardInterrupt:  # It may come to any of several tasks, and so in a group.
        status = 130
    return status
