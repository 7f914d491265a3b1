"""grug asks units that others made: libmodbus (C) and pymodbus, over terminals and TCP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio
from wire import free_port, running, server_command, wire

import grug
from grug.device.line import DeviceLine
from grug.messages import ReadFailed, ReadRegisters, RegistersRead, WriteDone, WriteRegisters
from grug.model import FailureKind, Span, Table

pytestmark = pytest.mark.slow

KINDS = [
    ("libmodbus", "rtu"),
    ("pymodbus", "rtu"),
    ("libmodbus", "tcp"),
    ("pymodbus", "tcp"),
    ("pymodbus", "rtu+tcp"),
]


@contextmanager
def unit_at(peer: str, kind: str) -> Iterator[str]:
    """A foreign unit with id 7; gives the port where grug finds it."""
    if kind == "rtu":
        with wire() as (ours, theirs), running(*server_command(peer, "rtu", theirs, "7")):
            yield ours
    else:
        port = str(free_port())
        with running(*server_command(peer, kind, port)):
            yield f"{kind}://127.0.0.1:{port}"


@asynccontextmanager
async def line_to(peer: str, kind: str) -> AsyncIterator[DeviceLine]:
    with unit_at(peer, kind) as port:
        async with grug.open_line(port, baudrate=115200, reply_timeout_s=2.0) as line:
            with trio.fail_after(30):
                yield line


def read(*spans: Span) -> ReadRegisters:
    return ReadRegisters(7, spans, trio.current_time() + 10)


def write(table: Table, address: int, block: bytes) -> WriteRegisters:
    return WriteRegisters(7, table, address, block, trio.current_time() + 10, "test", "to see")


def words(first: int, count: int) -> bytes:
    return b"".join(number.to_bytes(2, "big") for number in range(first, first + count))


@pytest.mark.parametrize(("peer", "kind"), KINDS)
async def test_all_four_tables_are_read_and_both_writable_ones_written(
    peer: str, kind: str
) -> None:
    async with line_to(peer, kind) as line:
        reply = await line.ask(
            read(
                Span(Table.HOLDING_REGISTER, 3, 125),
                Span(Table.INPUT_REGISTER, 0, 40),
                Span(Table.COIL, 5, 30),
                Span(Table.DISCRETE_INPUT, 1, 9),
            )
        )
        assert isinstance(reply, RegistersRead), reply
        holding, inputs, coils, discrete = reply.blocks
        assert holding == words(3, 125)
        assert inputs == words(1000, 40)
        assert coils == bytes(at % 3 == 0 for at in range(5, 35))
        assert discrete == bytes(at % 2 == 0 for at in range(1, 10))

        for table, address, block in (
            (Table.HOLDING_REGISTER, 10, b"\xab\xcd"),
            (Table.HOLDING_REGISTER, 20, bytes(range(2 * 123))),
            (Table.COIL, 4, b"\x01"),
            (Table.COIL, 10, b"\x01\x00\x00\x01\x01\x00\x01\x00\x01\x01"),
        ):
            assert isinstance(await line.ask(write(table, address, block)), WriteDone)
            count = len(block) if table.is_bits else len(block) // 2
            reply = await line.ask(read(Span(table, address, count)))
            assert isinstance(reply, RegistersRead)
            assert reply.blocks == (block,)


@pytest.mark.parametrize(("peer", "kind"), KINDS)
async def test_what_the_unit_does_not_have_is_refused_and_the_rest_goes_on(
    peer: str, kind: str
) -> None:
    async with line_to(peer, kind) as line:
        refused = await line.ask(read(Span(Table.HOLDING_REGISTER, 5000, 2)))
        assert isinstance(refused, ReadFailed)
        assert refused.kind is FailureKind.REFUSED
        assert "exception 2" in refused.text
        reply = await line.ask(read(Span(Table.HOLDING_REGISTER, 199, 1)))
        assert isinstance(reply, RegistersRead)
        assert reply.blocks == (words(199, 1),)


@pytest.mark.parametrize(("peer", "kind"), KINDS)
async def test_hundreds_of_transactions_in_a_row_all_fit(peer: str, kind: str) -> None:
    async with line_to(peer, kind) as line:
        for at in range(300):
            first, count = at % 70, 1 + at % 100
            reply = await line.ask(read(Span(Table.HOLDING_REGISTER, first, count)))
            assert isinstance(reply, RegistersRead), reply
            assert reply.blocks == (words(first, count),)
