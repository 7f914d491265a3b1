"""Telling systemd that grug is ready and alive.

Source: sd_notify(3) of systemd: datagrams to the Unix socket named by NOTIFY_SOCKET, where a
leading @ means the abstract namespace; WATCHDOG_USEC is the period within which WATCHDOG=1 is
expected.
"""

from __future__ import annotations

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Send one state, such as ``READY=1``; does nothing when systemd did not start us."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),  # A manager that went away is no reason to stop the house.
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
    ):
        sender.sendto(state.encode(), address)


def watchdog_s() -> float | None:
    """The watchdog's period in seconds, or None when none is asked for."""
    micros = os.environ.get("WATCHDOG_USEC", "")
    return int(micros) / 1e6 if micros.isdigit() and int(micros) > 0 else None
