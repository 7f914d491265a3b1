"""Modbus TCP: whatever bytes come, the answer is the right one, or there is none."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU

from grug.errors import ExceptionReply, LocalProtocolError, RemoteProtocolError
from grug.model import Span, Table
from grug.protocol.mbap import HEADER, SKEWS_MAX, MbapFraming
from grug.protocol.ports import TcpPort, tcp_port

HOLDING = Table.HOLDING_REGISTER
WORDS = b"\x12\x34\x56\x78"


def frame(number: int, contents: bytes, protocol: int = 0) -> bytes:
    return HEADER.pack(number, protocol, len(contents)) + contents


def answer(number: int, words: bytes = WORDS, unit_id: int = 1) -> bytes:
    return frame(number, bytes((unit_id, 3, len(words))) + words)


def parts_of(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


@given(
    unit_id=st.integers(1, 247),
    table=st.sampled_from(list(Table)),
    address=st.integers(0, 60000),
    count=st.integers(1, 125),
)
def test_requests_are_what_pymodbus_understands(
    unit_id: int, table: Table, address: int, count: int
) -> None:
    adu = MbapFraming().read(unit_id, Span(table, address, count)).adu
    pdu = FramerSocket(DecodePDU(is_server=True)).handleFrame(adu, 0, 0)[1]
    assert pdu is not None
    assert (pdu.dev_id, pdu.address, pdu.count) == (unit_id, address, count)


@given(st.lists(st.integers(0, 100)))
def test_an_answer_in_whatever_pieces_is_taken_once_whole(cuts: list[int]) -> None:
    exchange = MbapFraming().read(1, Span(HOLDING, 5, 2))
    parts = parts_of(answer(1), cuts)
    assert [exchange.receive(part) for part in parts[:-1]] == [None] * (len(parts) - 1)
    assert exchange.receive(parts[-1]) == WORDS


def test_bits_and_writes_and_refusals() -> None:
    framing = MbapFraming()
    bits = framing.read(1, Span(Table.COIL, 0, 10))
    assert bits.receive(frame(1, b"\x01\x01\x02\x05\x02")) == b"\1\0\1\0\0\0\0\0\0\1"
    write = framing.write(1, HOLDING, 7, WORDS, always_multiple=False)
    assert write.receive(frame(2, b"\x01\x10\x00\x07\x00\x02")) == b""
    single = framing.write(1, HOLDING, 7, b"\0\1", always_multiple=False)
    assert single.receive(frame(3, single.adu[6:])) == b""
    refused = framing.read(1, Span(HOLDING, 5, 2))
    with pytest.raises(ExceptionReply) as caught:
        refused.receive(frame(4, b"\x01\x83\x0b"))
    assert caught.value.code == 11
    with pytest.raises(LocalProtocolError):
        framing.read(1, Span(HOLDING, 0, 126))


@pytest.mark.parametrize(
    "wrong",
    [
        answer(9),
        answer(1, unit_id=2),
        answer(1, WORDS[:2]),
        frame(1, b"\x01\x04\x04" + WORDS),
        frame(1, b"\x01\x03\x04" + WORDS + b"\0"),
        frame(1, b"\x01\x83\x00"),
        frame(1, b"\x01\x84\x02"),
    ],
    ids=["number", "unit", "shorter", "function", "longer", "no exception", "other's exception"],
)
def test_what_answers_something_else_is_passed_over(wrong: bytes) -> None:
    exchange = MbapFraming().read(1, Span(HOLDING, 5, 2))
    assert exchange.receive(wrong) is None
    assert exchange.receive(wrong + answer(1)) == WORDS


def test_a_late_answer_that_straddles_two_requests_is_dropped_in_step() -> None:
    framing = MbapFraming()
    late = answer(1, b"\xff\xff\xff\xff")
    first = framing.read(1, Span(HOLDING, 5, 2))
    assert first.receive(late[:4]) is None
    second = framing.read(1, Span(HOLDING, 5, 2))
    assert second.receive(late[4:] + answer(2)) == WORDS


def test_a_gateway_that_lags_by_one_needs_a_new_connection() -> None:
    framing = MbapFraming()
    causes = []
    for number in range(SKEWS_MAX):
        exchange = framing.read(1, Span(HOLDING, 5, 2))
        assert exchange.receive(answer(number)) is None
        causes.append(framing.ended(is_answered=False))
    assert [bool(cause) for cause in causes] == [False] * (SKEWS_MAX - 1) + [True]


def test_silence_alone_is_no_reason_for_a_new_connection_but_a_broken_frame_is() -> None:
    framing = MbapFraming()
    framing.read(1, Span(HOLDING, 5, 2))
    assert not framing.ended(is_answered=False)
    exchange = framing.read(1, Span(HOLDING, 5, 2))
    exchange.receive(answer(2)[:-1])
    assert "broke off" in framing.ended(is_answered=False)


@pytest.mark.parametrize(
    "nonsense", [b"\0" * 7, frame(1, b"\x01\x03\x04" + WORDS, protocol=1), b"\xff" * 20]
)
def test_what_is_not_modbus_tcp_is_named_and_needs_a_new_connection(nonsense: bytes) -> None:
    framing = MbapFraming()
    exchange = framing.read(1, Span(HOLDING, 5, 2))
    with pytest.raises(RemoteProtocolError):
        exchange.receive(nonsense)
    assert framing.ended(is_answered=False)


@given(st.lists(st.one_of(st.binary(max_size=20), st.integers(0, 3)), max_size=12), st.data())
def test_any_bytes_at_any_time_give_the_right_words_or_a_named_error(
    pieces: list[bytes | int], data: st.DataObject
) -> None:
    framing = MbapFraming()
    for number in range(1, 4):
        right = number.to_bytes(2, "big") * 2
        exchange = framing.read(1, Span(HOLDING, number, 2))
        stream = b"".join(
            each if isinstance(each, bytes) else answer(each, each.to_bytes(2, "big") * 2)
            for each in pieces
        )
        cut = data.draw(st.integers(0, len(stream)))
        try:
            for part in (stream[:cut], stream[cut:]):
                block = exchange.receive(part)
                if block is not None:
                    assert block == right
                    break
        except (ExceptionReply, RemoteProtocolError):
            pass
        if framing.ended(is_answered=False):
            framing.begin()


def test_ports_are_told_apart() -> None:
    assert tcp_port("/dev/ttyUSB0") is None
    assert tcp_port("tcp://gateway") == TcpPort("gateway", 502, False)
    assert tcp_port("rtu+tcp://[::1]:4001") == TcpPort("::1", 4001, True)
    for bad in ("udp://a:1", "tcp://", "tcp://a:0", "tcp://a:70000", "tcp://a/b", "tcp://a:x"):
        with pytest.raises(ValueError, match="tcp"):
            tcp_port(bad)
