"""The ring of frames as a capture for Wireshark: a file, written as the ring is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from grug.errors import StorageError
from grug.model import Role, Wire, WireFraming
from grug.protocol.describe import body_of
from grug.protocol.seen import FrameFinder, Seen, SeenKind
from grug.storage.pcap import Packet, as_modbus_tcp, file_head, interface, packet_block
from grug.storage.show import TimeRange
from grug.transport.framereads import Traced, read_traced

WiresWanted = Callable[[str], bool]
"""Says whether a line is wanted, by its name."""


def read_seen(ring: Path, times: TimeRange, wanted: WiresWanted) -> Iterator[Seen]:
    """The frames and silences of a ring, nearly in the order of their times.

    Raises:
        StorageError: a segment cannot be read.
    """
    return find_frames(FrameFinder(), read_traced(ring, times), wanted)


def find_frames(
    finder: FrameFinder, traced: Iterable[Traced], wanted: WiresWanted
) -> Iterator[Seen]:
    """The frames and silences that records make; a finder goes on where it was."""
    for record in traced:
        if wanted(record.wire.line):
            yield from finder.take(record.wire, record.kind, record.time_us, record.data)


def write_capture(frames: Iterable[Seen], path: Path) -> int:
    """Write a capture; gives the number of its packets.

    Raises:
        StorageError: the file cannot be written.
    """
    try:
        with path.open("wb") as file:
            return _write(frames, file)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error


def _write(frames: Iterable[Seen], file: BinaryIO) -> int:
    file.write(file_head())
    interfaces: dict[Wire, int] = {}
    count = 0
    for seen in frames:
        wire = seen.wire
        if wire not in interfaces:
            interfaces[wire] = len(interfaces)
            file.write(interface(wire.line, f"grug is the {wire.role}, {wire.framing.upper()}"))
        file.write(packet_block(_packet(seen, interfaces[wire])))
        count += 1
    return count


def _packet(seen: Seen, number: int) -> Packet:
    """The packet that shows one frame, or that there was none."""
    from_client = seen.kind in (SeenKind.REQUEST, SeenKind.SILENCE)
    dissector, pdu, comment = "syslog", seen.text.encode(), ""
    if seen.adu:
        comment = seen.text
        body = body_of(seen)
        if body is None:
            dissector, pdu = "mbrtu", seen.adu
            comment = seen.text or "checksum wrong"
        elif seen.wire.framing is WireFraming.MBAP:
            dissector, pdu = "mbtcp", seen.adu
        else:
            dissector, pdu = "mbtcp", as_modbus_tcp(body, seen.exchange)
    is_outbound = from_client == (seen.wire.role is Role.CLIENT)
    return Packet(number, seen.time_us, from_client, is_outbound, dissector, pdu, comment)
