"""The asking side of RTU: the right block, or None, or a named error; never somebody else's."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu import bit_message as bits_of
from pymodbus.pdu import register_message as registers_of

from grug.errors import ExceptionReply, LocalProtocolError
from grug.model import Span, Table
from grug.protocol.client import ReadTransaction, WriteTransaction
from grug.protocol.rtu import with_crc

HOLDING = Table.HOLDING_REGISTER
COIL = Table.COIL
SERVER = FramerRTU(DecodePDU(True))

READS = {
    Table.COIL: (bits_of.ReadCoilsRequest, bits_of.ReadCoilsResponse),
    Table.DISCRETE_INPUT: (bits_of.ReadDiscreteInputsRequest, bits_of.ReadDiscreteInputsResponse),
    HOLDING: (
        registers_of.ReadHoldingRegistersRequest,
        registers_of.ReadHoldingRegistersResponse,
    ),
    Table.INPUT_REGISTER: (
        registers_of.ReadInputRegistersRequest,
        registers_of.ReadInputRegistersResponse,
    ),
}

unit_ids = st.integers(1, 247)
addresses = st.integers(0, 60000)
words = st.lists(st.integers(0, 65535), min_size=1, max_size=125)
bits = st.lists(st.booleans(), min_size=1, max_size=300)
noise = st.binary(max_size=40)


def block_of(values: list[int]) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


def frame_of(pdu: ModbusPDU) -> bytes:
    return bytes(SERVER.buildFrame(pdu))


def read_reply(unit_id: int, block: bytes, function: int = 3) -> bytes:
    return with_crc(bytes((unit_id, function, len(block))) + block)


def receive_in_pieces(
    transaction: ReadTransaction | WriteTransaction, stream: bytes, cuts: list[int]
) -> bytes | None:
    """Receive the stream cut at these places; the first answer ends it, as on a line."""
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    for start, end in pairwise(places):
        block = transaction.receive(stream[start:end])
        if block is not None:
            return block
    return None


# Pinned to pymodbus


@given(unit_ids, addresses, words, st.sampled_from([HOLDING, Table.INPUT_REGISTER]))
def test_word_reads_are_pymodbus_s(
    unit_id: int, address: int, values: list[int], table: Table
) -> None:
    ask, answer = READS[table]
    transaction = ReadTransaction(unit_id, Span(table, address, len(values)))
    assert transaction.adu == frame_of(ask(dev_id=unit_id, address=address, count=len(values)))
    reply = frame_of(answer(dev_id=unit_id, registers=values))
    assert transaction.reply_bytes == len(reply)
    assert transaction.receive(reply) == block_of(values)


@given(unit_ids, st.integers(0x1000, 60000), bits, st.sampled_from([COIL, Table.DISCRETE_INPUT]))
def test_bit_reads_are_pymodbus_s(
    unit_id: int, address: int, values: list[bool], table: Table
) -> None:
    ask, answer = READS[table]
    transaction = ReadTransaction(unit_id, Span(table, address, len(values)))
    assert transaction.adu == frame_of(ask(dev_id=unit_id, address=address, count=len(values)))
    padded = values + [False] * (-len(values) % 8)
    reply = frame_of(answer(dev_id=unit_id, bits=padded))
    assert transaction.receive(reply) == bytes(values)


@given(unit_ids, addresses, st.lists(st.integers(0, 65535), min_size=1, max_size=123))
def test_word_writes_are_pymodbus_s(unit_id: int, address: int, values: list[int]) -> None:
    transaction = WriteTransaction(
        unit_id, HOLDING, address, block_of(values), always_multiple=True
    )
    assert transaction.adu == frame_of(
        registers_of.WriteMultipleRegistersRequest(
            dev_id=unit_id, address=address, registers=values
        )
    )
    reply = registers_of.WriteMultipleRegistersResponse(
        dev_id=unit_id, address=address, count=len(values)
    )
    assert transaction.receive(frame_of(reply)) == b""
    single = WriteTransaction(unit_id, HOLDING, address, block_of(values[:1]))
    expected = frame_of(
        registers_of.WriteSingleRegisterRequest(
            dev_id=unit_id, address=address, registers=values[:1]
        )
    )
    assert single.adu == expected
    assert single.receive(expected) == b""


@given(unit_ids, addresses, bits)
def test_coil_writes_are_pymodbus_s(unit_id: int, address: int, values: list[bool]) -> None:
    transaction = WriteTransaction(unit_id, COIL, address, bytes(values), always_multiple=True)
    assert transaction.adu == frame_of(
        bits_of.WriteMultipleCoilsRequest(dev_id=unit_id, address=address, bits=values)
    )
    reply = bits_of.WriteMultipleCoilsResponse(dev_id=unit_id, address=address, count=len(values))
    assert transaction.receive(frame_of(reply)) == b""
    single = WriteTransaction(unit_id, COIL, address, bytes(values[:1]))
    assert single.adu == frame_of(
        bits_of.WriteSingleCoilRequest(dev_id=unit_id, address=address, bits=values[:1])
    )


# Whatever else is on the line


@given(unit_ids, addresses, words, noise, noise, st.lists(st.integers(0, 400), max_size=8))
def test_a_reply_is_found_between_noise_however_it_is_cut(
    unit_id: int,
    address: int,
    values: list[int],
    before: bytes,
    after: bytes,
    cuts: list[int],
) -> None:
    transaction = ReadTransaction(unit_id, Span(HOLDING, address, len(values)))
    reply = read_reply(unit_id, block_of(values))
    assert receive_in_pieces(transaction, before + reply + after, cuts) == block_of(values)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8))
def test_noise_alone_is_never_an_answer(stream: bytes, cuts: list[int]) -> None:
    transaction = ReadTransaction(7, Span(HOLDING, 100, 3))
    assert receive_in_pieces(transaction, stream, cuts) is None


@given(words, unit_ids, noise, st.lists(st.integers(0, 600), max_size=8))
def test_another_unit_s_reply_of_the_same_length_is_skipped(
    values: list[int], other: int, before: bytes, cuts: list[int]
) -> None:
    unit_id = 1 + other % 247
    transaction = ReadTransaction(unit_id, Span(HOLDING, 0, len(values)))
    foreign = read_reply(other, b"\xaa\xaa" * len(values))
    mine = read_reply(unit_id, block_of(values))
    assert receive_in_pieces(transaction, before + foreign + mine, cuts) == block_of(values)


@given(unit_ids, st.integers(0, 65000), words, st.lists(st.integers(0, 300), max_size=8))
def test_our_own_echo_is_skipped(
    unit_id: int, address: int, values: list[int], cuts: list[int]
) -> None:
    transaction = ReadTransaction(unit_id, Span(HOLDING, address, len(values)))
    stream = transaction.adu + read_reply(unit_id, block_of(values))
    assert receive_in_pieces(transaction, stream, cuts) == block_of(values)
    assert transaction.saw_echo


def test_an_echo_that_could_pass_for_a_reply_is_not_taken_for_one() -> None:
    # 24 coils from 0x0300: our request has the very form of its reply, three bytes of bits.
    transaction = ReadTransaction(9, Span(COIL, 0x0300, 24))
    assert transaction.receive(transaction.adu) is None
    reply = read_reply(9, b"\x01\x00\x80", function=1)
    block = transaction.receive(reply)
    assert block is not None
    assert [at for at, bit in enumerate(block) if bit] == [0, 23]


def test_an_echo_alone_is_no_sign_of_life() -> None:
    transaction = ReadTransaction(9, Span(HOLDING, 5, 1))
    assert transaction.receive(transaction.adu) is None
    assert not transaction.has_received


@given(st.integers(1, 100), st.integers(0, 99), st.integers(1, 255))
def test_a_damaged_reply_is_no_answer(count: int, at: int, flip: int) -> None:
    transaction = ReadTransaction(3, Span(HOLDING, 0, count))
    reply = bytearray(read_reply(3, bytes(2 * count)))
    reply[at % len(reply)] ^= flip
    assert transaction.receive(bytes(reply)) is None
    assert transaction.has_received


def test_a_reply_of_another_length_is_no_answer() -> None:
    transaction = ReadTransaction(3, Span(HOLDING, 0, 2))
    assert transaction.receive(read_reply(3, bytes(8))) is None


@given(noise, st.integers(0, 255), st.lists(st.integers(0, 50), max_size=5))
def test_an_exception_is_raised_with_its_code(before: bytes, code: int, cuts: list[int]) -> None:
    transaction = ReadTransaction(3, Span(HOLDING, 0, 2))
    stream = before + with_crc(bytes((3, 0x83, code)))
    with pytest.raises(ExceptionReply) as caught:
        receive_in_pieces(transaction, stream, cuts)
    assert caught.value.code == code


def test_noise_for_ever_takes_no_memory() -> None:
    transaction = ReadTransaction(3, Span(HOLDING, 0, 125))
    for _ in range(1000):
        assert transaction.receive(bytes(range(64))) is None
    assert transaction.has_received
    assert transaction.what_came == "what came was no answer: bytes that are no frame"


# Writes


def test_a_line_that_echoes_does_not_acknowledge_writes() -> None:
    write = WriteTransaction(3, HOLDING, 10, b"\x00\x07", line_echoes=True)
    assert write.receive(write.adu) is None
    with pytest.raises(ExceptionReply):
        write.receive(with_crc(b"\x03\x86\x02"))
    write = WriteTransaction(3, HOLDING, 10, b"\x00\x07", line_echoes=True)
    assert write.receive(write.adu + write.adu) == b""


@given(st.lists(st.integers(0, 40), max_size=5))
def test_the_echo_of_a_long_write_is_skipped(cuts: list[int]) -> None:
    write = WriteTransaction(3, HOLDING, 10, bytes(range(6)))
    stream = write.adu + with_crc(write.adu[:6])
    assert receive_in_pieces(write, stream, cuts) == b""
    assert write.saw_echo


@pytest.mark.parametrize(
    ("table", "address", "block"),
    [
        (HOLDING, 0, b""),
        (HOLDING, 0, b"\x01"),
        (HOLDING, 0, bytes(2 * 124)),
        (HOLDING, 65535, bytes(4)),
        (COIL, 0, bytes(1969)),
        (Table.INPUT_REGISTER, 0, bytes(2)),
    ],
)
def test_what_modbus_cannot_write_is_our_own_bug(table: Table, address: int, block: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        WriteTransaction(1, table, address, block)


@pytest.mark.parametrize(("unit_id", "count"), [(0, 1), (256, 1), (1, 0), (1, 126)])
def test_what_modbus_cannot_read_is_our_own_bug(unit_id: int, count: int) -> None:
    with pytest.raises(LocalProtocolError):
        ReadTransaction(unit_id, Span(HOLDING, 0, count))
