"""A map served over Modbus TCP: mbpoll, pymodbus and grug itself ask it, several at once."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
import trio
from pymodbus.client import ModbusTcpClient
from wire import free_port

import grug
from grug.codec.image import RegisterImage
from grug.transport.maps import load_map
from grug.transport.tcp_server import CLIENTS_MAX

pytestmark = pytest.mark.slow


@dataclass
class Served:
    port: int
    image: RegisterImage
    changes: list[str]

    @property
    def place(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"


@asynccontextmanager
async def served_charger() -> AsyncIterator[Served]:
    """A charger's map as unit 7 of a Modbus TCP server that has functions 22 and 23, too."""
    charger = load_map("abb_terra")
    charger = replace(charger, facts=replace(charger.facts, functions=frozenset({22, 23})))
    served = Served(free_port(), RegisterImage(charger), [])
    served.image.set_many(("current", "voltage", "current_limit"), (9.871, 230.1, 16.0))

    async def serve(task_status: trio.TaskStatus[object]) -> None:
        changes = served.changes.extend
        await grug.serve(served.place, 7, served.image, on_write=changes, task_status=task_status)

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        with trio.fail_after(30):
            yield served
        nursery.cancel_scope.cancel()


async def test_mbpoll_reads_it() -> None:
    program = shutil.which("mbpoll")
    if program is None:
        pytest.skip("mbpoll is not installed (Debian package mbpoll)")
    async with served_charger() as served:
        span = served.image.register_map["current"].span
        where = ["-r", str(span.address), "-c", str(span.count)]
        common = [program, "-m", "tcp", "-p", str(served.port), "-1", "-0", "-a", "7", "-t", "3"]
        done = await trio.run_process(
            [*common, *where, "127.0.0.1"],
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
        text = done.stdout.decode()
        assert done.returncode == 0, text
        assert re.findall(r"\[\d+\]:\s+(\d+)", text)[-1] == "9871"


async def test_pymodbus_clients_read_and_write_it_at_the_same_time() -> None:
    async with served_charger() as served:
        limit = served.image.register_map["current_limit"].address
        current = served.image.register_map["current"].span

        def ask() -> None:
            clients = [ModbusTcpClient("127.0.0.1", port=served.port, retries=0) for _ in range(3)]
            for client in clients:
                assert client.connect()
            for unit in (7, 0, 255):
                for client in clients:
                    reply = client.read_input_registers(
                        current.address, count=current.count, device_id=unit
                    )
                    assert reply.registers[-1] == 9871
            first = clients[0]
            assert not first.write_registers(limit, [0, 10500], device_id=7).isError()
            masked = first.mask_write_register(
                address=limit + 1, and_mask=0xFFFE, or_mask=1, device_id=7
            )
            assert not masked.isError()
            both = first.readwrite_registers(
                read_address=limit, read_count=2, address=limit, values=[0, 9000], device_id=7
            )
            assert both.registers == [0, 9000]
            assert first.read_holding_registers(limit, count=1, device_id=8).exception_code == 11
            assert first.read_holding_registers(60000, count=1, device_id=7).exception_code == 2
            for client in clients:
                client.close()

        await trio.to_thread.run_sync(ask)
        assert served.changes == ["current_limit"] * 3
        assert served.image.get("current_limit") == 9.0


async def test_grug_asks_grug() -> None:
    async with served_charger() as served, grug.open_line(served.place) as line:
        device = line.device(served.image.register_map, unit=7)
        assert await device.read("current", "voltage") == {"current": 9.871, "voltage": 230.1}
        await device.write(current_limit=12.0, why="test", verify=True)
        assert served.image.get("current_limit") == 12.0


async def test_one_client_too_many_costs_the_longest_silent_one_its_connection() -> None:
    async with served_charger() as served:
        request = bytes.fromhex("0001 0000 0006 07 04 400E 0002")
        streams = []
        for _ in range(CLIENTS_MAX):
            stream = await trio.open_tcp_stream("127.0.0.1", served.port)
            await stream.send_all(request)
            await stream.receive_some()
            streams.append(stream)
        await streams[0].send_all(request)
        await streams[0].receive_some()
        async with await trio.open_tcp_stream("127.0.0.1", served.port) as late:
            await late.send_all(request)
            assert await late.receive_some()
            assert await streams[1].receive_some() == b""
            await streams[0].send_all(request)
            assert await streams[0].receive_some()
        for stream in streams:
            await stream.aclose()


async def test_who_talks_nonsense_is_hung_up_on_and_the_others_are_not() -> None:
    async with served_charger() as served, grug.open_line(served.place) as line:
        device = line.device(served.image.register_map, unit=7)
        await device.read("voltage")
        async with await trio.open_tcp_stream("127.0.0.1", served.port) as rude:
            await rude.send_all(b"GET / HTTP/1.1\r\n\r\n")
            assert await rude.receive_some() == b""
        assert await device.read("voltage") == {"voltage": 230.1}


async def test_a_port_that_is_taken_is_a_named_error() -> None:
    async with served_charger() as served:
        with pytest.raises(grug.LineError, match="cannot be listened on: Address already in use"):
            await grug.serve(served.place, 7, served.image)
