"""How a configuration names a line: a path, or a place on the network."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

TCP_PORT = 502
"""Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 4.3.1."""

SCHEMES = {"tcp": False, "rtu+tcp": True}
"""Modbus TCP, and RTU frames carried over TCP as they are."""


class TcpPort(NamedTuple):
    """A line that is reached over the network."""

    host: str
    port: int
    is_rtu: bool
    """Whether the frames are those of a serial line, checksum and all."""


def tcp_port(port: str) -> TcpPort | None:
    """What ``tcp://host:port`` or ``rtu+tcp://host:port`` means; None for a path.

    Raises:
        ValueError: it is meant to be such a thing, but is not; the text says why.
    """
    scheme, separator, _ = port.partition("://")
    if not separator:
        return None
    if scheme not in SCHEMES:
        raise ValueError(f"{port!r}: lines are reached by tcp:// or rtu+tcp://, not {scheme}://")
    parts = urlsplit(port)
    if not parts.hostname or parts.username or parts.query or parts.path.strip("/"):
        raise ValueError(f"{port!r} is not like {scheme}://host or {scheme}://host:502")
    try:
        number = TCP_PORT if parts.port is None else parts.port
    except ValueError as error:
        raise ValueError(f"{port!r}: there is no such TCP port") from error
    if not 0 < number < 65536:
        raise ValueError(f"{port!r}: there is no such TCP port")
    return TcpPort(parts.hostname, number, SCHEMES[scheme])
