"""What lines over a file descriptor share: a write is tried first, and waited for only if need be.

Asking the event loop before each write costs two more system calls and a turn of the loop (60 us of
CPU per request and reply of 40 words, over a pseudo-terminal, where this takes 48).
"""

from __future__ import annotations

import os
import select

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
                if not await self._is_writable():
                    return
            except OSError as error:
                raise self._gone(error) from error

    async def _is_writable(self) -> bool:
        """Wait until it is; tells whether that was not interrupted."""
        try:
            await trio.lowlevel.wait_writable(self._fd)
        except OSError as error:
            raise self._gone(error) from error
        except trio.ClosedResourceError:
            return False
        return True

    async def receive_some(self) -> bytes:
        """See ``Line.receive_some``."""
        while True:
            if self._fd < 0:
                raise self._gone()
            try:
                await trio.lowlevel.wait_readable(self._fd)
            except OSError as error:
                raise self._gone(error) from error
            except trio.ClosedResourceError:
                return b""
            if data := self._read():
                return data

    def interrupt(self) -> None:
        """See ``Line.interrupt``."""
        if self._fd >= 0:
            trio.lowlevel.notify_closing(self._fd)

    def discard_input(self) -> int:
        """See ``Line.discard_input``."""
        if self._is_unanswered:
            self._drop_output()
        count = 0
        while self._input.poll(0):  # A third of what it costs to try, when there is nothing.
            count += len(self._read())
        return count

    def _drop_output(self) -> None:
        """Throw away what a stalled adapter still holds of a request, where that can be done."""

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

    def _gone(self, error: OSError | None = None) -> LineError:
        return LineError(f"{self._ended} ({error.strerror})" if error else self._ended)
