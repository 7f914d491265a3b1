"""Pseudo-terminals as lines, and the simulated house behind them."""

from __future__ import annotations

import os
import tty
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio
from configs import small_house

from grug.errors import LineError
from grug.protocol.rtu import crc_is_good, with_crc
from grug.protocol.server import RequestFramer, read_reply
from grug.sim import process
from grug.transport.pty import open_pty

READ_POWER = with_crc(bytes((1, 4, 0, 52, 0, 2)))
PATIENCE_S = 10.0


class Slave:
    """The far end, held as a serial port would be."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.fd)

    async def read(self, count: int) -> bytes:
        data = b""
        with trio.fail_after(PATIENCE_S):
            while len(data) < count:
                await trio.lowlevel.wait_readable(self.fd)
                data += os.read(self.fd, 4096)
        return data

    def write(self, data: bytes) -> None:
        assert os.write(self.fd, data) == len(data)

    def close(self) -> None:
        os.close(self.fd)


async def test_bytes_pass_unchanged_both_ways(tmp_path: Path) -> None:
    line = open_pty(tmp_path / "port")
    slave = Slave(tmp_path / "port")
    every_byte = bytes(range(256))
    slave.write(every_byte)
    got = b""
    with trio.fail_after(PATIENCE_S):
        while len(got) < 256:
            got += await line.receive_some()
    assert got == every_byte
    await line.send_all(every_byte)
    assert await slave.read(256) == every_byte
    slave.close()
    await line.aclose()
    assert not (tmp_path / "port").exists()


async def test_line_outlives_those_who_open_and_close_it(tmp_path: Path) -> None:
    line = open_pty(tmp_path / "port")
    await line.send_all(b"nobody is there to hear this")
    for text in (b"one", b"two"):
        assert not line.is_held
        slave = Slave(tmp_path / "port")
        assert line.is_held
        slave.write(text)
        with trio.fail_after(PATIENCE_S):
            assert await line.receive_some() == text
        await line.send_all(text)
        assert await slave.read(3) == text, "nothing older comes first"
        slave.close()
    await line.aclose()


async def test_waiting_reader_gets_the_next_ones_bytes(tmp_path: Path) -> None:
    line = open_pty(tmp_path / "port")
    got: list[bytes] = []

    async def receive() -> None:
        got.append(await line.receive_some())

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked(0.01)
            Slave(tmp_path / "port").close()
            slave = Slave(tmp_path / "port")
            slave.write(b"late")
    assert got == [b"late"]
    slave.close()
    await line.aclose()


async def test_closed_line_says_so_and_wakes_its_reader(tmp_path: Path) -> None:
    line = open_pty(tmp_path / "port")
    slave = Slave(tmp_path / "port")
    refused: list[str] = []

    async def receive() -> None:
        try:
            await line.receive_some()
        except LineError as error:
            refused.append(str(error))

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await line.aclose()
    assert refused == [f"{tmp_path / 'port'}: is closed"]
    with pytest.raises(LineError):
        await line.send_all(b"x")
    await line.aclose()
    slave.close()


async def test_unread_bytes_are_discarded_and_counted(tmp_path: Path) -> None:
    line = open_pty(tmp_path / "port")
    assert line.discard_input() == 0
    slave = Slave(tmp_path / "port")
    slave.write(b"12345")
    assert line.discard_input() == 5
    slave.close()
    await line.aclose()


async def test_link_that_cannot_be_made_is_a_line_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LineError, match="port"):
        open_pty(tmp_path / "file" / "port")


async def answer_as_meter(slave: Slave, power_w: int, asked: list[int]) -> None:
    """Be the fake meter at an inverter's port; notes the unit ids that are asked."""
    framer = RequestFramer(9600)
    words = bytearray(130)
    words[26:28] = power_w.to_bytes(2, "big", signed=True)
    while True:
        await trio.lowlevel.wait_readable(slave.fd)
        for request in framer.receive(os.read(slave.fd, 4096), trio.current_time()):
            asked.append(request.unit_id)
            slave.write(read_reply(request, bytes(words)))


async def wait_for_belief(inverter: Slave, power_w: int) -> None:
    """Ask an inverter's COM port until it tells that its meter said so."""
    with trio.fail_after(PATIENCE_S):
        while True:
            inverter.write(with_crc(bytes((2, 4, 0x81, 0xEF, 0, 2))))  # 33263
            reply = await inverter.read(9)
            if int.from_bytes(reply[3:7], "big", signed=True) == power_w:
                return


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


async def wait_until(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE_S):
        while True:
            if is_so():
                return
            await trio.sleep(0.01)


@pytest.mark.slow
async def test_house_behind_terminals_answers_asks_and_takes_faults(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(process.run, small_house(), tmp_path, seed=1, start_hour=12.0))
        await wait_until(lambda: names_in(tmp_path) == {*small_house().line, "faults.sock"})
        grid = Slave(tmp_path / "grid")
        grid.write(READ_POWER)
        assert crc_is_good(await grid.read(9))
        meter = Slave(tmp_path / "meter2")
        asked: list[int] = []
        nursery.start_soon(answer_as_meter, meter, -250, asked)
        inverter = Slave(tmp_path / "com2")
        await wait_for_belief(inverter, -250)
        assert set(asked) == {2}

        stream = await trio.open_unix_socket(str(tmp_path / "faults.sock"))
        await stream.send_all(b"grid:unplug+1.5\nnonsense\n")
        said = b""
        while said.count(b"\n") < 2:
            said += await stream.receive_some()
        assert said.startswith(b"ok\n")
        assert b"is no fault" in said
        await stream.aclose()
        await wait_until(lambda: "grid" not in names_in(tmp_path))
        await wait_until(lambda: "grid" in names_in(tmp_path))
        grid.close()
        again = Slave(tmp_path / "grid")
        again.write(READ_POWER)
        assert crc_is_good(await again.read(9))
        nursery.cancel_scope.cancel()
    assert names_in(tmp_path) == set()
    for slave in (again, meter, inverter):
        slave.close()
