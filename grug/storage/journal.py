"""What a block keeps for replay besides its samples: order, and exact times. Pure.

Samples lie in columns and events in text, each with UTC in whole milliseconds. A replay also has to
know in which order controllers heard of readings, which monotonic time they computed with, and,
word for word, the few messages to them that are no readings. That is the journal. It stands behind
the columns of its block's samples, or in a frame of its own when there are none. Often there is
nothing to say and no journal: then all came in the order of its times, and what shares a
millisecond in the order of the columns.

It is the msgpack of ``Journal``. Positions count the readings and messages of the block in
the order in which they came, from 0; lists hold pairs, of the positions since the pair before and
of what is to be said there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

import msgspec

from grug.errors import StorageError
from grug.messages import (
    Message,
    Remembered,
    RunStarted,
    decode_message,
    encode_message,
)

Entry = TypeVar("Entry")

OFFSET = "offset"
"""Name of the offset controller."""
_GROUPS_MAX = 1 << 20
"""More poll groups than any writer has."""


class Journal(msgspec.Struct, frozen=True, array_like=True):
    """What is to be said of one block."""

    zero_ms: int | None
    """UTC at monotonic zero when the block began; None: as it was before."""
    zeros: list[int]
    """Where that changed within the block, and by how many ms."""
    shifts: list[int]
    """Whose time the log had to move, since its series had a sample at that millisecond; by ms."""
    late: list[int]
    """What came after a decision of a later time: by how many ms."""
    order: list[int]
    """What came before its turn: how many, in the order of times, it overtook."""
    messages: list[tuple[int, bytes]]
    """UTC in ms, and the message as ``encode_message`` wrote it."""
    run: bytes = b""
    """At a segment's beginning, the message with which the run began that it belongs to."""


class JournalMessage(NamedTuple):
    """A message kept word for word."""

    time_ms: int
    """UTC."""
    message: Message | None
    """None for one of another version of grug, which cannot be read."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Journal)


def encode_journal(journal: Journal) -> bytes:
    """Write a journal."""
    return _encoder.encode(journal)


def decode_journal(payload: bytes) -> Journal:
    """Read a journal.

    Raises:
        StorageError: it is none of this version.
    """
    try:
        return _decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise StorageError(f"a journal cannot be read: {error}") from error


def messages_of(journal: Journal) -> list[JournalMessage]:
    """The messages that a journal holds."""
    return [JournalMessage(time_ms, _message(data)) for time_ms, data in journal.messages]


def run_of(journal: Journal) -> Message | None:
    """The message with which the run began; None where the journal does not say."""
    return _message(journal.run) if journal.run else None


def tells_memory(journal: Journal) -> bool:
    """Whether a replay can begin at its block: the offset controller tells in it what it knows.

    The others do so a moment later.
    """
    messages = [_message(data) for _, data in journal.messages]
    return any(isinstance(each, Remembered) and each.who == OFFSET for each in messages)


def _message(data: bytes) -> Message | None:
    try:
        return decode_message(data)
    except msgspec.MsgspecError:
        return None


def pairs_of(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The pairs of one of a journal's lists, with positions from the block's beginning."""
    position = 0
    for index in range(0, len(numbers), 2):
        position += numbers[index]
        yield position, numbers[index + 1]


def in_order(journal: Journal, entries: Iterable[Entry]) -> Iterator[Entry]:
    """Bring entries that are sorted by time into the order in which they came."""
    upcoming = iter(entries)
    overtaken = dict(pairs_of(journal.order))
    waiting: list[Entry] = []
    position = 0
    while True:
        index = overtaken.get(position, 0)
        waiting.extend(islice(upcoming, max(0, index + 1 - len(waiting))))
        if index >= len(waiting):
            yield from waiting  # All of it, unless the journal is of another block.
            return
        yield waiting.pop(index)
        position += 1


class _Pairs:
    """A list of positions and numbers that is being written."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._last = 0

    def add(self, position: int, number: int) -> None:
        """Say a number of a position; those of one position add up."""
        if self.numbers and position == self._last:
            self.numbers[-1] += number
        else:
            self.numbers += (position - self._last, number)
            self._last = position


class JournalWriter:
    """Gathers the journal of the block that is being collected."""

    def __init__(self) -> None:
        self._keys: list[int] = []
        """Time and group of everything that came, as one number that sorts by both."""
        self._newest_ms = 0
        """Of those times, over all blocks."""
        self._decided_ms = 0
        """Time of the last decision."""
        self._shifts = _Pairs()
        self._late = _Pairs()
        self._zeros = _Pairs()
        self._messages: list[tuple[int, bytes]] = []
        self._zero_ms: int | None = None
        """Now."""
        self._begin_zero_ms: int | None = None
        """At the block's beginning."""
        self._is_first = True
        """Whether the next block begins a segment, which must be understood alone."""
        self._run = b""

    def add_readings(self, group: int, time_ms: int, shift_ms: int) -> None:
        """Readings came; groups are numbered from 0 in the order of a block's columns."""
        if shift_ms:
            self._shifts.add(len(self._keys), shift_ms)
        if time_ms > self._newest_ms:
            self._newest_ms = time_ms
        if self._decided_ms > self._newest_ms:
            self._late.add(len(self._keys), self._decided_ms - time_ms)
        self._keys.append(time_ms * _GROUPS_MAX + group + 1)

    def add_message(self, message: Message, time_ms: int) -> None:
        """A message came that is kept word for word; in order it stands before any group."""
        self._messages.append((time_ms, encode_message(message)))
        self.add_readings(-1, time_ms, 0)

    def begin_run(self, message: RunStarted) -> None:
        """What comes from now on belongs to this run; every segment says so."""
        self._run = encode_message(message)

    def add_decision(self, time_ms: int) -> None:
        """Somebody decided something of that time, knowing all that had come."""
        self._decided_ms = time_ms

    def set_zero(self, zero_ms: int) -> None:
        """From here on UTC at monotonic zero is this."""
        if self._zero_ms is None:
            self._begin_zero_ms = zero_ms
        elif zero_ms != self._zero_ms:
            self._zeros.add(len(self._keys), zero_ms - self._zero_ms)
        self._zero_ms = zero_ms

    def begin_segment(self) -> None:
        """The next block is the first of a segment."""
        self._is_first = True

    def cut(self) -> Journal | None:
        """The journal of what came since the last cut, None when there is nothing to say."""
        is_first = self._is_first and self._zero_ms is not None
        order = _order_of(self._keys)
        journal = None
        notes = (self._zeros, self._shifts, self._late)
        if is_first or order or self._messages or any(each.numbers for each in notes):
            journal = Journal(
                self._begin_zero_ms if is_first else None,
                self._zeros.numbers,
                self._shifts.numbers,
                self._late.numbers,
                order,
                self._messages,
                self._run if is_first else b"",
            )
        self._is_first = self._is_first and not is_first
        self._begin_zero_ms = self._zero_ms
        self._keys = []
        self._messages = []
        self._zeros, self._shifts, self._late = _Pairs(), _Pairs(), _Pairs()
        return journal


def _order_of(keys: Sequence[int]) -> list[int]:
    """What came before its turn."""
    by_time = sorted(keys)
    if by_time == keys:
        return []
    found = _Pairs()
    upcoming = iter(by_time)
    waiting: list[int] = []
    for position, key in enumerate(keys):
        while key not in waiting:
            waiting.append(next(upcoming))
        index = waiting.index(key)
        waiting.pop(index)
        if index:
            found.add(position, index)
    return found.numbers
