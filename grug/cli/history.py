"""``grug log import``: the history that another program kept, into the database."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import asyncclick as click

from grug.errors import ShipError, StorageError
from grug.transport.asking import embedded_url
from grug.transport.clickhouse import Database
from grug.transport.history import Imported, import_file

Job: TypeAlias = Callable[[], int]


@click.command(name="import")
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--to", "url", metavar="URL", help="http://... or chdb:///directory.")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="State directory of the house whose embedded database it is; no house may run on it.",
)
@click.option("--strip", default="", metavar="PREFIX", help="Taken off topics, such as pv/.")
@click.option("--site", help="Whose history it is; by default the one that the database knows.")
def import_(
    files: tuple[Path, ...], url: str | None, state: Path | None, strip: str, site: str | None
) -> Job:
    """Bring FILES into the database: JSON lines of [time, topic, payload], zstd or not.

    A file that was imported already, or in part, is not imported twice: only lines that it has more
    than before are new.
    """
    if (url is None) == (state is None):
        raise click.UsageError("say where to: either --to or --state")
    return partial(_import, files, url or embedded_url(state or Path()), strip, site)


def _import(files: Sequence[Path], url: str, strip: str, site: str | None) -> int:
    """Import files in the order of their names, which are times; exit status 1 if any fails."""
    try:
        database = Database(url)
    except ShipError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    status = 0
    try:
        name = database.sole_site() if site is None else site
        for path in sorted(files):
            tell = _progress(path)
            try:
                _say(path, import_file(database, path, strip=strip, site=name, told=tell))
            except StorageError as error:
                sys.stderr.write(f"{error}\n")
                status = 1
    except ShipError as error:
        sys.stderr.write(f"{error}\nRun it again: what has arrived will not be sent twice.\n")
        status = 1
    finally:
        database.close()
    return status


def _progress(path: Path) -> Callable[[int], None]:
    def tell(lines: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{path.name}: {lines} lines")

    return tell


def _say(path: Path, imported: Imported) -> None:
    what = f"{imported.lines} lines, {imported.rows} new rows"
    if imported.old_lines:
        what += f", {imported.old_lines} lines were there already"
    if imported.bad_lines:
        what += f", {imported.bad_lines} lines make no sense"
    if imported.problem:
        what += f"; {imported.problem}: read up to there"
    start = "\r" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{start}{path.name}: {what}\n")
