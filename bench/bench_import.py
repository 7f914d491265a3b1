"""How long it takes to load a map of 600 registers, and to import grug as a library.

    python bench/bench_import.py

The map is made of the shipped ones' rows, so that its cells are as real ones are. The import is
timed in a fresh interpreter, from the inside, with the files already in the system's cache; an
interpreter that imports nothing is timed beside it.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import time

from grug.codec.csvmap import parse_map
from grug.transport.maps import shipped_directory

REGISTERS = 600
LOAD_MS_MAX = 50
IMPORT_S_MAX = 0.5


def long_map() -> tuple[str, str]:
    """A map of 600 registers and its sidecar, from the Solis map: the longest one there is."""
    path = shipped_directory() / "solis_s5_eh1p.csv"
    header, *rows = list(csv.reader(path.read_text().splitlines()))
    at = {column: index for index, column in enumerate(header)}
    lines = [",".join(header)]
    address = 0
    for index in range(REGISTERS):
        cells = list(rows[index % len(rows)])
        cells[at["name"]] = f"{cells[at['name']]}_{index}"
        cells[at["address"]] = str(address)
        if "alias" in at:
            cells[at["alias"]] = ""
        cells[at["note"]] = cells[at["note"]].replace(",", ";")
        lines.append(",".join(cells))
        address += 20
    return "\n".join(lines), 'title = "long"\nwords_max = 40\n'


def load_ms() -> float:
    """The best of ten."""
    csv_text, sidecar = long_map()
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        register_map = parse_map("long", csv_text, sidecar, "long.csv")
        best = min(best, time.perf_counter() - started)
        assert len(register_map.registers) == REGISTERS
    return 1e3 * best


def import_s(code: str) -> float:
    """Seconds for a fresh interpreter to run one statement, the best of five."""
    timed = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    return min(float(subprocess.check_output([sys.executable, "-c", timed])) for _ in range(5))


def main() -> None:
    """Print it all."""
    print(f"load of a map of {REGISTERS} registers: {load_ms():.1f} ms (goal {LOAD_MS_MAX})")
    code = "from grug import *"
    print(f"{code}: {import_s(code):.3f} s (goal {IMPORT_S_MAX})")
    code = "from grug.codec.block import BlockDecoder; from grug.transport.maps import load_map"
    print(f"codec and maps alone: {import_s(code):.3f} s")
    print(f"trio alone: {import_s('import trio'):.3f} s")


if __name__ == "__main__":
    main()
