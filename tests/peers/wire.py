"""What tests against foreign programs share: wires, free ports, programs that run beside."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from select import select

import pytest

HERE = Path(__file__).parent
READY_S_MAX = 20.0


@contextmanager
def wire() -> Iterator[tuple[str, str]]:
    """Two terminals, joined as by a cable; what goes into one comes out of the other."""
    masters, slaves = zip(*(os.openpty() for _ in range(2)), strict=True)
    for slave in slaves:
        tty.setraw(slave)
    stop, stopped = os.pipe()
    pump = threading.Thread(target=_pump, args=(masters, stop), daemon=True)
    pump.start()
    try:
        yield os.ttyname(slaves[0]), os.ttyname(slaves[1])
    finally:
        os.close(stopped)
        pump.join()
        for descriptor in (*masters, *slaves, stop):
            os.close(descriptor)


def _pump(masters: tuple[int, int], stop: int) -> None:
    one, other = masters
    while True:
        readable, _, _ = select([one, other, stop], [], [])
        if stop in readable:
            return
        for source, sink in ((one, other), (other, one)):
            if source in readable:
                os.write(sink, os.read(source, 4096))


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A program that has said "ready", until the end of the block."""
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    timer = threading.Timer(READY_S_MAX, program.kill)
    timer.start()
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n", f"{command} did not start"
        timer.cancel()
        yield program
    finally:
        timer.cancel()
        program.kill()
        program.wait()
        assert program.stdout is not None
        program.stdout.close()


@cache
def libmodbus_server() -> str:
    """Path of the server made with libmodbus, compiled on first use."""
    flags = ["-I/usr/include/modbus", "-I/usr/local/include/modbus"]
    if shutil.which("gcc") is None or not any(Path(each[2:]).is_dir() for each in flags):
        pytest.skip("gcc or libmodbus is missing (Debian packages gcc, libc6-dev, libmodbus-dev)")
    program = Path(tempfile.mkdtemp(prefix="grug-peers-")) / "modbus_server"
    subprocess.run(
        ["gcc", "-Wall", "-O2", *flags, "-o", program, HERE / "modbus_server.c", "-lmodbus"],
        check=True,
    )
    return str(program)


def server_command(peer: str, *arguments: str) -> tuple[str, ...]:
    """How to start a foreign unit."""
    if peer == "libmodbus":
        return libmodbus_server(), *arguments
    return sys.executable, str(HERE / "pymodbus_server.py"), *arguments
