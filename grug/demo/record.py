"""Where a demo keeps its state, and whose it is.

A run in virtual time repeats itself exactly. So when it was killed and is started again, it resumes
its own record: what the log has is not written twice, and what is missing is filled in. Any other
run begins a fresh record in the same place.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

import grug
from grug.demo.settings import DemoSettings, example_house
from grug.errors import BusyError
from grug.transport.maps import shipped_directory

IDENTITY = "run.json"
"""File in the state directory that says which run is recorded there."""


class Record(NamedTuple):
    """A fast run's state directory."""

    directory: Path
    is_resumed: bool
    """It holds an earlier try of the very same run."""


@contextmanager
def sole_demo(state: Path) -> Iterator[None]:
    """While this lasts no other demo uses the directory.

    Raises:
        BusyError: another one does.
        OSError: the directory cannot be made or written.
    """
    state.mkdir(parents=True, exist_ok=True)
    fd = os.open(state / "demo.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = f"another demo runs in {state}; name another directory by --state"
            raise BusyError(text) from None
        yield
    finally:
        os.close(fd)


def open_record(settings: DemoSettings) -> Record:
    """Find or make the record of a fast run; another run's record is removed."""
    directory = settings.state / "fast"
    identity = _identity(settings)
    marker = directory / IDENTITY
    is_resumed = marker.is_file() and marker.read_bytes() == identity
    if not is_resumed:
        if marker.is_file():  # Only what a fast run made is ever removed.
            shutil.rmtree(directory)
        directory.mkdir(parents=True, exist_ok=True)
        marker.write_bytes(identity)
    return Record(directory, is_resumed)


def _identity(settings: DemoSettings) -> bytes:
    """All that decides what a run does, but for its length."""
    made_of = hashlib.sha256(example_house().read_bytes())
    code = sorted(Path(grug.__file__).parent.rglob("*.py"))
    for path in (*sorted(shipped_directory().iterdir()), *code):
        made_of.update(path.read_bytes())
    decisive = {
        **msgspec.structs.asdict(settings),
        "hours": None,
        "state": None,
        "version": importlib.metadata.version("grug"),
        "made_of": made_of.hexdigest(),
    }
    return msgspec.json.encode(decisive)
