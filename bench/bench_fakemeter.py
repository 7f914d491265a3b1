"""The fake meter's latency, from outside: request to first reply byte, at 14 requests a second.

    python bench/bench_fakemeter.py [SECONDS]

- `pymodbus`: a server made with pymodbus, and nothing else.
- `libmodbus`: a server made with libmodbus, in C and before all usual programs: what this machine
  and its pseudo-terminals (which the kernel fills from threads of usual priority) leave to be had.
- `idle`: `grug run` with the grid meter polled five times a second.
- `load`: `grug run` with the whole example house polled; a day of log to catch up with in the
  embedded database; readers that fetch the log again and again; a Python thread in the data process
  that never rests; 600 registers read every 10 s on another line.
- `load, equal`: the same, with the data process at nice 0.
- `load, libmodbus`: the same load, and the server made with libmodbus in the place of grug's.

None of them waits before it answers (`turnaround = 0`), as pymodbus does not; `idle, 3.5` waits for
the 3.5 characters that it waits for by default. The order is shuffled and all of it is done three
times; what is said are medians of the three, and what can be compared are the ratios.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio
import trio.testing

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "bench"))

RATE = 14.0
ROUNDS = 3
QUESTION = (3, 0, 65)
"""Function, address and words: what a Solis asks an Acrel."""
TOKEN = "a token for the bench only"
SERVE = "127.0.0.1:18765"
READERS = 4
DUMP_WORDS = 600
DAY_H = 24.0
SETTLE_S = 6.0
FIRST = ("nice", "-n", "-10") if os.geteuid() == 0 else ()
"""As the unit file in examples/ has it."""


class Client:
    """The inverter."""

    def __init__(self, program: str) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([program], stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdout is not None
        self.path, self.priority = self._process.stdout.readline().split()

    def ask(self, seconds: float, rate: float = RATE) -> list[float]:
        """Latencies in ms; -1 where there was no good reply."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        function, address, words = QUESTION
        self._process.stdin.write(f"{seconds * rate:.0f} {rate} {function} {address} {words} 1\n")
        self._process.stdin.flush()
        return [float(each) / 1000.0 for each in self._process.stdout.readline().split()]

    def wait_for_answer(self) -> None:
        deadline_s = time.monotonic() + 60.0
        while min(self.ask(0.3)) < 0.0:
            if time.monotonic() > deadline_s:
                raise SystemExit("the meter does not answer")

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def compile_with_libmodbus(source: Path, directory: Path) -> str:
    program = directory / source.stem
    flags = ["-Wall", "-O2", "-I/usr/include/modbus", "-I/usr/local/include/modbus"]
    subprocess.run(["gcc", *flags, "-o", program, source, "-lmodbus"], check=True)
    return str(program)


# Houses


def house_text(
    directory: Path, meter_port: str, *, is_full: bool, turnaround_s: float | None
) -> str:
    """The example house with the client at its first meter port; not full, only the grid meter."""
    text = (ROOT / "examples" / "house.toml").read_text()
    for name, line in tomllib.loads(text)["line"].items():
        port = meter_port if name == "solis1_meter" else str(directory / "ports" / name)
        text = text.replace(line["port"], port)
    head, _, tail = text.partition("[line.solis1_meter]")
    text = head + "[line.solis1_meter]" + tail.replace("baudrate = 9600", "baudrate = 115200", 1)
    text = text.replace('"/var/lib/grug"', f'"{directory / "state"}"')
    if turnaround_s is not None:
        text = text.replace('max_age = "1.5s"', f'max_age = "1.5s"\nturnaround = {turnaround_s}')
    if is_full:
        text = text.replace("[log] ", f'[log]\nserve = "{SERVE}"\ntoken = "{TOKEN}"\n#')
        return text + dump_poll()
    kept = []
    for block in text.split("\n\n"):
        is_other_poll = block.lstrip().startswith("[[device.") and "[[device.grid" not in block
        kept.append("" if is_other_poll else block)
    return "\n\n".join(kept).replace('to = "chdb:"', 'to = ""')


def dump_poll() -> str:
    """As many words of an inverter as a dump reads, on a line where the steering is not."""
    from grug.transport.maps import load_map

    names, words = [], 0
    for register in load_map("solis_s5_eh1p").registers.values():
        if words + register.words > DUMP_WORDS or register.access == "never":
            continue
        names.append(register.name)
        words += register.words
    listed = ", ".join(f'"{name}"' for name in names)
    head = '\n\n[[device.solis2.poll]]\nevery = "10s"\npriority = "background"\n'
    return f"{head}registers = [{listed}]\n"


@contextmanager
def grug_house(directory: Path, text: str, environment: dict[str, str]) -> Iterator[None]:
    """The simulated house and the grug that runs it."""
    house = directory / "house.toml"
    house.write_text(text)
    ports = directory / "ports"
    ports.mkdir(parents=True, exist_ok=True)
    outer = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    simulated = subprocess.Popen(
        [sys.executable, "-m", "grug", "house", str(house), str(ports)],
        stdin=subprocess.PIPE,
        env=outer,
    )
    try:
        while not all((ports / name).exists() for name in tomllib.loads(text)["line"]):
            time.sleep(0.1)
        said = (directory / "grug.txt").open("w")
        running = subprocess.Popen(
            [*FIRST, sys.executable, "-m", "grug", "run", "--no-view", str(house)],
            env=outer | environment,
            stdout=said,
            stderr=said,
        )
        try:
            yield
        finally:
            running.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(30)
            running.kill()
            said.close()
    finally:
        assert simulated.stdin is not None
        simulated.stdin.close()
        simulated.wait(10)


BUSY = """
import sys, threading
if "grug.app.data" in sys.orig_argv:
    import os
    def spin():
        n = 0
        while True:
            n += 1
    set_priority = os.setpriority
    def then_spin(*arguments):
        if not {equal}:
            set_priority(*arguments)
        threading.Thread(target=spin, daemon=True).start()
    os.setpriority = then_spin
    os.getpriority = lambda *arguments: -20
"""


def busy_environment(directory: Path, *, equal: bool) -> dict[str, str]:
    """Python runs a sitecustomize.py that it finds: in the data process it starts the thread."""
    place = directory / "busy"
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(BUSY.format(equal=equal))
    return {"PYTHONPATH": os.pathsep.join([str(place), *sys.path])}


def write_day(state: Path) -> None:
    """A day of log that no database has."""
    from bench_log_and_ship import record
    from workloads import synthetic

    trio.run(record, state / "log", list(synthetic(DAY_H)))


@contextmanager
def log_readers() -> Iterator[None]:
    """Whoever fetches the whole log, again and again; they run elsewhere, so they yield here."""
    loop = (
        f"while sleep 0.2; do curl -s -m 20 -H 'Authorization: Bearer {TOKEN}'"
        f" 'http://{SERVE}/log?epoch=0&seq=-1' -o /dev/null; done"
    )
    readers = [
        subprocess.Popen(["nice", "-n", "19", "sh", "-c", loop], start_new_session=True)
        for _ in range(READERS)
    ]
    try:
        yield
    finally:
        for reader in readers:
            os.killpg(reader.pid, signal.SIGKILL)
            reader.wait()


# What is measured


@dataclass
class Case:
    name: str
    start: Callable[[ExitStack, Path, Client], None]


def start_pymodbus(stack: ExitStack, directory: Path, client: Client) -> None:
    server = ROOT / "tests" / "peers" / "pymodbus_server.py"
    process = subprocess.Popen(
        [sys.executable, str(server), "rtu", client.path, "1"], stdout=subprocess.PIPE, text=True
    )
    stack.callback(process.communicate)
    stack.callback(process.kill)


def start_libmodbus(stack: ExitStack, directory: Path, client: Client) -> None:
    program = compile_with_libmodbus(ROOT / "tests" / "peers" / "modbus_server.c", directory)
    first = ("chrt", "--rr", "1") if os.geteuid() == 0 else ()
    process = subprocess.Popen([*first, program, "rtu", client.path, "1"], stdout=subprocess.PIPE)
    stack.callback(process.communicate)
    stack.callback(process.kill)


def start_idle(turnaround_s: float | None) -> Callable[[ExitStack, Path, Client], None]:
    def start(stack: ExitStack, directory: Path, client: Client) -> None:
        text = house_text(directory, client.path, is_full=False, turnaround_s=turnaround_s)
        stack.enter_context(grug_house(directory, text, {}))

    return start


def start_load(
    day: Path, *, equal: bool = False, in_c: bool = False
) -> Callable[[ExitStack, Path, Client], None]:
    def start(stack: ExitStack, directory: Path, client: Client) -> None:
        shutil.copytree(day, directory / "state" / "log")
        port = client.path
        if in_c:
            start_libmodbus(stack, directory, client)
            port = str(directory / "ports" / "solis1_meter")
        text = house_text(directory, port, is_full=True, turnaround_s=0)
        environment = busy_environment(directory, equal=equal)
        stack.enter_context(grug_house(directory, text, environment))
        stack.enter_context(log_readers())

    return start


@contextmanager
def processor_use() -> Iterator[list[float]]:
    """Share of all processors' time that was not idle meanwhile."""

    def ticks() -> tuple[int, int]:
        numbers = [int(each) for each in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
        return sum(numbers), numbers[3] + numbers[4]

    used: list[float] = []
    all_before, idle_before = ticks()
    yield used
    all_after, idle_after = ticks()
    used.append(1.0 - (idle_after - idle_before) / max(1, all_after - all_before))


def measure(case: Case, program: str, seconds: float) -> tuple[list[float], float]:
    with tempfile.TemporaryDirectory(prefix="grug-bench-") as name, ExitStack() as stack:
        client = Client(program)
        stack.callback(client.close)
        case.start(stack, Path(name), client)
        client.wait_for_answer()
        time.sleep(SETTLE_S)
        with processor_use() as used:
            latencies = client.ask(seconds)
        return latencies, used[0]


def quantile(latencies: list[float], share: float) -> float:
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="grug-bench-") as name:
        program = compile_with_libmodbus(HERE / "meter_client.c", Path(name))
        write_day(Path(name) / "day")
        day = Path(name) / "day" / "log"
        cases = [
            Case("pymodbus", start_pymodbus),
            Case("idle", start_idle(0.0)),
            Case("idle, 3.5", start_idle(None)),
            Case("libmodbus", start_libmodbus),
            Case("load", start_load(day)),
            Case("load, equal", start_load(day, equal=True)),
            Case("load, libmodbus", start_load(day, in_c=True)),
        ]
        found: dict[str, list[tuple[float, float, float, float, float]]] = {}
        for _ in range(ROUNDS):
            for case in random.sample(cases, len(cases)):
                latencies, used = measure(case, program, seconds)
                good = [each for each in latencies if each >= 0.0] or [float("nan")]
                silent = sum(each < 0.0 for each in latencies)
                row = (quantile(good, 0.5), quantile(good, 0.99), max(good), silent, used)
                found.setdefault(case.name, []).append(row)
                print(f"  {case.name}: {tell(row)}", flush=True)
        report(
            {
                name: [*map(statistics.median, zip(*rows, strict=True))]
                for name, rows in found.items()
            }
        )


def tell(row: tuple[float, ...] | list[float]) -> str:
    p50, p99, longest, silent, used = row
    return (
        f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {longest:.2f} ms, unanswered {silent:.0f},"
        f" processors {used:.0%} busy"
    )


def report(rows: dict[str, list[float]]) -> None:
    for name, row in rows.items():
        print(f"{name:15} {tell(row)}")
    print(f"idle p50 over pymodbus's: {rows['idle'][0] / rows['pymodbus'][0]:.2f} (goal 1)")
    print(f"p99 under load: {rows['load'][1]:.2f} ms (goal 10)")
    print(f"p99 under load over idle: {rows['load'][1] / rows['idle'][1]:.2f} (goal 2)")
    in_c = rows["load, libmodbus"][1] / rows["libmodbus"][1]
    print(f"the same of libmodbus in grug's place: {in_c:.2f}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0)
