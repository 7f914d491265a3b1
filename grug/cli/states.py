"""Where commands find, and keep, what must outlive them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from grug.transport.ledgerfile import LedgerFile

SYSTEM = Path("/var/lib/grug")
"""The state directory of a house that systemd runs."""
DEMO = Path("demo-state/live")
STATES = (Path("demo-state/fast"), DEMO, SYSTEM)
"""Where houses keep their logs and databases by default; what was written last is looked at."""


def own_state() -> Path:
    """The state directory of commands that need no house: the system's, else the user's own."""
    if SYSTEM.is_dir() and os.access(SYSTEM, os.W_OK):
        return SYSTEM
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(base) / "grug"


def states() -> Sequence[Path]:
    """Where a ledger may be, the likeliest first."""
    return tuple(dict.fromkeys((DEMO, SYSTEM, own_state())))


def open_ledger(state: Path) -> LedgerFile:
    """The ledger of a state directory."""
    return LedgerFile(state, round(time.time() * 1000))
