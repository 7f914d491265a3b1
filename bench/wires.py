"""Far ends of pseudo-terminals for bench_bus.py, each in a process of its own.

    python bench/wires.py cable                  joins two terminals
    python bench/wires.py unit BAUDRATE SECONDS  a unit with its turnaround, as slow as its wire
    python bench/wires.py adapter BAUDRATE SECONDS
                                                 the same, each byte passed on when it is there

Each prints the terminals' names, one a line, and runs until it is killed.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager

import fastcrc

CHARACTER_BITS = 10
"""8N1."""


@contextmanager
def far_end(*arguments: str, names: int = 1) -> Iterator[list[str]]:
    """Run this file beside; gives the terminals' names."""
    command = [sys.executable, __file__, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield [process.stdout.readline().strip() for _ in range(names)]
        finally:
            process.kill()


def make_terminal() -> tuple[int, int]:
    master, slave = os.openpty()
    tty.setraw(slave)
    sys.stdout.write(os.ttyname(slave) + "\n")
    sys.stdout.flush()
    return master, slave


def cable() -> None:
    (one, _one), (other, _other) = make_terminal(), make_terminal()
    while True:
        for source in select.select([one, other], [], [])[0]:
            os.write(other if source is one else one, os.read(source, 4096))


def unit(baudrate: int, turnaround_s: float, *, trickles: bool = False) -> None:
    """Answers reads of registers with their addresses, when a real unit would have."""
    master, _slave = make_terminal()
    character_s = CHARACTER_BITS / baudrate
    request = b""
    while True:
        request += os.read(master, 4096)
        if len(request) < 8:
            continue
        arrived_s = time.monotonic()
        address, count = (int.from_bytes(request[at : at + 2], "big") for at in (2, 4))
        words = b"".join((at & 0xFFFF).to_bytes(2, "big") for at in range(address, address + count))
        reply = request[:2] + bytes((2 * count,)) + words
        reply += fastcrc.crc16.modbus(reply).to_bytes(2, "little")
        begins_s = arrived_s + 8 * character_s + turnaround_s
        pieces = [reply[at : at + 1] for at in range(len(reply))] if trickles else [reply]
        ready_s = begins_s
        for piece in pieces:
            ready_s += len(piece) * character_s
            time.sleep(max(0.0, ready_s - time.monotonic()))
            os.write(master, piece)
        request = b""


if __name__ == "__main__":
    if sys.argv[1] == "cable":
        cable()
    else:
        unit(int(sys.argv[2]), float(sys.argv[3]), trickles=sys.argv[1] == "adapter")
