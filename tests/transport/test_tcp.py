"""Lines over TCP against gateways with every bad habit, on this machine's own network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio

from grug.actors import bus
from grug.errors import LineError
from grug.messages import LineChanged, ReadFailed, ReadRegisters, RegistersRead
from grug.model import FailureKind, Span, Table
from grug.protocol.framing import Framing
from grug.protocol.mbap import HEADER
from grug.protocol.ports import TcpPort
from grug.protocol.rtu import with_crc
from grug.runtime.calls import BusCaller, open_calls
from grug.runtime.feed import Feed, Subscription
from grug.transport.ports import port_framing
from grug.transport.tcp import tcp_opener

pytestmark = pytest.mark.slow

Gateway = Callable[[trio.SocketStream, "Habits"], Awaitable[None]]


@dataclass
class Habits:
    """What a gateway does besides, and what it has seen."""

    connections: int = 0
    requests: list[int] = field(default_factory=list)
    """Addresses asked for."""


def words_at(address: int, count: int) -> bytes:
    return b"".join(at.to_bytes(2, "big") for at in range(address, address + count))


def reply_to(request: bytes, number: int | None = None) -> bytes:
    asked, _, _ = HEADER.unpack_from(request)
    address, count = int.from_bytes(request[8:10], "big"), int.from_bytes(request[10:12], "big")
    contents = request[6:8] + bytes((2 * count,)) + words_at(address, count)
    return HEADER.pack(asked if number is None else number, 0, len(contents)) + contents


async def next_request(stream: trio.SocketStream, habits: Habits) -> bytes:
    """The next one; empty when there are no more."""
    data = bytes(await stream.receive_some(12))
    if data:
        habits.requests.append(int.from_bytes(data[8:10], "big"))
    return data


async def good(stream: trio.SocketStream, habits: Habits) -> None:
    while request := await next_request(stream, habits):
        await stream.send_all(reply_to(request))


async def closing(stream: trio.SocketStream, habits: Habits) -> None:
    if request := await next_request(stream, habits):
        await stream.send_all(reply_to(request))


async def slowly_closing(stream: trio.SocketStream, habits: Habits) -> None:
    """Closes late enough for the next request to cross the closing."""
    if request := await next_request(stream, habits):
        await stream.send_all(reply_to(request))
        await trio.sleep(0.02)


async def disordered(stream: trio.SocketStream, habits: Habits) -> None:
    """Answers every other request late, before the next one's answer."""
    kept = b""
    while request := await next_request(stream, habits):
        if kept:
            await stream.send_all(kept + reply_to(request))
            kept = b""
        else:
            kept = reply_to(request)


async def lagging(stream: trio.SocketStream, habits: Habits) -> None:
    """On its first connection it answers each request with the one before."""
    is_first = habits.connections == 1
    last = b""
    while request := await next_request(stream, habits):
        if not is_first:
            await stream.send_all(reply_to(request))
        elif last:
            await stream.send_all(reply_to(last))
        last = request


async def deaf_at_first(stream: trio.SocketStream, habits: Habits) -> None:
    """Its first connection is half open: nothing ever comes."""
    if habits.connections > 1:
        await good(stream, habits)
    while await next_request(stream, habits):
        pass


async def babbling(stream: trio.SocketStream, habits: Habits) -> None:
    nonsense = b"HTTP/1.1 400 Bad Request\r\n\r\n" if habits.connections == 1 else b""
    while request := await next_request(stream, habits):
        await stream.send_all(nonsense or reply_to(request))


async def breaking_off(stream: trio.SocketStream, habits: Habits) -> None:
    is_first = habits.connections == 1
    while request := await next_request(stream, habits):
        await stream.send_all(reply_to(request)[: 10 if is_first else None])


@dataclass
class Bench:
    bus: BusCaller
    habits: Habits
    changes: Subscription

    async def read(self, address: int, count: int = 2) -> RegistersRead | ReadFailed:
        span = Span(Table.HOLDING_REGISTER, address, count)
        reply = await self.bus.ask(ReadRegisters(1, (span,), trio.current_time() + 10))
        if isinstance(reply, RegistersRead):
            assert reply.blocks == (words_at(address, count),), "another request's words"
            return reply
        assert isinstance(reply, ReadFailed)
        return reply

    async def good_of(self, requests: int) -> int:
        return sum([isinstance(await self.read(at), RegistersRead) for at in range(requests)])

    @property
    def ups(self) -> list[bool]:
        return [fact.is_up for fact in self.changes.drain() if isinstance(fact, LineChanged)]


@asynccontextmanager
async def bus_to(gateway: Gateway, silence_s_max: float = 60.0) -> AsyncIterator[Bench]:
    habits = Habits()
    feed = Feed()
    caller, calls = open_calls()
    changes = feed.subscribe("test", LineChanged)
    timing = bus.LineTiming(
        baudrate=230400,
        reply_timeout_s=0.1,
        silence_s_max=silence_s_max,
        framing=port_framing("tcp://gateway"),
    )

    async def serve(stream: trio.SocketStream) -> None:
        habits.connections += 1
        try:
            async with stream:
                await gateway(stream, habits)
        except trio.BrokenResourceError:
            pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        place = TcpPort("127.0.0.1", listeners[0].socket.getsockname()[1], False)

        async def run() -> None:
            await bus.run(
                calls,
                feed,
                line_name="line",
                open_line=tcp_opener(place),
                timing=timing,
                units={},
            )

        nursery.start_soon(run)
        await trio.sleep(0.05)
        with trio.fail_after(30):
            yield Bench(caller, habits, changes)
        nursery.cancel_scope.cancel()


async def test_a_good_gateway_keeps_its_one_connection() -> None:
    async with bus_to(good) as bench:
        assert await bench.good_of(100) == 100
        assert bench.habits.connections == 1
        assert bench.ups == [True]


async def test_a_gateway_that_closes_after_each_reply_answers_every_request() -> None:
    async with bus_to(closing) as bench:
        assert await bench.good_of(50) == 50
        assert bench.habits.requests == list(range(50)), "nothing was asked twice"
        assert bench.ups == [True]


async def test_requests_that_cross_the_closing_are_lost_only_at_first() -> None:
    async with bus_to(slowly_closing) as bench:
        first = await bench.good_of(10)
        assert first >= 5
        assert await bench.good_of(20) == 20
        assert bench.ups == [True]


async def test_an_idle_connection_that_was_closed_is_opened_anew_unnoticed() -> None:
    async def impatient(stream: trio.SocketStream, habits: Habits) -> None:
        with trio.move_on_after(0.2):
            await good(stream, habits)

    async with bus_to(impatient) as bench:
        for _ in range(3):
            assert await bench.good_of(3) == 3
            await trio.sleep(0.4)
        assert bench.ups == [True]


async def test_a_gateway_that_answers_out_of_order_never_gives_another_answer() -> None:
    async with bus_to(disordered) as bench:
        assert await bench.good_of(10) == 5
        assert bench.habits.connections == 1


@pytest.mark.parametrize("gateway", [lagging, babbling, breaking_off])
async def test_a_connection_out_of_step_is_replaced(gateway: Gateway) -> None:
    async with bus_to(gateway) as bench:
        assert await bench.good_of(4) <= 3
        await trio.sleep(2.3)  # Three failures in a row, and a unit is only tried now and then.
        assert await bench.good_of(10) == 10
        assert bench.habits.connections == 2
        assert bench.ups == [True]


async def test_a_half_open_connection_is_replaced_after_a_while_of_silence() -> None:
    async with bus_to(deaf_at_first, silence_s_max=0.4) as bench:
        replies = []
        began_s = trio.current_time()
        while trio.current_time() < began_s + 3 and bench.habits.connections < 2:
            replies.append(await bench.read(1))
            await trio.sleep(0.05)
        assert {reply.kind for reply in replies if isinstance(reply, ReadFailed)} <= {
            FailureKind.NO_REPLY,
            FailureKind.UNIT_OFFLINE,
        }
        assert await bench.good_of(5) == 5, "an offline unit is tried at once on a new connection"


async def test_a_gateway_that_is_away_is_named_and_comes_back() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, trio.aclose_forcefully, 0)
        port = listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()
    with pytest.raises(LineError, match=rf"127.0.0.1:{port} could not be reached: .*refused"):
        await tcp_opener(TcpPort("127.0.0.1", port, False))()


async def test_rtu_over_tcp_drops_what_nobody_asked_for() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(b"hello")
        while data := await stream.receive_some(8):
            await stream.send_all(b"\xff" + with_crc(data[:2] + b"\x02" + data[2:4]))

    framing: type[Framing] = port_framing("rtu+tcp://gateway")
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        line = await tcp_opener(TcpPort("127.0.0.1", port, True))()
        await trio.sleep(0.05)
        assert line.discard_input() == 5
        exchange = framing().read(1, Span(Table.HOLDING_REGISTER, 300, 1))
        await line.send_all(exchange.adu)
        assert exchange.receive(await line.receive_some()) == b"\x01\x2c"
        await line.aclose()
        nursery.cancel_scope.cancel()
