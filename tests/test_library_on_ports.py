"""The library over real pseudo-terminals, and what README.md and the examples show of it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

import grug
from grug.codec.image import RegisterImage
from grug.device.server import ServedUnit
from grug.sim.line import SimLine
from grug.transport.line import Line
from grug.transport.pty import PtyLine, open_pty

ROOT = Path(__file__).parent.parent


def far_end(path: Path) -> Callable[[], Awaitable[Line]]:
    """Opens the master side of a new pseudo-terminal."""

    async def open_far_end() -> PtyLine:
        await trio.lowlevel.checkpoint()
        return open_pty(path)

    return open_far_end


async def start_serving(
    nursery: trio.Nursery, path: Path, unit: int, image: RegisterImage, changes: list[str]
) -> ServedUnit:
    async def serve(task_status: trio.TaskStatus[ServedUnit]) -> None:
        await grug.serve(
            far_end(path), unit, image, on_write=changes.extend, task_status=task_status
        )

    served: ServedUnit = await nursery.start(serve)
    return served


@pytest.mark.slow
async def test_one_map_is_client_and_server_over_a_real_terminal(tmp_path: Path) -> None:
    changes: list[str] = []
    image = RegisterImage(grug.find_map("abb_terra"))
    image.set_many(("current", "voltage", "current_limit"), (9.871, 230.1, 16.0))
    async with trio.open_nursery() as nursery:
        served = await start_serving(nursery, tmp_path / "port", 7, image, changes)
        async with grug.open_line(tmp_path / "port", baudrate=115200) as line:
            charger = line.device("abb_terra", unit=7)
            values = await charger.read("current_limit", "voltage", "current")
            assert values == {"current_limit": 16.0, "voltage": 230.1, "current": 9.871}
            await charger.write(current_limit=10.5, why="test", verify=True)
            with pytest.raises(grug.NoReplyError):
                await line.device("abb_terra", unit=8).read("current")
            readings = await charger.readings(*charger.readable)
            assert all(reading.quality is grug.Quality.GOOD for reading in readings.values())
        nursery.cancel_scope.cancel()
    assert changes == ["current_limit"]
    assert image.get("current_limit") == 10.5
    assert served.answered > 5


@pytest.mark.slow
async def test_the_example_reads_a_meter(tmp_path: Path) -> None:
    image = RegisterImage(grug.find_map("eastron_sdm120"))
    image.set_many(("voltage", "active_power", "frequency"), (230.1, -1500.0, 50.02))
    example = ROOT / "examples" / "read_meter.py"
    command = [sys.executable, str(example), str(tmp_path / "port"), "--map", "eastron_sdm120"]
    async with trio.open_nursery() as nursery:
        await start_serving(nursery, tmp_path / "port", 1, image, [])
        done = await trio.run_process([*command, "--count", "1"], capture_stdout=True)
        nursery.cancel_scope.cancel()
    assert done.stdout.decode().split("   ") == [
        "active_power -1500 W",
        "voltage 230.1 V",
        "frequency 50.020 Hz\n",
    ]


@pytest.mark.slow
def test_the_example_says_what_is_wrong_with_the_port_or_the_map(tmp_path: Path) -> None:
    for arguments, status, text in (
        (["/dev/no-such-port"], 1, "/dev/no-such-port is not there"),
        (["/dev/null", "--map", "nonsense"], 2, "there is no map 'nonsense'"),
    ):
        command = [sys.executable, str(ROOT / "examples" / "read_meter.py"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert text in done.stderr
        assert "Traceback" not in done.stderr
        assert done.returncode == status


def readme_program() -> dict[str, Callable[[], Awaitable[None]]]:
    """The functions of the program in README.md."""
    (program,) = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert len(program.splitlines()) <= 40, "one screen"
    assert max(map(len, program.splitlines())) <= 100
    names: dict[str, Callable[[], Awaitable[None]]] = {"__name__": "readme"}  # type: ignore[dict-item]
    exec(compile(program, "README.md", "exec"), names)
    return names


async def test_the_program_in_the_readme_works(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    autojump_clock: trio.testing.MockClock,
) -> None:
    image = RegisterImage(grug.find_map("solis_s5_eh1p"))
    image.set_many(("battery_voltage", "bms_battery_soc"), (52.8, 71))
    line = SimLine("com", {"inverter": ServedUnit(1, image)})
    open_line = grug.open_line
    monkeypatch.setattr(grug, "open_line", lambda port, **more: open_line(line.open, **more))
    await readme_program()["main"]()
    shown = capsys.readouterr().out.splitlines()
    said = (ROOT / "README.md").read_text()
    assert f"print(values)  # {shown[0]}" in said
    assert "battery_voltage 52.8 V" in shown
    assert image.get("battery_max_charge_current_setting") == 50.0


async def test_the_fake_meter_in_the_readme_is_one(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    served: list[RegisterImage] = []

    async def remember(port: str, *, unit: int, image: RegisterImage) -> None:
        served.append(image)

    monkeypatch.setattr(grug, "serve", remember)
    await readme_program()["fake_meter"]()
    line = SimLine("port", {"meter": ServedUnit(1, served[0])})
    async with grug.open_line(line.open) as bus:
        values = await bus.device("eastron_sdm120").read("voltage", "active_power")
    assert values == {"voltage": 230.1, "active_power": 1500.0}
