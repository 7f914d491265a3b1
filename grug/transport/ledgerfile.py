"""The ledger of writes in one file: appended to, flushed to the disk where a budget depends on it.

Owns:  ``writes.jsonl`` in the state directory; a command may append to it beside a house that runs
Never: blocks the event loop on the disk; an SD card takes its time
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import trio

from grug.errors import StorageError
from grug.storage.ledger import LedgerEntry, decode_entries, encode_entry, worth_keeping

LEDGER = "writes.jsonl"
"""In the state directory."""


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
        if len(self._entries) < len(entries):
            with contextlib.suppress(OSError):  # It stays as long as it was, and counts the same.
                _rewrite(self.path, self._entries)

    def entries(self) -> list[LedgerEntry]:
        """See ``Ledger.entries``."""
        return self._entries

    async def add(self, entry: LedgerEntry, *, is_durable: bool) -> None:
        """See ``Ledger.add``."""
        if self.problem:
            raise StorageError(self.problem)
        try:
            await trio.to_thread.run_sync(_append, self.path, encode_entry(entry), is_durable)
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}") from error


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


def _append(path: Path, line: bytes, is_durable: bool) -> None:
    """Add one line; what a power cut left of another is ended first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                line = b"\n" + line
        file.write(line)
        if is_durable:
            file.flush()
            os.fsync(file.fileno())


def _rewrite(path: Path, entries: list[LedgerEntry]) -> None:
    """Put a shorter file in its place: a reader finds the old one or the new one, never a part."""
    beside = path.with_suffix(".new")
    with beside.open("wb") as file:
        file.writelines(map(encode_entry, entries))
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
