"""The bus owner beside units and gateways that do anything at any time."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from scripted_line import ScriptedLine, words_at

from grug.actors import bus
from grug.errors import ConnectionEndedError, LineError
from grug.messages import ReadFailed, ReadRegisters, RegistersRead
from grug.model import Span, Table
from grug.protocol.mbap import HEADER, MbapFraming
from grug.protocol.rtu import with_crc
from grug.runtime.calls import open_calls
from grug.runtime.feed import Feed


def framed(number: int, contents: bytes) -> bytes:
    return HEADER.pack(number, 0, len(contents)) + contents


class HostileGateway:
    """Modbus TCP: one connection after the other; bytes of an old one never reach a new one."""

    behaviours = (
        "good",
        "silent",
        "late",
        "twice",
        "another number",
        "another unit",
        "another length",
        "refusing",
        "gateway",
        "cut short",
        "noisy",
        "in pieces",
        "closing before",
        "closing after",
        "unreachable",
    )
    harmless = ("good", "twice", "in pieces", "closing after")
    """What must not keep an answer from us, as long as nothing else has."""
    passing = harmless
    """What must not keep the next answer from us."""
    timing = bus.LineTiming(9600, 0.3, framing=MbapFraming)

    def __init__(self) -> None:
        self.behaviour = "good"
        self.noise = b""
        self.late_s = 0.0

    def behave(self, behaviour: str, late_s: float = 0.0, noise: bytes = b"") -> None:
        self.behaviour, self.late_s, self.noise = behaviour, late_s, noise

    async def open(self) -> _Connection:
        await trio.lowlevel.checkpoint()
        if self.behaviour == "unreachable":
            self.behaviour = "good"
            raise LineError("no route to host")
        return _Connection(self)


class _Connection:
    def __init__(self, gateway: HostileGateway) -> None:
        self._gateway = gateway
        self._arriving: list[tuple[float, bytes]] = []
        self._is_closed = False
        self._changed = trio.Event()

    def _arrive(self, after_s: float, data: bytes) -> None:
        self._arriving.append((trio.current_time() + after_s, data))
        self._arriving.sort(key=lambda each: each[0])
        self._changed.set()

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        gateway = self._gateway
        number, _, _ = HEADER.unpack_from(data)
        unit_id, function, count = data[6], data[7], int.from_bytes(data[10:12], "big")
        words = words_at(int.from_bytes(data[8:10], "big"), count)
        contents = bytes((unit_id, function, 2 * count)) + words
        right = framed(number, contents)
        wrong = bytes(2 * count)
        match gateway.behaviour:
            case "silent":
                pass
            case "late":
                self._arrive(gateway.late_s, right)
            case "twice":
                self._arrive(0.01, right + right)
            case "another number":
                self._arrive(0.01, framed(number ^ 1, contents[:3] + wrong))
            case "another unit":
                self._arrive(0.01, framed(number, bytes((9,)) + contents[1:3] + wrong))
            case "another length":
                longer = bytes((unit_id, function, 2 * count + 2)) + wrong + b"\0\0"
                self._arrive(0.01, framed(number, longer))
            case "refusing" | "gateway":
                code = 4 if gateway.behaviour == "refusing" else 11
                self._arrive(0.01, framed(number, bytes((unit_id, function | 0x80, code))))
            case "cut short":
                self._arrive(0.01, right[:-1])
            case "noisy":
                self._arrive(0.01, gateway.noise + right)
            case "in pieces":
                for at, byte in enumerate(right):
                    self._arrive(0.001 * at, bytes((byte,)))
            case "closing before":
                self._close()
            case "closing after":
                self._arrive(0.01, right)
                self._arrive(0.01, b"")
            case _:
                self._arrive(0.01, right)

    def _close(self) -> None:
        self._is_closed = True
        self._changed.set()

    def interrupt(self) -> None:
        self._is_interrupted = True
        self._changed.set()

    async def receive_some(self) -> bytes:
        self._is_interrupted = False
        while not self._is_interrupted:
            if self._is_closed:
                raise ConnectionEndedError("closed")
            if self._arriving:
                at_s, data = self._arriving[0]
                if at_s <= trio.current_time():
                    await trio.lowlevel.checkpoint()
                    self._arriving.pop(0)
                    if data:
                        return data
                    self._close()
                    continue
                with trio.move_on_at(at_s):
                    await self._changed.wait()
            else:
                await self._changed.wait()
            self._changed = trio.Event()
        return b""

    def discard_input(self) -> int:
        if any(not data and at_s <= trio.current_time() for at_s, data in self._arriving):
            self._close()
        if self._is_closed:
            raise ConnectionEndedError("closed")
        return 0

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class HostileUnit(ScriptedLine):
    """A unit on a wire."""

    behaviours = ("good", "silent", "late", "noisy", "twice", "foreign", "refusing", "cut short")
    harmless = ("good", "twice")
    passing = ("good", "twice", "noisy")
    timing = bus.LineTiming(9600, 0.3)

    def behave(self, behaviour: str, late_s: float = 0.0, noise: bytes = b"") -> None:
        self.silent = {1, 2} if behaviour == "silent" else set()
        self.late_s = dict.fromkeys((1, 2), late_s) if behaviour == "late" else {}

        def reply(request: bytes) -> bytes:
            right = self._answer(request)
            match behaviour:
                case "noisy":
                    return noise + right + noise
                case "twice":
                    return right + right
                case "foreign":
                    return with_crc(bytes((9,)) + right[1:-2])
                case "refusing":
                    return with_crc(bytes((right[0], 0x83, 4)))
                case "cut short":
                    return right[:-1]
                case _:
                    return right

        self.script = reply


@pytest.mark.slow
@pytest.mark.parametrize("kind", [HostileUnit, HostileGateway])
@given(data=st.data())
def test_whatever_they_do_gives_the_right_words_or_a_named_error_and_heals(
    kind: type[HostileUnit | HostileGateway], data: st.DataObject
) -> None:
    requests = data.draw(
        st.lists(
            st.tuples(
                st.integers(1, 2),
                st.sampled_from([100, 200, 300]),
                st.sampled_from(kind.behaviours),
                st.floats(0.0, 1.9),
                st.binary(max_size=30),
            ),
            max_size=10,
        )
    )

    async def main() -> None:
        peer = kind()
        caller, calls = open_calls()

        async def run() -> None:
            await bus.run(
                calls,
                Feed(),
                line_name="line",
                open_line=peer.open,
                timing=kind.timing,
                units={},
            )

        async def read(unit_id: int, address: int) -> RegistersRead | ReadFailed:
            spans = (Span(Table.HOLDING_REGISTER, address, 2),)
            reply = await caller.ask(ReadRegisters(unit_id, spans, trio.current_time() + 5))
            assert isinstance(reply, RegistersRead | ReadFailed)
            if isinstance(reply, RegistersRead):
                assert reply.blocks == (words_at(address, 2),)
            return reply

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.testing.wait_all_tasks_blocked()
            troubles = 0
            for unit_id, address, behaviour, late_s, noise in requests:
                peer.behave(behaviour, late_s, noise)
                reply = await read(unit_id, address)
                if behaviour in kind.harmless and not troubles:
                    assert isinstance(reply, RegistersRead)
                troubles += behaviour not in kind.passing
            peer.behave("good")
            await trio.sleep(100)  # Whatever it was, it heals without a restart.
            for unit_id in (1, 2):
                assert isinstance(await read(unit_id, 100), RegistersRead)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
