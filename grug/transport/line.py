"""What a line is: bytes out, bytes in, over whatever carries them.

Serial ports, pseudo-terminals, TCP connections and simulated lines all look like this. A line knows
nothing of Modbus.
"""

from __future__ import annotations

from typing import Protocol


class Line(Protocol):
    """One open half-duplex line; one task at a time uses it."""

    async def send_all(self, data: bytes) -> None:
        """Hand all bytes to the line.

        Raises:
            LineError: the adapter or connection is gone.
        """

    async def receive_some(self) -> bytes:
        """Wait for bytes and return what is there; nothing only after an ``interrupt``.

        Raises:
            LineError: the adapter or connection is gone.
        """

    def interrupt(self) -> None:
        """Let the task that waits in ``receive_some`` or ``send_all``, if one does, wait no longer.

        Of what was to be sent an unknown part may not have been.
        """

    def discard_input(self) -> int:
        """Throw away what has arrived unasked; returns how many bytes that was.

        Of a request that was not answered, what has not gone out yet is thrown away as well: an
        adapter that stalls must not send it when nobody counts on it any more.

        Raises:
            LineError: the adapter or connection is gone.
        """

    async def aclose(self) -> None:
        """Close it; closing twice is fine."""


class LineOpener(Protocol):
    """Opens the same line again and again, as adapters come and go."""

    async def __call__(self) -> Line:
        """Open the line.

        Raises:
            LineError: it is not there, is busy, or may not be opened; the text says which and what
                to do.
        """
