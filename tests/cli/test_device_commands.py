"""``grug read``, ``write``, ``decode`` and ``ports`` as a person types them."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trio
import trio.testing

import grug
from grug.cli import main
from grug.cli.commands import cli
from grug.cli.devices import (
    Target,
    WriteOrders,
    in_trio,
    parse_value,
    read_device,
    show_ports,
    write_device,
)
from grug.codec.image import RegisterImage
from grug.device.ports import list_ports
from grug.device.server import ServedUnit
from grug.errors import EncodeError
from grug.protocol.server import ServerRequest, exception_reply
from grug.sim.faults import SimFaults, parse_fault
from grug.sim.line import SimLine
from grug.transport.line import LineOpener
from grug.transport.maps import load_map
from grug.transport.pty import PtyLine, open_pty

Clock: TypeAlias = trio.testing.MockClock
Capture: TypeAlias = pytest.CaptureFixture[str]


def charger() -> tuple[RegisterImage, SimLine]:
    image = RegisterImage(load_map("abb_terra"))
    image.set_many(("current_limit", "voltage", "comm_timeout"), (16.0, 230.1, 60))
    return image, SimLine("garage", {"charger": ServedUnit(1, image)})


def orders(*assignments: str, **more: Any) -> WriteOrders:
    return WriteOrders(assignments, "test", **more)


def status_of(*arguments: str) -> int:
    """Run grug with these arguments, as from a shell; gives its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["grug", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    status = ended.value.code
    assert isinstance(status, int)
    return status


# read


async def test_names_are_read_and_shown_with_units(autojump_clock: Clock, capsys: Capture) -> None:
    _, line = charger()
    target = Target(line.open, "abb_terra")
    assert await read_device(target, ("voltage", "current_limit"), False) == 0
    assert capsys.readouterr().out.splitlines() == [
        "voltage        230.1 V",
        "current_limit  16.000 A",
    ]


async def test_without_names_everything_safe_is_read(
    autojump_clock: Clock, capsys: Capture
) -> None:
    _, line = charger()
    assert await read_device(Target(line.open, "abb_terra"), (), False) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == len(load_map("abb_terra").registers) - 2
    assert "stop_charging" not in shown


async def test_json_has_value_unit_and_quality(autojump_clock: Clock, capsys: Capture) -> None:
    _, line = charger()
    await read_device(Target(line.open, "abb_terra"), ("voltage",), True)
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"voltage": {"value": 230.1, "quality": "good", "unit": "V"}}


async def test_a_name_that_cannot_be_read_is_exit_status_1(
    autojump_clock: Clock, capsys: Capture
) -> None:
    class Older(ServedUnit):
        def answer(self, request: ServerRequest, now_s: float) -> bytes | None:
            if request.address <= 16416 < request.address + request.count:
                return exception_reply(request, 2)
            return super().answer(request, now_s)

    line = SimLine("garage", {"charger": Older(1, charger()[0])})
    target = Target(line.open, "abb_terra")
    assert await read_device(target, ("voltage", "comm_timeout_readback"), False) == 1
    assert "missing: exception 2" in capsys.readouterr().out
    assert await read_device(target, (), False) == 0


async def test_a_wrong_name_is_noticed_before_the_port_is_opened(autojump_clock: Clock) -> None:
    with pytest.raises(grug.UnknownRegisterError, match="did you mean 'voltage'"):
        await read_device(Target("/dev/no-such-port", "abb_terra"), ("voltag",), False)


def test_a_silent_device_is_exit_status_1_with_advice(capsys: Capture) -> None:
    _, line = charger()

    async def read(target: Target) -> int:
        return await read_device(target, ("voltage",), False)

    target = Target(line.open, "abb_terra", unit=9, timeout_s=0.02)
    assert in_trio(read, target) == 1
    said = capsys.readouterr().err
    assert "abb_terra, unit 9 on garage: no reply within 0.02 s" in said
    assert "Asked at 9600 baud, 8N1. Compare that and the unit id" in said


def test_noise_is_exit_status_1_with_other_advice(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine 60 ms of real time may pass before the first byte is looked at.
    virtual = partial(trio.run, clock=trio.testing.MockClock(autojump_threshold=0))
    monkeypatch.setattr(trio, "run", virtual)

    async def read(target: Target) -> int:
        faults = SimFaults(1, origin_s=trio.current_time())
        faults.add(parse_fault("charger:garbage@0+100"))
        line = SimLine("garage", {"charger": ServedUnit(1, charger()[0])}, faults=faults)
        return await read_device(Target(line.open, "abb_terra", timeout_s=0.06), ("voltage",), True)

    assert in_trio(read, Target("/dev/null", "abb_terra")) == 1
    assert "framing may be another" in capsys.readouterr().err


# write


async def test_a_write_is_read_back_and_told(autojump_clock: Clock, capsys: Capture) -> None:
    image, line = charger()
    assert await write_device(Target(line.open, "abb_terra"), orders("current_limit=10.5")) == 0
    assert image.get("current_limit") == 10.5
    assert capsys.readouterr().out == "current_limit = 10.500 A (was 16.000 A)\n"


async def test_guarded_registers_need_force(autojump_clock: Clock) -> None:
    image, line = charger()
    target = Target(line.open, "abb_terra")
    with pytest.raises(EncodeError, match=r"comm_timeout is guarded .*say --force"):
        await write_device(target, orders("comm_timeout=1200"))
    assert image.get("comm_timeout") == 60
    await write_device(target, orders("comm_timeout=1200", force=True))
    assert image.get("comm_timeout") == 1200


async def test_no_force_writes_what_does_harm(autojump_clock: Clock) -> None:
    _, line = charger()
    with pytest.raises(EncodeError, match="stop_charging is not to be written"):
        await write_device(Target(line.open, "abb_terra"), orders("stop_charging=1", force=True))


async def test_a_dry_run_shows_the_words_and_opens_nothing(
    autojump_clock: Clock, capsys: Capture
) -> None:
    target = Target("/dev/no-such-port", "abb_terra")
    await write_device(target, orders("current_limit=10", dry_run=True))
    assert capsys.readouterr().out.splitlines() == [
        "holding_register 16640..16641  0000 2710  current_limit = 10 A",
        "nothing was sent",
    ]


async def test_all_that_is_wrong_is_told_at_once_and_nothing_sent(autojump_clock: Clock) -> None:
    image, line = charger()
    wrong = ("current_limit=40", "curent=1", "comm_timeout", "current_limit=x", "voltage=1")
    with pytest.raises(EncodeError) as caught:
        await write_device(Target(line.open, "abb_terra"), orders(*wrong, force=True))
    assert str(caught.value).splitlines() == [
        "current_limit: 40 A is outside 0..32 A",
        "abb_terra has no register 'curent'; did you mean 'current'?",
        "comm_timeout: a value is needed, as in comm_timeout=1",
        "current_limit is given twice",
        "voltage is not to be written (read): the device does not take writes",
    ]
    assert image.get("current_limit") == 16.0


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("switching_machine_setting", "ON", True),
        ("switching_machine_setting", "0", False),
        ("battery_max_charge_current_setting", "50.5", 50.5),
        ("battery_max_charge_current_setting", "0x10", 16),
        ("energy_storage_mode_setting", "33", 33),
        ("energy_storage_mode_setting", "Self use + Allow charge from grid", 33),
    ],
)
def test_values_are_numbers_switches_or_labels(name: str, text: str, value: object) -> None:
    parsed = parse_value(load_map("solis_s5_eh1p")[name], text)
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("switching_machine_setting", "maybe", "neither on nor off"),
        ("battery_max_charge_current_setting", "50 A", "is no number"),
        ("energy_storage_mode_setting", "Self usage", "did you mean 'Self use'"),
    ],
)
def test_values_that_are_none_are_refused(name: str, text: str, problem: str) -> None:
    with pytest.raises(EncodeError, match=problem):
        parse_value(load_map("solis_s5_eh1p")[name], text)


# From the shell


@pytest.mark.slow
def test_read_and_write_over_a_real_terminal(tmp_path: Path) -> None:
    port = str(tmp_path / "port")
    image, _ = charger()

    async def open_far_end() -> PtyLine:
        await trio.lowlevel.checkpoint()
        return open_pty(tmp_path / "port")

    async def both() -> list[int]:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_started, open_far_end, image))
            target = ("--map", "abb_terra", "--timeout", "2")
            statuses = [
                await grug_process("read", port, *target, "voltage", "--json"),
                await grug_process("write", port, *target, "current_limit=8", "--why", "test"),
                await grug_process("read", port, *target, "--unit", "2", "--timeout", "0.1"),
            ]
            nursery.cancel_scope.cancel()
        return statuses

    assert trio.run(both) == [0, 0, 1]
    assert image.get("current_limit") == 8.0


async def serve_started(
    opener: LineOpener, image: RegisterImage, task_status: trio.TaskStatus[ServedUnit]
) -> None:
    await grug.serve(opener, 1, image, task_status=task_status)


async def grug_process(*arguments: str) -> int:
    command = [sys.executable, "-m", "grug", *arguments]
    done = await trio.run_process(command, check=False, capture_stdout=True, capture_stderr=True)
    assert b"Traceback" not in done.stderr
    return done.returncode


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["read", "/dev/no-such-port", "--map", "abb_terra"], 1, "is not there"),
        (["read", "/dev/null", "--map", "abb_tera"], 2, "did you mean 'abb_terra'"),
        (["read", "/dev/null", "--map", "abb_terra", "volt"], 2, "no register 'volt'"),
        (["read", "/dev/null", "--map", "abb_terra", "--unit", "300"], 2, "1<=x<=247"),
        (["read", "/dev/null", "--map", "abb_terra", "--framing", "9N1"], 2, "9N1"),
        (["read", "/dev/null"], 2, "--map"),
        (["write", "/dev/null", "--map", "abb_terra", "current_limit=1"], 2, "--why"),
        (["write", "/dev/null", "--map", "abb_terra", "voltage=1", "--why", "x"], 2, "not take"),
        (["decode", "hello"], 2, "'hello' is no hexadecimal word"),
        (["decode", "4366", "199A"], 0, ""),
    ],
)
def test_exit_status_tells_bad_input_from_bad_luck(
    arguments: Sequence[str], status: int, said: str, capsys: Capture
) -> None:
    assert status_of(*arguments) == status
    assert said in capsys.readouterr().err


@pytest.mark.slow
async def test_ctrl_c_ends_a_read_that_waits(tmp_path: Path) -> None:
    far_end = open_pty(tmp_path / "port")
    command = [sys.executable, "-m", "grug", "read", str(tmp_path / "port"), "--map", "abb_terra"]
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, capture_stderr=True, check=False)
        process = await nursery.start(partial(run, [*command, "--timeout", "60"]))
        await far_end.receive_some()
        process.send_signal(signal.SIGINT)
        with trio.fail_after(10):
            await process.wait()
    assert process.returncode == 130
    await far_end.aclose()


# decode


async def test_decode_marks_what_is_plausible(capsys: Capture) -> None:
    job: Callable[[], int] = await cli.main(["decode", "4366", "199A"], standalone_mode=False)
    assert job() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["hexadecimal", "4366", "199a"]
    assert lines[1].split() == ["decimal", "17254", "6554"]
    assert [line.split() for line in lines if line.startswith("*")] == [
        ["*", "f32", "ABCD", "230.1"]
    ]
    assert sum("u32" in line for line in lines) == 4


# ports


def machine(root: Path) -> Path:
    """Device files of a machine with an FTDI adapter in use, and a port on the board."""
    usb = root / "sys/devices/usb1/1-2"
    tty = usb / "1-2:1.0/ttyUSB0"
    board = root / "sys/devices/fe201000.serial"
    absent = root / "sys/devices/absent"
    for directory in (tty, board, absent, root / "dev/serial/by-id", root / "sys/class/tty"):
        directory.mkdir(parents=True)
    for name, text in {
        "idVendor": "0403",
        "idProduct": "6001",
        "manufacturer": "FTDI",
        "product": "FT232R USB UART",
        "serial": "A10K",
    }.items():
        (usb / name).write_text(f"{text}\n")
    (tty / "latency_timer").write_text("16\n")
    (tty / "driver").symlink_to("../../../../bus/usb-serial/drivers/ftdi_sio")
    (board / "driver").symlink_to("../../bus/amba/drivers/uart-pl011")
    for name, device in {"ttyUSB0": tty, "ttyAMA0": board, "ttyS0": absent, "tty1": None}.items():
        entry = root / "sys/class/tty" / name
        entry.mkdir()
        if device is not None:
            (entry / "device").symlink_to(device)
    (root / "sys/class/tty/ttyS0/type").write_text("0\n")
    (root / "dev/serial/by-id/usb-FTDI_A10K-if00-port0").symlink_to("../../ttyUSB0")
    (root / "proc/4711/fd").mkdir(parents=True)
    (root / "proc/4711/comm").write_text("mbpoll\n")
    (root / "proc/4711/fd/3").symlink_to("/dev/ttyUSB0")
    (root / "proc/self").mkdir()
    return root


def test_ports_tell_the_lasting_name_chip_latency_and_user(tmp_path: Path, capsys: Capture) -> None:
    assert show_ports(partial(list_ports, machine(tmp_path))) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "/dev/ttyAMA0"
    assert shown[1] == "    driver uart-pl011"
    assert shown[2].startswith("    free")
    assert shown[3:] == [
        "/dev/serial/by-id/usb-FTDI_A10K-if00-port0",
        "    /dev/ttyUSB0",
        "    FTDI FT232R USB UART (0403:6001) serial A10K",
        "    driver ftdi_sio",
        "    latency 16 ms",
        "    in use by mbpoll (4711)",
    ]


def test_a_machine_without_adapters_says_so(tmp_path: Path, capsys: Capture) -> None:
    assert show_ports(partial(list_ports, tmp_path)) == 0
    assert capsys.readouterr().out == "there is no serial adapter\n"


def test_an_adapter_without_a_lasting_name_is_warned_of(tmp_path: Path, capsys: Capture) -> None:
    machine(tmp_path)
    (tmp_path / "dev/serial/by-id/usb-FTDI_A10K-if00-port0").unlink()
    show_ports(partial(list_ports, tmp_path))
    assert "/dev/ttyUSB0\n    may be another adapter after" in capsys.readouterr().out


# bits


def inverter() -> tuple[RegisterImage, Target]:
    image = RegisterImage(load_map("solis_s5_eh1p"))
    image.set("energy_storage_mode_setting", 0b1001)
    line = SimLine("roof", {"inverter": ServedUnit(1, image)})
    return image, Target(line.open, "solis_s5_eh1p")


async def test_one_bit_is_switched_and_the_others_stay(
    autojump_clock: Clock, capsys: Capture
) -> None:
    image, target = inverter()
    name = "energy_storage_mode_setting"
    wish = (f"{name}:Allow charge from grid=on", f"{name}:Self use=off")
    assert await write_device(target, orders(*wish, force=True, dry_run=True)) == 0
    assert image.get(name) == 0b1001
    assert await write_device(target, orders(*wish, force=True)) == 0
    assert image.get(name) == 0b101000
    assert capsys.readouterr().out.splitlines() == [
        f"{name}: Allow charge from grid on, Self use off",
        "nothing was sent",
        f"{name} = Allow charge from grid on, Self use off"
        " (was 9 (Self use, Battery wakeup enable))",
    ]


async def test_all_that_is_wrong_with_bits_is_told_at_once(autojump_clock: Clock) -> None:
    image, target = inverter()
    name = "energy_storage_mode_setting"
    wishes = (f"{name}:Self uses=on", f"{name}:Backup=maybe", "power_on_off:On=on", "nope:On=on")
    with pytest.raises(EncodeError) as caught:
        await write_device(target, orders(*wishes, force=True))
    said = str(caught.value).splitlines()
    assert "no bit 'Self uses'; did you mean 'Self use'?" in said[0]
    assert "'maybe' is neither on nor off" in said[1]
    assert "power_on_off has no bits with labels" in said[2]
    assert "has no register 'nope'" in said[3]
    with pytest.raises(EncodeError, match="guarded"):
        await write_device(target, orders(f"{name}:Backup=on"))
    assert image.get(name) == 0b1001
