"""Files of history into the database: every line once, however often a file is given.

A file is known by its first line, so its name does not matter, and it may have grown since it was
imported last: the lines after those that arrived are new. As with the log, a batch of lines is
announced before it is inserted, under a token made of what it is; a second row, of the same log
with ``.done`` behind its id, says that it has arrived. A batch that is announced and not done is
sent again as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import zstandard

from grug.errors import StorageError
from grug.storage.history import History, is_whole
from grug.storage.native import Origin
from grug.transport.clickhouse import Database, Ship

LINES_PER_BATCH = 100_000
"""Some tens of MB of memory while the rows are made."""
_READ_BYTES = 1 << 20
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_IMPORTED_EPOCHS = 1 << 31
"""Epochs of imported files begin here; those of a log are counted from 1."""


class Imported(NamedTuple):
    """What became of one file."""

    lines: int
    """In it."""
    old_lines: int
    """That the database had already."""
    bad_lines: int
    rows: int
    """Samples and events that were sent."""
    problem: str
    """Why the rest could not be read; empty when all of it was."""


def import_file(
    database: Database,
    path: Path,
    *,
    strip: str = "",
    site: str = "",
    told: Callable[[int], None] = lambda lines: None,
) -> Imported:
    """Bring one file into the database. Blocks.

    Args:
        database: where the rows go.
        path: JSON lines, compressed with zstd or not.
        strip: taken off the beginning of topics.
        site: name of the house that it is the history of.
        told: called with the number of lines after each batch.

    Raises:
        StorageError: it cannot be read, or is not what was imported before.
        ShipError: the database is away; importing it again goes on where this ended.
    """
    problems: list[str] = []
    lines = _lines(path, problems)
    first = next(lines, None)
    if first is None:
        return Imported(0, 0, 0, 0, problems[0] if problems else "")
    digest = hashlib.sha256(first).digest()
    importer = _Importer(database, path, digest, History(strip=strip), site)
    for line in chain((first,), lines):
        importer.add(line)
        if not importer.history.lines:
            told(importer.lines)
    importer.finish()
    return Imported(
        importer.lines,
        importer.old_lines,
        importer.history.bad_lines,
        importer.rows,
        problems[0] if problems else "",
    )


class _Importer:
    """Lines between the file and the database."""

    def __init__(
        self, database: Database, path: Path, digest: bytes, history: History, site: str
    ) -> None:
        self.history = history
        self.lines = 0
        self.rows = 0
        self._database = database
        self._path = path
        epoch = _IMPORTED_EPOCHS | int.from_bytes(digest[16:20], "big") >> 1
        self._origin = Origin(site, digest[:16].hex(), epoch)
        done = database.last_ship(f"{self._origin.log}.done")
        self.old_lines = done.last + 1 if done is not None else 0
        """Lines that have arrived."""
        doubtful = database.claim(self._origin.log)
        if doubtful is not None and doubtful.last < self.old_lines:
            doubtful = None
        self._doubtful = doubtful
        self._end = self._next_end(self.old_lines)

    def add(self, line: bytes) -> None:
        """Take the next line of the file."""
        self.history.add(line)
        self.lines += 1
        if self.lines == self._end:
            self._send()
        elif self.lines == self.old_lines or (
            self.lines < self.old_lines and self.history.lines >= LINES_PER_BATCH
        ):
            self.history.cut(self._origin, 0)

    def finish(self) -> None:
        """Send what is left.

        Raises:
            StorageError: the file is shorter than it was.
        """
        if self.lines < self.old_lines or (self._doubtful and self.lines <= self._doubtful.last):
            raise StorageError(f"{self._path} was longer when it was imported before")
        if self.history.lines and self.lines > self.old_lines:
            self._send()

    def _send(self) -> None:
        first = self.lines - self.history.lines
        ship = Ship(self._origin.log, self._origin.epoch, first, self.lines - 1, self.history.crc)
        if self._doubtful is not None and ship != self._doubtful:
            raise StorageError(f"{self._path} is not what was imported before under its first line")
        readings, events = self.history.cut(self._origin, first)
        if self._doubtful is None:
            self._database.announce(ship)
        self._database.insert(ship, readings=readings, events=events)
        if self._doubtful is not None:
            self._database.mend(ship, readings=readings, events=events)
        self._database.announce(ship._replace(log=f"{self._origin.log}.done"))
        self._doubtful = None
        self.rows += readings.entries + events.entries
        self._end = self._next_end(self.lines)

    def _next_end(self, start: int) -> int:
        """Up to which line the batch that begins at ``start`` goes."""
        return self._doubtful.last + 1 if self._doubtful else start + LINES_PER_BATCH


def _lines(path: Path, problems: list[str]) -> Iterator[bytes]:
    """The lines of a file; what ends in the middle, as after a power cut, is read up to there."""
    waiting = b""
    try:
        for data in _pieces(path):
            *lines, waiting = (waiting + data).split(b"\n")
            yield from lines
    except zstandard.ZstdError as error:
        problems.append(f"damaged: {error}")
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    if waiting and is_whole(waiting):
        yield waiting
    elif waiting and not problems:
        problems.append("ends in the middle of a line")


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        is_packed = file.read(len(_ZSTD_MAGIC)) == _ZSTD_MAGIC
        file.seek(0)
        if not is_packed:
            while data := file.read(_READ_BYTES):
                yield data
            return
        unpacker = zstandard.ZstdDecompressor()
        with unpacker.stream_reader(file, read_across_frames=True, closefd=False) as reader:
            while data := reader.read(_READ_BYTES):
                yield data
