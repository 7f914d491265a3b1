"""The data process: started with one end of a socket pair, found dead by the silence on it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import trio

from grug.transport.link import BlockingLink, Link

END_WAIT_S = 10.0
"""How long a data process may take to end by itself after it was told to; then it is killed. What
it had not flushed by then is at most one block."""
END_POLL_S = 0.05
KILLED_WAIT_S = 5.0
"""A killed process ends at once, unless the kernel holds it at a device that does not answer."""


class DataProcess:
    """A running data process and the link to it."""

    def __init__(self, child: subprocess.Popen[bytes], link: Link | BlockingLink) -> None:
        self._child = child
        self.link = link

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    async def aclose(self, wait_s: float = END_WAIT_S) -> int | None:
        """Wait until it has ended, kill it when it does not.

        In real time the loop goes on meanwhile; in virtual time it stands still.

        Returns:
            Its exit status; None when it could not even be killed.
        """
        await self.link.aclose()
        if self.link.is_blocking:
            try:
                return self._child.wait(wait_s)
            except subprocess.TimeoutExpired:
                self._child.kill()
                return self._child.wait()
        if await self._ends_within(wait_s):
            return self._child.returncode
        self._child.kill()
        await self._ends_within(KILLED_WAIT_S)
        return self._child.returncode

    async def _ends_within(self, wait_s: float) -> bool:
        deadline_s = trio.current_time() + wait_s
        while self._child.poll() is None:
            if trio.current_time() > deadline_s:
                return False
            await trio.sleep(END_POLL_S)
        return True


def start_data_process(settings: bytes, *, in_virtual_time: bool) -> DataProcess:
    """Start ``python -m grug.app.data`` on one end of a socket pair.

    Args:
        settings: handed to it on its standard input, so that no secret shows in a process list.
        in_virtual_time: make the link a blocking one.
    """
    here, there = socket.socketpair()
    # A pipe holds so much and no more: this process, and so the inverters, would wait until the
    # other has started and reads. A file in memory takes all of it, whoever may ask for how much.
    with there, os.fdopen(os.memfd_create("settings"), "wb+") as file:
        file.write(settings)
        file.seek(0)
        child = subprocess.Popen(
            [sys.executable, "-m", "grug.app.data", str(there.fileno())],
            stdin=file,
            pass_fds=[there.fileno()],
        )
    return DataProcess(child, BlockingLink(here) if in_virtual_time else Link(here))
