"""Serial adapters of this machine, as Linux tells of them; nothing is opened.

Source of the places: Linux, Documentation/ABI/testing/sysfs-tty and sysfs-bus-usb; udev's rules for
/dev/serial/by-id.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NO_DRIVERS = frozenset({"port", "ctrl"})
"""What newer kernels put between a serial port and its driver."""


@dataclass(frozen=True, slots=True)
class SerialPort:
    """One port."""

    path: str
    """Such as ``/dev/ttyUSB0``: may be another adapter after the next plug."""
    by_id: str
    """The name that stays, such as ``/dev/serial/by-id/usb-…``; empty when it has none."""
    chip: str
    """Maker, product, USB ids and serial number of a USB adapter; empty for others."""
    driver: str
    latency_ms: int | None
    """How long an FTDI chip holds bytes back; None when its driver does not say."""
    users: tuple[str, ...]
    """Programs that have it open, as far as we may see, such as ``mbpoll (4711)``."""

    @property
    def name(self) -> str:
        """What to write into a configuration."""
        return self.by_id or self.path


def list_ports(root: Path = Path("/")) -> tuple[SerialPort, ...]:
    """All serial ports with hardware behind them, by name.

    Args:
        root: where ``dev``, ``sys`` and ``proc`` are; another one for tests.
    """
    names = _by_id(root)
    users = _users(root)
    ports = []
    for entry in sorted(_entries(root / "sys/class/tty")):
        device = entry / "device"
        if not device.exists() or _text(entry / "type") == "0":
            continue  # A virtual console, or a place for a port that the board does not have.
        path = f"/dev/{entry.name}"
        latency = _text(device / "latency_timer")
        ports.append(
            SerialPort(
                path=path,
                by_id=names.get(path, ""),
                chip=_chip(device.resolve()),
                driver=_driver(device.resolve()),
                latency_ms=int(latency) if latency.isdecimal() else None,
                users=tuple(users.get(path, ())),
            )
        )
    return tuple(ports)


def _by_id(root: Path) -> dict[str, str]:
    """Lasting names by device path."""
    return {
        f"/dev/{os.path.basename(os.path.realpath(link))}": f"/dev/serial/by-id/{link.name}"
        for link in sorted(_entries(root / "dev/serial/by-id"), reverse=True)
    }


def _chip(device: Path) -> str:
    """What the USB device says that a port belongs to."""
    for place in (device, *device.parents):
        vendor = _text(place / "idVendor")
        if vendor:
            ids = f"({vendor}:{_text(place / 'idProduct')})"
            serial = _text(place / "serial")
            words = [_text(place / "manufacturer"), _text(place / "product"), ids]
            return " ".join(filter(None, [*words, serial and f"serial {serial}"]))
    return ""


def _driver(device: Path) -> str:
    for place in (device, *device.parents):
        link = place / "driver"
        if link.is_symlink() and (name := os.path.basename(os.readlink(link))) not in _NO_DRIVERS:
            return name
    return ""


def _users(root: Path) -> dict[str, list[str]]:
    """Who has which terminal device open."""
    users: dict[str, list[str]] = {}
    for process in sorted(_entries(root / "proc")):
        if not process.name.isdecimal():
            continue
        opened = {path for path in _opened_by(process) if path.startswith("/dev/tty")}
        for path in opened:
            name = _text(process / "comm") or "a program"
            users.setdefault(path, []).append(f"{name} ({process.name})")
    return users


def _opened_by(process: Path) -> Iterator[str]:
    for link in _entries(process / "fd"):
        with contextlib.suppress(OSError):
            yield os.readlink(link)


def _entries(directory: Path) -> list[Path]:
    """What is in a directory; nothing when we may not look or it is gone."""
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
