"""The fake meter's latency, from outside: request to first reply byte, at 14 requests a second.

    python bench/bench_fakemeter.py [SECONDS] [--rounds N] [--cases 'idle;load'] [--keep FILE]

- `pymodbus`: a server made with pymodbus, and nothing else.
- `libmodbus`: a server made with libmodbus, in C and before all usual programs: what this machine
  and its pseudo-terminals (which the kernel fills from threads of usual priority) leave to be had.
- `idle`: `grug run` with the grid meter polled five times a second.
- `load`: `grug run` with the whole example house polled; a day of log to catch up with in the
  embedded database; readers that fetch the log again and again; a Python thread in the data process
  that never rests; 600 registers read every 10 s on another line.
- `load, no thread`: the same without that thread, which keeps the rest of its process from working:
  shipper and database take all the processors that they get.
- `load, usual`: with the thread, and grug started by a usual user, who is granted no priority; only
  the data process is modest (nice 10).
- `load, libmodbus`: the same load, and the server made with libmodbus in the place of grug's.

None of them waits before it answers (`turnaround = 0`), as pymodbus does not; `idle, 3.5` waits for
the 3.5 characters that it waits for by default. Each round starts every case anew, in an order of
its own, so that all see the same machine; what can be compared are the ratios. A 99th percentile is
said of all rounds' answers together, with the range in which it falls when they are drawn again
(nine times of ten), and as the median of the rounds' own. Some 1500 answers a case are wanted for
it: 3 rounds of 36 s. With `--keep` the answers are added to a file, and what is reported is all
that is in it: a long measurement can be made in pieces.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

import trio
import trio.testing

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "bench"))

from workloads import samples_per_s, synthetic  # noqa: E402

RATE = 14.0
DRAWS = 1000
"""How often answers are drawn again to see how well a percentile is known."""
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
USUAL = ("setpriv", "--bounding-set=-sys_nice") if os.geteuid() == 0 else ()
"""As somebody who may not come first."""


class Client:
    """The inverter."""

    def __init__(self, program: str) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([program], stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdout is not None
        self.path, self.priority = self._process.stdout.readline().split()

    def ask(self, seconds: float, rate: float = RATE) -> list[float]:
        """Latencies in ms; -1 where there was no good reply."""
        self.order(seconds, rate)
        return self.hear()

    def order(self, seconds: float, rate: float = RATE) -> None:
        """Let it begin to ask."""
        assert self._process.stdin is not None
        function, address, words = QUESTION
        self._process.stdin.write(f"{seconds * rate:.0f} {rate} {function} {address} {words} 1\n")
        self._process.stdin.flush()

    def hear(self) -> list[float]:
        """Wait until it has asked all; see ``ask``."""
        assert self._process.stdout is not None
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
def grug_house(
    directory: Path, text: str, environment: dict[str, str], first: Sequence[str] = FIRST
) -> Iterator[None]:
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
            [*first, sys.executable, "-m", "grug", "run", "--no-view", str(house)],
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
        set_priority(*arguments)
        threading.Thread(target=spin, daemon=True).start()
    os.setpriority = then_spin
    os.getpriority = lambda *arguments: -20
"""


def busy_environment(directory: Path) -> dict[str, str]:
    """Python runs a sitecustomize.py that it finds: in the data process it starts the thread."""
    place = directory / "busy"
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(BUSY)
    return {"PYTHONPATH": os.pathsep.join([str(place), *sys.path])}


def write_day(state: Path) -> None:
    """A day of log that no database has."""
    from bench_log_and_ship import record

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
    start: Callable[[ExitStack, Path, Client], object]


@dataclass
class Round:
    """One measurement of one case."""

    case: str
    answers_ms: list[float]
    silent: int
    busy: float
    """Share of all processors' time that was not idle."""
    shipped: float
    """Share of the day that was in the database at the end; NaN where there is none."""


def start_pymodbus(stack: ExitStack, directory: Path, client: Client) -> int:
    """Returns its process id."""
    server = ROOT / "tests" / "peers" / "pymodbus_server.py"
    process = subprocess.Popen(
        [sys.executable, str(server), "rtu", client.path, "1"], stdout=subprocess.PIPE, text=True
    )
    stack.callback(process.communicate)
    stack.callback(process.kill)
    return process.pid


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
    day: Path, *, thread: bool = True, first: Sequence[str] = FIRST, in_c: bool = False
) -> Callable[[ExitStack, Path, Client], None]:
    def start(stack: ExitStack, directory: Path, client: Client) -> None:
        shutil.copytree(day, directory / "state" / "log")
        port = client.path
        if in_c:
            start_libmodbus(stack, directory, client)
            port = str(directory / "ports" / "solis1_meter")
        text = house_text(directory, port, is_full=True, turnaround_s=0)
        environment = busy_environment(directory) if thread else {}
        stack.enter_context(grug_house(directory, text, environment, first))
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


def share_shipped(state: Path) -> float:
    """How much of the day the house's database has by now."""
    statement = "select count() from readings"
    asked = [sys.executable, "-m", "grug", "sql", "--state", str(state), "--format", "csv"]
    outer = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run([*asked, statement], env=outer, capture_output=True, text=True)
    if said.returncode:
        return math.nan
    return float(said.stdout.split()[-1]) / (samples_per_s() * DAY_H * 3600.0)


def measure(case: Case, program: str, seconds: float) -> Round:
    with tempfile.TemporaryDirectory(prefix="grug-bench-") as name, ExitStack() as stack:
        client = Client(program)
        stack.callback(client.close)
        case.start(stack, Path(name), client)
        client.wait_for_answer()
        time.sleep(SETTLE_S)
        with processor_use() as used:
            latencies = client.ask(seconds)
        good = [each for each in latencies if each >= 0.0]
        shipped = share_shipped(Path(name) / "state") if "load" in case.name else math.nan
        return Round(case.name, good, len(latencies) - len(good), used[0], shipped)


def quantile(latencies: Sequence[float], share: float) -> float:
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def p99_drawn(answers_ms: list[float], chance: random.Random) -> list[float]:
    """The 99th percentile of as many answers, drawn from these again and again."""
    return [quantile(chance.choices(answers_ms, k=len(answers_ms)), 0.99) for _ in range(DRAWS)]


def main(seconds: float, rounds: int, chosen: str, keep: Path | None) -> None:
    found = [Round(*json.loads(line)) for line in keep.open()] if keep and keep.exists() else []
    with tempfile.TemporaryDirectory(prefix="grug-bench-") as name:
        program = compile_with_libmodbus(HERE / "meter_client.c", Path(name))
        day = Path(name) / "day" / "log"
        cases = [
            Case("pymodbus", start_pymodbus),
            Case("idle", start_idle(0.0)),
            Case("idle, 3.5", start_idle(None)),
            Case("libmodbus", start_libmodbus),
            Case("load", start_load(day)),
            Case("load, no thread", start_load(day, thread=False)),
            Case("load, usual", start_load(day, first=USUAL)),
            Case("load, libmodbus", start_load(day, in_c=True)),
        ]
        if chosen:
            by_name = {case.name: case for case in cases}
            cases = [by_name[name] for name in chosen.split(";")]
        if rounds and any("load" in case.name for case in cases):
            write_day(Path(name) / "day")
        for _ in range(rounds):
            for case in random.sample(cases, len(cases)):
                done = measure(case, program, seconds)
                print(f"  {case.name}: {tell([done])}", flush=True)
                found.append(done)
                if keep:
                    with keep.open("a") as file:
                        file.write(json.dumps(astuple(done)) + "\n")
    report(found)


def tell(rounds: list[Round]) -> str:
    answers = [each for one in rounds for each in one.answers_ms] or [math.nan]
    low, high = (quantile(p99_drawn(answers, random.Random(1)), share) for share in (0.05, 0.95))
    own = statistics.median(quantile(one.answers_ms or [math.nan], 0.99) for one in rounds)
    text = (
        f"{len(answers)} answers, p50 {quantile(answers, 0.5):.2f} ms,"
        f" p99 {quantile(answers, 0.99):.2f} ({low:.2f} to {high:.2f}; rounds' own {own:.2f}),"
        f" max {max(answers):.2f} ms, unanswered {sum(one.silent for one in rounds)},"
        f" processors {statistics.mean(one.busy for one in rounds):.0%} busy"
    )
    if not math.isnan(rounds[-1].shipped):
        text += f", shipped {max(one.shipped for one in rounds):.0%} of the day"
    return text


def report(found: list[Round]) -> None:
    by_case: dict[str, list[Round]] = {}
    for one in found:
        by_case.setdefault(one.case, []).append(one)
    for name, rounds in by_case.items():
        print(f"{name:15} {tell(rounds)}")
    answers = {
        name: [each for one in rounds for each in one.answers_ms]
        for name, rounds in by_case.items()
    }
    if {"idle", "pymodbus"} <= answers.keys():
        medians = [quantile(answers[name], 0.5) for name in ("idle", "pymodbus")]
        print(f"idle p50 over pymodbus's: {medians[0] / medians[1]:.2f} (goal 1)")
    for load, idle, goal in (("load", "idle", "goal 2"), ("load, libmodbus", "libmodbus", "in C")):
        if {load, idle} <= answers.keys():
            tell_ratio(answers[load], answers[idle], f"{load} over {idle} ({goal})")


def tell_ratio(load_ms: list[float], idle_ms: list[float], title: str) -> None:
    drawn = [
        p99_drawn(answers, random.Random(seed)) for seed, answers in ((1, load_ms), (2, idle_ms))
    ]
    ratios = [load / idle for load, idle in zip(*drawn, strict=True)]
    ratio = quantile(load_ms, 0.99) / quantile(idle_ms, 0.99)
    low, high = quantile(ratios, 0.05), quantile(ratios, 0.95)
    print(f"p99 of {title}: {ratio:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("seconds", type=float, nargs="?", default=36.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", default="", help="such as 'idle;load'; all without it")
    parser.add_argument("--keep", type=Path, help="add the answers to this file, report all in it")
    given = parser.parse_args()
    main(given.seconds, given.rounds, given.cases, given.keep)
