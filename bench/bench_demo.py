"""How fast virtual time goes, and what the demo costs in real time.

python bench/bench_demo.py            both fidelities in virtual time
python bench/bench_demo.py --live 10  also ten minutes of the demo in real time
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def fast(fidelity: str, hours: float) -> None:
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "grug", "demo", "--fast", "--state", state]
        command += ["--fidelity", fidelity, "--hours", str(hours), "--json"]
        started_s = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        elapsed_s = time.perf_counter() - started_s
    times = hours * 3600 / elapsed_s
    print(f"{fidelity:8} {hours:5g} h in {elapsed_s:6.1f} s: {times:6.0f} times real time")


def live(minutes: float) -> None:
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "grug", "demo", "--no-view", "--state", state]
        command += ["--hours", str(minutes / 60 + 0.01)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as demo:
            time.sleep(minutes * 60)
            for name, pid in [("control", demo.pid), *children(demo.pid)]:
                rss_mb, cpu_pct = cost(pid)
                print(f"{name:8} {rss_mb:6.1f} MB resident, {cpu_pct:5.2f} % of one core")


def children(parent: int) -> list[tuple[str, int]]:
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                stat = (directory / "stat").read_text().rsplit(")", 1)[1].split()
                command = (directory / "cmdline").read_bytes()
            except OSError:
                continue
            if int(stat[1]) == parent:
                name = "data" if b"grug.app.data" in command else "house"
                found.append((name, int(directory.name)))
    return sorted(found)


def cost(pid: int) -> tuple[float, float]:
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    busy_s = (int(stat[11]) + int(stat[12])) / TICKS_PER_S
    up_s = float(Path("/proc/uptime").read_text().split()[0])
    age_s = up_s - int(stat[19]) / TICKS_PER_S
    return int(stat[21]) * PAGE_BYTES / 1e6, 100 * busy_s / age_s


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--live", type=float, metavar="MINUTES")
    parser.add_argument("--wire-hours", type=float, default=1.0)
    parser.add_argument("--message-hours", type=float, default=24.0)
    arguments = parser.parse_args()
    fast("wire", arguments.wire_hours)
    fast("message", arguments.message_hours)
    if arguments.live:
        live(arguments.live)


if __name__ == "__main__":
    main()
