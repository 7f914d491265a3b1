"""Listens on a TCP port, and keeps a bounded number of clients."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable

import trio

from grug.errors import LineError, RemoteProtocolError
from grug.protocol.ports import TcpPort

CLIENTS_MAX = 16
"""Connections at once; a house has a handful of masters. One more costs the one its connection that
has been silent for the longest, as clients that went away without a word leave theirs behind.
Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 4.2.1."""

RECEIVE_BYTES = 4096
KEEPALIVE_S = 30
UNACKNOWLEDGED_MS = 10_000
"""A client that takes no replies for so long is gone."""

Answer = Callable[[bytes], bytes]
"""From what a client sent to what it is sent; raises RemoteProtocolError where that is hopeless."""


async def serve_tcp(
    place: TcpPort,
    new_client: Callable[[], Answer],
    started: Callable[[], None],
) -> None:
    """Answer clients until cancelled.

    Args:
        place: address and port to listen on.
        new_client: makes what answers one client.
        started: called once clients may come.

    Raises:
        LineError: the port cannot be listened on.
    """
    try:
        listeners = await trio.open_tcp_listeners(place.port, host=place.host)
    except OSError as error:
        name = f"{place.host}:{place.port}"
        raise LineError(f"{name} cannot be listened on: {_cause(error)}") from error
    started()
    await trio.serve_listeners(_Clients(new_client).serve, listeners)


def _cause(error: OSError) -> str:
    if error.errno == errno.EACCES:
        return "ports below 1024 are for root; take another, such as 1502"
    return error.strerror or str(error)


class _Clients:
    """All connections of one listener."""

    def __init__(self, new_client: Callable[[], Answer]) -> None:
        self._new_client = new_client
        self._open: dict[trio.SocketStream, trio.CancelScope] = {}
        """By when they were last heard, the longest silent first."""

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer one client until it goes."""
        if len(self._open) >= CLIENTS_MAX:
            self._open.pop(next(iter(self._open))).cancel()
        for level, option, value in (
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S),
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS),
        ):
            stream.socket.setsockopt(level, option, value)
        with trio.CancelScope() as scope:
            self._open[stream] = scope
            try:
                # Who goes, or sends what nobody understands, is hung up on.
                with contextlib.suppress(trio.BrokenResourceError, RemoteProtocolError):
                    await self._answer_all(stream, self._new_client())
            finally:
                self._open.pop(stream, None)

    async def _answer_all(self, stream: trio.SocketStream, answer: Answer) -> None:
        while data := await stream.receive_some(RECEIVE_BYTES):
            if stream in self._open:
                self._open[stream] = self._open.pop(stream)
            if reply := answer(bytes(data)):
                await stream.send_all(reply)
