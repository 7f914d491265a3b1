"""The database: rows that arrive exactly once, and queries.

Exactly once rests on two things. Before a batch of log blocks is inserted, the ``ships`` table is
told which one; after a crash the very same batch is sent again, whatever grouping would be chosen
now. And each insert carries a token made of the batch's identity, so that the database drops what
it has, in ``readings`` and in each table that a view fills. ``grug.storage.schema`` has the tables.

One shipper at a time may bring a log. Each claims it when it begins, under a number above all
before. It looks whether its claim is still the highest between announcing a batch and sending it,
and between making a table for a repair and filling it. So what it did before another one claimed
the log, that one finds announced, or drops; and afterwards it does nothing. No clock has a say.

A database that was killed may have noted a token and not kept the rows. So after a batch was sent
again, it is looked for in each table, and what is lacking is brought in (``mend``).
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

import trio

from grug.errors import ShipError, SupersededError
from grug.storage import schema
from grug.storage.mending import Blocks
from grug.storage.native import Rows, Series, series_rows
from grug.storage.segment import SeriesFacts
from grug.transport.engine import connect, mapped
from grug.transport.mend import Hands, Mended, drop_staging, mend

Result = TypeVar("Result")

_INSERT_SETTINGS = {
    "deduplicate_insert": "enable",
    "insert_deduplicate": "1",
    "deduplicate_blocks_in_dependent_materialized_views": "1",
    "async_insert": "0",
    "optimize_on_insert": "0",
    "distributed_foreground_insert": "1",
    "insert_distributed_sync": "1",
}
"""Those that the database knows are sent; which ones it knows depends on its version. To look for
rows of one key at each insert would take a third of its time, and a log's series has none."""

_ANNOUNCE_SETTINGS = {"insert_quorum": "auto", "insert_quorum_parallel": "0"}
_ASKED_SETTINGS = {"select_sequential_consistency": "1"}
"""On a cluster: what one server was told must be what any other one knows."""


class Ship(NamedTuple):
    """One batch of log blocks, as the database was told before it got them."""

    log: str
    """Id of the log, hexadecimal."""
    epoch: int
    first: int
    last: int
    """Sequence numbers, inclusive."""
    crc: int
    """Of the checksums of all blocks."""

    @property
    def token(self) -> str:
        """What makes a repeated insert known."""
        return f"{self.log}:{self.epoch}:{self.first}-{self.last}:{self.crc:08x}"


class Answer(NamedTuple):
    """A query's result."""

    names: tuple[str, ...]
    rows: list[tuple[Any, ...]]


class _Holder(NamedTuple):
    """Who claimed a log."""

    claim: int
    """0: nobody."""
    who: str


class _Table(NamedTuple):
    """A table or view that is there."""

    created: str
    """The statement that it was made by."""
    views: list[str]
    """Materialized views that read it."""


class Database:
    """One open database. Its methods block."""

    def __init__(self, url: str) -> None:
        """Open it, make what tables are missing, and check that repeated inserts will be seen.

        Raises:
            ShipError: it is away, held by another process, of a newer version, or set up so that
                rows might double.
        """
        self._client = connect(url)
        self._listed: dict[tuple[str, str], SeriesFacts] = {}
        """Series that the database has been told of since it was opened."""
        self._claims: dict[str, int] = {}
        """By log, those of this shipper."""
        try:
            ((self._name,),) = self.query("SELECT currentDatabase()").rows
            tables = self._tables()
            self._is_cluster = "readings" in tables and schema.is_distributed(
                tables["readings"].created
            )
            if self._make_schema(tables):
                tables = self._tables()
            self._check_windows(tables)
            known = self.query(
                "SELECT name FROM system.settings WHERE name IN"
                f" ({schema.quoted(tuple(_INSERT_SETTINGS))})"
            )
        except ShipError:
            self.close()
            raise
        self._insert_settings = {name: _INSERT_SETTINGS[name] for (name,) in known.rows}

    def last_ship(self, log: str) -> Ship | None:
        """The batch of this log that was announced last; it may or may not have arrived.

        What was announced under an older claim counts only as long as the newer one has announced
        nothing: a shipper that was superseded may have announced what it never sent.
        """
        answer = self._asked(
            f"SELECT log, epoch, first, last, crc FROM ships WHERE log = {schema.quoted([log])}"
            " ORDER BY claim DESC, epoch DESC, last DESC, first LIMIT 1"
        )
        return Ship(*answer.rows[0]) if answer.rows else None

    def claim(self, log: str) -> Ship | None:
        """Become the shipper of a log, whoever was it before; gives ``last_ship``.

        Raises:
            SupersededError: another one did the same just now, and was later.
        """
        who = f"process {os.getpid()} on {socket.gethostname()}"
        claim = (self._holder(log).claim >> 32) + 1 << 32 | secrets.randbits(32)
        self._tell(
            f"INSERT INTO shippers (log, claim, who) VALUES ('{log}', {claim},"
            f" {schema.quoted([who])})"
        )
        self._claims[log] = claim
        self._check_claim(log)
        return self.last_ship(log)

    def progress(self, log: str) -> tuple[int, Ship | None]:
        """What changes whenever a shipper of a log begins or announces something."""
        return self._holder(log).claim, self.last_ship(log)

    def has_rows_of(self, ship: Ship) -> bool:
        """Whether anything of a batch is in the tables. Rows of version 1 name no log."""
        blocks = (
            f"log IN ({schema.quoted([ship.log])}, '') AND epoch = {ship.epoch}"
            f" AND seq BETWEEN {ship.first} AND {ship.last}"
        )
        return any(
            self.query(f"SELECT 1 FROM {table} WHERE {blocks} LIMIT 1").rows
            for table in ("readings", "events")
        )

    def give_up(self, ship: Ship) -> bool:
        """Tidy up after a doubtful batch that will not be sent again.

        Returns:
            Whether anything of it is in the tables.
        """
        if not self._is_cluster:
            drop_staging(self._hands(ship.log), ship.log)
        return self.has_rows_of(ship)

    def announce(self, ship: Ship) -> None:
        """Write down which batch comes next."""
        self._tell(
            "INSERT INTO ships (log, epoch, first, last, crc, claim) VALUES"
            f" ('{ship.log}', {ship.epoch}, {ship.first}, {ship.last}, {ship.crc},"
            f" {self._claims.get(ship.log, 0)})"
        )

    def insert(
        self, ship: Ship, *, readings: Rows, events: Rows, series: Iterable[Series] = ()
    ) -> None:
        """Insert a batch's rows; those that are there already are dropped by the database.

        Args:
            ship: announced before.
            readings: of the batch.
            events: of the batch.
            series: that the batch speaks of; only what is news is sent.

        Raises:
            ShipError: it is unknown what has arrived. Call it again with the same arguments, and
                then ``mend``.
            SupersededError: another shipper has claimed the log meanwhile; nothing was sent.
        """
        self._check_claim(ship.log)
        news = [each for each in series if self._listed.get((each.site, each.name)) != each.facts]
        if news:
            self._insert("series", series_rows(news))
            self._listed |= {(each.site, each.name): each.facts for each in news}
        for table, rows in (("readings", readings), ("events", events)):
            if rows.entries:
                self._insert(table, rows, f"{ship.token}:{table}")

    def mend(self, ship: Ship, *, readings: Rows, events: Rows) -> list[Mended]:
        """Bring in what tables lack of a batch whose outcome was in doubt.

        To be called after ``insert`` has been called for it once more, and has not raised. On a
        cluster nothing can be lacking: there a part and its token come by one transaction.

        Args:
            ship: the batch, or those of its blocks that are still there.
            readings: of them.
            events: of them.

        Returns:
            What has been brought; mostly nothing.

        Raises:
            ShipError: the batch is still in doubt. Insert and mend it again.
        """
        if self._is_cluster:
            return []
        blocks = Blocks(ship.log, ship.epoch, ship.first, ship.last)
        return mend(self._hands(ship.log), blocks, (("readings", readings), ("events", events)))

    def _hands(self, log: str) -> Hands:
        check = partial(self._check_claim, log)
        return Hands(lambda sql: self.query(sql).rows, self._run, self._insert, check)

    def _holder(self, log: str) -> _Holder:
        """Who claimed a log last."""
        asked = f"SELECT max(claim), argMax(who, claim) FROM shippers WHERE log = '{log}'"
        return _Holder(*self._asked(asked).rows[0])

    def _check_claim(self, log: str) -> None:
        """See that a log that this shipper has claimed is still its own."""
        claim = self._claims.get(log)
        if claim is None:
            return
        holder = self._holder(log)
        if holder.claim != claim:
            raise SupersededError(
                f"{holder.who} brings this log into the database now, and one at a time may"
            )

    def _asked(self, sql: str) -> Answer:
        """Ask what any server of a cluster was told."""
        return self._query(sql, _ASKED_SETTINGS if self._is_cluster else {})

    def _tell(self, sql: str) -> None:
        """Write down what every server of a cluster shall know."""
        settings = _ANNOUNCE_SETTINGS if self._is_cluster else {}
        mapped(lambda: self._client.command(sql, settings=settings))

    def sole_site(self) -> str:
        """The site that all series are of; empty when there are several, or none yet."""
        rows = self.query("SELECT DISTINCT site FROM series LIMIT 2").rows
        return str(rows[0][0]) if len(rows) == 1 else ""

    def query(self, sql: str) -> Answer:
        """Run one statement that gives rows."""
        return self._query(sql, {})

    def close(self) -> None:
        """Let go of it."""
        with suppress(ShipError):
            mapped(self._client.close)

    def _query(self, sql: str, settings: Mapping[str, str]) -> Answer:
        result = mapped(lambda: self._client.query(sql, settings=settings))
        return Answer(tuple(result.column_names), [tuple(row) for row in result.result_rows])

    def _insert(self, table: str, rows: Rows, token: str = "") -> None:
        settings = {**self._insert_settings}
        if token:
            settings["insert_deduplication_token"] = token
        mapped(
            lambda: self._client.raw_insert(
                table, rows.names, insert_block=rows.data, settings=settings, fmt="Native"
            )
        )

    def _tables(self, condition: str = "database = currentDatabase()") -> dict[str, _Table]:
        """Tables and views, by name; those of another database with its name before theirs."""
        rows = self.query(
            "SELECT if(database = currentDatabase(), '', database || '.') || name,"
            " create_table_query,"
            " arrayMap((d, t) -> if(d = currentDatabase(), '', d || '.') || t,"
            " dependencies_database, dependencies_table)"
            f" FROM system.tables WHERE {condition}"
        ).rows
        return {str(name): _Table(str(created), list(views)) for name, created, views in rows}

    def _make_schema(self, tables: Mapping[str, _Table]) -> bool:
        """Bring the tables to this version; what was begun and cut off is gone on with.

        Returns:
            Whether anything was to be done.
        """
        version = self._version(tables)
        if version > schema.VERSION:
            raise ShipError(
                f"the database was made by a newer grug: its tables are of version {version},"
                f" and this one knows {schema.VERSION}"
            )
        if self._is_cluster and version < schema.VERSION:
            raise ShipError(
                f"the cluster's tables are of version {version}; please run there what"
                f" grug ship --print-schema --cluster NAME prints, of version {schema.VERSION}"
            )
        if version == schema.VERSION and (self._is_cluster or tables.keys() >= {*schema.TABLES}):
            return False
        self._run(schema.version_statement())
        for step in range(version, schema.VERSION) if version else ():
            self._run(*schema.migration(step))
        if version < schema.VERSION:
            self._run(f"INSERT INTO schema_version (version) VALUES ({schema.VERSION})")
        self._run(*schema.statements())
        return True

    def _version(self, tables: Mapping[str, _Table]) -> int:
        """Of the tables that are there; 0 when there are none."""
        if "schema_version" in tables:
            (version,) = self.query("SELECT max(version) FROM schema_version").rows[0]
            if version:
                return int(version)
        return 1 if "readings" in tables else 0

    def _check_windows(self, tables: dict[str, _Table]) -> None:
        """See that each table that rows reach, through views of whomever, remembers tokens."""
        local = schema.LOCAL if self._is_cluster else ""
        waiting = [f"{table}{local}" for table in ("readings", "events")]
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            problem = schema.window_problem(name, self._table(name, tables).created)
            if problem:
                raise ShipError(problem)
            for view in self._table(name, tables).views:
                target = schema.target_of(self._table(view, tables).created)
                waiting.append(view if target is None else target.removeprefix(f"{self._name}."))
        unfed = {f"{table}{local}" for table in schema.DEDUPLICATED} - seen
        if unfed:
            raise ShipError(f"no view fills {', '.join(sorted(unfed))}")

    def _table(self, name: str, tables: dict[str, _Table]) -> _Table:
        """One that is known, or one of another database."""
        if name not in tables:
            database, _, table = name.rpartition(".")
            condition = (
                f"database = {schema.quoted([database])} AND name = {schema.quoted([table])}"
            )
            tables |= self._tables(condition)
        if name not in tables:
            raise ShipError(f"table {name} is missing")
        return tables[name]

    def _run(self, *statements: str) -> None:
        for statement in statements:
            mapped(partial(self._client.command, statement))


class SharedDatabase:
    """The database as actors share it: one call at a time, in a worker thread."""

    def __init__(self, url: str) -> None:
        """Nothing is opened before the first call."""
        self._url = url
        self._database: Database | None = None
        self._lock = trio.Lock()

    async def call(self, work: Callable[[Database], Result]) -> Result:
        """Run blocking work on the database, opening it when it is not open.

        Raises:
            ShipError: it is away or refused.
        """
        async with self._lock:
            return await trio.to_thread.run_sync(self._call, work)

    async def close(self) -> None:
        """Let go of the database; the next call opens it again."""
        async with self._lock:
            database, self._database = self._database, None
            if database is not None:
                await trio.to_thread.run_sync(database.close)

    def _call(self, work: Callable[[Database], Result]) -> Result:
        if self._database is None:
            self._database = Database(self._url)
        return work(self._database)
