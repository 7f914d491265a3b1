"""The link between the control and the data process: messages over a Unix socket pair.

Each batch of messages is one write; each message travels as its length (4 bytes, big endian) and
its msgpack bytes. ``BlockingLink`` is the control end in virtual time, where time must stand still
while the other process catches up.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

import trio

from grug.errors import LinkError
from grug.messages import Message, decode_message, encode_message

_LENGTH = struct.Struct(">I")
SEND_MESSAGES = 200
"""Messages that are encoded at once, in about half a millisecond: an inverter may be waiting for an
answer meanwhile. More wait only when the other end has been slow."""
RECEIVE_BYTES = 262_144
"""Bytes taken from the socket at once: more than a second of messages at 100 times real time."""


def encode_batch(messages: Sequence[Message]) -> bytes:
    """Turn messages into what goes over the socket."""
    parts: list[bytes] = []
    for message in messages:
        data = encode_message(message)
        parts.append(_LENGTH.pack(len(data)))
        parts.append(data)
    return b"".join(parts)


class BatchDecoder:
    """Turns received bytes, however they are cut, back into messages."""

    def __init__(self) -> None:
        self._buffer = b""

    def receive(self, data: bytes) -> list[Message]:
        """Take bytes; returns the messages that are complete."""
        buffer = self._buffer + data
        messages: list[Message] = []
        position = 0
        while len(buffer) - position >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, position)
            end = position + _LENGTH.size + length
            if end > len(buffer):
                break
            messages.append(decode_message(buffer[position + _LENGTH.size : end]))
            position = end
        self._buffer = buffer[position:]
        return messages


class Link:
    """One end of the link in a process that runs on the real clock."""

    is_blocking = False

    def __init__(self, end: socket.socket) -> None:
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(end))
        self._decoder = BatchDecoder()

    async def send(self, messages: Sequence[Message]) -> None:
        """Send a batch, waiting while the other end is slow.

        Raises:
            LinkError: the other process is gone.
        """
        try:
            for first in range(0, len(messages), SEND_MESSAGES):
                await self._stream.send_all(encode_batch(messages[first : first + SEND_MESSAGES]))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LinkError("the other process is gone") from error

    async def receive(self) -> list[Message]:
        """Wait for messages; an empty list means that the other end has finished.

        Raises:
            LinkError: the other process is gone.
        """
        while True:
            try:
                data = await self._stream.receive_some(RECEIVE_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise LinkError("the other process is gone") from error
            if not data:
                return []
            messages = self._decoder.receive(data)
            if messages:
                return messages

    async def finish(self) -> None:
        """Say that nothing more will be sent."""
        try:
            await self._stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LinkError("the other process is gone") from error

    async def aclose(self) -> None:
        """Close this end."""
        await self._stream.aclose()


class BlockingLink:
    """The control end in virtual time: sending holds the whole loop, and so the virtual clock."""

    is_blocking = True

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(True)
        self._socket = end
        self._decoder = BatchDecoder()

    async def send(self, messages: Sequence[Message]) -> None:
        """See ``Link.send``."""
        try:
            self._socket.sendall(encode_batch(messages))
        except OSError as error:
            raise LinkError(str(error)) from error

    async def receive(self) -> list[Message]:
        """See ``Link.receive``."""
        while True:
            try:
                data = self._socket.recv(RECEIVE_BYTES)
            except OSError as error:
                raise LinkError(str(error)) from error
            if not data:
                return []
            messages = self._decoder.receive(data)
            if messages:
                return messages

    async def finish(self) -> None:
        """See ``Link.finish``."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise LinkError(str(error)) from error

    async def aclose(self) -> None:
        """See ``Link.aclose``."""
        self._socket.close()
