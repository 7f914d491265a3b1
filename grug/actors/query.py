"""Query actor: answers SQL from other processes while this one holds the database.

In:    one JSON object per line on a Unix socket, ``{"sql": "select ..."}``
Out:   one JSON object per line, ``{"names": [...], "rows": [[...], ...]}`` or ``{"error": "..."}``
Owns:  the socket; only its own user may connect
Stops: when cancelled
"""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

from grug.errors import ShipError
from grug.transport.asking import ONLY_READS, is_read_only
from grug.transport.clickhouse import SharedDatabase
from grug.transport.desk import keep_desk

REQUEST_BYTES_MAX = 1 << 20
"""No query is longer."""


async def run(*, socket_path: Path, database: SharedDatabase) -> None:
    """Serve until cancelled."""
    answer = partial(_answer, database)
    await keep_desk(socket_path, answer, request_bytes_max=REQUEST_BYTES_MAX)


async def _answer(database: SharedDatabase, line: bytes) -> bytes:
    try:
        sql = json.loads(line)["sql"]
    except (ValueError, KeyError, TypeError):
        return _encode({"error": 'expected {"sql": "..."}'})
    if not isinstance(sql, str) or not is_read_only(sql):
        return _encode({"error": ONLY_READS})
    try:
        answer = await database.call(lambda database: database.query(sql))
    except ShipError as error:
        return _encode({"error": str(error)})
    rows = [[_plain(value) for value in row] for row in answer.rows]
    return _encode({"names": answer.names, "rows": rows})


def _encode(reply: dict[str, Any]) -> bytes:
    return json.dumps(reply, default=str).encode()


def _plain(value: Any) -> Any:
    """JSON knows neither NaN nor infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
