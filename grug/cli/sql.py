"""``grug sql``: ask the embedded database, whether grug is running on it or not, or a log."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import asyncclick as click
from rich.console import Console
from rich.table import Table

from grug.cli.log import times_of
from grug.cli.states import states
from grug.errors import ShipError, StorageError
from grug.transport.asking import ask_database, find_database
from grug.transport.clickhouse import Answer
from grug.transport.logsql import ask_log

Job: TypeAlias = Callable[[], int]


@click.command(name="sql")
@click.argument("statement")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="State directory of the house; by default the demo's latest, else /var/lib/grug.",
)
@click.option(
    "--log",
    "log",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Ask the log in DIR instead, straight: no database is needed.",
)
@click.option("--since", metavar="TIME", help="With --log: 2026-06-21T11:00 (UTC), or 2h.")
@click.option("--until", metavar="TIME", help="With --log: likewise.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
)
def command(
    statement: str,
    state: Path | None,
    log: Path | None,
    since: str | None,
    until: str | None,
    style: str,
) -> Job:
    """Ask the embedded database, or a log with the same tables, one SQL STATEMENT."""
    if log is None and (since or until):
        raise click.UsageError(
            "--since and --until go with --log; of a database ask WHERE ts > ..."
        )
    if log is not None and state is not None:
        raise click.UsageError("either --log or --state")
    if log is not None:
        return partial(_ask_log, statement, log, (since, until), style)
    return partial(ask, statement, state=state, style=style)


def ask(statement: str, *, state: Path | None, style: str) -> int:
    """Print the answer to a statement; exit status 1 when the database refuses or is away."""
    places = states(state)
    directory = find_database(places)
    if directory is None:
        where = ", ".join(map(str, places))
        sys.stderr.write(f"no database in {where}; name a house's state directory by --state\n")
        return 1
    return _print(directory, style, lambda: ask_database(directory, statement))


def _ask_log(
    statement: str, log: Path, since_until: tuple[str | None, str | None], style: str
) -> int:
    """Print the answer of a log, or of the log in a state directory."""
    directory = log if any(log.glob("*.grug")) else log / "log"
    if not any(directory.glob("*.grug")):
        sys.stderr.write(f"no log in {log}\n")
        return 1

    def answer() -> Answer:
        times = times_of(directory, since_until)
        return ask_log(directory, statement, times, told=_tell)

    return _print(directory, style, answer)


def _tell(share: float) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\rreading the log: {share:.0%} " if share < 1 else f"\r{'':24}\r")


def _print(directory: Path, style: str, answer_it: Callable[[], Answer]) -> int:
    try:
        answer = answer_it()
    except (ShipError, StorageError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    _write(answer.names, answer.rows, style)
    sys.stderr.write(f"{len(answer.rows)} rows from {directory}\n")
    return 0


def _write(names: Sequence[str], rows: Sequence[Sequence[object]], style: str) -> None:
    if style == "json":
        for row in rows:
            sys.stdout.write(json.dumps(dict(zip(names, row, strict=True)), default=str) + "\n")
    elif style == "csv" or not sys.stdout.isatty():
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
    else:
        table = Table(*names)
        for row in rows:
            table.add_row(*(str(value) for value in row))
        Console().print(table)
