"""The ledger of writes in one file: appended to, flushed to the disk where a budget depends on it.

Owns:  ``writes.jsonl`` in the state directory; a command may append to it beside a house that runs
Never: blocks the event loop on the disk; an SD card takes its time
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import trio

from grug.errors import StorageError
from grug.storage.ledger import LedgerEntry, decode_entries, encode_entry, worth_keeping

LEDGER = "writes.jsonl"
"""In the state directory."""
TRIM_EVERY = 10_000
"""Lines that are added until what is too old is left out; some 3 MB. Registers in RAM that are told
something all the time add 1000 lines a day."""


class LedgerFile:
    """A file of entries; see ``Ledger``."""

    def __init__(self, directory: Path, now_ms: int) -> None:
        """Read what is there, and leave out what is too old to count.

        Args:
            directory: the state directory; made when the first entry comes.
            now_ms: UTC.
        """
        self.path = directory / LEDGER
        self.problem = ""
        self._entries: list[LedgerEntry] = []
        try:
            entries, self.bad_lines = read_ledger(self.path)
        except StorageError as error:
            self.problem = str(error)
            return
        self._entries = worth_keeping(entries, now_ms)
        self._added = 0
        self._seen = _Place(0, 0)
        """How far the file was read; of none, so that the first line brings what came meanwhile."""
        if len(self._entries) < len(entries):
            _trim(self.path, now_ms)

    def entries(self) -> list[LedgerEntry]:
        """See ``Ledger.entries``."""
        return self._entries

    async def add(self, entry: LedgerEntry, *, is_durable: bool) -> Sequence[LedgerEntry]:
        """See ``Ledger.add``."""
        if self.problem:
            raise StorageError(self.problem)
        line = encode_entry(entry)
        try:
            others, self._seen = await trio.to_thread.run_sync(
                _append, self.path, line, is_durable, self._seen
            )
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}") from error
        self._added += 1
        if self._added >= TRIM_EVERY:
            self._added = 0
            await trio.to_thread.run_sync(_trim, self.path, entry.utc_ms)
        return others


def read_ledger(path: Path) -> tuple[list[LedgerEntry], int]:
    """The entries of a ledger's file, and how many of its lines are damaged.

    Raises:
        StorageError: it is there and cannot be read.
    """
    try:
        return decode_entries(path.read_bytes())
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


class _Place(NamedTuple):
    """How far a file was read."""

    inode: int
    offset: int


def _append(
    path: Path, line: bytes, is_durable: bool, seen: _Place
) -> tuple[list[LedgerEntry], _Place]:
    """Add one line; what a power cut left of another is ended first.

    Returns:
        What others have added since ``seen``, all of it if the file is another one; and where the
        file ends now. Whoever adds a line later is told of this one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path) as file:
        end = file.seek(0, os.SEEK_END)
        inode = os.fstat(file.fileno()).st_ino
        is_known = inode == seen.inode and end >= seen.offset
        file.seek(seen.offset if is_known else 0)
        others, _ = decode_entries(file.read())
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                line = b"\n" + line
        file.write(line)
        if is_durable:
            file.flush()
            os.fsync(file.fileno())
        return others, _Place(inode, file.seek(0, os.SEEK_END))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The file, which no other process appends to or replaces meanwhile."""
    while True:
        with path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield file
                return


def _trim(path: Path, now_ms: int) -> None:
    """Put a shorter file in its place: a reader finds the old one or the new one, never a part.

    It belongs to whom it belonged to: a command that root gives must not take it from the house. If
    that fails it stays as long as it was, and counts the same.
    """
    beside = path.with_suffix(".new")
    with contextlib.suppress(OSError), _locked(path) as old:
        was = os.fstat(old.fileno())
        entries, _ = decode_entries(path.read_bytes())
        with beside.open("wb") as file:
            os.fchown(file.fileno(), was.st_uid, was.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(was.st_mode))
            file.writelines(map(encode_entry, worth_keeping(entries, now_ms)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
