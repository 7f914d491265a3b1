"""Other ways to keep samples, for comparison: the forerunner's JSON lines, Parquet, Gorilla."""

from __future__ import annotations

import struct
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import zstandard

from grug.storage.native import Rows
from grug.transport.engine import MEMORY_URL, connect

FLUSH_S = 120
FILE_S = 3600
GORILLA_BLOCK_MS = 2 * 3_600_000


class Row(NamedTuple):
    """One sample."""

    time_ms: int
    series: str
    value: float


class Kept(NamedTuple):
    """What a format took for some samples."""

    size_bytes: int
    cpu_s: float
    """NaN: not measured."""


def json_lines(rows: Sequence[Row]) -> bytes:
    """All rows as the forerunner's lines, in one piece."""
    encode = msgspec.json.Encoder().encode
    lines = b"".join(
        [encode((time_ms / 1000, series, str(value))) + b"\n" for time_ms, series, value in rows]
    )
    return zstandard.ZstdCompressor(level=7).compress(lines)


def seed_json(rows: Sequence[Row]) -> Kept:
    """JSON lines of [seconds, topic, payload], zstd 7 as a stream, flushed every 120 s, hourly.

    Encoded by msgspec, about as fast as the orjson that the forerunner uses.
    """
    encode = msgspec.json.Encoder().encode
    start_s = time.process_time()
    size = 0
    packer = zstandard.ZstdCompressor(level=7).compressobj()
    file_ms = flush_ms = rows[0].time_ms
    for time_ms, series, value in rows:
        size += len(packer.compress(encode((time_ms / 1000, series, str(value))) + b"\n"))
        if time_ms - flush_ms >= FLUSH_S * 1000:
            size += len(packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
            flush_ms = time_ms
        if time_ms - file_ms >= FILE_S * 1000:
            size += len(packer.flush())
            packer = zstandard.ZstdCompressor(level=7).compressobj()
            file_ms = time_ms
    size += len(packer.flush())
    return Kept(size, time.process_time() - start_s)


def parquet(blocks: Iterable[Rows]) -> Kept:
    """One file, sorted by series, zstd, as the engine writes it by default."""
    client = connect(MEMORY_URL)
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "rows"), Path(directory, "rows.parquet")
        with source.open("wb") as file:
            file.writelines(block.data for block in blocks)
        client.command(
            f"INSERT INTO FUNCTION file('{target}', Parquet) SELECT series, ts,"
            " if(e < 0, reinterpretAsFloat64(m), m / exp10(e)) AS value"
            f" FROM file('{source}', Native) ORDER BY series, ts"
            " SETTINGS output_format_parquet_compression_method = 'zstd'"
        )
        size = target.stat().st_size
    client.close()
    return Kept(size, float("nan"))


def gorilla(rows: Iterable[Row]) -> Kept:
    """Pelkonen et al., VLDB 2015, 4.1: bits are counted, not written; ms times, blocks of 2 h."""
    by_series: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_series[row.series].append(row)
    size = 0
    for samples in by_series.values():
        block: list[Row] = []
        for row in samples:
            if block and row.time_ms - block[0].time_ms >= GORILLA_BLOCK_MS:
                size += _gorilla_block(block)
                block = []
            block.append(row)
        size += _gorilla_block(block)
    return Kept(size, float("nan"))


def _gorilla_block(block: Sequence[Row]) -> int:
    bits = 64 + 64 + 14
    doubles = struct.pack(f"<{len(block)}d", *(row.value for row in block))
    words = struct.unpack(f"<{len(block)}Q", doubles)
    delta, leading, trailing = 0, 65, 0
    for index in range(1, len(block)):
        now = block[index].time_ms - block[index - 1].time_ms
        bits += _time_bits(now - delta)
        delta = now
        xor = words[index] ^ words[index - 1]
        if xor == 0:
            bits += 1
            continue
        lead, trail = min(31, 64 - xor.bit_length()), (xor & -xor).bit_length() - 1
        if lead >= leading and trail >= trailing:
            bits += 2 + 64 - leading - trailing
        else:
            leading, trailing = lead, trail
            bits += 2 + 5 + 6 + 64 - lead - trail
    return (bits + 7) // 8


def _time_bits(change_ms: int) -> int:
    if change_ms == 0:
        return 1
    for limit, bits in ((64, 9), (256, 12), (2048, 16)):
        if -limit < change_ms <= limit:
            return bits
    return 36
