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
from grug.storage.schema import script

Job: TypeAlias = Callable[[], int]


@click.command()
@click.option("--from", "source", metavar="URL", help="Such as http://pi:8765.")
@click.option("--to", metavar="URL", help="http://... or chdb:///directory.")
@click.option("--token", envvar="GRUG_TOKEN", help="Or GRUG_TOKEN.")
@click.option("--once", is_flag=True, help="End when caught up.")
@click.option("--print-schema", is_flag=True, help="Only print the statements for the tables.")
@click.option(
    "--cluster", default="", metavar="NAME", help="With --print-schema: for the servers of it."
)
def ship(
    source: str | None,
    to: str | None,
    token: str | None,
    once: bool,
    print_schema: bool,
    cluster: str,
) -> Job:
    """Bring the log of a house on another machine into a database, then follow it."""
    if print_schema:
        if source or to or once:
            raise click.UsageError("--print-schema ships nothing: no --from, --to or --once")
        return partial(_print_schema, cluster)
    if cluster:
        raise click.UsageError(
            "--cluster goes with --print-schema; grug ship sees by the tables whether they are of"
            " a cluster"
        )
    wanted = {"--from": source, "--to": to, "--token": token}
    missing = [name for name, value in wanted.items() if not value]
    if not (source and to and token):
        raise click.UsageError(f"missing: {', '.join(missing)}")
    return partial(_ship, source, token, to, once)


def _print_schema(cluster: str) -> int:
    sys.stdout.write(script(cluster))
    return 0


def _ship(source: str, token: str, to: str, once: bool) -> int:
    status = 1
    try:
        status = trio.run(partial(ship_from, source, token, to, once=once))
    except* (LinkError, ShipError) as group:
        sys.stderr.write(f"{group.exceptions[0]}\n")
    except* KeyboardInterrupt:  # It may come to any of several tasks, and so in a group.
        status = 130
    return status
