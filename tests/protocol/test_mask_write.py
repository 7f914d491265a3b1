"""Functions 22 and 23, both sides: pymodbus's bytes, and the limits of the specification."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu import register_message as registers_of

from grug.errors import ExceptionReply, LocalProtocolError
from grug.model import Span, Table
from grug.protocol.client import MaskWriteTransaction, ReadWriteTransaction
from grug.protocol.mbap import MbapFraming
from grug.protocol.rtu import with_crc
from grug.protocol.server import (
    ILLEGAL_DATA_ADDRESS,
    ILLEGAL_DATA_VALUE,
    RequestFramer,
    read_reply,
    write_reply,
)

HOLDING = Table.HOLDING_REGISTER
RTU = FramerRTU(DecodePDU(is_server=True))
TCP = FramerSocket(DecodePDU(is_server=True))

unit_ids = st.integers(1, 247)
addresses = st.integers(0, 60000)
word = st.integers(0, 0xFFFF)


def frame_of(pdu: ModbusPDU) -> bytes:
    return bytes(RTU.buildFrame(pdu))


def block_of(values: list[int]) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


def mask_request(unit_id: int, address: int, new: int, mask: int, number: int = 0) -> ModbusPDU:
    return registers_of.MaskWriteRegisterRequest(
        dev_id=unit_id,
        transaction_id=number,
        address=address,
        and_mask=mask ^ 0xFFFF,
        or_mask=new & mask,
    )


def read_write_request(
    unit_id: int, address: int, values: list[int], read: Span, number: int = 0
) -> ModbusPDU:
    return registers_of.ReadWriteMultipleRegistersRequest(
        dev_id=unit_id,
        transaction_id=number,
        read_address=read.address,
        read_count=read.count,
        write_address=address,
        write_registers=values,
    )


@given(unit_ids, addresses, word, word)
def test_masked_writes_are_pymodbus_s(unit_id: int, address: int, new: int, mask: int) -> None:
    block, bits = new.to_bytes(2, "big"), mask.to_bytes(2, "big")
    transaction = MaskWriteTransaction(unit_id, address, block, bits)
    assert transaction.adu == frame_of(mask_request(unit_id, address, new, mask))
    assert transaction.receive(transaction.adu) == b""  # Acknowledged with the same bytes.
    over_tcp = MbapFraming().mask_write(unit_id, address, block, bits)
    adu = TCP.buildFrame(mask_request(unit_id, address, new, mask, 1))
    assert over_tcp.adu == adu
    assert over_tcp.receive(adu) == b""


def test_the_masks_are_those_of_the_specification() -> None:
    # Source: MODBUS Application Protocol V1.1b3, 6.16: 0x12 with and 0xF2, or 0x25 becomes 0x17.
    transaction = MaskWriteTransaction(17, 4, b"\x00\x05", b"\xff\x0d")
    assert transaction.adu[:-2] == bytes.fromhex("11 16 0004 00F2 0005")


@given(
    unit_ids,
    addresses,
    st.lists(word, min_size=1, max_size=121),
    st.integers(0, 60000),
    st.lists(word, min_size=1, max_size=125),
)
def test_writes_with_a_read_are_pymodbus_s(
    unit_id: int, address: int, values: list[int], read_address: int, held: list[int]
) -> None:
    read = Span(HOLDING, read_address, len(held))
    transaction = ReadWriteTransaction(unit_id, address, block_of(values), read)
    assert transaction.adu == frame_of(read_write_request(unit_id, address, values, read))
    reply = registers_of.ReadWriteMultipleRegistersResponse(dev_id=unit_id, registers=held)
    assert transaction.reply_bytes == len(frame_of(reply))
    assert transaction.receive(transaction.adu) is None  # Our own echo is no answer.
    assert transaction.receive(frame_of(reply)) == block_of(held)
    over_tcp = MbapFraming().read_write(unit_id, address, block_of(values), read)
    assert over_tcp.adu == TCP.buildFrame(read_write_request(unit_id, address, values, read, 1))
    reply.transaction_id = 1
    assert over_tcp.receive(TCP.buildFrame(reply)) == block_of(held)


@pytest.mark.parametrize("code", [1, 2])
def test_a_refusal_is_one(code: int) -> None:
    for transaction in (
        MaskWriteTransaction(3, 5, b"\0\1", b"\0\1"),
        ReadWriteTransaction(3, 5, b"\0\1", Span(HOLDING, 5, 1)),
    ):
        with pytest.raises(ExceptionReply, match=f"exception {code} "):
            transaction.receive(with_crc(bytes((3, transaction.adu[1] | 0x80, code))))


def test_an_adapter_that_hears_itself_does_not_acknowledge() -> None:
    transaction = MaskWriteTransaction(3, 5, b"\0\1", b"\0\1", line_echoes=True)
    assert transaction.receive(transaction.adu) is None
    assert transaction.receive(transaction.adu) == b""


@pytest.mark.parametrize(
    ("block", "read"),
    [
        (b"", Span(HOLDING, 0, 1)),
        (bytes(2 * 122), Span(HOLDING, 0, 1)),
        (b"\0", Span(HOLDING, 0, 1)),
        (b"\0\0", Span(HOLDING, 0, 126)),
        (b"\0\0", Span(HOLDING, 65530, 10)),
        (b"\0\0", Span(Table.INPUT_REGISTER, 0, 1)),
    ],
)
def test_what_modbus_does_not_have_is_our_own_bug(block: bytes, read: Span) -> None:
    with pytest.raises(LocalProtocolError):
        ReadWriteTransaction(1, 0, block, read)


@pytest.mark.parametrize(("block", "mask"), [(b"\0" * 4, b"\0" * 4), (b"\0\0", b"\0")])
def test_only_one_register_is_masked(block: bytes, mask: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        MaskWriteTransaction(1, 0, block, mask)


# The side that answers


@given(unit_ids, addresses, word, word)
def test_a_masked_write_is_understood_and_acknowledged(
    unit_id: int, address: int, new: int, mask: int
) -> None:
    adu = frame_of(mask_request(unit_id, address, new, mask))
    (request,) = RequestFramer(9600).receive(adu, 0.0)
    assert (request.unit_id, request.address, request.count) == (unit_id, address, 1)
    assert (request.is_read, request.fault) == (False, 0)
    assert request.mask == mask.to_bytes(2, "big")
    assert request.block == (new & mask).to_bytes(2, "big")
    assert write_reply(request) == adu


@given(
    unit_ids,
    st.integers(0x0400, 60000),
    st.lists(word, min_size=1, max_size=121),
    st.integers(0x0400, 60000),
    st.lists(word, min_size=1, max_size=125),
    st.integers(1, 12),
)
def test_a_write_with_a_read_is_understood_also_in_pieces(
    unit_id: int, address: int, values: list[int], read_address: int, held: list[int], cut: int
) -> None:
    read = Span(HOLDING, read_address, len(held))
    adu = frame_of(read_write_request(unit_id, address, values, read))
    framer = RequestFramer(9600)
    found = framer.receive(adu[:cut], 0.0) + framer.receive(adu[cut:], 0.001)
    (request,) = found
    assert (request.address, request.count, request.reads) == (address, len(values), read)
    assert (request.block, request.fault, request.is_read) == (block_of(values), 0, False)
    reply = read_reply(request, block_of(held))
    answer = registers_of.ReadWriteMultipleRegistersResponse(dev_id=unit_id, registers=held)
    assert reply == frame_of(answer)
    # Of another unit on the same line it is heard and skipped.
    assert framer.receive(reply, 0.01) == []
    assert framer.noise_bytes == 0


@pytest.mark.parametrize(
    ("pdu", "fault"),
    [
        (bytes.fromhex("17 0000 0001 0000 0000 00"), ILLEGAL_DATA_VALUE),
        (bytes.fromhex("17 0000 0000 0000 0001 02 0000"), ILLEGAL_DATA_VALUE),
        (bytes.fromhex("17 0000 007E 0000 0001 02 0000"), ILLEGAL_DATA_VALUE),
        (bytes.fromhex("17 0000 0001 0000 0002 02 0000"), ILLEGAL_DATA_VALUE),
        (bytes.fromhex("17 FFFF 0002 0000 0001 02 0000"), ILLEGAL_DATA_ADDRESS),
        (bytes.fromhex("17 0000 0001 FFFF 0002 04 00000000"), ILLEGAL_DATA_ADDRESS),
    ],
)
def test_what_any_server_refuses_is_marked(pdu: bytes, fault: int) -> None:
    (request,) = RequestFramer(9600).receive(with_crc(bytes((5,)) + pdu), 0.0)
    assert request.fault == fault


def test_more_than_121_words_are_refused() -> None:
    pdu = bytes.fromhex("17 0000 0001 0000 007A F4") + bytes(244)
    (request,) = RequestFramer(9600).receive(with_crc(bytes((5,)) + pdu), 0.0)
    assert request.fault == ILLEGAL_DATA_VALUE
