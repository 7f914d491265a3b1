"""Writing to the terminal or journal without ever waiting for it in the loop."""

from __future__ import annotations

import contextlib
import os

import trio


async def write_to_stderr(text: str) -> None:
    """Write text; a reader that has stopped reading holds up this task, and not the loop.

    A reader that is gone is no error: there is nobody left to tell.
    """
    await trio.to_thread.run_sync(_write, text.encode(errors="replace"), abandon_on_cancel=True)


def _write(data: bytes) -> None:
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(2, data) :]
