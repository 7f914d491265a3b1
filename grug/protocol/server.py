"""Server side of Modbus RTU: bytes into requests, answers into bytes.

Sans-IO: bytes and times go in, values come out. Frames end by length and CRC, never by waiting for
silence, and whatever is no request (noise, other units' replies, our own echo) is skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from grug.model import Span, Table
from grug.protocol.rtu import character_s, crc_is_good, with_crc

ILLEGAL_FUNCTION = 1
ILLEGAL_DATA_ADDRESS = 2
ILLEGAL_DATA_VALUE = 3
GATEWAY_TARGET_FAILED = 11
"""Exception codes. Source: MODBUS Application Protocol V1.1b3, 7."""

ADU_LENGTH_MAX = 256
"""Source: MODBUS over Serial Line V1.02, 2.5.1."""

READ_WORDS_MAX = 125
READ_BITS_MAX = 2000
WRITE_WORDS_MAX = 123
WRITE_BITS_MAX = 1968
READ_WRITE_WORDS_MAX = 121
"""Source: MODBUS Application Protocol V1.1b3, 6.1, 6.3, 6.11, 6.12, 6.17."""

PARTIAL_KEPT_S = 0.03
"""How long a silence within one frame may last, over and above its characters' time: USB adapters
hand over what they have every 16 ms at worst, and the process may be busy for as long again."""
PARTIAL_KEPT_CHARACTERS = 10

_TABLES = {
    1: Table.COIL,
    2: Table.DISCRETE_INPUT,
    3: Table.HOLDING_REGISTER,
    4: Table.INPUT_REGISTER,
    5: Table.COIL,
    6: Table.HOLDING_REGISTER,
    15: Table.COIL,
    16: Table.HOLDING_REGISTER,
    22: Table.HOLDING_REGISTER,
    23: Table.HOLDING_REGISTER,
}
_READS = frozenset((1, 2, 3, 4))
_MASK_WRITE = 22
_READ_WRITE = 23
_BYTE_COUNTS_AT = {15: 6, 16: 6, 23: 10}
"""Where a request with data says how many bytes they are. Source: as above, 6.11, 6.12, 6.17."""
_LENGTHS_OF_OTHERS = {8: 8, 24: 6, 43: 7}
"""Lengths of requests that are only refused; those not listed have no data and thus 4 bytes.
Source: MODBUS Application Protocol V1.1b3, 6.8, 6.18, 6.21."""


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """One request as it came over the line, for whatever unit."""

    unit_id: int
    function: int
    table: Table
    """Meaningless when ``fault`` is ILLEGAL_FUNCTION."""
    address: int
    count: int
    """Words or bits."""
    block: bytes
    """What is to be written: big-endian words, or one byte per coil; empty for reads."""
    adu: bytes
    fault: int = 0
    """The exception code that any server answers it with; 0 when it is well formed."""
    mask: bytes = b""
    """Of function 22: the bits of the block that are to be written are 1; empty for the others."""
    reads: Span | None = None
    """Of function 23: what is to be read after the write."""

    @property
    def is_read(self) -> bool:
        """Whether it asks and does not change anything."""
        return self.function in _READS


class RequestFramer:
    """Cuts the bytes of one line into requests.

    It never waits for more than a complete frame, so that a request is known the moment its last
    byte is in, also after noise. After another unit was asked, that unit's reply is expected and
    skipped whole, whatever its data look like. (Only a reply of three bytes of bits cannot be told
    from a request; as the one that is awaited it is taken for a reply, once.)
    """

    def __init__(self, baudrate: int) -> None:
        self.noise_bytes = 0
        """Bytes that belonged to no frame, since start."""
        self.replies = 0
        """Other units' replies (and echoes of our own) that were skipped, since start."""
        self._kept_s = PARTIAL_KEPT_S + PARTIAL_KEPT_CHARACTERS * character_s(baudrate)
        self._buffer = b""
        self._received_s = 0.0
        self._asked: ServerRequest | None = None
        self._last: ServerRequest | None = None

    def receive(self, data: bytes, now_s: float) -> list[ServerRequest]:
        """Take bytes off the line; returns the requests that they complete, in order.

        Args:
            data: the bytes, as many as there are.
            now_s: when they came, in monotonic seconds.
        """
        is_late = now_s - self._received_s > self._kept_s
        self._received_s = now_s
        if is_late and self._buffer:
            self.noise_bytes += len(self._buffer)
            self._buffer = b""
        if not self._buffer and len(data) == 8:
            request = self._whole_read(bytes(data))
            if request is not None:
                return [request]
        self._buffer += data
        return self._cut()

    def _whole_read(self, adu: bytes) -> ServerRequest | None:
        """The common case: exactly one read request and nothing else."""
        request = self._last
        if request is None or request.adu != adu:
            if adu[1] not in _READS or self._is_awaited_reply(adu) or not crc_is_good(adu):
                return None
            self._last = request = _parse(adu)
        self._asked = request
        return request

    def _cut(self) -> list[ServerRequest]:
        """Take all complete frames off the front of the buffer."""
        requests: list[ServerRequest] = []
        start = 0
        while (found := self._find(start)) is not None:
            begin, end, is_reply = found
            self.noise_bytes += begin - start
            start = end
            if is_reply:
                self.replies += 1
                self._asked = None
            else:
                request = _parse(self._buffer[begin:end])
                self._asked = request
                requests.append(request)
        self._buffer = self._buffer[start:]
        excess = len(self._buffer) - ADU_LENGTH_MAX
        if excess > 0:
            self.noise_bytes += excess
            self._buffer = self._buffer[excess:]
        return requests

    def _find(self, start: int) -> tuple[int, int, bool] | None:
        """The first complete frame from ``start``: its begin, its end, whether it is a reply."""
        buffer = self._buffer
        for begin in range(start, len(buffer) - 3):
            frame = memoryview(buffer)[begin:]
            is_first = begin == start
            is_awaited = is_first and self._is_awaited_reply(frame)
            if is_awaited and _is_frame(frame, _reply_length(frame)):
                return begin, begin + _reply_length(frame), True
            length = _request_length(frame, is_first)
            if _is_frame(frame, length):
                return begin, begin + length, False
            reply_length = _reply_length(frame)
            if _is_frame(frame, reply_length):
                return begin, begin + reply_length, True
            if is_awaited and reply_length > len(frame):
                return None
            if is_first and _is_write_under_way(frame, length):
                return None
        return None

    def _is_awaited_reply(self, frame: bytes | memoryview) -> bool:
        """Whether the bytes begin as the unit's answer to the last read request must."""
        asked = self._asked
        if asked is None or asked.fault or not (asked.is_read or asked.reads):
            return False
        count = asked.reads.count if asked.reads else asked.count
        size = (count + 7) // 8 if asked.table.is_bits else 2 * count
        return frame[0] == asked.unit_id and frame[1] == asked.function and frame[2] == size


def _is_frame(frame: memoryview, length: int) -> bool:
    """Whether ``length`` bytes are there and their CRC is right; length 0 is no frame."""
    return 0 < length <= len(frame) and crc_is_good(bytes(frame[:length]))


def _request_length(frame: memoryview, is_first: bool) -> int:
    """Length of the request that these bytes begin, 0 when they begin none or it is not known yet.

    Functions that nobody here serves are taken for real only at the start of a frame
    (``is_first``): within noise they would be four bytes that any noise may hold.
    """
    function = frame[1]
    if function in (1, 2, 3, 4, 5, 6):
        return 8
    if function == _MASK_WRITE:
        return 10
    if (at := _BYTE_COUNTS_AT.get(function)) is not None:
        return at + 3 + frame[at] if len(frame) > at else 0
    if not is_first or not 0 < function < 0x80:
        return 0
    return _LENGTHS_OF_OTHERS.get(function, 4)


def _is_write_under_way(frame: memoryview, length: int) -> bool:
    """Whether this is the consistent head of a multiple write whose data are still coming.

    Its data may look like anything, a request to us included, so they are not searched.
    """
    at = _BYTE_COUNTS_AT.get(frame[1])
    if at is None or len(frame) <= at or length <= len(frame):
        return False
    count = frame[at - 2] << 8 | frame[at - 1]
    return count > 0 and frame[at] == ((count + 7) // 8 if frame[1] == 15 else 2 * count)


def _reply_length(frame: memoryview) -> int:
    """Length of the reply that these bytes begin, 0 when they begin none."""
    function = frame[1]
    if function in _READS or function == _READ_WRITE:
        return 5 + frame[2]
    if function in (15, 16):
        return 8
    if function == _MASK_WRITE:
        return 10
    return 5 if function & 0x80 and function & 0x7F > 0 else 0


def request_of(contents: bytes) -> ServerRequest:
    """One request that came whole, as unit id and PDU; with a fault where it is not well formed."""
    adu = with_crc(contents)
    function = contents[1]
    if function in _TABLES and _request_length(memoryview(adu), is_first=True) != len(adu):
        table = _TABLES[function]
        return ServerRequest(contents[0], function, table, 0, 0, b"", adu, ILLEGAL_DATA_VALUE)
    return _parse(adu)


def _parse(adu: bytes) -> ServerRequest:
    """Turn one complete frame with a good CRC into a request."""
    unit_id, function = adu[0], adu[1]
    table = _TABLES.get(function)
    if table is None:
        return ServerRequest(
            unit_id, function, Table.HOLDING_REGISTER, 0, 0, b"", adu, ILLEGAL_FUNCTION
        )
    if function == _READ_WRITE:
        return _parse_read_write(adu)
    address = adu[2] << 8 | adu[3]
    mask = b""
    if function == _MASK_WRITE:
        count, block, is_legal = 1, adu[6:8], True
        mask = bytes((adu[4] ^ 0xFF, adu[5] ^ 0xFF))  # On the wire it says which bits stay.
    elif function in _READS:
        count, block = adu[4] << 8 | adu[5], b""
        is_legal = 0 < count <= (READ_BITS_MAX if table.is_bits else READ_WORDS_MAX)
    else:
        count, block, is_legal = _PARSE_WRITE[function](adu)
    fault = 0 if is_legal else ILLEGAL_DATA_VALUE
    if not fault and address + count > 0x10000:
        fault = ILLEGAL_DATA_ADDRESS
    return ServerRequest(unit_id, function, table, address, count, block, adu, fault, mask)


def _parse_read_write(adu: bytes) -> ServerRequest:
    read_address, read_count, address, count = (
        adu[at] << 8 | adu[at + 1] for at in range(2, 10, 2)
    )
    is_legal = 0 < count <= READ_WRITE_WORDS_MAX and 0 < read_count <= READ_WORDS_MAX
    fault = 0 if is_legal and adu[10] == 2 * count else ILLEGAL_DATA_VALUE
    if not fault and max(address + count, read_address + read_count) > 0x10000:
        fault = ILLEGAL_DATA_ADDRESS
    table = Table.HOLDING_REGISTER
    reads = Span(table, read_address, read_count)
    return ServerRequest(adu[0], adu[1], table, address, count, adu[11:-2], adu, fault, reads=reads)


def _parse_write_coil(adu: bytes) -> tuple[int, bytes, bool]:
    return 1, bytes((adu[4] == 0xFF,)), adu[4:6] in (b"\xff\x00", b"\x00\x00")


def _parse_write_word(adu: bytes) -> tuple[int, bytes, bool]:
    return 1, adu[4:6], True


def _parse_write_coils(adu: bytes) -> tuple[int, bytes, bool]:
    count = adu[4] << 8 | adu[5]
    is_legal = 0 < count <= WRITE_BITS_MAX and adu[6] == (count + 7) // 8
    return count, unpack_bits(adu[7:-2], count) if is_legal else b"", is_legal


def _parse_write_words(adu: bytes) -> tuple[int, bytes, bool]:
    count = adu[4] << 8 | adu[5]
    return count, adu[7:-2], 0 < count <= WRITE_WORDS_MAX and adu[6] == 2 * count


_PARSE_WRITE: dict[int, Callable[[bytes], tuple[int, bytes, bool]]] = {
    5: _parse_write_coil,
    6: _parse_write_word,
    15: _parse_write_coils,
    16: _parse_write_words,
}


def unpack_bits(packed: bytes, count: int) -> bytes:
    """Bits as on the wire (lowest first) into one byte, 0 or 1, per bit."""
    bits = int.from_bytes(packed, "little")
    return bytes((bits >> index) & 1 for index in range(count))


def pack_bits(block: bytes) -> bytes:
    """One byte, 0 or 1, per bit into bits as on the wire, lowest first."""
    bits = sum(1 << index for index, bit in enumerate(block) if bit)
    return bits.to_bytes((len(block) + 7) // 8, "little")


def read_reply(request: ServerRequest, block: bytes) -> bytes:
    """The ADU that answers a read, or a write with a read after it.

    Args:
        request: the request.
        block: as many big-endian words as are read, or one byte per bit.
    """
    data = pack_bits(block) if request.table.is_bits else block
    return with_crc(bytes((request.unit_id, request.function, len(data))) + data)


def write_reply(request: ServerRequest) -> bytes:
    """The ADU that acknowledges a write: its beginning again, of a masked one all of it."""
    return with_crc(request.adu[:8] if request.mask else request.adu[:6])


def exception_reply(request: ServerRequest, code: int) -> bytes:
    """The ADU that refuses a request with an exception code."""
    return with_crc(bytes((request.unit_id, request.function | 0x80, code)))
