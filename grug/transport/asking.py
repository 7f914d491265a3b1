"""Questions to a house's embedded database, whether a house holds it or nobody does."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grug.errors import ShipError
from grug.transport.clickhouse import Answer, Database

ONLY_READS = "only single statements that read are answered here"
_DIRECTORY = "db"

_READ_ONLY = re.compile(
    r"\s*\(*\s*(select|with|show|describe|desc|explain|exists)\b", re.IGNORECASE
)

_WRITES_FILE = re.compile(r"\binto\s+outfile\b", re.IGNORECASE)


def is_read_only(sql: str) -> bool:
    """Whether a statement only reads."""
    if _READ_ONLY.match(sql) is None or _WRITES_FILE.search(sql) is not None:
        return False
    return ";" not in sql.rstrip().rstrip(";")


def embedded_url(state: Path) -> str:
    """The address of a house's embedded database."""
    return f"chdb://{(state / _DIRECTORY).resolve()}"


def socket_path(state: Path) -> Path:
    """Where the process that holds a house's database answers queries."""
    return state / "db.sock"


def find_database(states: Sequence[Path]) -> Path | None:
    """The state directory whose embedded database was written last; None without any.

    One that has just been started has a socket before it has rows.
    """
    found = [
        (path.stat().st_mtime, state)
        for state in states
        for path in (state / _DIRECTORY, socket_path(state))
        if path.exists()
    ]
    return max(found)[1] if found else None


def ask_database(state: Path, sql: str, *, timeout_s: float = 60.0) -> Answer:
    """Ask a house's embedded database, through the process that holds it if there is one. Blocks.

    Raises:
        ShipError: the query failed, or does more than read.
    """
    try:
        reply = _ask_socket(socket_path(state), sql, timeout_s)
    except (FileNotFoundError, ConnectionRefusedError):  # Nobody holds it.
        if not is_read_only(sql):
            raise ShipError(ONLY_READS) from None
        database = Database(embedded_url(state))
        try:
            return database.query(sql)
        finally:
            database.close()
    except OSError as error:
        raise ShipError(f"no answer at {socket_path(state)}: {error}") from error
    if "error" in reply:
        raise ShipError(reply["error"])
    return Answer(tuple(reply["names"]), [tuple(row) for row in reply["rows"]])


def _ask_socket(path: Path, sql: str, timeout_s: float) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.settimeout(timeout_s)
        asker.connect(str(path))
        asker.sendall(json.dumps({"sql": sql}).encode() + b"\n")
        with asker.makefile("rb") as replies:
            line = replies.readline()
    if not line:
        raise ConnectionResetError("hung up before the answer")
    reply: dict[str, Any] = json.loads(line)
    return reply
