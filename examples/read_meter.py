"""Shows what a meter measures, every few seconds, until Ctrl-C.

python read_meter.py /dev/serial/by-id/usb-... --map eastron_sdm630 --unit 1
"""

from __future__ import annotations

import argparse
import sys

import trio

import grug

NAMES = ("total_power", "active_power", "voltage", "phase_1_line_to_neutral_volts", "frequency")


async def watch(port: str, model: str, unit: int | None, baudrate: int, count: float) -> None:
    """Print a line of readings every two seconds."""
    register_map = grug.find_map(model)  # First, since a wrong map needs no port to be noticed.
    async with grug.open_line(port, baudrate=baudrate) as line:
        meter = line.device(register_map, unit)
        names = [name for name in NAMES if name in meter.map.registers] or meter.readable[:5]
        while count > 0:
            try:
                readings = await meter.readings(*names)
            except grug.BusError as error:  # The line is opened again by itself when it comes back.
                print(error, file=sys.stderr)
            else:
                print("   ".join(f"{name} {reading}" for name, reading in readings.items()))
            count -= 1
            await trio.sleep(2 if count else 0)


def main() -> int:
    """Understand the arguments; exit status 1 when the port cannot be opened, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port")
    parser.add_argument("--map", default="eastron_sdm630", help="model, or path of a map")
    parser.add_argument("--unit", type=int)
    parser.add_argument("--baudrate", type=int, default=9600)
    parser.add_argument("--count", type=float, default=float("inf"))
    arguments = parser.parse_args()
    try:
        trio.run(
            watch,
            arguments.port,
            arguments.map,
            arguments.unit,
            arguments.baudrate,
            arguments.count,
        )
    except grug.LineError as error:
        print(error, file=sys.stderr)
        return 1
    except grug.MapError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except* KeyboardInterrupt:  # trio may deliver it within a group.
        pass
