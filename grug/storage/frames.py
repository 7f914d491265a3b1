"""What lines carried, as the frame ring keeps it: records, and the payload of one block. Pure.

The ring's segments are those of the log; its series table names wires instead of series, and its
blocks are of the kind ``FrameKind.WIRE``. Payload before zstd, little endian, numbers of more than
one byte stored plane by plane (all lowest bytes first)::

    u32 records   u32 G, groups   u64 monotonic us of the first record
    G x u16 wire   G x u8 kind, plus 128: a checksum follows that is left out
    G x u16 bytes of each record   G x u32 records
    records x u16 group   records x u32 us since the record before
    for each group its bytes, transposed: all first bytes, all second bytes, ...

Records of one group have the same wire, kind and length, and follow the same request: most bytes
of a column are then equal, which is what makes a ring of frames small. A good CRC of Modbus RTU at
the end of a record is not stored but made again: it would be a third of the ring.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate

from fastcrc import crc16

from grug.errors import StorageError
from grug.model import Role, Wire, WireFraming, WireKind, WireRecord

RECORDS_MAX = 1 << 16
"""In one block; the groups of a block are counted with 16 bits, and never more than the records."""
_HEAD = struct.Struct("<IIQ")
_STEP_US_MAX = (1 << 32) - 1
_CRC_BYTES = 2
_CRC_LEFT_OUT = 0x80
_CARRYING = (WireKind.SENT, WireKind.RECEIVED)


def parse_wire(name: str) -> Wire:
    """The wire of a name.

    Raises:
        StorageError: it is no wire's name.
    """
    try:
        line, role, framing = name.rsplit("/", 2)
        return Wire(line, Role(role), WireFraming(framing))
    except ValueError as error:
        raise StorageError(f"{name!r} is no wire: is this the ring of frames?") from error


def encode_wire(records: Sequence[WireRecord]) -> bytes:
    """Write the payload of a wire block.

    Args:
        records: at least one, at most ``RECORDS_MAX``, in the order in which they were taken; at
            most 71 minutes lie between two of them.
    """
    numbers: list[int] = []
    steps_us: list[int] = []
    groups: dict[tuple[int, int, int, bytes], tuple[int, list[bytes]]] = {}
    requests: dict[int, bytes] = {}
    last_us = records[0].at_us
    for wire, kind, at_us, data in records:
        steps_us.append(min(max(at_us - last_us, 0), _STEP_US_MAX))
        last_us = max(at_us, last_us)
        if kind in _CARRYING and data[-_CRC_BYTES:] == _crc(data[:-_CRC_BYTES]):
            stored, stored_kind = data[:-_CRC_BYTES], kind | _CRC_LEFT_OUT
        else:
            stored, stored_kind = data, kind
        key = (wire, stored_kind, len(stored), requests.get(wire, b""))
        group = groups.get(key)
        if group is None:
            group = groups[key] = (len(groups), [])
        numbers.append(group[0])
        group[1].append(stored)
        if kind == WireKind.SENT:
            requests[wire] = data
    keys = list(groups)
    return b"".join(
        (
            _HEAD.pack(len(records), len(keys), records[0].at_us),
            _planes([key[0] for key in keys], 2),
            bytes(key[1] for key in keys),
            _planes([key[2] for key in keys], 2),
            _planes([len(parts) for _, parts in groups.values()], 4),
            _planes(numbers, 2),
            _planes(steps_us, 4),
            *(
                _transposed(b"".join(parts), key[2], len(parts))
                for key, (_, parts) in groups.items()
            ),
        )
    )


def decode_wire(payload: bytes) -> list[WireRecord]:
    """Read the payload of a wire block.

    Raises:
        StorageError: it is none.
    """
    try:
        return list(_decode(payload))
    except (struct.error, ValueError, IndexError) as error:
        raise StorageError(f"a block of frames cannot be read: {error}") from error


def _decode(payload: bytes) -> Iterator[WireRecord]:
    count, group_count, base_us = _HEAD.unpack_from(payload)
    reader = _Reader(payload, _HEAD.size)
    wires = reader.numbers(group_count, 2)
    kinds = reader.take(group_count)
    lengths = reader.numbers(group_count, 2)
    counts = reader.numbers(group_count, 4)
    numbers = reader.numbers(count, 2)
    times = accumulate(reader.numbers(count, 4), initial=base_us)
    if sum(counts) != count:
        raise ValueError("its groups do not have as many records as it says")
    groups = [
        (wire, WireKind(kind & ~_CRC_LEFT_OUT), _parts(reader, kind, length, size))
        for wire, kind, length, size in zip(wires, kinds, lengths, counts, strict=True)
    ]
    next(times)
    for number, at_us in zip(numbers, times, strict=True):
        wire, kind, parts = groups[number]
        part = next(parts, None)
        if part is None:
            raise ValueError("one of its groups has too few records")
        yield WireRecord(wire, kind, at_us, part)


def _parts(reader: _Reader, kind: int, length: int, count: int) -> Iterator[bytes]:
    """The records of one group."""
    whole = _transposed(reader.take(length * count), count, length)
    parts = [whole[index * length : (index + 1) * length] for index in range(count)]
    if kind & _CRC_LEFT_OUT:
        parts = [part + _crc(part) for part in parts]
    return iter(parts)


def _crc(data: bytes) -> bytes:
    """The checksum as it is on the wire. Source: MODBUS over Serial Line V1.02, 2.5.1.2."""
    return crc16.modbus(data).to_bytes(_CRC_BYTES, "little")


def _transposed(data: bytes, width: int, rows: int) -> bytes:
    """``rows`` times ``width`` bytes become ``width`` times ``rows``."""
    if rows == 1 or width == 1:
        return data
    return b"".join([data[column::width] for column in range(width)])


def _planes(numbers: Sequence[int], width: int) -> bytes:
    packed = struct.pack(f"<{len(numbers)}{_FORMATS[width]}", *numbers)
    return _transposed(packed, width, len(numbers))


_FORMATS = {2: "H", 4: "I"}


class _Reader:
    """Takes columns off a payload."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data = data
        self._offset = offset

    def take(self, size: int) -> bytes:
        part = self._data[self._offset : self._offset + size]
        if len(part) != size:
            raise ValueError("it is too short")
        self._offset += size
        return part

    def numbers(self, count: int, width: int) -> tuple[int, ...]:
        data = _transposed(self.take(count * width), count, width)
        return struct.unpack(f"<{count}{_FORMATS[width]}", data)
