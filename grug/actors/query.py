"""Query actor: answers SQL from other processes while this one holds the database.

In:    one JSON object per line on a Unix socket, ``{"sql": "select ..."}``
Out:   one JSON object per line, ``{"names": [...], "rows": [[...], ...]}`` or ``{"error": "..."}``
Owns:  the socket; only its own user may connect
Stops: when cancelled
"""

from __future__ import annotations

import json
import math
import os
from functools import partial
from pathlib import Path
from typing import Any

import trio

from grug.errors import ShipError
from grug.transport.clickhouse import ONLY_READS, SharedDatabase, is_read_only

REQUEST_BYTES_MAX = 1 << 20
"""No query is longer."""
_ASKERS_MAX = 4


async def run(*, socket_path: Path, database: SharedDatabase) -> None:
    """Serve until cancelled."""
    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await trio.Path(socket_path).unlink(missing_ok=True)
        previous_mask = os.umask(0o177)
        try:
            await listener.bind(str(socket_path))
        finally:
            os.umask(previous_mask)
        listener.listen(_ASKERS_MAX)
        try:
            await trio.serve_listeners(partial(_serve, database), [trio.SocketListener(listener)])
        finally:
            os.unlink(socket_path)


async def _serve(database: SharedDatabase, stream: trio.SocketStream) -> None:
    """Answer one asker's lines until it hangs up."""
    waiting = b""
    try:
        async with stream:
            async for data in stream:
                waiting += data
                while b"\n" in waiting:
                    line, _, waiting = waiting.partition(b"\n")
                    await stream.send_all(await _answer(database, line) + b"\n")
                if len(waiting) > REQUEST_BYTES_MAX:
                    return
    except trio.BrokenResourceError:
        return


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
