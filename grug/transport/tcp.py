"""TCP connections as lines: Modbus TCP, and RTU frames carried over TCP.

A connection that its other end closes between two requests is no trouble: ``discard_input``, which
comes before each request, says so with a ConnectionEndedError, and a new one is opened.
"""

from __future__ import annotations

import select
import socket

import trio

from grug.errors import ConnectionEndedError, LineError
from grug.protocol.ports import TcpPort
from grug.transport.descriptor import DescriptorLine
from grug.transport.line import Line, LineOpener

UNACKNOWLEDGED_MS = 10_000
"""How long sent bytes may stay unacknowledged until the kernel gives a connection up."""

KEEPALIVE_S = 30
"""After this long without traffic the kernel asks whether the other end is still there."""


def tcp_opener(place: TcpPort) -> LineOpener:
    """Make what connects to a gateway or device, again and again."""
    name = f"{place.host}:{place.port}"

    async def open_line() -> Line:
        try:
            stream = await trio.open_tcp_stream(place.host, place.port)
        except OSError as error:
            raise LineError(f"{name} could not be reached: {_cause(error)}") from error
        options = (
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S),
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS),
        )
        for level, option, value in options:
            stream.socket.setsockopt(level, option, value)
        return _TcpLine(stream, name, keeps_input=not place.is_rtu)

    return open_line


def _cause(error: BaseException) -> str:
    """The first cause, since a host may have been tried at several addresses."""
    inner = error.__cause__
    if isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    cause = inner if isinstance(inner, OSError) else error
    return getattr(cause, "strerror", None) or str(cause)


class _TcpLine(DescriptorLine):
    """See ``Line``."""

    def __init__(self, stream: trio.SocketStream, name: str, *, keeps_input: bool) -> None:
        super().__init__(stream.socket.fileno(), f"{name} closed the connection")
        self._stream = stream
        self._keeps_input = keeps_input
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLRDHUP)

    def discard_input(self) -> int:
        """See ``Line.discard_input``.

        Modbus TCP tells by itself what is old, and would lose step if half a frame were dropped:
        there all is left as it is.
        """
        if not self._keeps_input:
            return super().discard_input()
        if self._poll.poll(0):
            raise self._gone()
        return 0

    async def aclose(self) -> None:
        """See ``Line.aclose``."""
        self._fd = -1
        await self._stream.aclose()

    def _gone(self, error: OSError | None = None) -> LineError:
        return ConnectionEndedError(str(super()._gone(error)))
