"""What the database lacks of a batch that it takes for known: statements that find and bring it.

A plain table notes an insert's token before it makes the insert's part visible. A server that is
killed between the two has the token and not the rows, and takes the batch for known when it comes
again. Each table that a view fills has tokens of its own, so it may be any of them. Pure.

Source: ClickHouse, ``MergeTreeSink.cpp``: ``addPart`` of the deduplication log comes before
``renameTempPartAndAdd`` and the commit; its maintainers say so in pull request 110429. With a
SIGKILL put upon the ``rename`` of the first, second, ... part of an insert (26.9), exactly that
table lacked the batch after it had been sent again.

What is lacking goes into a table of its own first, and is moved from there: no view sees a part
that is moved, so each table can be mended by itself. Those tables have names that are used once,
and older ones are dropped before anything is compared: a move that was sent long ago and comes
late finds nothing that it could move.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from grug.storage.schema import Aggregate, quoted


class Blocks(NamedTuple):
    """Whose rows are looked for."""

    log: str
    epoch: int
    first: int
    last: int
    """Block numbers, inclusive."""
    t_min_ms: int = 0
    t_max_ms: int = 0
    """UTC, of all rows."""

    @property
    def condition(self) -> str:
        """Which rows of ``readings`` and ``events`` are theirs. Rows of version 1 name no log."""
        return (
            f"{self.of_log} AND epoch = {self.epoch} AND seq BETWEEN {self.first} AND {self.last}"
            f" AND ts BETWEEN {_time(self.t_min_ms)} AND {_time(self.t_max_ms)}"
        )

    @property
    def of_log(self) -> str:
        """Which rows of any table are of the same log."""
        return f"log IN ({quoted([self.log])}, '')"


def staging_prefix(log: str) -> str:
    """How the names of all tables begin that rows of a log are moved from."""
    return f"mend_{zlib.crc32(log.encode()):08x}_"


def count_of(table: str, blocks: Blocks) -> str:
    """Ask how many rows of some blocks there are in ``readings`` or ``events``."""
    return f"SELECT count() FROM {table} WHERE {blocks.condition}"


def lacking_rows(table: str, sent: str, blocks: Blocks) -> str:
    """Ask for the rows of ``sent`` that are not in ``readings`` or ``events``.

    A reading has its series and time to itself. Two events may be alike, so there all rows of a
    block and a month are one: they come in one part, and are there or not.
    """
    key = "series, ts" if table == "readings" else "seq, toYYYYMM(ts)"
    return (
        f"SELECT * FROM {sent} WHERE ({key}) NOT IN"
        f" (SELECT {key} FROM {table} WHERE {blocks.condition})"
    )


def lacking_sums(aggregate: Aggregate, blocks: Blocks) -> str:
    """Ask what an aggregate lacks of the readings, in intervals of series that some blocks touch.

    Their own rows must be in ``readings``. As rows of the aggregate: differences of counts and
    sums; extremes may be said twice. Where the readings are fewer, they have been deleted or have
    ended with age, and nothing is lacking. A user's profile may say that what a join has not found
    is NULL (``join_use_nulls``), and an infinite sum differs from itself by NaN.
    """
    start = f"toStartOfInterval({{}}, INTERVAL {aggregate.interval})"
    begin, last = (start.format(_time(ms)) for ms in (blocks.t_min_ms, blocks.t_max_ms))
    touched = (
        f"(SELECT site, series, {start.format('ts')}, log FROM readings"
        f" WHERE {blocks.condition} AND NOT isNaN(value))"
    )
    had_n, had_s = "ifNull(had.n, 0)", "ifNull(had.s, 0)"
    return (
        f"SELECT site, series, t, log, there.n - {had_n} AS n,"
        f" if(there.s = {had_s}, 0, there.s - {had_s}) AS s, there.mn AS mn, there.mx AS mx"
        f" FROM (SELECT site, series, {start.format('ts')} AS t, log,"
        " count() AS n, sum(value) AS s, min(value) AS mn, max(value) AS mx FROM readings"
        f" WHERE {blocks.of_log} AND NOT isNaN(value) AND ts >= {begin}"
        f" AND ts < {last} + INTERVAL {aggregate.interval}"
        f" AND (site, series, {start.format('ts')}, log) IN {touched}"
        " GROUP BY site, series, t, log) AS there"
        " LEFT JOIN (SELECT site, series, t, log, sum(n) AS n, sum(s) AS s"
        f" FROM {aggregate.name} WHERE {blocks.of_log} AND t BETWEEN {begin} AND {last}"
        f" AND (site, series, t, log) IN {touched}"
        " GROUP BY site, series, t, log) AS had USING (site, series, t, log)"
        f" WHERE there.n > {had_n}"
    )


SUMS = "(site, series, t, log, n, s, mn, mx)"
"""Columns of ``lacking_sums``."""


def _time(ms: int) -> str:
    return f"fromUnixTimestamp64Milli({ms}, 'UTC')"
