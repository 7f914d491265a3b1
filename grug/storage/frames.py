"""What lines carried, as the frame ring keeps it: records, and the payload of one block. Pure.

The ring's segments are those of the log; its series table names wires instead of series, and its
blocks are of the kind ``FrameKind.WIRE``. Payload before zstd, little endian, numbers of more than
one byte stored plane by plane (all lowest bytes first)::

    u32 records plus 2^31   u32 G, groups   u64 monotonic us of the first record
    u32 us of one step of time   u8 bytes W of a time, 4 or 8   u8 1: ties have an order
    G x u16 wire   G x u8 kind, plus 128: a checksum follows that is left out
    G x u16 bytes of each record   G x u32 records
    records x u16 group: those of the lowest wire in their order, then those of the next
    for each group its times, W bytes each: steps since the wire's record before (of its first:
        since the block's first), as difference to that of the group's record before, zigzag
    for each group its bytes, transposed: all first bytes, all second bytes, ... From the end on,
        two bytes are a word, the higher byte first, and stand for the zigzag difference to the word
        of the record before
    u16 wire of each record that shares its time with another, where ties have an order

Without that order, records of one time stand in the order of their wires. Records of one group have
the same wire, kind and length, and follow the same request: most bytes of a column are then equal,
or nearly, which is what makes a ring of frames small. A good CRC of Modbus RTU at the end of a
record is not stored but made again: it would be a third of the ring.

Version 1, without the 2^31, is read too: after the first three numbers follow the groups as above,
records x u16 group in the order of all, records x u32 us since the record before, and for each
group its bytes, transposed as they are.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from operator import attrgetter, itemgetter
from typing import NamedTuple, TypeVar

from fastcrc import crc16

from grug.errors import StorageError
from grug.model import Role, Wire, WireFraming, WireKind, WireRecord

RECORDS_MAX = 1 << 16
"""In one block; the groups of a block are counted with 16 bits, and never more than the records."""
STEP_US = 100
"""Times of the ring are whole numbers of it: a character takes three times as long at 38400 baud,
and when a task came to run varies by more. Finer digits would be half of the ring."""
_HEAD = struct.Struct("<IIQ")
_TIMES = struct.Struct("<IBB")
_VERSION_2 = 1 << 31
_WORD = 0xFFFF
_CRC_BYTES = 2
_CRC_LEFT_OUT = 0x80
Item = TypeVar("Item")
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


def coarse(records: Sequence[WireRecord]) -> list[WireRecord]:
    """The same at times of ``STEP_US``; what is then at one time stands in the order of wires."""
    times_us = accumulate([record.at_us for record in records], max)
    stepped = [
        record._replace(at_us=at_us - at_us % STEP_US)
        for record, at_us in zip(records, times_us, strict=True)
    ]
    return sorted(stepped, key=attrgetter("at_us", "wire"))


class _Group(NamedTuple):
    """Records of one wire, kind and length that follow the same request."""

    number: int
    parts: list[bytes]
    steps_us: list[int]
    """Since the wire's record before."""


_Key = tuple[int, int, int, bytes]
"""Wire, kind with the mark of a checksum that is left out, length, request."""


def encode_wire(records: Sequence[WireRecord]) -> bytes:
    """Write the payload of a wire block.

    Args:
        records: at least one, at most ``RECORDS_MAX``, in the order in which they were taken.
    """
    groups: dict[_Key, _Group] = {}
    requests: dict[int, bytes] = {}
    base_us = last_us = records[0].at_us
    wire_us: dict[int, int] = {}
    orders: dict[int, list[int]] = {}
    times_us: list[int] = []
    for wire, kind, at_us, data in records:
        last_us = max(at_us, last_us)
        times_us.append(last_us)
        key, stored = _stored(wire, kind, data, requests)
        group = groups.get(key)
        if group is None:
            group = groups[key] = _Group(len(groups), [], [])
        group.parts.append(stored)
        group.steps_us.append(last_us - wire_us.get(wire, base_us))
        wire_us[wire] = last_us
        orders.setdefault(wire, []).append(group.number)
    unit_us = math.gcd(*[at_us - base_us for at_us in times_us]) or 1
    times = [_zigzags([step // unit_us for step in each.steps_us]) for each in groups.values()]
    width = 4 if max(map(max, times)) < 1 << 32 else 8
    tied = _tied(times_us, [record.wire for record in records])
    keys = list(groups)
    return b"".join(
        (
            _HEAD.pack(len(records) | _VERSION_2, len(keys), base_us),
            _TIMES.pack(unit_us, width, bool(tied)),
            _planes([key[0] for key in keys], 2),
            bytes(key[1] for key in keys),
            _planes([key[2] for key in keys], 2),
            _planes([len(group.parts) for group in groups.values()], 4),
            _planes([number for wire in sorted(orders) for number in orders[wire]], 2),
            *(_planes(each, width) for each in times),
            *(_packed(group.parts, key[2]) for key, group in groups.items()),
            _planes(tied, 2),
        )
    )


def _stored(wire: int, kind: int, data: bytes, requests: dict[int, bytes]) -> tuple[_Key, bytes]:
    """The group of a record, and what is stored of it; a request is noted in ``requests``."""
    stored, stored_kind = data, kind
    if kind in _CARRYING and data[-_CRC_BYTES:] == _crc(data[:-_CRC_BYTES]):
        stored, stored_kind = data[:-_CRC_BYTES], kind | _CRC_LEFT_OUT
    key = (wire, stored_kind, len(stored), requests.get(wire, b""))
    if kind == WireKind.SENT:
        requests[wire] = data
    return key, stored


def _tied(times_us: Sequence[int], wires: Sequence[int]) -> list[int]:
    """Wires of all records that share their time, unless those are in the order of wires."""
    pairs = list(zip(times_us, wires, strict=True))
    if pairs == sorted(pairs):
        return []
    runs = [list(ties) for _, ties in groupby(pairs, key=itemgetter(0))]
    return [wire for ties in runs if len(ties) > 1 for _, wire in ties]


def decode_wire(payload: bytes) -> list[WireRecord]:
    """Read the payload of a wire block.

    Raises:
        StorageError: it is none.
    """
    try:
        return list(_decode(payload))
    except (struct.error, ValueError, LookupError) as error:
        raise StorageError(f"a block of frames cannot be read: {error}") from error


def _decode(payload: bytes) -> Iterator[WireRecord]:
    count, group_count, base_us = _HEAD.unpack_from(payload)
    reader = _Reader(payload, _HEAD.size)
    if count & _VERSION_2:
        return _decode_2(reader, count & ~_VERSION_2, group_count, base_us)
    return _decode_1(reader, count, group_count, base_us)


class _Groups(NamedTuple):
    """What a payload says of its groups."""

    wires: tuple[int, ...]
    kinds: bytes
    lengths: tuple[int, ...]
    counts: tuple[int, ...]


def _groups(reader: _Reader, group_count: int, count: int) -> _Groups:
    groups = _Groups(
        reader.numbers(group_count, 2),
        reader.take(group_count),
        reader.numbers(group_count, 2),
        reader.numbers(group_count, 4),
    )
    if sum(groups.counts) != count:
        raise ValueError("its groups do not have as many records as it says")
    return groups


def _decode_1(reader: _Reader, count: int, group_count: int, base_us: int) -> Iterator[WireRecord]:
    groups = _groups(reader, group_count, count)
    numbers = reader.numbers(count, 2)
    times = accumulate(reader.numbers(count, 4), initial=base_us)
    next(times)
    parts = [
        _whole(_rows(_transposed(reader.take(length * size), size, length), length, size), kind)
        for _, kind, length, size in zip(*groups, strict=True)
    ]
    for number, at_us in zip(numbers, times, strict=True):
        kind = WireKind(groups.kinds[number] & ~_CRC_LEFT_OUT)
        yield WireRecord(groups.wires[number], kind, at_us, _next(parts[number]))


def _decode_2(reader: _Reader, count: int, group_count: int, base_us: int) -> Iterator[WireRecord]:
    unit_us, width, has_order = _TIMES.unpack(reader.take(_TIMES.size))
    groups = _groups(reader, group_count, count)
    numbers = iter(reader.numbers(count, 2))
    steps = [iter(_unzigzags(reader.numbers(size, width))) for size in groups.counts]
    parts = [
        _whole(_unpacked(reader, length, size), kind)
        for _, kind, length, size in zip(*groups, strict=True)
    ]
    by_wire: dict[int, list[WireRecord]] = {}
    sizes: dict[int, int] = {}
    for wire, size in zip(groups.wires, groups.counts, strict=True):
        sizes[wire] = sizes.get(wire, 0) + size
    for wire in sorted(sizes):
        at_us, found = base_us, by_wire.setdefault(wire, [])
        for _ in range(sizes[wire]):
            number = _next(numbers)
            if groups.wires[number] != wire:
                raise ValueError("a record is said to be of another wire")
            at_us += _next(steps[number]) * unit_us
            kind = WireKind(groups.kinds[number] & ~_CRC_LEFT_OUT)
            found.append(WireRecord(wire, kind, at_us, _next(parts[number])))
    records = sorted(
        (record for each in by_wire.values() for record in each), key=attrgetter("at_us", "wire")
    )
    return _in_order(records, reader) if has_order else iter(records)


def _in_order(records: list[WireRecord], reader: _Reader) -> Iterator[WireRecord]:
    """Bring records that share their times into the order in which they were taken."""
    runs = [list(ties) for _, ties in groupby(records, key=attrgetter("at_us"))]
    wires = iter(reader.numbers(sum([len(ties) for ties in runs if len(ties) > 1]), 2))
    for ties in runs:
        waiting: dict[int, deque[WireRecord]] = {}
        for record in ties:
            waiting.setdefault(record.wire, deque()).append(record)
        for record in ties:
            wire = _next(wires) if len(ties) > 1 else record.wire
            yield waiting[wire].popleft()


def _next(items: Iterator[Item]) -> Item:
    for item in items:
        return item
    raise ValueError("one of its groups has too few records")


def _rows(whole: bytes, length: int, count: int) -> list[bytes]:
    """The records of one group, one behind the other."""
    return [whole[index * length : (index + 1) * length] for index in range(count)]


def _whole(rows: list[bytes], kind: int) -> Iterator[bytes]:
    """The same with their checksums."""
    return iter([row + _crc(row) for row in rows] if kind & _CRC_LEFT_OUT else rows)


def _packed(parts: list[bytes], length: int) -> bytes:
    """The bytes of one group's records, as they are stored."""
    odd, words = length % 2, length // 2
    data = b"".join([part[odd:] for part in parts])
    numbers = struct.unpack(f">{len(parts) * words}H", data)
    before = (0,) * words + numbers
    changes = [now - then & _WORD for now, then in zip(numbers, before, strict=False)]
    zigzag = [(change << 1 ^ -(change >> 15)) & _WORD for change in changes]
    whole = _transposed(struct.pack(f">{len(zigzag)}H", *zigzag), 2 * words, len(parts))
    return b"".join([part[:odd] for part in parts]) + whole


def _unpacked(reader: _Reader, length: int, count: int) -> list[bytes]:
    """The records of one group, out of what ``_packed`` made of them."""
    odd, words = length % 2, length // 2
    firsts = reader.take(odd * count)
    whole = _transposed(reader.take(2 * words * count), count, 2 * words)
    numbers = list(struct.unpack(f">{words * count}H", whole))
    changes = [number >> 1 ^ -(number & 1) for number in numbers]
    for index, change in enumerate(changes):
        before = numbers[index - words] if index >= words else 0
        numbers[index] = before + change & _WORD
    rows = _rows(struct.pack(f">{words * count}H", *numbers), 2 * words, count)
    return [firsts[odd * index : odd * (index + 1)] + row for index, row in enumerate(rows)]


def _zigzags(numbers: Sequence[int]) -> list[int]:
    """Differences of numbers, each as one that is not negative."""
    changes = [now - before for now, before in zip(numbers, (0, *numbers), strict=False)]
    return [change << 1 if change >= 0 else (-change << 1) - 1 for change in changes]


def _unzigzags(numbers: Sequence[int]) -> Iterator[int]:
    """What ``_zigzags`` was made of."""
    return accumulate([number >> 1 ^ -(number & 1) for number in numbers])


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


_FORMATS = {2: "H", 4: "I", 8: "Q"}


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
