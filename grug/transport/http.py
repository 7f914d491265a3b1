"""As much of HTTP/1.1 as serving and fetching the log needs: one GET per connection."""

from __future__ import annotations

import hmac
import urllib.parse
from typing import NamedTuple

import trio

from grug.errors import LinkError

HEAD_BYTES_MAX = 8192
"""No head that we understand is longer."""
_RECEIVE_BYTES = 65_536


class Request(NamedTuple):
    """What a client asks for."""

    method: str
    path: str
    parameters: dict[str, str]
    token: str
    """Of ``Authorization: Bearer``; empty without."""


class Reply(NamedTuple):
    """The head of a reply, and what came with it of the body."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


def has_token(request: Request, token: str) -> bool:
    """Whether a request may be answered; takes as long for a wrong token as for the right one."""
    return hmac.compare_digest(request.token.encode(), token.encode())


async def receive_request(stream: trio.SocketStream) -> Request | None:
    """Read a request's head; None when it is none."""
    lines, _ = await _receive_head(stream)
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    try:
        url = urllib.parse.urlsplit(words[1])
    except ValueError:
        return None
    kind, _, token = _headers(lines[1:]).get("authorization", "").partition(" ")
    return Request(
        words[0],
        url.path,
        dict(urllib.parse.parse_qsl(url.query)),
        token.strip() if kind.lower() == "bearer" else "",
    )


def reply_head(status: str, **headers: str) -> bytes:
    """The head of a reply whose body ends with the connection; ``_`` in names becomes ``-``."""
    lines = [f"HTTP/1.1 {status}", "Connection: close", "Cache-Control: no-store"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def get(url: str, path: str, token: str) -> tuple[trio.SocketStream, Reply]:
    """Ask a server; gives the connection, from which the rest of the body comes.

    Raises:
        LinkError: it is away, refuses the token, or is no such server.
    """
    split = urllib.parse.urlsplit(url)
    host, port = split.hostname or "", split.port or 80
    where = f"http://{host}:{port}"
    try:
        stream = await trio.open_tcp_stream(host, port)
    except OSError as error:
        raise LinkError(f"{where} cannot be reached: {error}") from error
    head = (
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Authorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    )
    try:
        await stream.send_all(head.encode())
        lines, body = await _receive_head(stream)
        status = int(lines[0].split(" ")[1])
    except (trio.BrokenResourceError, ValueError, IndexError) as error:
        await trio.aclose_forcefully(stream)
        raise LinkError(f"{where} gives no answer that can be understood") from error
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    if status != 200:
        await trio.aclose_forcefully(stream)
        reason = "refuses the token" if status == 401 else f"answers with status {status}"
        raise LinkError(f"{where} {reason}")
    return stream, Reply(status, _headers(lines[1:]), body)


async def _receive_head(stream: trio.SocketStream) -> tuple[list[str], bytes]:
    """The lines of a head and what came after it; ``[""]`` when there is none."""
    data = b""
    while b"\r\n\r\n" not in data:
        received = await stream.receive_some(_RECEIVE_BYTES)
        data += received
        if not received or (len(data) > HEAD_BYTES_MAX and b"\r\n\r\n" not in data):
            return [""], b""
    head, _, body = data.partition(b"\r\n\r\n")
    return head.decode("latin-1").split("\r\n"), body


def _headers(lines: list[str]) -> dict[str, str]:
    pairs = [line.partition(":") for line in lines]
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
