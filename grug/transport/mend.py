"""Looks for a batch in every table after its outcome was in doubt, and brings what is lacking.

``grug.storage.mending`` has the statements, and says how a batch can be lacking at all.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from grug.storage import mending
from grug.storage.mending import Blocks
from grug.storage.native import Rows
from grug.storage.schema import AGGREGATES, Aggregate


class Hands(NamedTuple):
    """What may be done to the database. Each raises ShipError when it is away."""

    ask: Callable[[str], Sequence[Sequence[Any]]]
    run: Callable[[str], None]
    insert: Callable[[str, Rows], None]
    """Rows into a table, whatever came there before."""
    check: Callable[[], None]
    """See that nobody else may mend meanwhile."""


class Mended(NamedTuple):
    """What a table lacked, and has now."""

    table: str
    rows: int


def mend(hands: Hands, blocks: Blocks, rows: Sequence[tuple[str, Rows]]) -> list[Mended]:
    """Bring in whatever tables lack of a batch, each by itself. Blocks.

    The batch must have been acknowledged under its token after the doubt arose: then each table has
    noted the token, and no earlier insert that may still be under way can add to it. Two that mend
    for one log at a time would each bring what both found lacking. So before a table to move from
    is filled, it is seen that the log is still ours: who claims it after that drops the table.

    Args:
        hands: on the database; a plain one, not a cluster.
        blocks: of the batch; times are taken from ``rows``.
        rows: of ``readings`` and ``events``.

    Raises:
        ShipError: it is unknown what has arrived. Call it again, after the insert.
    """
    drop_staging(hands, blocks.log)
    staging = f"{mending.staging_prefix(blocks.log)}{secrets.token_hex(8)}"
    mended = []
    for table, sent in rows:
        if not sent.entries:
            continue
        there = blocks._replace(t_min_ms=sent.t_min_ms, t_max_ms=sent.t_max_ms)
        if hands.ask(mending.count_of(table, there))[0][0] < sent.entries:
            mended.append(_mend_rows(hands, table, sent, there, staging))
        if table == "readings":
            mended += [_mend_sums(hands, each, there, staging) for each in AGGREGATES]
    return [each for each in mended if each.rows]


def drop_staging(hands: Hands, log: str) -> None:
    """Drop tables that a ``mend`` for a log has left because it was broken off. Blocks."""
    for (name,) in hands.ask(
        "SELECT name FROM system.tables WHERE database = currentDatabase()"
        f" AND startsWith(name, '{mending.staging_prefix(log)}')"
    ):
        hands.run(f"DROP TABLE IF EXISTS {name} SYNC")


def _mend_rows(hands: Hands, table: str, sent: Rows, blocks: Blocks, staging: str) -> Mended:
    """Send rows into a table of their own, and move on those that are lacking."""
    name = f"{staging}_{table}"
    hands.run(f"CREATE TABLE {name} AS {table}")
    hands.insert(name, sent)
    mended = _move(hands, table, f"{name}_lacking", mending.lacking_rows(table, name, blocks))
    hands.run(f"DROP TABLE {name} SYNC")
    return mended


def _mend_sums(hands: Hands, aggregate: Aggregate, blocks: Blocks, staging: str) -> Mended:
    """Compare an aggregate with the readings, and bring the difference."""
    lacking = mending.lacking_sums(aggregate, blocks)
    if not hands.ask(f"SELECT count() FROM ({lacking})")[0][0]:
        return Mended(aggregate.name, 0)
    return _move(hands, aggregate.name, f"{staging}_{aggregate.name}", lacking, mending.SUMS)


def _move(hands: Hands, table: str, staging: str, lacking: str, columns: str = "") -> Mended:
    """Put what a statement gives into a new table, and move its parts from there."""
    hands.run(f"CREATE TABLE {staging} AS {table}")
    hands.check()
    hands.run(f"INSERT INTO {staging} {columns} {lacking}")
    partitions = hands.ask(
        "SELECT partition_id, sum(rows) FROM system.parts WHERE active"
        f" AND database = currentDatabase() AND table = '{staging}' GROUP BY partition_id"
    )
    for partition, _ in partitions:
        hands.run(f"ALTER TABLE {staging} MOVE PARTITION ID '{partition}' TO TABLE {table}")
    hands.run(f"DROP TABLE {staging} SYNC")
    return Mended(table, sum(rows for _, rows in partitions))
