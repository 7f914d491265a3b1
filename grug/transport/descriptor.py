"""What lines over a file descriptor share: a write is tried first, and waited for only if need be.

Asking the event loop before each write costs two more system calls and a turn of the loop (60 us of
CPU per request and reply of 40 words, over a pseudo-terminal, where this takes 48).
"""

from __future__ import annotations

import os
import select
from collections.abc import Awaitable, Callable

import trio

from grug.errors import LineError

READ_BYTES = 4096
"""What a terminal's input queue holds on Linux; no reply is longer."""


class DescriptorLine:
    """Sends and receives on a non-blocking descriptor; see ``Line``. Closing is the heirs' part."""

    def __init__(self, descriptor: int, ended: str) -> None:
        """Use an open descriptor; ``ended`` says what it means when it is gone."""
        self._fd = descriptor
        self._ended = ended
        self._is_unanswered = False
        """Whether nothing has come since something was sent."""
        self._input = select.poll()
        self._input.register(descriptor, select.POLLIN)

    async def send_all(self, data: bytes) -> None:
        """See ``Line.send_all``."""
        self._is_unanswered = True
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                if not await self._ready(trio.lowlevel.wait_writable):
                    return
            except OSError as error:
                raise self._gone(error) from error

    async def receive_some(self) -> bytes:
        """See ``Line.receive_some``."""
        while await self._ready(trio.lowlevel.wait_readable):
            if data := self._read():
                return data
        return b""

    def interrupt(self) -> None:
        """See ``Line.interrupt``."""
        if self._fd >= 0:
            trio.lowlevel.notify_closing(self._fd)

    async def discard_input(self) -> int:
        """See ``Line.discard_input``."""
        count = 0
        while self._input.poll(0):  # A third of what it costs to try, when there is nothing.
            count += len(self._read())
        return count

    def _read(self) -> bytes:
        """What is there; empty when that is nothing."""
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._gone(error) from error
        if not data:
            raise self._gone()
        self._is_unanswered = False
        return data

    async def _ready(self, wait: Callable[[int], Awaitable[None]]) -> bool:
        """Wait for the descriptor; tells whether that was not interrupted."""
        if self._fd < 0:
            raise self._gone()
        try:
            await wait(self._fd)
        except OSError as error:
            raise self._gone(error) from error
        except trio.ClosedResourceError:
            return False
        return True

    def _gone(self, error: OSError | None = None) -> LineError:
        return LineError(f"{self._ended} ({error.strerror})" if error else self._ended)
