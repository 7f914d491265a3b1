"""The demo in real time: the simulated house is another process, behind pseudo-terminals.

grug talks to it exactly as to USB adapters. The house ends when this process does: its standard
input ends then.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
import trio

from grug.app.about import about_series
from grug.app.data import DataSettings
from grug.app.load import load_house
from grug.app.parts import load_maps
from grug.app.run import run_real
from grug.config.types import HouseConfig
from grug.demo.record import sole_demo
from grug.demo.settings import DemoSettings, demo_house, example_house
from grug.errors import GrugError
from grug.runtime.clock import MonotonicClock
from grug.sim import process
from grug.sim.faults import parse_fault
from grug.sim.wiring import check_target

PORTS_WAIT_S = 20.0
"""How long the simulated house may take to lay its lines."""
HOUSE_END_S = 5.0


def run_live(settings: DemoSettings, *, view: bool) -> int:
    """Run until Ctrl-C, or for ``settings.hours``."""
    state = settings.state / "live"
    ports = state / "ports"
    config = demo_house(settings, state)
    lines = {
        name: msgspec.structs.replace(line, port=str(ports / name))
        for name, line in config.line.items()
    }
    with sole_demo(settings.state), _simulated_house(settings, ports, config):
        house = msgspec.structs.replace(config, line=lines)
        hint = f"grug fault grid:silent+20 --state {settings.state} pulls a cable"
        maps = load_maps(house)
        data = DataSettings(house, about=about_series(house, maps), view=view, hint=hint)
        return run_real(house, maps, data, settings.hours)


def run_simulated_house(
    house: Path, directory: Path, seed: int, start_hour: float, faults: tuple[str, ...]
) -> int:
    """The other process: the house behind pseudo-terminals, until its standard input ends."""
    serve = partial(
        process.run,
        load_house(house).house,
        directory,
        seed=seed,
        start_hour=start_hour,
        faults=faults,
    )
    trio.run(serve, clock=MonotonicClock())
    return 0


def check_fault(text: str) -> None:
    """See that a fault can be understood, and is about something in the demo's house.

    Raises:
        ValueError: it is not; the text says what would be.
    """
    config = load_house(example_house()).house
    check_target(parse_fault(text), config)


def pull_cables(faults: Sequence[str], state: Path) -> int:
    """``grug fault``: let something go wrong in a demo that runs."""
    status = 0
    with socket.socket(socket.AF_UNIX) as asker:
        try:
            asker.connect(str(state / "live" / "ports" / process.FAULTS_SOCKET))
        except OSError as error:
            sys.stderr.write(f"no demo runs in {state}: {error.strerror}\n")
            return 1
        answers = asker.makefile("rw")
        for fault in faults:
            answers.write(fault + "\n")
            answers.flush()
            answer = answers.readline().strip()
            sys.stdout.write(f"{fault}: {answer}\n")
            status = status if answer == "ok" else 2
    return status


@contextmanager
def _simulated_house(settings: DemoSettings, ports: Path, config: HouseConfig) -> Iterator[None]:
    """While this lasts the house's ports are there."""
    ports.mkdir(parents=True, exist_ok=True)
    for name in config.line:  # Left over from a demo that was killed.
        (ports / name).unlink(missing_ok=True)
    command = [sys.executable, "-m", "grug", "house", str(example_house()), str(ports)]
    command += ["--seed", str(settings.seed), "--start-hour", str(settings.start_hour)]
    for fault in settings.faults:
        command += ["--fault", fault]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as child:
        try:
            _wait_for_ports(child, [ports / name for name in config.line])
            yield
        finally:
            assert child.stdin is not None, "asked for a pipe"
            child.stdin.close()
            try:
                child.wait(HOUSE_END_S)
            except subprocess.TimeoutExpired:
                child.kill()


def _wait_for_ports(child: subprocess.Popen[bytes], ports: list[Path]) -> None:
    deadline_s = time.monotonic() + PORTS_WAIT_S
    while not all(port.exists() for port in ports):
        if child.poll() is not None or time.monotonic() > deadline_s:
            raise GrugError("the simulated house did not start")
        time.sleep(0.05)
