"""Requests of one Modbus TCP client: found whole, split or joined; noise ends the connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu import register_message as words

from grug.errors import RemoteProtocolError
from grug.protocol.mbap_server import MbapRequests
from grug.protocol.server import ILLEGAL_DATA_VALUE, ILLEGAL_FUNCTION, exception_reply, read_reply

TCP = FramerSocket(DecodePDU(is_server=True))


@st.composite
def reads(draw: st.DrawFn) -> tuple[bytes, tuple[int, int, int, int]]:
    number, unit_id = draw(st.integers(0, 0xFFFF)), draw(st.integers(0, 255))
    address, count = draw(st.integers(0, 0xFF00)), draw(st.integers(1, 125))
    pdu = words.ReadHoldingRegistersRequest(
        address=address, count=count, dev_id=unit_id, transaction_id=number
    )
    return TCP.buildFrame(pdu), (number, unit_id, address, count)


@given(st.lists(reads(), min_size=1, max_size=5), st.data())
def test_split_or_joined_bytes_give_the_same_requests(
    sent: list[tuple[bytes, tuple[int, int, int, int]]], data: st.DataObject
) -> None:
    stream = b"".join(frame for frame, _ in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    client = MbapRequests()
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += client.receive(stream[begin:end])
    assert [
        (number, request.unit_id, request.address, request.count) for number, request in found
    ] == [expected for _, expected in sent]
    assert all(not request.fault and request.is_read for _, request in found)


@given(reads(), st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=125))
def test_replies_are_pymodbus_s(
    sent: tuple[bytes, tuple[int, int, int, int]], held: list[int]
) -> None:
    frame, (number, unit_id, _, _) = sent
    (asked,) = MbapRequests().receive(frame)
    block = b"".join(word.to_bytes(2, "big") for word in held)
    reply = words.ReadHoldingRegistersResponse(
        registers=held, dev_id=unit_id, transaction_id=number
    )
    assert asked.framed(read_reply(asked.request, block)) == TCP.buildFrame(reply)


@pytest.mark.parametrize(
    ("pdu", "fault"),
    [
        ("03 0000", ILLEGAL_DATA_VALUE),
        ("03 0000 0001 00", ILLEGAL_DATA_VALUE),
        ("10 0000 0002 04 0000", ILLEGAL_DATA_VALUE),
        ("16 0000 00", ILLEGAL_DATA_VALUE),
        ("17 0000 0001 0000", ILLEGAL_DATA_VALUE),
        ("0F", ILLEGAL_DATA_VALUE),
        ("07", ILLEGAL_FUNCTION),
        ("2B 0E 01 00", ILLEGAL_FUNCTION),
    ],
)
def test_a_frame_of_the_wrong_length_is_answered_and_does_no_harm(pdu: str, fault: int) -> None:
    contents = bytes((9,)) + bytes.fromhex(pdu)
    frame = bytes((0, 5, 0, 0, 0, len(contents))) + contents
    (asked,) = MbapRequests().receive(frame)
    assert asked.request.fault == fault
    reply = asked.framed(exception_reply(asked.request, fault))
    assert reply == bytes((0, 5, 0, 0, 0, 3, 9, contents[1] | 0x80, fault))


@pytest.mark.parametrize("noise", ["0001 0001 0006 01", "0001 0000 0001 01", "0001 0000 0100 01"])
def test_what_is_not_modbus_tcp_is_said_at_once(noise: str) -> None:
    with pytest.raises(RemoteProtocolError):
        MbapRequests().receive(bytes.fromhex(noise))


@given(st.binary(max_size=600))
def test_noise_never_crashes_and_is_never_hoarded(noise: bytes) -> None:
    client = MbapRequests()
    try:
        client.receive(noise)
    except RemoteProtocolError:
        return
    assert len(client._buffer) <= 260
