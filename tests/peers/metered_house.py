"""A house of real processes, in which every power tells when it was measured.

The grid meter is a thread here: its power is the time in units of 10 ms, so that whoever hears an
answer of the fake meter knows how old it is, whatever happened to grug meanwhile.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from grug.protocol.rtu import crc_is_good, with_crc

TICK_S = 0.01
MAX_AGE_S = 1.5
POWER_AT = 52
ASK = with_crc(bytes((1, 4, 0, POWER_AT, 0, 2)))
"""Of an Eastron SDM630: both the true meter and the one that grug pretends to be."""
ROOT = Path(__file__).parent.parent.parent

HOUSE = """
[site]
state = "{directory}/state"
[line.grid]
port = "{grid}"
baudrate = 115200
[line.com]
port = "{com}"
[line.meter]
port = "{meter}"
baudrate = 115200
[device.grid]
line = "grid"
unit = 1
map = "eastron_sdm630"
poll = [{{ every = "100ms", priority = "control", registers = ["total_power"] }}]
[device.sun]
line = "com"
unit = 1
map = "solis_s5_eh1p"
[grid]
device = "grid"
[fakemeter.fake]
line = "meter"
unit = 1
profile = "eastron_sdm630"
[inverter.sun]
device = "sun"
fakemeter = "fake"
"""

HANG_S = 2.5
HANGS = f"import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: time.sleep({HANG_S}))\n"
"""As sitecustomize.py: SIGUSR1 holds the whole loop, as a bug would that blocks it."""


class Answer(NamedTuple):
    """What the inverter heard."""

    at_s: float
    measured_s: float

    @property
    def age_s(self) -> float:
        return self.at_s - self.measured_s


class MeteredHouse:
    """The inverter's end, and the process that steers."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], began_s: float) -> None:
        self.process = process
        self._port = port
        self._began_s = began_s

    def ask(self, wait_s: float = 0.1) -> Answer | None:
        """Ask once, as an inverter: the whole answer in time, or none."""
        os.write(self._port, ASK)
        return self.listen(wait_s)

    def listen(self, wait_s: float) -> Answer | None:
        """What comes in this time, asked or not."""
        heard, until_s = b"", time.monotonic() + wait_s
        while len(heard) < 9 and (left_s := until_s - time.monotonic()) > 0:
            if select.select([self._port], [], [], left_s)[0]:
                heard += os.read(self._port, 4096)
        if not heard:
            return None
        assert len(heard) == 9, f"not one whole answer: {heard.hex()}"
        assert crc_is_good(heard)
        ticks = struct.unpack(">f", heard[3:7])[0]
        return Answer(time.monotonic(), self._began_s + ticks * TICK_S)

    def ask_for(self, seconds: float) -> list[Answer | None]:
        """Ask ten times a second for so long."""
        answers = []
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            due_s = time.monotonic() + 0.1
            answers.append(self.ask())
            time.sleep(max(0.0, due_s - time.monotonic()))
        return answers

    def wait_for_answer(self) -> None:
        """Until it has started, or has come back."""
        until_s = time.monotonic() + 30.0
        while self.ask() is None:
            assert time.monotonic() < until_s, "the fake meter does not answer"

    def send(self, number: signal.Signals) -> None:
        """To the control process."""
        self.process.send_signal(number)


@contextmanager
def metered_house(directory: Path) -> Iterator[MeteredHouse]:
    """While this lasts, grug runs and the fake meter has answered."""
    masters, slaves = zip(*(os.openpty() for _ in range(3)), strict=True)
    for slave in slaves:
        tty.setraw(slave)
    grid, com, meter = map(os.ttyname, slaves)
    began_s = time.monotonic()
    stop, stopped = os.pipe()
    unit = threading.Thread(target=_be_grid_meter, args=(masters[0], stop, began_s), daemon=True)
    unit.start()
    (directory / "sitecustomize.py").write_text(HANGS)
    house = directory / "house.toml"
    house.write_text(HOUSE.format(directory=directory, grid=grid, com=com, meter=meter))
    process = subprocess.Popen(
        [sys.executable, "-m", "grug", "run", "--no-view", str(house)],
        env=os.environ | {"PYTHONPATH": f"{directory}{os.pathsep}{ROOT}"},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        running = MeteredHouse(masters[2], process, began_s)
        running.wait_for_answer()
        yield running
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
        os.close(stopped)
        unit.join()
        for descriptor in (*masters, *slaves, stop):
            os.close(descriptor)


def _be_grid_meter(port: int, stop: int, began_s: float) -> None:
    """Answer every read with the time."""
    while True:
        readable, _, _ = select.select([port, stop], [], [])
        if stop in readable:
            return
        request = os.read(port, 256)
        if len(request) == 8:
            address, count = struct.unpack(">HH", request[2:6])
            words = bytearray(2 * count)
            power = struct.pack(">f", (time.monotonic() - began_s) / TICK_S)
            words[2 * (POWER_AT - address) : 2 * (POWER_AT - address) + 4] = power
            os.write(port, with_crc(request[:2] + bytes((2 * count,)) + bytes(words)))
