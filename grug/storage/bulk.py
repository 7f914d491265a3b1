"""Rows for the database straight from packed blocks, many at a time. Pure; needs numpy.

What ``grug.storage.native`` makes of decoded columns, byte for byte, in a fraction of the time: at
10 s a block has some eight samples of each series, so that going from column to column costs more
than the samples. Here all columns of all blocks that have one width and one length are one array.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from grug.storage.block import HALVES, HEAD, SECOND_LAYOUT
from grug.storage.kinds import EXPONENT_MAX, FLOAT32
from grug.storage.native import (
    WORDS,
    Origin,
    Rows,
    pack_rows,
    pack_uint32,
    pack_word,
    pack_words,
    place_bytes,
)
from grug.storage.show import TimeRange

Bytes: TypeAlias = NDArray[np.uint8]
Ints: TypeAlias = NDArray[np.int64]

_DELTAS = {1: "<i1", 2: "<i2", 4: "<i4", 8: "<i8"}


class PackedBlock(NamedTuple):
    """One samples frame, unpacked and not decoded."""

    seq: int
    names: Sequence[str]
    """Series by id; those that are not in it are left out."""
    payload: bytes
    shift_ms: int
    """To add to all times."""


class _Columns(NamedTuple):
    """Columns of differences, anywhere in the payloads: one number for each of them."""

    offset: Ints
    """Where its differences begin."""
    width: Ints
    length: Ints
    first: Ints


class _Parts(NamedTuple):
    """What one block or many have."""

    times: _Columns
    values: _Columns
    time_column: Ints
    """Of each column of values, which column of times."""
    rank: Ints
    """Its series' place among all names."""
    kind: Ints
    seq: NDArray[np.uint64]


def packed_rows(origin: Origin, blocks: Sequence[PackedBlock], times: TimeRange) -> Rows:
    """Lay out the samples of blocks within a range as rows of ``readings``, series by series.

    The payloads must have passed their checksums: this trusts them.
    """
    listed = {id(block.names): block.names for block in blocks}
    names = sorted({name for each in listed.values() for name in each})
    places = {name: place for place, name in enumerate(names)}
    ranks = {key: np.array([places[name] for name in each], "<i8") for key, each in listed.items()}
    parts = _read_all(blocks, ranks)
    payloads = np.frombuffer(b"".join(block.payload for block in blocks), np.uint8)
    time_starts, time_sums = _sums(payloads, parts.times)
    starts, m = _sums(payloads, parts.values)
    lengths = parts.values.length
    row = np.arange(len(m))
    ts = time_sums[np.repeat(time_starts[parts.time_column] - starts, lengths) + row]
    rank = np.repeat(parts.rank.astype(f"<u{place_bytes(len(names))}"), lengths)
    e = np.repeat(np.where(parts.kind > EXPONENT_MAX, -1, parts.kind).astype("<i1"), lengths)
    seq = np.repeat(parts.seq, lengths)
    _widen(m, np.repeat(parts.kind == FLOAT32, lengths))
    if len(ts) and not (times.since_ms <= ts.min() and ts.max() < times.until_ms):
        kept = (ts >= times.since_ms) & (ts < times.until_ms)
        ts, rank, e, m, seq = ts[kept], rank[kept], e[kept], m[kept], seq[kept]
    count = len(ts)
    is_there = np.bincount(rank, minlength=len(names)) > 0
    words = [name for name, is_one in zip(names, is_there.tolist(), strict=True) if is_one]
    place = (np.cumsum(is_there) - 1).astype(f"<u{place_bytes(len(words))}")[rank]
    return pack_rows(
        count,
        (
            ("site", WORDS, [pack_word(origin.site, count)]),
            ("series", WORDS, [pack_words(words, count), place.tobytes()]),
            ("ts", "DateTime64(3, 'UTC')", [ts.tobytes()]),
            ("log", WORDS, [pack_word(origin.log, count)]),
            ("e", "Int8", [e.tobytes()]),
            ("m", "Int64", [m.tobytes()]),
            ("seq", "UInt64", [seq.tobytes()]),
            ("epoch", "UInt32", [pack_uint32(origin.epoch) * count]),
        ),
        (int(ts.min()), int(ts.max())) if count else (),
    )


def _read_all(blocks: Sequence[PackedBlock], ranks: dict[int, Ints]) -> _Parts:
    """Read the heads of all blocks; columns of values come by series, and then as they came."""
    offset, time_columns = 0, 0
    read = []
    for block in blocks:
        read.append(_read(block, ranks[id(block.names)], offset, time_columns))
        offset += len(block.payload)
        time_columns += len(read[-1].times.first)
    times = _joined([each.times for each in read])
    values = _joined([each.values for each in read])
    time_column, rank, kind, seq = (
        np.concatenate(each) for each in list(zip(*read, strict=True))[2:]
    )
    order = np.argsort(rank, kind="stable")
    values = _Columns(*(each[order] for each in values))
    return _Parts(times, values, time_column[order], rank[order], kind[order], seq[order])


def _joined(columns: Sequence[_Columns]) -> _Columns:
    return _Columns(*(np.concatenate(each) for each in zip(*columns, strict=True)))


def _read(block: PackedBlock, ranks: Ints, offset: int, time_columns: int) -> _Parts:
    """Read the head of one block: ``grug.storage.block`` has the layout.

    Args:
        block: whose payload begins at ``offset`` of all payloads.
        ranks: of its series.
        offset: see there.
        time_columns: columns of times in the blocks before it.
    """
    payload = block.payload
    _, t, s, base = HEAD.unpack_from(payload)
    is_first_layout, t = t < SECOND_LAYOUT, t % SECOND_LAYOUT
    at = HEAD.size
    counts = _planes(payload, at, "<u4", t)
    firsts = _planes(payload, at + 4 * t, "<u4", t) + (base + block.shift_ms)
    time_widths = _planes(payload, at + 8 * t, "<u1", t)
    at += 9 * t
    if is_first_layout:
        ids = _planes(payload, at, "<u4", s)
        index = _planes(payload, at + 4 * s, "<u2", s)
        at += 6 * s
    else:
        index = np.repeat(np.arange(t), _planes(payload, at, "<u2", t))
        steps = _planes(payload, at + 2 * t, "<u4", s)
        ids = (np.cumsum(steps + 1) - 1) % (1 << 32)
        at += 2 * t + 4 * s
    kinds = _planes(payload, at, "<u1", s)
    widths = _planes(payload, at + s, "<u1", s)
    first_values = _planes(payload, at + 2 * s, "<i8", s)
    at += 10 * s
    lengths = counts[index]
    sizes = np.concatenate((time_widths * (counts - 1), widths * (lengths - 1)))
    offsets = offset + at + np.cumsum(sizes) - sizes
    values = _Columns(offsets[t:], widths, lengths, first_values)
    named = ids < len(ranks)
    values = _Columns(*(each[named] for each in values))
    return _Parts(
        _Columns(offsets[:t], time_widths, counts, firsts),
        values,
        index[named] + time_columns,
        ranks[ids[named]],
        kinds[named],
        np.full(len(values.first), block.seq, np.uint64),
    )


def _planes(payload: bytes, offset: int, dtype: str, count: int) -> Ints:
    kind = np.dtype(dtype)
    planes = np.frombuffer(payload, np.uint8, kind.itemsize * count, offset)
    whole = np.ascontiguousarray(planes.reshape(kind.itemsize, count).T)
    return whole.view(kind).reshape(count).astype(np.int64)


def _sums(payloads: Bytes, columns: _Columns) -> tuple[Ints, Ints]:
    """Give where each column begins among all sums, and the sums."""
    ends = np.cumsum(columns.length)
    starts = ends - columns.length
    sums = np.empty(int(ends[-1]) if len(ends) else 0, np.int64)
    shapes = columns.length * 16 + columns.width
    order = np.argsort(shapes, kind="stable")
    _, begins = np.unique(shapes[order], return_index=True)
    for members in np.split(order, begins[1:]) if len(order) else ():
        length, width = int(columns.length[members[0]]), int(columns.width[members[0]])
        summed = np.zeros((len(members), length), np.int64)
        summed[:, 0] = columns.first[members]
        if width and length > 1:
            places = columns.offset[members][:, None] + np.arange(width * (length - 1))
            planes = payloads[places].reshape(len(members), width, length - 1)
            kind: np.dtype[Any] = np.dtype(_DELTAS[width])
            whole = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(kind)
            summed[:, 1:] = whole.reshape(len(members), length - 1)
            summed[:, 1:] -= HALVES[width]
        np.cumsum(summed, axis=1, out=summed)  # It wraps, as the differences of float64 bits do.
        sums[starts[members][:, None] + np.arange(length)] = summed
    return starts, sums


def _widen(m: Ints, is_float32: NDArray[np.bool_]) -> None:
    """Turn the bits of float32 into those of float64, in place."""
    if is_float32.any():
        with np.errstate(invalid="ignore"):  # A signalling NaN becomes a quiet one, as in Python.
            floats = m[is_float32].astype("<i4").view("<f4").astype("<f8")
        m[is_float32] = floats.view("<i8")
