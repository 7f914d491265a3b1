"""The RTU server side: whatever surrounds a request, it is found once, and answers decode."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ExceptionResponse
from pymodbus.pdu import bit_message as bits
from pymodbus.pdu import register_message as words

from grug.model import Table
from grug.protocol.rtu import with_crc
from grug.protocol.server import (
    ILLEGAL_DATA_ADDRESS,
    ILLEGAL_DATA_VALUE,
    ILLEGAL_FUNCTION,
    RequestFramer,
    ServerRequest,
    exception_reply,
    pack_bits,
    read_reply,
    unpack_bits,
    write_reply,
)

UNIT_IDS = st.integers(1, 247)
WORDS = st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=20)
BITS = st.lists(st.booleans(), min_size=1, max_size=40)
SERVER = FramerRTU(DecodePDU(is_server=True))
CLIENT = FramerRTU(DecodePDU(is_server=False))


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, tuple]:
    """A request as pymodbus's client sends it, and what is to be made of it."""
    # A reply of three bytes of bits is as long as a request, and a request for 0x03xx looks like
    # one: that ambiguity is the protocol's own, and the framer takes it for the awaited reply.
    unit_id, address = draw(UNIT_IDS), draw(st.integers(0x0400, 0xFF00))
    function = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 15, 16]))
    count, block = 1, b""
    match function:
        case 1 | 2:
            count = draw(st.integers(1, 200))
            kind = bits.ReadCoilsRequest if function == 1 else bits.ReadDiscreteInputsRequest
            pdu = kind(address=address, count=count, dev_id=unit_id)
        case 3 | 4:
            count = draw(st.integers(1, 125))
            kind = (
                words.ReadHoldingRegistersRequest
                if function == 3
                else words.ReadInputRegistersRequest
            )
            pdu = kind(address=address, count=count, dev_id=unit_id)
        case 5:
            bit = draw(st.booleans())
            block = bytes((bit,))
            pdu = bits.WriteSingleCoilRequest(address=address, bits=[bit], dev_id=unit_id)
        case 6:
            word = draw(st.integers(0, 0xFFFF))
            block = word.to_bytes(2, "big")
            pdu = words.WriteSingleRegisterRequest(
                address=address, registers=[word], dev_id=unit_id
            )
        case 15:
            values = draw(BITS)
            count, block = len(values), bytes(values)
            pdu = bits.WriteMultipleCoilsRequest(address=address, bits=values, dev_id=unit_id)
        case _:
            registers = draw(WORDS)
            count = len(registers)
            block = b"".join(word.to_bytes(2, "big") for word in registers)
            pdu = words.WriteMultipleRegistersRequest(
                address=address, registers=registers, dev_id=unit_id
            )
    return SERVER.buildFrame(pdu), (unit_id, function, address, count, block, 0)


def facts(request: ServerRequest) -> tuple:
    return (
        request.unit_id,
        request.function,
        request.address,
        request.count,
        request.block,
        request.fault,
    )


def whole(adu: bytes) -> ServerRequest:
    (request,) = RequestFramer(9600).receive(adu, 0.0)
    return request


@given(requests())
def test_requests_of_pymodbus_client_are_understood(sent: tuple[bytes, tuple]) -> None:
    adu, expected = sent
    request = whole(adu)
    assert facts(request) == expected
    assert request.adu == adu


@given(st.lists(requests(), min_size=1, max_size=4), st.data())
def test_split_or_joined_bytes_give_the_same_requests(
    sent: list[tuple[bytes, tuple]], data: st.DataObject
) -> None:
    stream = b"".join(adu for adu, _ in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    framer = RequestFramer(9600)
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        if begin != end:
            found += framer.receive(stream[begin:end], 0.001)
    assert [facts(request) for request in found] == [expected for _, expected in sent]
    assert framer.noise_bytes == 0


@given(st.binary(max_size=30), UNIT_IDS, st.integers(0, 0xFF00), st.integers(1, 125))
def test_request_after_noise_is_found_at_its_last_byte(
    noise: bytes, unit_id: int, address: int, count: int
) -> None:
    adu = SERVER.buildFrame(
        words.ReadHoldingRegistersRequest(address=address, count=count, dev_id=unit_id)
    )
    framer = RequestFramer(9600)
    framer.receive(noise, 0.0)
    # After a pause the noise is gone for sure; without one it may look like a write under way.
    found = framer.receive(adu, 1.0)
    assert [request.adu for request in found] == [adu]


@pytest.mark.parametrize("bit", range(64))
def test_request_with_one_wrong_bit_is_none_also_right_after_a_good_one(bit: int) -> None:
    cut = bytearray(OURS)
    cut[bit // 8] ^= 1 << bit % 8
    framer = RequestFramer(9600)
    assert framer.receive(bytes(cut), 0.0) == []
    assert len(framer.receive(OURS, 1.0)) == 1
    assert framer.receive(bytes(cut), 2.0) == []
    assert [request.adu for request in framer.receive(OURS, 3.0)] == [OURS]


@given(st.binary(max_size=300), st.integers(0, 3))
def test_noise_never_crashes_and_is_never_hoarded(noise: bytes, times: int) -> None:
    framer = RequestFramer(9600)
    for _ in range(times):
        framer.receive(noise, 0.0)
    assert len(framer._buffer) <= 256


def test_a_line_full_of_noise_costs_one_frames_memory() -> None:
    framer = RequestFramer(9600)
    for _ in range(20):
        assert framer.receive(bytes(range(256)), 0.0) == []
        assert len(framer._buffer) <= 256
    assert framer.noise_bytes == 19 * 256


def test_request_right_behind_noise_is_found() -> None:
    adu = with_crc(bytes((1, 3, 0, 0, 0, 65)))
    for noise in (b"\x00", b"\xff\xff\xff", b"\x01\x03", adu[:5], b"\x01\x03\xc8", adu[1:]):
        framer = RequestFramer(9600)
        assert [r.adu for r in framer.receive(noise + adu, 0.0)] == [adu]
        assert framer.noise_bytes == len(noise)


def test_partial_frame_is_forgotten_after_a_pause() -> None:
    adu = with_crc(bytes((1, 3, 0, 0, 0, 65)))
    framer = RequestFramer(9600)
    assert framer.receive(adu[:5], 0.0) == []
    assert framer.receive(adu[5:], 1.0) == []
    assert framer.noise_bytes == 5
    assert framer.receive(adu, 1.01) != []


def test_partial_frame_survives_the_usb_adapters_pauses() -> None:
    adu = with_crc(bytes((1, 3, 0, 0, 0, 65)))
    framer = RequestFramer(9600)
    for index, moment in enumerate(range(0, 7 * 16, 16)):
        assert framer.receive(adu[index : index + 1], moment / 1000) == []
    assert framer.receive(adu[7:], 0.12) != []


def test_other_units_reply_holding_a_request_to_us_is_skipped() -> None:
    """Another master asks unit 9, whose registers happen to hold a request for unit 1."""
    inside = with_crc(bytes((1, 3, 0, 0, 0, 65)))
    asked = with_crc(bytes((9, 3, 0, 0, 0, 6)))
    reply = with_crc(bytes((9, 3, 12)) + b"\0\0" + inside + b"\0\0")
    for cut in range(len(reply)):
        framer = RequestFramer(9600)
        found = framer.receive(asked, 0.0)
        found += framer.receive(reply[:cut], 0.05)
        found += framer.receive(reply[cut:], 0.06)
        found += framer.receive(inside, 0.2)
        assert [request.adu for request in found] == [asked, inside]
        assert (framer.replies, framer.noise_bytes) == (1, 0)


OURS = with_crc(bytes((1, 3, 0, 0, 0, 65)))


@st.composite
def foreign_exchanges(draw: st.DrawFn) -> bytes:
    """Another master's question to another unit, and its answer, with our question inside it."""
    unit_id = draw(st.integers(2, 247))
    data = draw(st.binary(max_size=20)) + OURS + draw(st.binary(max_size=20))
    data += b"\0" * (len(data) % 2)
    count = len(data) // 2
    head = bytes((draw(st.integers(0, 255)), draw(st.integers(0, 255)), 0, count))
    if draw(st.booleans()):
        function = draw(st.sampled_from([3, 4]))
        asked = with_crc(bytes((unit_id, function)) + head)
        return asked + with_crc(bytes((unit_id, function, 2 * count)) + data)
    asked = with_crc(bytes((unit_id, 16)) + head + bytes((2 * count,)) + data)
    return asked + with_crc(bytes((unit_id, 16)) + head)


@given(st.lists(st.one_of(st.just(OURS), foreign_exchanges()), max_size=6), st.data())
def test_on_a_shared_line_exactly_our_questions_are_found(
    frames: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    framer = RequestFramer(9600)
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        if begin != end:
            found += framer.receive(stream[begin:end], 0.001)
    assert [r.adu for r in found if r.unit_id == 1] == [f for f in frames if f == OURS]
    assert framer.noise_bytes == 0


def test_replies_refusals_and_echoes_are_no_requests() -> None:
    framer = RequestFramer(9600)
    asked = whole(with_crc(bytes((9, 1, 0, 0, 0, 20))))
    assert framer.receive(asked.adu, 0.0) == [asked]
    # A reply of 20 bits is as long as a request, and looks like one.
    assert framer.receive(read_reply(asked, bytes(20)), 0.02) == []
    assert framer.receive(exception_reply(asked, 2), 0.04) == []
    assert framer.replies == 2
    assert framer.receive(asked.adu, 0.06) == [asked]


def test_what_may_be_reply_or_request_is_a_reply_once() -> None:
    framer = RequestFramer(9600)
    asked = whole(with_crc(bytes((1, 1, 0, 0, 0, 20))))
    ambiguous = read_reply(asked, bytes(20))
    assert framer.receive(asked.adu, 0.0) == [asked]
    assert framer.receive(ambiguous, 0.02) == []
    assert [request.adu for request in framer.receive(ambiguous, 0.2)] == [ambiguous]


def test_next_request_is_taken_when_the_reply_to_the_last_never_came() -> None:
    framer = RequestFramer(9600)
    first = with_crc(bytes((1, 3, 0, 0, 0, 65)))
    # Its address begins with the size byte that a reply to the first would have.
    second = with_crc(bytes((1, 3, 130, 0, 0, 2)))
    assert len(framer.receive(first, 0.0)) == 1
    assert [r.adu for r in framer.receive(second, 0.071)] == [second]
    assert [r.adu for r in framer.receive(first, 0.142)] == [first]


def test_writes_data_are_not_searched_for_requests() -> None:
    inside = with_crc(bytes((1, 3, 0, 0, 0, 65)))
    write = with_crc(bytes((9, 16, 0, 0, 0, 5, 10)) + inside + b"\0\0")
    framer = RequestFramer(9600)
    assert framer.receive(write[:17], 0.0) == []
    assert [r.function for r in framer.receive(write[17:], 0.01)] == [16]


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        (bytes((3, 0, 0, 0, 0)), ILLEGAL_DATA_VALUE),
        (bytes((3, 0, 0, 0, 126)), ILLEGAL_DATA_VALUE),
        (bytes((1, 0, 0, 0x07, 0xD1)), ILLEGAL_DATA_VALUE),
        (bytes((4, 0xFF, 0xFF, 0, 2)), ILLEGAL_DATA_ADDRESS),
        (bytes((5, 0, 0, 0x12, 0)), ILLEGAL_DATA_VALUE),
        (bytes((16, 0, 0, 0, 2, 2, 0, 0)), ILLEGAL_DATA_VALUE),
        (bytes((15, 0, 0, 0, 9, 1, 0)), ILLEGAL_DATA_VALUE),
        (bytes((17,)), ILLEGAL_FUNCTION),
        (bytes((8, 0, 0, 0xA5, 0x37)), ILLEGAL_FUNCTION),
        (bytes((43, 14, 1, 0)), ILLEGAL_FUNCTION),
    ],
)
def test_malformed_requests_carry_their_exception_code(pdu: bytes, code: int) -> None:
    assert whole(with_crc(bytes((1,)) + pdu)).fault == code


@given(UNIT_IDS, WORDS)
def test_word_replies_decode_in_pymodbus(unit_id: int, values: list[int]) -> None:
    request = whole(with_crc(bytes((unit_id, 3, 0, 0, 0, len(values)))))
    block = b"".join(word.to_bytes(2, "big") for word in values)
    _, dev_id, _, pdu_bytes = CLIENT.decode(read_reply(request, block))
    pdu = CLIENT.decoder.decode(pdu_bytes)
    assert (dev_id, pdu.registers) == (unit_id, values)


@given(UNIT_IDS, BITS)
def test_bit_replies_decode_in_pymodbus(unit_id: int, values: list[bool]) -> None:
    request = whole(with_crc(bytes((unit_id, 2, 0, 0, 0, len(values)))))
    _, dev_id, _, pdu_bytes = CLIENT.decode(read_reply(request, bytes(values)))
    pdu = CLIENT.decoder.decode(pdu_bytes)
    assert (dev_id, pdu.bits[: len(values)]) == (unit_id, values)
    assert unpack_bits(pack_bits(bytes(values)), len(values)) == bytes(values)


@given(requests().filter(lambda sent: sent[1][1] >= 5))
def test_write_replies_decode_in_pymodbus(sent: tuple[bytes, tuple]) -> None:
    adu, (unit_id, function, address, *_) = sent
    _, dev_id, _, pdu_bytes = CLIENT.decode(write_reply(whole(adu)))
    pdu = CLIENT.decoder.decode(pdu_bytes)
    assert (dev_id, pdu.function_code, pdu.address) == (unit_id, function, address)


@given(requests(), st.integers(1, 11))
def test_exception_replies_decode_in_pymodbus(sent: tuple[bytes, tuple], code: int) -> None:
    adu, (unit_id, function, *_) = sent
    _, dev_id, _, pdu_bytes = CLIENT.decode(exception_reply(whole(adu), code))
    pdu = CLIENT.decoder.decode(pdu_bytes)
    assert isinstance(pdu, ExceptionResponse)
    assert (dev_id, pdu.function_code, pdu.exception_code) == (unit_id, function | 0x80, code)


def test_tables_follow_the_function() -> None:
    tables = [whole(with_crc(bytes((1, function, 0, 0, 0, 1)))).table for function in (1, 2, 3, 4)]
    assert tables == [
        Table.COIL,
        Table.DISCRETE_INPUT,
        Table.HOLDING_REGISTER,
        Table.INPUT_REGISTER,
    ]
