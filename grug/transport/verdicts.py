"""What units refuse to be asked, kept in one small file across restarts.

Losing it costs a few refused reads, nothing more: a file that cannot be read counts as empty, and
one that cannot be written is done without.

Never: blocks the event loop on the disk; an SD card takes its time
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio

from grug.model import Span
from grug.planner.verdicts import VERDICT_S_MAX, Verdict


class _Kept(NamedTuple):
    """One verdict on disk."""

    suspect: Span
    learned_s: float
    """Wall time, in seconds since 1970."""


class VerdictFile:
    """A file for all units of a house; see ``VerdictStore``."""

    def __init__(self, path: Path, wall_s: Callable[[], float]) -> None:
        """Read what is there.

        Args:
            path: of the file.
            wall_s: tells the time of day, by which verdicts grow old over restarts.
        """
        self._path = path
        self._wall_s = wall_s
        self._known: dict[str, tuple[_Kept, ...]] = {}
        self._news = trio.Event()
        with contextlib.suppress(OSError, msgspec.DecodeError):
            kind = dict[str, tuple[_Kept, ...]]
            self._known = msgspec.json.decode(path.read_bytes(), type=kind)

    def load(self, identity: str) -> tuple[Verdict, ...]:
        """See ``VerdictStore.load``; a clock that was set back makes none younger than new."""
        now_s = self._wall_s()
        return tuple(
            Verdict(each.suspect, max(0.0, now_s - each.learned_s))
            for each in self._known.get(identity, ())
        )

    def save(self, identity: str, verdicts: tuple[Verdict, ...]) -> None:
        """See ``VerdictStore.save``: it is on the disk once ``keep`` has brought it there."""
        now_s = self._wall_s()
        self._known[identity] = tuple(_Kept(each.suspect, now_s - each.age_s) for each in verdicts)
        self._known = {  # Of units that were here once, too.
            other: kept
            for other, kept in self._known.items()
            if any(now_s - each.learned_s <= VERDICT_S_MAX for each in kept)
        }
        self._news.set()

    async def keep(self) -> None:
        """Bring what is saved to the disk, for ever: one write at a time, of the newest."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            await self.write()

    async def write(self) -> None:
        """Bring what is saved to the disk once, if that can be written."""
        content = msgspec.json.encode(self._known)
        await trio.to_thread.run_sync(_replace, self._path, content, abandon_on_cancel=True)


def _replace(path: Path, content: bytes) -> None:
    """A reader finds the old file or the new one, never a part."""
    beside = path.with_suffix(".new")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        os.replace(beside, path)
