"""The asking side of Modbus RTU, without any input or output: bytes to send, bytes received.

A frame ends by its length and its checksum, never by silence, because USB adapters and schedulers
put silence anywhere. Noise, our own echo on two-wire adapters that hear themselves, and replies of
other units are skipped wherever they are.

pymodbus is not imported here: its framer and classes take 27 us to decode a reply of 40 words where
the one comparison and checksum below take under 1 us, and they lose a good reply behind a stray
byte. The ten functions that we use are written with ``struct``, and the tests pin every byte of
them to pymodbus's own encoding and decoding.
"""

from __future__ import annotations

import struct
from functools import lru_cache

import fastcrc

from grug.errors import ExceptionReply, LocalProtocolError
from grug.model import Span, Table
from grug.protocol.rtu import with_crc
from grug.protocol.strays import STRAY_BYTES_MAX, what_came

READ_FUNCTIONS = {
    Table.COIL: 1,
    Table.DISCRETE_INPUT: 2,
    Table.HOLDING_REGISTER: 3,
    Table.INPUT_REGISTER: 4,
}
"""Source: MODBUS Application Protocol V1.1b3, 5.1."""

READ_BITS_MAX = 2000
READ_WORDS_MAX = 125
WRITE_BITS_MAX = 1968
WRITE_WORDS_MAX = 123
"""Source: MODBUS Application Protocol V1.1b3, 6.1-6.4, 6.11, 6.12."""

MASK_WRITE = 22
READ_WRITE = 23
READ_WRITE_WORDS_MAX = 121
"""Most words that function 23 writes; it reads up to 125. Source: as above, 6.16 and 6.17."""

EXCEPTION_ADU_BYTES = 5
"""Unit id, function with bit 7 set, code, CRC. Source: MODBUS Application Protocol V1.1b3, 7."""

WRITE_ADU_BYTES = 8
"""Functions 5, 6, 15 and 16 are acknowledged so. Source: as above, 6.5, 6.6, 6.11, 6.12."""

MASK_WRITE_ADU_BYTES = 10
"""Request and acknowledgement are the same. Source: as above, 6.16."""

REQUESTS_MAX = 2000
"""Reads remembered as bytes; polls repeat, so that more means a runaway asker."""

_REQUEST = struct.Struct(">BBHH")
_WRITE_REQUEST = struct.Struct(">BBHHB")
_MASK_REQUEST = struct.Struct(">BBHHH")
_READ_WRITE_REQUEST = struct.Struct(">BBHHHHB")
_BITS = tuple(bytes(byte >> bit & 1 for bit in range(8)) for byte in range(256))
"""The eight bits of each byte, lowest first, as a byte each."""


class _Exchange:
    """What reads and writes share: recognising the one frame that answers."""

    __slots__ = (
        "_buffer",
        "_echo",
        "_header",
        "_strays",
        "adu",
        "reply_bytes",
        "saw_echo",
    )

    def __init__(self, adu: bytes, header: bytes, reply_bytes: int, *, skips_echo: bool) -> None:
        self.adu = adu
        """The bytes to send."""
        self.reply_bytes = reply_bytes
        """Length of the reply that is hoped for."""
        self.saw_echo = False
        """Whether our own request came back: the adapter hears what it sends."""
        self._strays = b""
        """What was received and belongs to no answer, or the beginning of it."""
        self._header = header
        self._echo = adu if skips_echo else b""
        self._buffer = b""

    @property
    def has_received(self) -> bool:
        """Whether anything but our own echo has arrived."""
        return bool(self._strays or self._buffer)

    @property
    def what_came(self) -> str:
        """Why what arrived is no answer."""
        return what_came(self.adu, self._strays + self._buffer)

    @property
    def _exception_header(self) -> bytes:
        return bytes((self._header[0], self._header[1] | 0x80))

    @property
    def missing_bytes(self) -> int:
        """How many bytes have yet to come of what has begun; 0 where nothing has."""
        there = len(self._buffer)
        if not there:
            return 0
        if self._buffer.startswith(self._exception_header):
            return EXCEPTION_ADU_BYTES - there
        is_reply = self._buffer.startswith(self._header[:there]) and there > 1
        return self.reply_bytes - there if is_reply else 0

    def _take(self, data: bytes) -> bytes | None:
        """Add what arrived; give the answering frame once it is complete.

        Raises:
            ExceptionReply: the unit refused.
        """
        buffer = self._buffer + data if self._buffer else data
        length = self.reply_bytes
        if (  # Nearly always the reply comes alone; a frame equal to the echo is not trusted.
            len(buffer) == length
            and buffer.startswith(self._header)
            and _crc_is_good(buffer)
            and not (self._echo and self._echo.startswith(buffer[: len(self._echo)]))
        ):
            return buffer
        self._buffer = buffer
        return self._search()

    def _search(self) -> bytes | None:
        """Look at every offset; earlier ones win, undecided ones are kept for more data."""
        buffer = self._buffer
        unit_id = self._header[:1]
        undecided = -1
        at = buffer.find(unit_id)
        while at >= 0:
            if self._echo and buffer.startswith(self._echo, at):
                self._skip_echo(at)
                return self._search()
            if self._is_begun(buffer, at, self._echo, len(self._echo)):
                # It may yet be our echo: what follows is looked at when that is known.
                undecided = at if undecided < 0 else undecided
                break
            if self._is_whole(buffer, at, self._header, self.reply_bytes):
                return buffer[at : at + self.reply_bytes]
            if self._is_whole(buffer, at, self._exception_header, EXCEPTION_ADU_BYTES):
                raise ExceptionReply(buffer[at + 2])
            if undecided < 0 and (
                self._is_begun(buffer, at, self._header, self.reply_bytes)
                or self._is_begun(buffer, at, self._exception_header, EXCEPTION_ADU_BYTES)
            ):
                undecided = at
            at = buffer.find(unit_id, at + 1)
        skipped = len(buffer) if undecided < 0 else undecided
        self._stray(buffer[:skipped])
        self._buffer = buffer[skipped:]
        return None

    def _skip_echo(self, at: int) -> None:
        # What precedes the echo was on the line before the unit could have answered.
        self.saw_echo = True
        self._stray(self._buffer[:at])
        self._buffer = self._buffer[at + len(self._echo) :]
        self._echo = b""

    def _stray(self, data: bytes) -> None:
        self._strays = (self._strays + data)[:STRAY_BYTES_MAX]

    @staticmethod
    def _is_begun(buffer: bytes, at: int, header: bytes, length: int) -> bool:
        """Whether a frame may begin here of which not everything has arrived."""
        there = len(buffer) - at
        return there < length and header.startswith(buffer[at : at + len(header)])

    @staticmethod
    def _is_whole(buffer: bytes, at: int, header: bytes, length: int) -> bool:
        return (
            len(buffer) - at >= length
            and buffer.startswith(header, at)
            and _crc_is_good(buffer[at : at + length])
        )


def _crc_is_good(adu: bytes) -> bool:
    return fastcrc.crc16.modbus(adu[:-2]) == adu[-2] | adu[-1] << 8


class ReadTransaction(_Exchange):
    """One read of up to 125 words or 2000 bits."""

    __slots__ = ("_bits",)

    def __init__(self, unit_id: int, span: Span) -> None:
        """Prepare the request.

        Args:
            unit_id: 1..247 (up to 255 is accepted, since such units exist).
            span: what to read.

        Raises:
            LocalProtocolError: Modbus has no such request.
        """
        adu, header, self._bits = _read_request(unit_id, span)
        super().__init__(adu, header, 5 + header[2], skips_echo=True)

    def receive(self, data: bytes) -> bytes | None:
        """Add what arrived.

        Returns:
            Big-endian words as on the wire, or one byte per bit; None while more is needed.

        Raises:
            ExceptionReply: the unit refused.
        """
        adu = self._take(data)
        if adu is None:
            return None
        if self._bits:
            return unpack_bits(adu[3:-2], self._bits)
        return adu[3:-2]


class WriteTransaction(_Exchange):
    """One write of neighbouring words or coils: functions 5 and 6 for one, 15 and 16 for more."""

    __slots__ = ()

    def __init__(
        self,
        unit_id: int,
        table: Table,
        address: int,
        block: bytes,
        *,
        always_multiple: bool = False,
        line_echoes: bool = False,
    ) -> None:
        """Prepare the request.

        Args:
            unit_id: 1..247; no broadcasts, since nobody acknowledges them.
            table: coils or holding registers.
            address: 0-based.
            block: big-endian words, or one byte (0 or 1) per coil.
            always_multiple: the unit wants functions 15 and 16 for a single value too.
            line_echoes: the adapter is known to hear itself, so that the first copy of a request
                whose acknowledgement looks the same is not yet an acknowledgement.

        Raises:
            LocalProtocolError: Modbus has no such request.
        """
        pdu, header = write_pdu(unit_id, table, address, block, always_multiple)
        super().__init__(
            with_crc(pdu),
            header,
            WRITE_ADU_BYTES,
            skips_echo=line_echoes or len(pdu) > WRITE_ADU_BYTES - 2,
        )

    def receive(self, data: bytes) -> bytes | None:
        """Add what arrived.

        Returns:
            ``b""`` once the unit has acknowledged; None while more is needed.

        Raises:
            ExceptionReply: the unit refused.
        """
        return None if self._take(data) is None else b""


class MaskWriteTransaction(_Exchange):
    """Function 22: some bits of one holding register are set or cleared, the others stay."""

    __slots__ = ()

    def __init__(
        self, unit_id: int, address: int, block: bytes, mask: bytes, *, line_echoes: bool = False
    ) -> None:
        """Prepare the request.

        Args:
            unit_id: 1..247.
            address: 0-based.
            block: one big-endian word with the new bits.
            mask: one word; its bits that are 1 are written.
            line_echoes: see ``WriteTransaction``: this acknowledgement always looks the same.

        Raises:
            LocalProtocolError: Modbus has no such request.
        """
        pdu = mask_write_pdu(unit_id, address, block, mask)
        super().__init__(with_crc(pdu), pdu, MASK_WRITE_ADU_BYTES, skips_echo=line_echoes)

    def receive(self, data: bytes) -> bytes | None:
        """See ``WriteTransaction.receive``."""
        return None if self._take(data) is None else b""


class ReadWriteTransaction(_Exchange):
    """Function 23: neighbouring holding registers are written, and then others or the same read."""

    __slots__ = ()

    def __init__(self, unit_id: int, address: int, block: bytes, read: Span) -> None:
        """Prepare the request.

        Args:
            unit_id: 1..247.
            address: 0-based, of what is written.
            block: up to 121 big-endian words.
            read: up to 125 holding registers, read after the write.

        Raises:
            LocalProtocolError: Modbus has no such request.
        """
        pdu, header = read_write_pdu(unit_id, address, block, read)
        super().__init__(with_crc(pdu), header, 5 + header[2], skips_echo=True)

    def receive(self, data: bytes) -> bytes | None:
        """See ``ReadTransaction.receive``."""
        adu = self._take(data)
        return None if adu is None else adu[3:-2]


@lru_cache(maxsize=REQUESTS_MAX)
def _read_request(unit_id: int, span: Span) -> tuple[bytes, bytes, int]:
    """A read with its checksum, how its reply begins, and how many bits it is of (0 for words)."""
    pdu, header = read_pdu(unit_id, span)
    return with_crc(pdu), header, span.count if span.table.is_bits else 0


def read_pdu(unit_id: int, span: Span) -> tuple[bytes, bytes]:
    """Unit id and PDU of a read, and how its reply begins: unit id, function, byte count.

    Raises:
        LocalProtocolError: Modbus has no such request.
    """
    is_bits = span.table.is_bits
    if not 1 <= span.count <= (READ_BITS_MAX if is_bits else READ_WORDS_MAX):
        raise LocalProtocolError(f"cannot read {span.count} of {span.table} at once")
    _check(unit_id, span.address, span.count)
    function = READ_FUNCTIONS[span.table]
    data_bytes = (span.count + 7) // 8 if is_bits else 2 * span.count
    pdu = _REQUEST.pack(unit_id, function, span.address, span.count)
    return pdu, bytes((unit_id, function, data_bytes))


def unpack_bits(packed: bytes, count: int) -> bytes:
    """The first ``count`` bits, lowest first, as a byte (0 or 1) each."""
    return b"".join([_BITS[byte] for byte in packed])[:count]


def write_pdu(
    unit_id: int, table: Table, address: int, block: bytes, always_multiple: bool
) -> tuple[bytes, bytes]:
    """Unit id and PDU of a write, and how its acknowledgement begins.

    Raises:
        LocalProtocolError: Modbus has no such request.
    """
    if table is Table.HOLDING_REGISTER:
        count, rest = divmod(len(block), 2)
        if rest or not 1 <= count <= WRITE_WORDS_MAX:
            raise LocalProtocolError(f"cannot write {len(block)} bytes of words at once")
        single, multiple, value, data = 6, 16, int.from_bytes(block[:2], "big"), block
    elif table is Table.COIL:
        count = len(block)
        if not 1 <= count <= WRITE_BITS_MAX:
            raise LocalProtocolError(f"cannot write {count} coils at once")
        single, multiple, value, data = 5, 15, 0xFF00 if block[0] else 0, _packed(block)
    else:
        raise LocalProtocolError(f"a {table} cannot be written")
    _check(unit_id, address, count)
    if count == 1 and not always_multiple:
        pdu = _REQUEST.pack(unit_id, single, address, value)
        return pdu, pdu
    pdu = _WRITE_REQUEST.pack(unit_id, multiple, address, count, len(data)) + data
    return pdu, pdu[:6]


def mask_write_pdu(unit_id: int, address: int, block: bytes, mask: bytes) -> bytes:
    """Unit id and PDU of a write of some bits; its acknowledgement is the same.

    On the wire the mask says which bits stay. Source: MODBUS Application Protocol V1.1b3, 6.16:
    result = (current AND and_mask) OR (or_mask AND NOT and_mask).

    Raises:
        LocalProtocolError: Modbus has no such request.
    """
    if len(block) != 2 or len(mask) != 2:
        raise LocalProtocolError(f"cannot write some bits of {len(block)} bytes at once")
    _check(unit_id, address, 1)
    bits = int.from_bytes(mask, "big")
    new = int.from_bytes(block, "big") & bits
    return _MASK_REQUEST.pack(unit_id, MASK_WRITE, address, bits ^ 0xFFFF, new)


def read_write_pdu(unit_id: int, address: int, block: bytes, read: Span) -> tuple[bytes, bytes]:
    """Unit id and PDU of a write with a read after it, and how its reply begins.

    Raises:
        LocalProtocolError: Modbus has no such request.
    """
    count, rest = divmod(len(block), 2)
    if rest or not 1 <= count <= READ_WRITE_WORDS_MAX:
        raise LocalProtocolError(f"cannot write {len(block)} bytes of words and read at once")
    if read.table is not Table.HOLDING_REGISTER or not 1 <= read.count <= READ_WORDS_MAX:
        raise LocalProtocolError(f"cannot write and read {read.count} of {read.table} at once")
    _check(unit_id, address, count)
    _check(unit_id, read.address, read.count)
    head = _READ_WRITE_REQUEST.pack(
        unit_id, READ_WRITE, read.address, read.count, address, count, len(block)
    )
    return head + block, bytes((unit_id, READ_WRITE, 2 * read.count))


def _packed(bits: bytes) -> bytes:
    """A byte per bit into bits, lowest first."""
    number = sum(1 << at for at, bit in enumerate(bits) if bit)
    return number.to_bytes((len(bits) + 7) // 8, "little")


def _check(unit_id: int, address: int, count: int) -> None:
    if not 1 <= unit_id <= 255:
        raise LocalProtocolError(f"unit id {unit_id} is not 1..255")
    if not 0 <= address <= 65536 - count:
        raise LocalProtocolError(f"address {address}, {count} of them, is beyond 65535")
