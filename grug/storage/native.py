"""Rows for the database, as blocks of ClickHouse's Native format. Pure.

Log blocks are columns already, so nearly everything here is copying: a series' place, exponent and
block number are repeated as bytes, times and integers are packed as they are. No number is divided
on the way: the database keeps the integer and the exponent. Names are sent once in a block.

Source: the layout was read off ClickHouse's own output (``SELECT ... FORMAT Native``): number of
columns, number of rows, then per column its name, its type and its values. Those of a
LowCardinality are: version, how its words are sent and how wide their places are, number of words,
the words, number of rows, for each row the place of its word; nothing when there are no rows.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from grug.storage.block import Column
from grug.storage.segment import Event, SeriesFacts

WORDS = "LowCardinality(String)"
_WORDS_VERSION = 1
_WORDS_FOLLOW = 1 << 9 | 1 << 10
"""Each block brings its own words, all of them."""


class SampleBlock(NamedTuple):
    """One samples frame, decoded."""

    seq: int
    names: Sequence[str]
    """Series by id."""
    columns: Sequence[Column]


class Origin(NamedTuple):
    """Where rows come from."""

    site: str
    """Name of the house."""
    log: str
    """Id of the log, hexadecimal."""
    epoch: int
    """Start of the log's writer."""


class Series(NamedTuple):
    """What the log says of one series."""

    site: str
    name: str
    facts: SeriesFacts
    seen_ms: int
    """UTC; the newest word counts."""


class Rows(NamedTuple):
    """Rows ready to be inserted."""

    entries: int
    names: tuple[str, ...]
    data: bytes
    t_min_ms: int = 0
    t_max_ms: int = 0
    """UTC, of all rows; 0 when there are none."""


def readings_rows(origin: Origin, blocks: Iterable[SampleBlock]) -> Rows:
    """Lay out samples as rows of ``readings``, series by series, which the database likes best."""
    by_series: dict[str, list[tuple[int, Column]]] = defaultdict(list)
    for block in blocks:
        for column in block.columns:
            if column.times:
                by_series[block.names[column.series]].append((block.seq, column))
    width = place_bytes(len(by_series))
    places: list[bytes] = []
    times: list[bytes] = []
    exponents: list[bytes] = []
    integers: list[bytes] = []
    seqs: list[bytes] = []
    packed_times: dict[int, bytes] = {}
    count = 0
    for place, name in enumerate(sorted(by_series)):
        for seq, column in by_series[name]:
            length = len(column.times)
            packed = packed_times.get(id(column.times))
            if packed is None:
                packed = packed_times[id(column.times)] = struct.pack(f"<{length}q", *column.times)
            count += length
            places.append(place.to_bytes(width, "little") * length)
            times.append(packed)
            exponents.append(column.exponent.to_bytes(1, "little", signed=True) * length)
            integers.append(struct.pack(f"<{length}q", *column.integers))
            seqs.append(seq.to_bytes(8, "little") * length)
    distinct = {id(column.times): column.times for each in by_series.values() for _, column in each}
    return pack_rows(
        count,
        (
            ("site", WORDS, [pack_word(origin.site, count)]),
            ("series", WORDS, [pack_words(sorted(by_series), count), *places]),
            ("ts", "DateTime64(3, 'UTC')", times),
            ("log", WORDS, [pack_word(origin.log, count)]),
            ("e", "Int8", exponents),
            ("m", "Int64", integers),
            ("seq", "UInt64", seqs),
            ("epoch", "UInt32", [pack_uint32(origin.epoch) * count]),
        ),
        [end for times in distinct.values() for end in (min(times), max(times))],
    )


def events_rows(origin: Origin, blocks: Iterable[tuple[int, Sequence[Event]]]) -> Rows:
    """Lay out events, given with their block's number, as rows of ``events``."""
    rows = [(seq, event) for seq, events in blocks for event in events]
    return pack_rows(
        len(rows),
        (
            ("site", "String", [pack_text(origin.site) * len(rows)]),
            ("source", "String", [pack_text(event.source) for _, event in rows]),
            ("ts", "DateTime64(3, 'UTC')", [_int64(event.time_ms) for _, event in rows]),
            ("kind", "String", [pack_text(event.kind) for _, event in rows]),
            ("text", "String", [pack_text(event.text) for _, event in rows]),
            ("log", "String", [pack_text(origin.log) * len(rows)]),
            ("seq", "UInt64", [_int64(seq) for seq, _ in rows]),
            ("epoch", "UInt32", [pack_uint32(origin.epoch) * len(rows)]),
        ),
        [event.time_ms for _, event in rows],
    )


def series_rows(series: Sequence[Series]) -> Rows:
    """Lay out what is known of series as rows of ``series``."""
    return pack_rows(
        len(series),
        (
            ("site", "String", [pack_text(each.site) for each in series]),
            ("series", "String", [pack_text(each.name) for each in series]),
            ("unit", "String", [pack_text(each.facts.unit) for each in series]),
            ("decimals", "Int8", [each.facts.decimals.to_bytes(1, signed=True) for each in series]),
            ("seen", "DateTime64(3, 'UTC')", [_int64(each.seen_ms) for each in series]),
        ),
    )


def pack_rows(
    count: int, columns: Sequence[tuple[str, str, list[bytes]]], times: Sequence[int] = ()
) -> Rows:
    """Put columns, each with its name and type, into one block.

    Args:
        count: of rows.
        columns: their values, packed.
        times: at least the first and the last of the rows, ms UTC.
    """
    parts = [_varint(len(columns)), _varint(count)]
    for name, kind, values in columns:
        parts += [pack_text(name), pack_text(kind), *values]
    names = tuple(name for name, _, _ in columns)
    return Rows(count, names, b"".join(parts), min(times, default=0), max(times, default=0))


def pack_text(text: str) -> bytes:
    """A ``String``."""
    encoded = text.encode()
    return _varint(len(encoded)) + encoded


def place_bytes(words: int) -> int:
    """In how many bytes the place of one of so many words is told: 1, 2 or 4."""
    return 1 if words <= 1 << 8 else 2 if words <= 1 << 16 else 4


def pack_words(words: Sequence[str], count: int) -> bytes:
    """The beginning of ``WORDS``; the places of ``count`` words follow, of ``place_bytes`` each.

    Args:
        words: each once.
        count: of rows; without any the column is empty.
    """
    if not count:
        return b""
    how = _WORDS_FOLLOW | place_bytes(len(words)).bit_length() - 1
    head = struct.pack("<QQQ", _WORDS_VERSION, how, len(words))
    return head + b"".join(map(pack_text, words)) + struct.pack("<Q", count)


def pack_word(word: str, count: int) -> bytes:
    """``WORDS`` of which all rows have the same."""
    return pack_words([word], count) + bytes(count)


def _int64(number: int) -> bytes:
    return number.to_bytes(8, "little", signed=True)


def pack_uint32(number: int) -> bytes:
    """A ``UInt32``."""
    return number.to_bytes(4, "little")


def _varint(number: int) -> bytes:
    """Unsigned LEB128."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
