"""Processor time of meter ports: while nobody asks, per image, and per answered question.

    python bench/bench_meterport.py [SECONDS]

A process with some fake meters (115200 baud, `turnaround = 0`) on pseudo-terminals, and nothing
else, is left alone (it looks at its ports and counts), then gets images five times a second, and
then is asked as well, by as many inverters made with libmodbus, 14 times a second each. Beside it
a server made with pymodbus, which has one port, is asked as often as all of them together.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import trio

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

from bench_fakemeter import RATE, Client, compile_with_libmodbus, start_pymodbus  # noqa: E402

from grug.actors import fakemeter  # noqa: E402
from grug.control.images import IMAGE_NAMES  # noqa: E402
from grug.messages import MeterImage  # noqa: E402
from grug.runtime.feed import Feed  # noqa: E402
from grug.transport.maps import load_map  # noqa: E402
from grug.transport.serial import serial_opener  # noqa: E402

PORTS = 8
IMAGE_EVERY_S = 0.2


async def serve(ports: list[str], *, with_images: bool) -> None:
    """Be the fake meters of all ports, for ever."""
    feed, profile = Feed(), load_map("acrel_1_phase")
    async with trio.open_nursery() as nursery:
        for name in ports:
            settings = fakemeter.MeterSettings(name, 1, profile, 115200, name, turnaround_s=0.0)
            opener = serial_opener(name, 115200)
            nursery.start_soon(partial(fakemeter.run, feed, settings, open_line=opener))
        power_w = 0.0
        while with_images:
            power_w += 1.0
            values = (power_w,) * len(IMAGE_NAMES)
            for name in ports:
                now_s = trio.current_time()
                feed.publish(MeterImage(name, IMAGE_NAMES, values, now_s, now_s + 1.5))
            await trio.sleep(IMAGE_EVERY_S)


def cpu_s(pid: int) -> float:
    """Processor time of a process's first thread."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def used_s(pid: int, seconds: float, clients: list[Client], rate: float) -> tuple[float, int]:
    """Processor time within so many seconds, and how many questions were answered meanwhile."""
    before_s = cpu_s(pid)
    if not clients:
        time.sleep(seconds)
        return cpu_s(pid) - before_s, 0
    for client in clients:
        client.order(seconds, rate)
    latencies = [each for client in clients for each in client.hear()]
    return cpu_s(pid) - before_s, sum(each >= 0.0 for each in latencies)


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="grug-bench-") as name, ExitStack() as stack:
        program = compile_with_libmodbus(HERE / "meter_client.c", Path(name))
        clients = [Client(program) for _ in range(PORTS)]
        for client in clients:
            stack.callback(client.close)
        paths = [client.path for client in clients]
        found = []
        for kind, asking in (("--alone", []), ("--images", []), ("--images", clients)):
            serving = subprocess.Popen([sys.executable, __file__, kind, *paths])
            try:
                time.sleep(3.0)
                found.append(used_s(serving.pid, seconds, asking, RATE))
            finally:
                serving.kill()
                serving.wait()
        pymodbus = start_pymodbus(stack, Path(name), clients[0])
        clients[0].wait_for_answer()
        theirs_s, their_answers = used_s(pymodbus, seconds, clients[:1], RATE * PORTS)
    (alone_s, _), (images_s, _), (asked_s, answers) = found
    images = seconds / IMAGE_EVERY_S * PORTS
    print(f"a port that nobody asks: {alone_s / seconds / PORTS * 1e3:.2f} ms a second")
    print(f"an image: {(images_s - alone_s) / images * 1e6:.0f} us")
    print(
        f"an answered question: {(asked_s - images_s) / answers * 1e6:.0f} us ({answers} answered)"
    )
    print(
        f"of pymodbus's server: {theirs_s / their_answers * 1e6:.0f} us ({their_answers} answered)"
    )


if __name__ == "__main__":
    given = sys.argv[1:]
    if given and given[0].startswith("--"):
        trio.run(lambda: serve(given[1:], with_images=given[0] == "--images"))
    else:
        main(float(given[0]) if given else 20.0)
