"""What units refuse to be asked, kept in one small file across restarts.

Losing it costs a few refused reads, nothing more: a file that cannot be read counts as empty, and
one that cannot be written is done without.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from grug.planner.units import Verdicts


class VerdictFile:
    """A file for all units of a house; see ``VerdictStore``."""

    def __init__(self, path: Path) -> None:
        """Read what is there."""
        self._path = path
        self._known: dict[str, Verdicts] = {}
        with contextlib.suppress(OSError, msgspec.DecodeError):
            self._known = msgspec.json.decode(path.read_bytes(), type=dict[str, Verdicts])

    def load(self, identity: str) -> Verdicts:
        """See ``VerdictStore.load``."""
        return self._known.get(identity, Verdicts())

    def save(self, identity: str, verdicts: Verdicts) -> None:
        """See ``VerdictStore.save``: a reader finds the old file or the new one, never a part."""
        if verdicts == Verdicts():
            self._known.pop(identity, None)
        else:
            self._known[identity] = verdicts
        beside = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(msgspec.json.encode(self._known))
            os.replace(beside, self._path)
