"""``grug writes``: what was written to which device, by whom, and what is left of the budgets."""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import asyncclick as click
import msgspec

from grug.cli.states import own_state, states
from grug.config.build import parse_duration
from grug.model import Value, WriteState
from grug.storage.ledger import LedgerBook, LedgerEntry
from grug.transport.ledgerfile import LEDGER, read_ledger

Job: TypeAlias = Callable[[], int]

SHOWN = 30


@click.command(name="writes")
@click.option("--device", help="Only this device.")
@click.option("--register", help="Only registers whose name contains this.")
@click.option("--who", help="Only by those whose name contains this.")
@click.option(
    "--is",
    "state",
    type=click.Choice([each.value for each in WriteState]),
    help="Only writes that this became of.",
)
@click.option("--since", help="Only of the last so long: 2h, 30min.")
@click.option("--last", type=click.IntRange(min=1), default=SHOWN, show_default=True)
@click.option("--budget", is_flag=True, help="What is left for each register that wears out.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--state", "directory", type=click.Path(path_type=Path), help="State directory.")
def command(
    device: str | None,
    register: str | None,
    who: str | None,
    state: str | None,
    since: str | None,
    last: int,
    budget: bool,
    as_json: bool,
    directory: Path | None,
) -> Job:
    """List what was written to devices, who wanted it and why, and what became of it."""
    now_ms = round(time.time() * 1000)
    since_ms = 0
    if since is not None:
        since_s = parse_duration(since)
        if since_s is None:
            raise click.BadParameter(f"{since!r} is no duration such as 2h or 30min")
        since_ms = now_ms - round(since_s * 1000)

    def is_wanted(entry: LedgerEntry) -> bool:
        return (
            (device is None or entry.device == device)
            and (register is None or register in entry.register)
            and (who is None or who in entry.who)
            and (state is None or entry.state == state)
            and entry.utc_ms >= since_ms
        )

    return partial(
        show, directory, is_wanted, now_ms=now_ms, last=last, budget=budget, as_json=as_json
    )


def show(
    directory: Path | None,
    is_wanted: Callable[[LedgerEntry], bool],
    *,
    now_ms: int,
    last: int,
    budget: bool,
    as_json: bool,
) -> int:
    """Print the ledger; exit status 1 when there is none.

    Raises:
        StorageError: it cannot be read.
    """
    places = states(directory) if directory else [*states(None), own_state()]
    path = next((each / LEDGER for each in places if (each / LEDGER).exists()), None)
    if path is None:
        sys.stderr.write(f"nothing was written yet: no {LEDGER} in {', '.join(map(str, places))}\n")
        return 1
    entries, bad = read_ledger(path)
    wanted = [entry for entry in entries if is_wanted(entry)]
    budgets = budgets_of(entries, wanted, now_ms)
    if as_json:
        shown: dict[str, Any] = {
            "ledger": str(path),
            "writes": [msgspec.to_builtins(entry) for entry in wanted[-last:]],
            "budgets": budgets,
            "damaged_lines": bad,
        }
        sys.stdout.write(json.dumps(shown, indent=1) + "\n")
        return 0
    rows = map(_budget_row, budgets) if budget else map(_row, wanted[-last:])
    _write_columns([_BUDGET_HEAD if budget else _HEAD, *rows])
    if bad:
        sys.stdout.write(f"{bad} damaged lines were skipped\n")
    return 0


def budgets_of(
    entries: Iterable[LedgerEntry], wanted: Iterable[LedgerEntry], now_ms: int
) -> list[dict[str, Any]]:
    """What is left for each register of ``wanted`` that wears out."""
    book = LedgerBook(entries)
    latest = {(entry.unit, entry.register): entry for entry in wanted if entry.wears}
    budgets = []
    for (unit, register), entry in sorted(latest.items()):
        used = book.in_year(unit, register, now_ms)
        budgets.append(
            {
                "device": entry.device,
                "unit": unit,
                "register": register,
                "used": used,
                "per_year": entry.per_year,
                "left": max(0, entry.per_year - used),
            }
        )
    return budgets


_HEAD = ["time", "device", "register", "old", "new", "read back", "state", "by", "why", "reason"]
_BUDGET_HEAD = ["device", "register", "written in 365 days", "budget", "left"]


def _row(entry: LedgerEntry) -> list[str]:
    at = datetime.datetime.fromtimestamp(entry.utc_ms / 1000).astimezone()
    times = f" x{entry.sends}" if entry.sends > 1 else ""
    values = (_shown(value, entry.unit_of) for value in (entry.old, entry.new, entry.read_back))
    return [
        f"{at:%Y-%m-%d %H:%M:%S}",
        entry.device,
        entry.register,
        *values,
        f"{entry.state.value}{times}",
        entry.who,
        entry.why,
        entry.reason,
    ]


def _shown(value: Value | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:g} {unit}".rstrip() if isinstance(value, int | float) else str(value)


def _budget_row(budget: dict[str, Any]) -> list[str]:
    return [str(budget[key]) for key in ("device", "register", "used", "per_year", "left")]


def _write_columns(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
