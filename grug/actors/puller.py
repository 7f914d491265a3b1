"""Puller actor: fetches another machine's log and keeps a copy for the shipper.

In:    the stream of a log server
Out:   ``Synced``: how far the copy goes; Noted when there is trouble
Owns:  the copy
Stops: when it has caught up, if told to, or when there is another log; otherwise when cancelled

A connection that breaks or stays silent is made again, from where the copy ends.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import trio

from grug.errors import LinkError, StorageError
from grug.messages import Noted
from grug.runtime.feed import Feed
from grug.storage.stream import StreamDecoder
from grug.transport.http import get
from grug.transport.logfiles import Synced
from grug.transport.mirror import Mirror

RETRY_S_MIN = 1.0
RETRY_S_MAX = 60.0
SILENCE_S_MAX = 90.0
"""A running house sends a block every 10 s, 60 s at most; after this the connection is dead."""
_RECEIVE_BYTES = 1 << 18
_ABOUT_S_MAX = 30.0


class About(NamedTuple):
    """What a log server says of its log."""

    log: str
    """Its id, hexadecimal; empty while it has none."""
    seq: int
    """Of its last safe block."""


async def ask_about(url: str, token: str) -> About:
    """Ask which log a server has and how far it goes.

    Raises:
        LinkError: it is away, refuses the token, or is no log server.
    """
    try:
        with trio.fail_after(_ABOUT_S_MAX):
            stream, reply = await get(url, "/", token)
            async with stream:
                body = reply.body
                while data := await stream.receive_some():
                    body += data
        said = json.loads(body)
        return About(str(said["log"]), int(said["seq"]))
    except trio.TooSlowError as error:
        raise LinkError(f"{url} does not answer") from error
    except (trio.BrokenResourceError, ValueError, KeyError, TypeError) as error:
        raise LinkError(f"{url} is no log server") from error


async def run(
    *,
    url: str,
    token: str,
    mirror: Mirror,
    synced: Synced,
    feed: Feed,
    until_seq: int | None,
    log: str = "",
) -> None:
    """Pull until cancelled, until a number has arrived, or until the log is another one.

    Args:
        url: of the log server.
        token: that it wants.
        mirror: where the copy goes.
        synced: marked with what has arrived.
        feed: where trouble is noted.
        until_seq: stop there; None goes on for ever.
        log: id of the log, hexadecimal; empty does not look. When its directory was wiped, there is
            a new one, whose numbers begin anew.
    """
    retry_s = RETRY_S_MIN
    while until_seq is None or mirror.end.seq < until_seq:
        before = mirror.end
        try:
            if log and (await ask_about(url, token)).log not in ("", log):
                text = "the other machine has begun a new log"
                feed.publish(Noted("puller", text, trio.current_time()))
                break
            await _pull(url, token, mirror, synced, until_seq)
        except (LinkError, StorageError) as error:
            feed.publish(Noted("puller", str(error), trio.current_time()))
        retry_s = RETRY_S_MIN if mirror.end > before else min(retry_s * 2, RETRY_S_MAX)
        if until_seq is None or mirror.end.seq < until_seq:
            await trio.sleep(retry_s)
    synced.end()


async def _pull(
    url: str, token: str, mirror: Mirror, synced: Synced, until_seq: int | None
) -> None:
    """One connection, until it ends or what is wanted has arrived."""
    end = mirror.end
    stream, reply = await get(url, f"/log?epoch={end.epoch}&seq={end.seq}", token)
    decoder = StreamDecoder()
    data = reply.body
    async with stream:
        while True:
            mirror.write(decoder.receive(data))
            if mirror.end.seq > synced.seq and mirror.end != end:
                synced.mark(mirror.end.seq)
            if until_seq is not None and mirror.end.seq >= until_seq:
                return
            try:
                with trio.fail_after(SILENCE_S_MAX):
                    data = await stream.receive_some(_RECEIVE_BYTES)
            except (trio.BrokenResourceError, trio.TooSlowError) as error:
                raise LinkError(f"the connection to {url} broke") from error
            if not data:
                return
