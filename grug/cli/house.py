"""Asking a house that runs, over the command socket in its state directory."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

from grug.actors.commands import SOCKET
from grug.cli.states import states

ANSWER_S_MAX = 30.0
"""A write may wait for a busy line, and is read back up to four times."""


def ask_house(request: dict[str, Any], state: Path | None) -> dict[str, Any] | None:
    """Send one command to the house that runs.

    Args:
        request: as ``grug.control.commands`` and ``grug.control.desk`` have it.
        state: its state directory, or a demo's; None asks the demo here, else what systemd runs.

    Returns:
        The answer; None when nobody answers, which has been said to the person then.
    """
    path = socket_of(state)
    if path is None:
        return None
    try:
        return _ask(path, request)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"no answer at {path}: {error}\n")
        return None


def socket_of(state: Path | None) -> Path | None:
    """Where the house that runs can be asked; None, and said so, when there is none.

    Args:
        state: its state directory, or a demo's; None asks the demo here, else what systemd runs.
    """
    paths = [each / SOCKET for each in states(state)]
    path = next((each for each in paths if each.exists()), None)
    if path is None:
        places = ", ".join(str(each.parent) for each in paths)
        sys.stderr.write(f"no house runs in {places}; name its state directory by --state\n")
    return path


def _ask(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as asker:
        asker.settimeout(ANSWER_S_MAX)
        asker.connect(str(path))
        with asker.makefile("rw") as lines:
            lines.write(json.dumps(request) + "\n")
            lines.flush()
            answer: dict[str, Any] = json.loads(lines.readline())
            return answer
