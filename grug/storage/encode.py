"""Samples to the payload of one frame: many columns at a time, hardly a line of Python per number.

Three things make it quick where nothing but the interpreter's own numbers is at hand:

* all columns of one kind are made integers together. Adding 1.5 * 2**52 to a double rounds it to an
  integer and leaves that in its lowest bits, so that its bytes need only be copied. Dividing again
  says whether each is exactly the number that came;
* the differences between neighbours of all columns are one subtraction of two long integers, whose
  bits are lanes of eight bytes that borrow nothing from each other;
* what follows from the names alone is packed once, for each set of polls that share a block.

``grug.storage.block`` has the layout, and reads it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import itemgetter, sub
from typing import Any, NamedTuple

from grug.model import Value
from grug.storage.block import HEAD, SECOND_LAYOUT, Poll, pack_planes, series_steps
from grug.storage.kinds import EXPONENT_MAX, FLOAT64, POWERS, integers_of

Numbers = tuple[Value, ...]
"""Of one column of one poll."""

_WHOLE = -1
"""Instead of the kind 0, for series whose numbers are ``int``: they are packed as they are."""
_UNASKED = FLOAT64 + 1
"""Instead of ``FLOAT64``: packed as doubles without asking whether something shorter would do."""
_ROUNDS_MAX = EXPONENT_MAX + 5
"""Of finding kinds for one block. Each kind that columns had is found unfit once at most; there are
16 of them with ``_WHOLE``, and then there must be an end."""
_WHOLE_MAX = 1 << 56
_TOP_BYTES_WHOLE = b"\x00\xff"
"""Of integers of less than 56 bits and a sign, whose differences fit into 64."""

_ROUNDER = 1.5 * 2**52
_ROUNDER_BITS: int = struct.unpack("<q", struct.pack("<d", _ROUNDER))[0]
_TOP_BYTE_ROUNDED = b"\x43"
_NEXT_BYTES_ROUNDED = bytes(range(0x30, 0x40))
"""The highest 12 bits of doubles from 2**52 to 2**53: what has others was too large to round."""

_LANES = 512
"""Subtracted at a time."""
_EACH_LANE = int.from_bytes(b"\1\0\0\0\0\0\0\0" * _LANES, "little")
_TOP_BITS = _EACH_LANE << 63
_LOW_BITS = _TOP_BITS - _EACH_LANE
_HALF = 0x8080808080808080
"""Added to every difference: small ones of either sign then differ in the lowest byte alone."""
_LOW_HALVES = _EACH_LANE * _HALF & _LOW_BITS
_HALF_BYTE = b"\x80"
_FLIP_TOP = bytes([byte ^ 0x80 for byte in range(256)])
_LAYOUTS_MAX = 16


class _MisfitError(Exception):
    """Some columns are not of the kind that they had."""

    def __init__(self, kind: int) -> None:
        super().__init__()
        self.kind = kind


class SampleEncoder:
    """Writes the samples of one block after the other."""

    def __init__(self) -> None:
        """Begin; nothing is known of any series."""
        self._kinds: dict[Poll, list[int]] = {}
        """Of each column of a poll: what it had in the last block, or ``_WHOLE``. Not of each
        series: one that is in two polls of a block may need two kinds."""
        self._layouts: dict[tuple[Poll, ...], _Layout] = {}

    def encode(self, polls: Iterable[Poll]) -> bytes:
        """Write the waiting samples of the polls as one payload.

        Args:
            polls: those without waiting samples are left out; at least one must have some. They may
                have series in common. Their first times lie within 2**32 ms, 49 days.
        """
        present = tuple([poll for poll in polls if poll.times])
        columns = list(chain.from_iterable([zip(*poll.rows, strict=True) for poll in present]))
        for _ in range(_ROUNDS_MAX):
            try:
                return self._layout_of(present).encode(columns)
            except _MisfitError as misfit:
                self._settle(present, columns, misfit.kind)
        # Only a bug leads here. A log that is larger than it need be is better than none.
        self._kinds.clear()
        self._layouts.clear()
        unasked = {poll: [_UNASKED] * len(poll.ids) for poll in present}
        return _Layout(present, unasked).encode(columns)

    def _layout_of(self, polls: tuple[Poll, ...]) -> _Layout:
        layout = self._layouts.get(polls)
        if layout is None:
            if len(self._layouts) == _LAYOUTS_MAX:
                self._layouts.clear()
            for poll in polls:
                self._kinds.setdefault(poll, [_WHOLE] * len(poll.ids))
            layout = self._layouts[polls] = _Layout(polls, self._kinds)
        return layout

    def _settle(self, polls: Sequence[Poll], columns: Iterable[Numbers], kind: int) -> None:
        """Find the kinds again of all columns of one kind."""
        rest = iter(columns)
        for poll in polls:
            own = zip(self._kinds[poll], islice(rest, len(poll.ids)), strict=True)
            self._kinds[poll] = [
                _kind_of(column, kind) if before == kind else before for before, column in own
            ]
        self._layouts.clear()


def _kind_of(column: Numbers, last_kind: int) -> int:
    if last_kind != _WHOLE:
        return integers_of(column, last_kind)[0]
    if all(isinstance(value, int) and -_WHOLE_MAX <= value < _WHOLE_MAX for value in column):
        return _WHOLE
    return integers_of(column, 0)[0]


class _Kindred(NamedTuple):
    """The columns of one kind."""

    kind: int
    pick: Callable[[Sequence[Any]], tuple[Any, ...]]
    """Takes them from among all columns."""
    size: int
    """How many they are."""


class _Layout:
    """What is known of a payload before its numbers are: from its polls and the columns' kinds.

    Within, columns are sorted by kind, and the times of the polls stand before them.
    """

    def __init__(self, polls: tuple[Poll, ...], kinds: Mapping[Poll, Sequence[int]]) -> None:
        self._polls = polls
        self._ids = tuple(chain.from_iterable([poll.ids for poll in polls]))
        own = list(chain.from_iterable([kinds[poll] for poll in polls]))
        order = sorted(range(len(own)), key=own.__getitem__)
        self._kindreds = [
            _Kindred(kind, _picker([i for i in order if own[i] == kind]), own.count(kind))
            for kind in sorted(set(own))
        ]
        poll_of = [index for index, poll in enumerate(polls) for _ in poll.ids]
        self._poll_of = [*range(len(polls)), *[poll_of[i] for i in order]]
        self._as_stored = _picker(sorted(range(len(order)), key=order.__getitem__))
        sizes = [len(poll.ids) for poll in polls]
        self._series = pack_planes(sizes, "H", 2) + pack_planes(series_steps(self._ids), "I", 4)
        self._kinds = bytes([min(max(kind, 0), FLOAT64) for kind in own])

    def encode(self, columns: Sequence[Numbers]) -> bytes:
        """Write the polls' columns.

        Raises:
            _MisfitError: some are not of their kind.
        """
        rows = [len(poll.times) for poll in self._polls]
        counts = [rows[index] for index in self._poll_of]
        lanes, offsets = self._lanes(columns)
        firsts, widths, deltas = _deltas_of(lanes, counts)
        firsts = list(map(sub, firsts, offsets))
        times = len(rows)
        base = min(firsts[:times])
        return b"".join(
            (
                HEAD.pack(sum(counts[times:]), times | SECOND_LAYOUT, len(self._ids), base),
                pack_planes(rows, "I", 4),
                pack_planes([first - base for first in firsts[:times]], "I", 4),
                bytes(widths[:times]),
                self._series,
                self._kinds,
                bytes(self._as_stored(widths[times:])),
                pack_planes(self._as_stored(firsts[times:]), "q", 8),
                *deltas[:times],
                *self._as_stored(deltas[times:]),
            )
        )

    def _lanes(self, columns: Sequence[Numbers]) -> tuple[bytes, list[int]]:
        """All integers, eight bytes each, and by column what was added to them."""
        times: list[Sequence[Value]] = [poll.times for poll in self._polls]
        parts = [_whole_lanes(list(chain.from_iterable(times)))]
        offsets = [0] * len(times)
        for kind, pick, count in self._kindreds:
            kindred = pick(columns)
            offset = 0
            if kind == _UNASKED:
                numbers = list(chain.from_iterable(kindred))
                part = struct.pack(f"<{len(numbers)}d", *numbers)
            elif kind > EXPONENT_MAX:
                part = _float_lanes(kindred, kind)
            elif kind == _WHOLE:
                part = _whole_lanes(list(chain.from_iterable(kindred)))
            else:
                part = _rounded_lanes(list(chain.from_iterable(kindred)), kind)
                offset = _ROUNDER_BITS
            parts.append(part)
            offsets += [offset] * count
        return b"".join(parts), offsets


def _picker(indexes: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Like ``itemgetter``, which gives no tuple for one index."""
    if len(indexes) == 1:
        (index,) = indexes
        return itemgetter(slice(index, index + 1))
    return itemgetter(*indexes)


def _whole_lanes(numbers: list[Any]) -> bytes:
    try:
        lanes = struct.pack(f"<{len(numbers)}q", *numbers)
    except struct.error as error:
        raise _MisfitError(_WHOLE) from error
    if lanes[7::8].strip(_TOP_BYTES_WHOLE):
        raise _MisfitError(_WHOLE)
    return lanes


def _rounded_lanes(numbers: list[Any], exponent: int) -> bytes:
    """The bytes of the rounded doubles; any value of at most 51 bits and a sign is exact there."""
    if exponent == 0:
        rounded = [number + _ROUNDER for number in numbers]
        again = [each - _ROUNDER for each in rounded]
    else:
        power = POWERS[exponent]
        rounded = [number * power + _ROUNDER for number in numbers]
        again = [(each - _ROUNDER) / power for each in rounded]
    lanes = struct.pack(f"<{len(rounded)}d", *rounded)
    if (
        again != numbers
        or lanes[7::8].strip(_TOP_BYTE_ROUNDED)
        or lanes[6::8].translate(None, _NEXT_BYTES_ROUNDED)
    ):
        raise _MisfitError(exponent)
    return lanes


def _float_lanes(columns: Sequence[Numbers], kind: int) -> bytes:
    """The bits of floats; where decimals would do by now, they are no longer of that kind."""
    integers: list[int] = []
    for column in columns:
        now, bits = integers_of(column, kind)
        if now != kind:
            raise _MisfitError(kind)
        integers += bits
    return struct.pack(f"<{len(integers)}q", *integers)


def _deltas_of(lanes: bytes, counts: Sequence[int]) -> tuple[Sequence[int], list[int], list[bytes]]:
    """Give for each column its first integer, and the width and planes of its differences."""
    firsts: list[bytes] = []
    later: list[bytes] = []
    earlier: list[bytes] = []
    end = 0
    for count in counts:
        start, end = end, end + 8 * count
        firsts.append(lanes[start : start + 8])
        if count > 1:
            later.append(lanes[start + 8 : end])
            earlier.append(lanes[start : end - 8])
    differences = b"".join(_differences(b"".join(later), b"".join(earlier)))
    widths, deltas = _planes_of(differences, counts)
    return struct.unpack(f"<{len(counts)}q", b"".join(firsts)), widths, deltas


def _planes_of(differences: bytes, counts: Sequence[int]) -> tuple[list[int], list[bytes]]:
    same = _HALF_BYTE * (len(differences) // 8)
    planes = [differences[plane::8] for plane in range(8)]
    while planes and planes[-1] == same:
        planes.pop()
    flipped = [plane.translate(_FLIP_TOP) for plane in planes[:2]]
    widths: list[int] = []
    deltas: list[bytes] = []
    end = 0
    for count in counts:
        used = 0
        if count > 1:
            start, end = end, end + count - 1
            if len(same) != count - 1:
                same = _HALF_BYTE * (count - 1)
            used = len(planes)
            while used and planes[used - 1][start:end] == same:
                used -= 1
        if used == 0:
            width, packed = 0, b""
        elif used == 1:
            width, packed = 1, flipped[0][start:end]
        elif used == 2:
            width, packed = 2, planes[0][start:end] + flipped[1][start:end]
        else:
            width, packed = _wide_planes(differences[8 * start : 8 * end], used)
        widths.append(width)
        deltas.append(packed)
    return widths, deltas


def _differences(later: bytes, earlier: bytes) -> Iterator[bytes]:
    """Subtract lane by lane, modulo 2**64, and add ``_HALF``.

    The top bits are kept out of the subtraction, so that none borrows from the next lane, and put
    right afterwards. Source: Warren, Hacker's Delight, 2-18.
    """
    step = 8 * _LANES
    for start in range(0, len(later), step):
        left = int.from_bytes(later[start : start + step], "little")
        right = int.from_bytes(earlier[start : start + step], "little")
        low = (left | _TOP_BITS) - (right & _LOW_BITS)
        lanes = ((low & _LOW_BITS) + _LOW_HALVES) ^ ((low ^ left ^ right) & _TOP_BITS)
        yield lanes.to_bytes(step, "little")[: len(later) - start]


def _wide_planes(differences: bytes, used: int) -> tuple[int, bytes]:
    """Width and planes of differences of more than two bytes."""
    deltas = struct.unpack(f"<{len(differences) // 8}Q", differences)
    if used <= 4:
        return 4, pack_planes([delta & 0xFFFFFFFF ^ 0x80000000 for delta in deltas], "I", 4)
    return 8, pack_planes([(delta - _HALF) % (1 << 64) for delta in deltas], "Q", 8)
