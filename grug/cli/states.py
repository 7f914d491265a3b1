"""Where commands find, and keep, what must outlive them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from grug.transport.ledgerfile import LedgerFile

SYSTEM = Path("/var/lib/grug")
"""The state directory of a house that systemd runs."""
DEMO = Path("demo-state")
"""The directory of a demo that was told of no other."""
LIVE, FAST = "live", "fast"
"""Below it, each a state directory: of the demo in real time, and of the fast one."""


def own_state() -> Path:
    """The state directory of commands that need no house: the system's, else the user's own."""
    if SYSTEM.is_dir() and os.access(SYSTEM, os.W_OK):
        return SYSTEM
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(base) / "grug"


def states(named: Path | None) -> Sequence[Path]:
    """The state directories in which a house may be, the likeliest first.

    Args:
        named: by a person, who may mean a demo by its own directory; None means the demo that is
            here, and then the house that systemd runs.
    """
    if named is None:
        return (DEMO / LIVE, DEMO / FAST, SYSTEM)
    return (named, named / LIVE, named / FAST)


def open_ledger(state: Path) -> LedgerFile:
    """The ledger of a state directory."""
    return LedgerFile(state, round(time.time() * 1000))
