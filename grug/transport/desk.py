"""A desk: a Unix socket that only its own user may come to, and that answers line by line."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

ASKERS_MAX = 4
"""Connections that may wait to be taken: it is persons and scripts who ask."""


async def keep_desk(
    socket_path: Path, answer: Callable[[bytes], Awaitable[bytes]], *, request_bytes_max: int
) -> None:
    """Answer each line of each asker until cancelled; the socket is there just as long.

    Args:
        socket_path: made anew; what an earlier process left there goes.
        answer: from a request to its answer, both without the line's end.
        request_bytes_max: who sends a longer line is hung up on.

    Raises:
        OSError: the socket cannot be made.
    """

    async def serve(stream: trio.SocketStream) -> None:
        waiting = b""
        try:
            async with stream:
                async for data in stream:
                    waiting += data
                    while b"\n" in waiting:
                        line, _, waiting = waiting.partition(b"\n")
                        await stream.send_all(await answer(line) + b"\n")
                    if len(waiting) > request_bytes_max:
                        return
        except trio.BrokenResourceError:
            return

    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await trio.Path(socket_path.parent).mkdir(parents=True, exist_ok=True)
        await trio.Path(socket_path).unlink(missing_ok=True)
        previous_mask = os.umask(0o177)
        try:
            await listener.bind(str(socket_path))
        finally:
            os.umask(previous_mask)
        listener.listen(ASKERS_MAX)
        try:
            await trio.serve_listeners(serve, [trio.SocketListener(listener)])
        finally:
            os.unlink(socket_path)


async def ask_desk(socket_path: Path, line: bytes, *, answer_s_max: float) -> bytes:
    """Ask one thing over a connection of its own.

    Args:
        socket_path: of the desk.
        line: the request without its end.
        answer_s_max: how long the answer may take.

    Raises:
        OSError: nobody is there, or there was no whole answer in that time.
    """
    answer = b""
    with trio.move_on_after(answer_s_max):
        try:
            async with await trio.open_unix_socket(str(socket_path)) as stream:
                await stream.send_all(line + b"\n")
                async for data in stream:
                    answer += data
                    if answer.endswith(b"\n"):
                        return answer
        except trio.BrokenResourceError as error:
            raise OSError(f"the connection broke: {error}") from error
    raise TimeoutError("no answer")
