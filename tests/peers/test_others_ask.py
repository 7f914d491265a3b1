"""Clients that others made ask grug: pymodbus and minimalmodbus (mbpoll is in test_mbpoll)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import minimalmodbus
import pytest
import trio
from pymodbus.client import ModbusSerialClient

import grug
from grug.actors import fakemeter
from grug.codec.image import RegisterImage
from grug.messages import MeterImage
from grug.runtime.feed import Feed
from grug.transport.line import Line
from grug.transport.maps import load_map
from grug.transport.pty import open_pty

pytestmark = pytest.mark.slow


@dataclass
class Served:
    path: str
    image: RegisterImage
    changes: list[str]


@asynccontextmanager
async def charger_served(tmp_path: Path) -> AsyncIterator[Served]:
    """A charger's map as unit 7, at a terminal."""
    served = Served(str(tmp_path / "port"), RegisterImage(load_map("abb_terra")), [])
    served.image.set_many(("current", "voltage", "current_limit"), (9.871, 230.1, 16.0))

    async def open_far_end() -> Line:
        return open_pty(Path(served.path))

    async def serve(task_status: trio.TaskStatus[object]) -> None:
        await grug.serve(
            open_far_end,
            7,
            served.image,
            baudrate=115200,
            on_write=served.changes.extend,
            task_status=task_status,
        )

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        with trio.fail_after(30):
            yield served
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def meter_served(tmp_path: Path, power_w: float) -> AsyncIterator[str]:
    """The fake meter as unit 1, at a terminal, with a fresh image."""
    path = tmp_path / "meter"
    feed = Feed()

    async def open_far_end() -> Line:
        return open_pty(path)

    async def run() -> None:
        settings = fakemeter.MeterSettings("fake1", 1, load_map("acrel_1_phase"), 9600, "meter1")
        await fakemeter.run(feed, settings, open_line=open_far_end)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.sleep(0.05)
        now_s = trio.current_time()
        feed.publish(
            MeterImage("fake1", ("voltage", "active_power"), (230.1, power_w), now_s, now_s + 60)
        )
        await trio.sleep(0.05)
        with trio.fail_after(30):
            yield str(path)
        nursery.cancel_scope.cancel()


def pymodbus_client(path: str, baudrate: int) -> ModbusSerialClient:
    client = ModbusSerialClient(path, baudrate=baudrate, timeout=1, retries=0)
    assert client.connect()
    return client


def minimalmodbus_instrument(path: str, unit: int, baudrate: int) -> minimalmodbus.Instrument:
    instrument = minimalmodbus.Instrument(path, unit)
    instrument.serial.baudrate = baudrate
    instrument.serial.timeout = 1.0
    return instrument


async def test_pymodbus_reads_and_writes_a_served_map(tmp_path: Path) -> None:
    async with charger_served(tmp_path) as served:
        limit = served.image.register_map["current_limit"]
        current = served.image.register_map["current"]

        def ask() -> None:
            client = pymodbus_client(served.path, 115200)
            try:
                span = current.span
                reply = client.read_input_registers(span.address, count=span.count, device_id=7)
                assert not reply.isError()
                assert reply.registers[-1] == 9871
                reply = client.write_registers(limit.address, [0, 10500], device_id=7)
                assert not reply.isError()
                reply = client.read_holding_registers(60000, count=1, device_id=7)
                assert reply.exception_code == 2
            finally:
                client.close()

        await trio.to_thread.run_sync(ask)
        assert served.changes == ["current_limit"]
        assert served.image.get("current_limit") == 10.5


async def test_minimalmodbus_reads_and_writes_a_served_map(tmp_path: Path) -> None:
    async with charger_served(tmp_path) as served:
        limit = served.image.register_map["current_limit"]
        current = served.image.register_map["current"]

        def ask() -> None:
            instrument = minimalmodbus_instrument(served.path, 7, 115200)
            try:
                assert instrument.read_long(current.address, functioncode=4) == 9871
                instrument.write_long(limit.address, 10500)
                assert instrument.read_long(limit.address) == 10500
                with pytest.raises(minimalmodbus.IllegalRequestError):
                    instrument.read_register(60000)
            finally:
                instrument.serial.close()

        await trio.to_thread.run_sync(ask)
        assert served.changes == ["current_limit"]
        assert served.image.get("current_limit") == 10.5


async def test_pymodbus_reads_the_fake_meter(tmp_path: Path) -> None:
    async with meter_served(tmp_path, -1234.0) as path:

        def ask() -> list[int]:
            client = pymodbus_client(path, 9600)
            try:
                return list(client.read_holding_registers(0, count=65, device_id=1).registers)
            finally:
                client.close()

        registers = await trio.to_thread.run_sync(ask)
    assert (registers[11], registers[13]) == (2301, 0x10000 - 1234)


async def test_minimalmodbus_reads_the_fake_meter(tmp_path: Path) -> None:
    async with meter_served(tmp_path, -1234.0) as path:

        def ask() -> tuple[float, int]:
            instrument = minimalmodbus_instrument(path, 1, 9600)
            try:
                return (
                    instrument.read_register(11, 1),
                    instrument.read_register(13, signed=True),
                )
            finally:
                instrument.serial.close()

        assert await trio.to_thread.run_sync(ask) == (230.1, -1234)
