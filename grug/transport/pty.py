"""Pseudo-terminals as lines: the far end of a port that another process opens as if it were serial.

The master side is a ``Line``; the slave side has a name under which the other process finds it. As
with a real wire, bytes that are sent while nobody holds the other end are lost, and nobody holding
it is no error: Linux then answers EIO, which is waited out.
"""

from __future__ import annotations

import errno
import os
import select
import termios
import tty
from pathlib import Path

import trio

from grug.errors import LineError

READ_BYTES_MAX = 4096
"""What the kernel buffers for a terminal."""
ABSENT_POLL_S = 0.05
"""How often to look whether somebody has opened the other end: the kernel does not tell."""


def open_pty(link: Path) -> PtyLine:
    """Make a pseudo-terminal in raw mode, reachable under a symbolic link.

    Args:
        link: where the slave side is to be found; replaced if it is a link already.

    Raises:
        LineError: there are no pseudo-terminals left, or the link cannot be made.
    """
    try:
        master, slave = os.openpty()
    except OSError as error:
        raise LineError(f"no pseudo-terminal: {error.strerror}") from error
    try:
        tty.setraw(slave, termios.TCSANOW)
        os.set_blocking(master, False)
        name = os.ttyname(slave)
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink():
            link.unlink()
        link.symlink_to(name)
    except OSError as error:
        os.close(master)
        raise LineError(f"{link}: {error.strerror}") from error
    finally:
        os.close(slave)
    return PtyLine(master, link)


class PtyLine:
    """The master side of a pseudo-terminal: a ``Line``."""

    def __init__(self, master: int, link: Path) -> None:
        """Take over an open, non-blocking master; ``link`` is removed on closing."""
        self._master = master
        self._link = link
        self._poll = select.poll()
        self._poll.register(master, 0)

    @property
    def is_held(self) -> bool:
        """Whether somebody has the other end open."""
        return self._master >= 0 and not any(
            events & select.POLLHUP for _, events in self._poll.poll(0)
        )

    async def send_all(self, data: bytes) -> None:
        """See ``Line.send_all``. With nobody at the other end the bytes are lost."""
        await trio.lowlevel.checkpoint()
        while data and self._is_open() and self.is_held:
            try:
                data = data[os.write(self._master, data) :]
            except BlockingIOError:
                # Nobody reads what we send. A wire would not wait either.
                return
            except OSError as error:
                if error.errno != errno.EIO:
                    raise LineError(f"{self._link}: {error.strerror}") from error

    async def receive_some(self) -> bytes:
        """See ``Line.receive_some``. Waits for somebody to open the other end, too."""
        while self._is_open():
            try:
                data = os.read(self._master, READ_BYTES_MAX)
            except BlockingIOError:
                if not await self._wait_readable():
                    return b""
            except OSError as error:
                if error.errno != errno.EIO:
                    raise LineError(f"{self._link}: {error.strerror}") from error
                await trio.sleep(ABSENT_POLL_S)
            else:
                if data:
                    await trio.lowlevel.checkpoint_if_cancelled()
                    return data
                await trio.sleep(ABSENT_POLL_S)
        raise AssertionError("an open line returns or raises")

    def discard_input(self) -> int:
        """See ``Line.discard_input``."""
        count = 0
        while self._is_open():
            try:
                data = os.read(self._master, READ_BYTES_MAX)
            except OSError:
                break
            if not data:
                break
            count += len(data)
        return count

    async def aclose(self) -> None:
        """See ``Line.aclose``. Takes the link away as well."""
        if self._master >= 0:
            trio.lowlevel.notify_closing(self._master)
            os.close(self._master)
            self._master = -1
            if self._link.is_symlink():
                self._link.unlink()
        await trio.lowlevel.checkpoint()

    def _is_open(self) -> bool:
        if self._master < 0:
            raise LineError(f"{self._link}: is closed")
        return True

    async def _wait_readable(self) -> bool:
        """Wait for bytes; tells whether that was not interrupted."""
        try:
            await trio.lowlevel.wait_readable(self._master)
        except trio.ClosedResourceError:
            self._is_open()  # Which raises when it was closed.
            return False
        return True

    def interrupt(self) -> None:
        """See ``Line.interrupt``."""
        if self._master >= 0:
            trio.lowlevel.notify_closing(self._master)
