"""``grug sql``: ask the embedded database, whether grug is running on it or not."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from grug.errors import ShipError
from grug.transport.asking import ask_database, find_database

STATES = (Path("demo-state/fast"), Path("demo-state/live"), Path("/var/lib/grug"))
"""Where houses keep their state by default; the one written last is asked."""


def ask(statement: str, *, state: Path | None, style: str) -> int:
    """Print the answer to a statement; exit status 1 when the database refuses or is away."""
    directory = find_database([state] if state else STATES)
    if directory is None:
        places = state or ", ".join(str(place) for place in STATES)
        sys.stderr.write(f"no database in {places}; name a house's state directory by --state\n")
        return 1
    try:
        answer = ask_database(directory, statement)
    except ShipError as error:
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
