"""Log server actor: sends the log to whoever asks with the token; past, then live.

In:    ``Synced``: how far the log is on the device; HTTP requests, one per connection
Out:   ``GET /log?epoch=E&seq=S``: stored bytes of all blocks after (E, S), then new ones when
       they are safe, until the reader hangs up or the log ends; ``GET /``: log id and end as
       JSON; ``GET /live``: what is published, as JSON lines, long before it is on the device
Owns:  nothing: each reader has a cursor of its own, and waits for nobody
Stops: when cancelled
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import trio

from grug.errors import StorageError
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed
from grug.storage.live import LIVE_KINDS, live_key, live_text
from grug.transport.http import Request, has_token, receive_request, reply_head
from grug.transport.logfiles import LogBlock, LogReader, Position, Synced, log_id_of

READERS_MAX = 16
"""More are sent away: each may hold a segment in memory."""
_FRAMES_AT_ONCE = 120
_HEAD_S_MAX = 10.0
"""For a client to say what it wants."""


async def run(
    *,
    log_directory: Path,
    synced: Synced,
    listeners: list[trio.SocketListener],
    token: str,
    feed: Feed | None = None,
    wall: WallClock | None = None,
) -> None:
    """Serve until cancelled.

    Args:
        log_directory: where the segments are.
        synced: marked by the recorder.
        listeners: where to serve.
        token: without which nothing is told; not empty.
        feed: what displays are told of; None tells them nothing.
        wall: gives UTC; None is the system's clock.
    """
    assert token, "a log without a token is everybody's"
    server = _Server(log_directory, synced, token, feed, wall or WallClock())
    await trio.serve_listeners(server.serve, listeners)


class _Server:
    """What all connections share."""

    def __init__(
        self, directory: Path, synced: Synced, token: str, feed: Feed | None, wall: WallClock
    ) -> None:
        self._directory = directory
        self._synced = synced
        self._token = token
        self._feed = feed
        self._wall = wall
        self._readers = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer one connection."""
        self._readers += 1
        try:
            async with stream:
                request = None
                with trio.move_on_after(_HEAD_S_MAX):
                    request = await receive_request(stream)
                await self._answer(stream, request)
        except (trio.BrokenResourceError, StorageError):
            return  # The reader asks again, from where it is.
        finally:
            self._readers -= 1

    async def _answer(self, stream: trio.SocketStream, request: Request | None) -> None:
        if request is None or request.method != "GET":
            await stream.send_all(reply_head("400 Bad Request"))
        elif not has_token(request, self._token):
            await stream.send_all(reply_head("401 Unauthorized", WWW_Authenticate="Bearer"))
        elif self._readers > READERS_MAX:
            await stream.send_all(reply_head("503 Service Unavailable", Retry_After="60"))
        elif request.path == "/":
            log_id = await trio.to_thread.run_sync(log_id_of, self._directory)
            about = {"log": log_id.hex() if log_id else "", "seq": self._synced.seq}
            body = json.dumps(about).encode()
            await stream.send_all(reply_head("200 OK", Content_Type="application/json") + body)
        elif request.path == "/log":
            after = _position(request)
            if after is None:
                await stream.send_all(reply_head("400 Bad Request"))
                return
            await stream.send_all(reply_head("200 OK", Content_Type="application/octet-stream"))
            await self._send_log(stream, after)
        elif request.path == "/live" and self._feed is not None:
            await stream.send_all(reply_head("200 OK", Content_Type="application/x-ndjson"))
            await self._send_live(stream, self._feed)
        else:
            await stream.send_all(reply_head("404 Not Found"))

    async def _send_live(self, stream: trio.SocketStream, feed: Feed) -> None:
        """Send what is published; a display that is slow misses all but the latest of each."""
        with feed.subscribe("live", *LIVE_KINDS, key=live_key) as source:
            while True:
                text = live_text(await source.receive_batch(), self._wall.utc_ms)
                await stream.send_all(text.encode())

    async def _send_log(self, stream: trio.SocketStream, after: Position) -> None:
        """Send what is there, then what comes; a slow reader only holds up itself."""
        reader = LogReader(self._directory, after, with_series=True)
        segment: tuple[int, int] | None = None
        while True:
            has_ended, seq_max = self._synced.has_ended, self._synced.seq
            read = partial(reader.read, frames_max=_FRAMES_AT_ONCE, seq_max=seq_max)
            while blocks := await trio.to_thread.run_sync(read):
                data, segment = _packed(blocks, segment)
                await stream.send_all(data)
            if has_ended:
                return
            if self._synced.seq == seq_max and not self._synced.has_ended:
                await self._synced.wait_changed()


def _packed(
    blocks: list[LogBlock], segment: tuple[int, int] | None
) -> tuple[bytes, tuple[int, int] | None]:
    """Blocks as they are stored, with the headers of the segments that they begin."""
    parts: list[bytes] = []
    for block in blocks:
        where = (block.header.epoch, block.header.first_seq)
        if where != segment:
            parts.append(block.header.encode())
            segment = where
        parts.append(block.frame.encode())
    return b"".join(parts), segment


def _position(request: Request) -> Position | None:
    try:
        return Position(
            int(request.parameters.get("epoch", "0")), int(request.parameters.get("seq", "0"))
        )
    except ValueError:
        return None
