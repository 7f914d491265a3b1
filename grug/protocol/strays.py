"""What came over an RTU line in place of an answer, in words that tell what to look for. Pure.

The words are few and without numbers that change, since each new text is an event in the log.
"""

from __future__ import annotations

from collections.abc import Iterator

from grug.protocol.rtu import crc_is_good

STRAY_BYTES_MAX = 300
"""Kept of what belongs to no answer: a frame and the beginning of the next."""

NO_ANSWER = "what came was no answer"

_SHORTEST_BYTES = 4
_EXCEPTION_BYTES = 5
_ACKNOWLEDGEMENT_BYTES = 8
"""Of writes, and of requests to read too: they look the same."""
_READ_BYTES = 5
"""A reply to a read without its data: unit id, function, byte count, CRC.
Source: MODBUS Application Protocol V1.1b3, 6.1-6.6, 7."""


def what_came(asked: bytes, came: bytes) -> str:
    """Say why this is no answer.

    Args:
        asked: the request as it was sent, at least unit id and function.
        came: all that was received since, or the beginning of it.
    """
    for frame in _frames(came):
        if frame != asked:
            return f"{NO_ANSWER}: {_about(asked, frame)}"
    if came.startswith(asked[:2]):
        return f"{NO_ANSWER}: it begins like one, but is cut off or damaged"
    return f"{NO_ANSWER}: bytes that are no frame"


def _about(asked: bytes, frame: bytes) -> str:
    unit_id, function = frame[0], frame[1] & 0x7F
    if unit_id != asked[0]:
        return f"a frame of unit {unit_id}, but unit {asked[0]} was asked"
    if function != asked[1]:
        return f"unit {unit_id} speaks of function {function}, but was asked for {asked[1]}"
    return f"unit {unit_id} answers another request"


def _frames(came: bytes) -> Iterator[bytes]:
    """Whole frames wherever they are; what is between them is skipped."""
    at = 0
    while at + _SHORTEST_BYTES <= len(came):
        frame = _frame_at(came, at)
        if frame:
            yield frame
        at += len(frame) or 1


def _frame_at(came: bytes, at: int) -> bytes:
    lengths = (_EXCEPTION_BYTES, _ACKNOWLEDGEMENT_BYTES, _READ_BYTES + came[at + 2])
    for length in lengths:
        frame = came[at : at + length]
        if len(frame) == length and crc_is_good(frame):
            return frame
    return b""
