"""Where a fast run is recorded: the same directory again for the same run, a fresh one for another.

A run in virtual time repeats itself exactly. So when it was killed and is started again, it resumes
its own record: what the log has is not written twice, and what is missing is filled in.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import msgspec

from grug.demo.settings import DemoSettings

IDENTITY = "run.json"
"""File in the state directory that says which run is recorded there."""


class Record(NamedTuple):
    """A fast run's state directory."""

    directory: Path
    is_resumed: bool
    """It holds an earlier try of the very same run."""


def open_record(settings: DemoSettings) -> Record:
    """Find or make the record of a fast run; another run's record is removed."""
    directory = settings.state / "fast"
    decisive = {**msgspec.structs.asdict(settings), "hours": None, "state": None}
    identity = msgspec.json.encode(decisive)
    marker = directory / IDENTITY
    is_resumed = marker.is_file() and marker.read_bytes() == identity
    if not is_resumed:
        if marker.is_file():  # Only what a fast run made is ever removed.
            shutil.rmtree(directory)
        directory.mkdir(parents=True, exist_ok=True)
        marker.write_bytes(identity)
    return Record(directory, is_resumed)
