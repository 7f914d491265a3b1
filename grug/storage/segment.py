"""Segments and frames of the log: headers, checksums, finding good frames again after bad bytes.

A segment is a file: a header, then frames. Every frame has a sequence number that is one higher
than the last and is never reused within an epoch (one start of the writer). All is little endian::

    segment header, 64 bytes
      0 8s "GRUGLOG1"   8 u16 version   10 u16 flags   12 u32 header length   16 16s log id
     32 u64 epoch   40 u64 first seq   48 i64 created, ms UTC   56 u32 reserved
     60 u32 crc32 of bytes 0..59
    frame header, 56 bytes, then the payload
      0 u32 "GBLK"   4 u32 crc32 of bytes 8..55   8 u8 type   9 u8 codec   10 u16 flags
     12 u32 payload length   16 u32 unpacked length   20 u32 samples or events   24 u64 seq
     32 i64 t_min, ms UTC   40 u32 t_max - t_min   44 u32 crc32 of the payload
     48 u64 ms since boot of t_max
"""

from __future__ import annotations

import enum
import struct
import threading
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import zstandard

from grug.errors import StorageError

SEGMENT_MAGIC = b"GRUGLOG1"
FRAME_MAGIC = b"GBLK"
VERSION = 2
"""Of segments that are written; all samples in those of version 1 are in the first layout."""
_VERSIONS_READ = (1, 2)
ZSTD_LEVEL = 3
"""Columnar data gains nothing above it. Source: STORAGE.md, 3."""

_SEGMENT = struct.Struct("<8sHHI16sQQqI")
_FRAME = struct.Struct("<BBHIIIQqIIQ")
_CRC = struct.Struct("<I")
SEGMENT_HEADER_BYTES = _SEGMENT.size + _CRC.size
FRAME_HEADER_BYTES = len(FRAME_MAGIC) + _CRC.size + _FRAME.size


class _Zstd(threading.local):
    """One pair for each thread: two threads in one compressor spoil each other's bytes.

    The log and the ring of frames are packed in threads of their own, in one process.
    """

    def __init__(self) -> None:
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}
        """By level."""
        self.decompressor = zstandard.ZstdDecompressor()

    def compress(self, payload: bytes, level: int) -> bytes:
        """Pack; the size is in the frame's header."""
        compressor = self.compressors.get(level)
        if compressor is None:
            compressor = self.compressors[level] = zstandard.ZstdCompressor(
                level=level, write_checksum=False, write_content_size=False
            )
        return compressor.compress(payload)


_zstd = _Zstd()


class FrameKind(enum.IntEnum):
    """What a frame's payload is."""

    SAMPLES = 1
    SERIES = 2
    EVENTS = 3
    WIRE = 4
    """In the ring of frames alone; see ``grug.storage.frames``."""
    JOURNAL = 5
    """Of a block without samples; see ``grug.storage.journal``."""


class FrameFlag(enum.IntFlag):
    """What to know of a frame before its payload is read."""

    UNSYNCHRONISED = 1
    """Its times come from a clock that no time service had set since boot. The first later frame of
    the same boot without this flag tells by how much they are wrong: see ``origin_ms``."""
    FINAL = 2
    """Nobody is expected to set that clock any more: the times are taken as they are."""


class Codec(enum.IntEnum):
    """How a payload is packed; 2 is reserved for one stream over several frames."""

    RAW = 0
    ZSTD = 1


class SegmentHeader(NamedTuple):
    """The first 64 bytes of a segment."""

    log_id: bytes
    """16 bytes, made once per log."""
    epoch: int
    """Number of writer starts."""
    first_seq: int
    created_ms: int

    def encode(self) -> bytes:
        """Give the bytes of the header."""
        head = _SEGMENT.pack(
            SEGMENT_MAGIC,
            VERSION,
            0,
            SEGMENT_HEADER_BYTES,
            self.log_id,
            self.epoch,
            self.first_seq,
            self.created_ms,
            0,
        )
        return head + _CRC.pack(zlib.crc32(head))


def decode_segment_header(data: bytes) -> SegmentHeader | None:
    """Read a segment's first bytes; None when they are no good header that this version reads."""
    if len(data) < SEGMENT_HEADER_BYTES:
        return None
    magic, version, _, _, log_id, epoch, first_seq, created_ms, _ = _SEGMENT.unpack_from(data)
    (crc,) = _CRC.unpack_from(data, _SEGMENT.size)
    if (
        magic != SEGMENT_MAGIC
        or version not in _VERSIONS_READ
        or crc != zlib.crc32(data[: _SEGMENT.size])
    ):
        return None
    return SegmentHeader(log_id, epoch, first_seq, created_ms)


class Frame(NamedTuple):
    """One frame whose header is good; ``payload`` is still packed."""

    kind: int
    codec: int
    flags: int
    unpacked_bytes: int
    entries: int
    """Samples, series or events in it."""
    seq: int
    t_min_ms: int
    t_max_ms: int
    crc: int
    monotonic_ms: int
    """Of ``t_max_ms``, since boot."""
    payload: bytes

    @property
    def origin_ms(self) -> int:
        """When the machine was booted, UTC, as its clock was set then."""
        return self.t_max_ms - self.monotonic_ms

    @property
    def awaits_clock(self) -> bool:
        """Whether its times are to be corrected once it is known by how much."""
        return self.flags & (FrameFlag.UNSYNCHRONISED | FrameFlag.FINAL) == (
            FrameFlag.UNSYNCHRONISED
        )

    def unpack(self) -> bytes:
        """Give the payload as it was before compression.

        Raises:
            StorageError: packed in a way that this version does not know.
        """
        if self.codec == Codec.RAW:
            return self.payload
        if self.codec != Codec.ZSTD:
            raise StorageError(f"block {self.seq} is packed with the unknown codec {self.codec}")
        try:
            return _zstd.decompressor.decompress(self.payload, max_output_size=self.unpacked_bytes)
        except zstandard.ZstdError as error:
            raise StorageError(f"block {self.seq} cannot be unpacked: {error}") from error

    def encode(self) -> bytes:
        """Give the bytes of the frame, as they are stored."""
        head = _FRAME.pack(
            self.kind,
            self.codec,
            self.flags,
            len(self.payload),
            self.unpacked_bytes,
            self.entries,
            self.seq,
            self.t_min_ms,
            self.t_max_ms - self.t_min_ms,
            self.crc,
            self.monotonic_ms,
        )
        return b"".join((FRAME_MAGIC, _CRC.pack(zlib.crc32(head)), head, self.payload))


def encode_frame(
    kind: FrameKind,
    payload: bytes,
    *,
    seq: int,
    count: int,
    t_min_ms: int,
    t_max_ms: int,
    monotonic_ms: int,
    flags: int = 0,
    level: int = ZSTD_LEVEL,
) -> bytes:
    """Pack a payload and put the header before it.

    Args:
        kind: what the payload is.
        payload: not yet compressed.
        seq: sequence number.
        count: samples or events in it.
        t_min_ms: the oldest time in it, UTC.
        t_max_ms: the newest, at most 49 days later.
        monotonic_ms: of ``t_max_ms``, since boot.
        flags: see ``FrameFlag``.
        level: of zstd; the higher, the slower and the smaller.
    """
    packed, codec = _zstd.compress(payload, level), Codec.ZSTD
    if len(packed) >= len(payload):
        packed, codec = payload, Codec.RAW
    head = _FRAME.pack(
        kind,
        codec,
        flags,
        len(packed),
        len(payload),
        count,
        seq,
        t_min_ms,
        t_max_ms - t_min_ms,
        zlib.crc32(packed),
        monotonic_ms,
    )
    return b"".join((FRAME_MAGIC, _CRC.pack(zlib.crc32(head)), head, packed))


class Scan(NamedTuple):
    """What was found in a stretch of a segment."""

    frames: list[Frame]
    end: int
    """Where to go on once there are more bytes."""
    bad_bytes: int
    """Bytes before ``end`` that belong to no good frame."""


def scan_frames(
    data: bytes, *, seq_after: int, offset: int = 0, frames_max: int | None = None
) -> Scan:
    """Find the good frames, in order, whatever else lies between them.

    A frame whose header is good but whose payload is not is skipped as a whole. After a bad header
    the search goes on at the next good header with a greater sequence number. Bytes that may be the
    beginning of a frame are left for later: at the end of a dead segment that is its torn tail.

    Args:
        data: bytes of a segment.
        offset: where in them a frame begins.
        seq_after: frames up to this number are not accepted: they would be remains of old files.
        frames_max: stop after so many.
    """
    frames: list[Frame] = []
    bad_bytes = 0
    while frames_max is None or len(frames) < frames_max:
        if len(data) - offset < FRAME_HEADER_BYTES:
            break
        header = _decode_frame_header(data, offset)
        if header is None or header[6] <= seq_after:
            found = data.find(FRAME_MAGIC, offset + 1)
            if found < 0:
                break
            bad_bytes += found - offset
            offset = found
            continue
        kind, codec, flags, packed_bytes, unpacked_bytes, count, seq, t_min, t_span, crc, mono = (
            header
        )
        end = offset + FRAME_HEADER_BYTES + packed_bytes
        if end > len(data):
            break
        payload = data[offset + FRAME_HEADER_BYTES : end]
        if zlib.crc32(payload) == crc:
            frames.append(
                Frame(
                    kind, codec, flags, unpacked_bytes, count, seq, t_min, t_min + t_span, crc,
                    mono, payload,
                )
            )  # fmt: skip
        else:
            bad_bytes += end - offset
        seq_after = seq
        offset = end
    return Scan(frames, offset, bad_bytes)


def _decode_frame_header(data: bytes, offset: int) -> tuple[int, ...] | None:
    start = offset + len(FRAME_MAGIC) + _CRC.size
    if data[offset : offset + len(FRAME_MAGIC)] != FRAME_MAGIC:
        return None
    (crc,) = _CRC.unpack_from(data, offset + len(FRAME_MAGIC))
    if crc != zlib.crc32(data[start : start + _FRAME.size]):
        return None
    return _FRAME.unpack_from(data, start)


class Event(NamedTuple):
    """Something that happened, as text."""

    time_ms: int
    """UTC."""
    source: str
    kind: str
    text: str


class SeriesFacts(NamedTuple):
    """What is known of a series besides its name."""

    unit: str = ""
    """As a register map spells it: W, kWh, %, degC."""
    decimals: int = -1
    """-1: not known."""


class SeriesTable(msgspec.Struct, frozen=True):
    """Payload of a series frame: names of the series ``first``, ``first + 1``, ...

    What has a default is missing in logs that were written before it was thought of.
    """

    first: int
    boot_id: str
    series: tuple[str, ...]
    units: tuple[str, ...] = ()
    """One per series, as its register map spells it; empty where there is none."""
    decimals: tuple[int, ...] = ()
    """One per series: how many are worth showing; -1 where that is not known."""
    site: str = ""
    """Name of the house."""

    def facts(self, index: int) -> SeriesFacts:
        """What is known of one series, by its place in ``series``."""
        unit = self.units[index] if index < len(self.units) else ""
        decimals = self.decimals[index] if index < len(self.decimals) else -1
        return SeriesFacts(unit, decimals)


_events_decoder = msgspec.json.Decoder(list[Event])
_table_decoder = msgspec.json.Decoder(SeriesTable)
_encoder = msgspec.json.Encoder()


def encode_events(events: Sequence[Event]) -> bytes:
    """Write the payload of an events frame."""
    return _encoder.encode(events)


def decode_events(payload: bytes) -> list[Event]:
    """Read the payload of an events frame."""
    return _events_decoder.decode(payload)


def encode_series(table: SeriesTable) -> bytes:
    """Write the payload of a series frame."""
    return _encoder.encode(table)


def decode_series(payload: bytes) -> SeriesTable:
    """Read the payload of a series frame."""
    return _table_decoder.decode(payload)
