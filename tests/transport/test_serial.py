"""Serial lines, over pseudo-terminals: bytes both ways, and advice when it goes wrong."""

from __future__ import annotations

import array
import fcntl
import os
import pty
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from grug.errors import LineError
from grug.transport import serial
from grug.transport.serial import port_advice, serial_opener


class Adapter:
    """A pseudo-terminal under a link, as an adapter is under its by-id name."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.plug()

    def plug(self) -> None:
        self.far, near = pty.openpty()
        self.link.symlink_to(os.ttyname(near))
        os.close(near)

    def unplug(self) -> None:
        os.close(self.far)
        self.link.unlink()


@pytest.fixture
def adapter(tmp_path: Path) -> Iterator[Adapter]:
    adapter = Adapter(tmp_path / "usb-adapter")
    yield adapter
    if adapter.link.is_symlink():
        adapter.unplug()


async def test_bytes_go_both_ways_unchanged(adapter: Adapter) -> None:
    line = await serial_opener(str(adapter.link), 9600)()
    everything = bytes(range(256))
    await line.send_all(everything)
    assert os.read(adapter.far, 4096) == everything
    os.write(adapter.far, everything)
    received = b""
    while len(received) < 256:
        received += await line.receive_some()
    assert received == everything
    await line.aclose()
    await line.aclose()


async def test_receiving_waits_and_can_be_cancelled(adapter: Adapter) -> None:
    line = await serial_opener(str(adapter.link), 9600)()
    with trio.move_on_after(0.01) as scope:
        await line.receive_some()
    assert scope.cancelled_caught
    await line.aclose()


async def test_discarding_counts_what_was_there(adapter: Adapter) -> None:
    line = await serial_opener(str(adapter.link), 9600)()
    os.write(adapter.far, b"stale")
    await trio.lowlevel.wait_readable(line._fd)  # type: ignore[attr-defined]
    assert line.discard_input() == 5
    assert line.discard_input() == 0
    await line.aclose()


async def test_unplugging_wakes_the_reader_with_an_error(adapter: Adapter) -> None:
    line = await serial_opener(str(adapter.link), 9600)()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, adapter.unplug)
        with pytest.raises(LineError, match="unplugged"):
            await line.receive_some()
    with pytest.raises(LineError, match="unplugged"):
        await line.send_all(b"anyone?")
    with pytest.raises(LineError, match="unplugged"):
        line.discard_input()
    await line.aclose()


async def test_the_same_link_opens_again_after_a_replug(adapter: Adapter) -> None:
    opener = serial_opener(str(adapter.link), 9600, "8E1")
    line = await opener()
    adapter.unplug()
    with pytest.raises(LineError):
        await line.receive_some()
    await line.aclose()
    with pytest.raises(LineError, match="is not there"):
        await opener()
    adapter.plug()
    line = await opener()
    os.write(adapter.far, b"back")
    assert await line.receive_some() == b"back"
    await line.aclose()


async def test_a_second_opener_is_told_who_has_it(adapter: Adapter) -> None:
    opener = serial_opener(str(adapter.link), 9600)
    line = await opener()
    with pytest.raises(LineError, match=rf"in use by .*\({os.getpid()}\)"):
        await opener()
    await line.aclose()
    line = await opener()
    await line.aclose()


async def test_bytes_from_before_opening_are_not_received(adapter: Adapter) -> None:
    os.write(adapter.far, b"\x01\x02")
    line = await serial_opener(str(adapter.link), 9600)()
    os.write(adapter.far, b"\x03\x04")
    assert await line.receive_some() == b"\x03\x04"
    await line.aclose()


async def test_a_file_is_not_a_port(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(LineError, match="not a serial port"):
        await serial_opener(str(path), 9600)()


async def test_permission_denied_names_the_group(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(fcntl, "flock", deny)  # Root, as in CI, is never denied in earnest.
    with pytest.raises(LineError, match="group dialout"):
        await serial_opener(str(adapter.link), 9600)()


@pytest.mark.parametrize("framing", ["9N1", "8X1", "8N3", "8N", ""])
def test_framing_is_checked(framing: str) -> None:
    with pytest.raises(ValueError, match="framing"):
        serial_opener("/dev/null", 9600, framing)


def test_a_name_that_changes_with_the_plug_is_advised_against(tmp_path: Path) -> None:
    (tmp_path / "usb-FTDI_1234-if00-port0").symlink_to("/dev/ttyUSB7")
    advice = port_advice("/dev/ttyUSB7", by_id=tmp_path)
    assert advice.endswith(f"write {tmp_path}/usb-FTDI_1234-if00-port0")
    assert "ttyUSB8" in port_advice("/dev/ttyUSB8", by_id=tmp_path)
    assert port_advice("/dev/serial/by-id/usb-FTDI_1234-if00-port0", by_id=tmp_path) == ""


@pytest.mark.parametrize(("rs485", "flags"), [("rts", 3), ("rts-low", 5)])
async def test_the_kernel_switches_the_direction_where_that_is_configured(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch, rs485: str, flags: int
) -> None:
    seen: list[bytes] = []
    really_ioctl = fcntl.ioctl

    def ioctl(fd: int, request: int, *more: array.array[int]) -> object:
        if request == 0x542F:  # A terminal's driver has no such thing.
            seen.append(more[0].tobytes())
            return 0
        return really_ioctl(fd, request, *more)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    line = await serial_opener(str(adapter.link), 9600, rs485=rs485)()
    await line.aclose()
    assert seen == [flags.to_bytes(4, sys.byteorder) + bytes(28)]
    await (await serial_opener(str(adapter.link), 9600)()).aclose()
    assert len(seen) == 1


async def test_a_driver_that_cannot_switch_the_direction_is_refused(adapter: Adapter) -> None:
    with pytest.raises(LineError, match=r"does not switch the direction.*leave out 'rs485'"):
        await serial_opener(str(adapter.link), 9600, rs485="rts")()
    line = await serial_opener(str(adapter.link), 9600)()  # And it has let go of the port.
    await line.aclose()


def test_rs485_is_checked() -> None:
    with pytest.raises(ValueError, match="off, rts, rts-low"):
        serial_opener("/dev/null", 9600, rs485="yes")


async def test_driver_and_chip_are_asked_to_hand_bytes_over_at_once(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flags: list[int] = []
    really_ioctl = fcntl.ioctl

    def ioctl(fd: int, request: int, *more: array.array[int]) -> object:
        if request == serial.TIOCGSERIAL:  # A terminal's driver has no such thing.
            return 0
        if request == serial.TIOCSSERIAL:
            flags.append(more[0][4])
            return 0
        return really_ioctl(fd, request, *more)

    timer = tmp_path / Path(os.readlink(adapter.link)).name / "device" / "latency_timer"
    timer.parent.mkdir(parents=True)
    timer.write_text("16\n")
    monkeypatch.setattr(serial, "TTYS", tmp_path)
    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    await (await serial_opener(str(adapter.link), 9600)()).aclose()
    assert flags == [1 << 13]
    assert timer.read_text() == "1"
