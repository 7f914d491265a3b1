"""The ledger of writes: who wrote what to which device and why, and what became of it. Pure.

One JSON object per line. A write that wears something has two lines: one before it is sent, so that
a crash in between is counted, and one when its fate is known; the later line of an ``id`` holds. A
line that a power cut left half written is skipped.

Of registers that are kept in RAM, and may be written every few seconds, the file has a line for
every change of fate, and else one in ``ROUTINE_MS`` that says for how many it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from grug.model import Value, WriteState

YEAR_MS = 365 * 86_400_000
ROUTINE_MS = 600_000
KEEP_ROUTINE_MS = 30 * 86_400_000
"""How long lines about RAM registers are kept."""


class LedgerEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One write, or one refusal to write."""

    id: str
    utc_ms: int
    unit: str
    """What the budget is counted by: port and unit id."""
    device: str
    register: str
    who: str
    why: str
    new: Value
    state: WriteState
    reason: str = ""
    old: Value | None = None
    read_back: Value | None = None
    unit_of: str = ""
    """Unit of the values, such as A."""
    wears: bool = False
    sends: int = 1
    """For how many writes on the wire it stands; 0 when nothing was sent."""
    per_year: int = 0
    """The register's yearly budget at that time; 0 when it has none."""


class Ledger(Protocol):
    """Where entries are kept."""

    @property
    def problem(self) -> str:
        """Why it cannot be read, so that nobody knows what is left of any budget; or empty."""

    def entries(self) -> list[LedgerEntry]:
        """All that there are, oldest first."""

    async def add(self, entry: LedgerEntry, *, is_durable: bool) -> Sequence[LedgerEntry]:
        """Keep one; durable ones are on the disk when this returns.

        Returns:
            What other processes have added since the last time; some of it may be known.

        Raises:
            StorageError: it cannot be kept.
        """


class MemoryLedger:
    """A ledger that ends with its process: for tests, virtual time, and short scripts."""

    problem = ""

    def __init__(self) -> None:
        """Begin empty."""
        self._entries: dict[str, LedgerEntry] = {}

    def entries(self) -> list[LedgerEntry]:
        """See ``Ledger.entries``."""
        return list(self._entries.values())

    async def add(self, entry: LedgerEntry, *, is_durable: bool) -> Sequence[LedgerEntry]:
        """See ``Ledger.add``; nobody else adds to it."""
        self._entries[entry.id] = entry
        return ()


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(LedgerEntry)


def encode_entry(entry: LedgerEntry) -> bytes:
    """One line of the file."""
    return _ENCODER.encode(entry) + b"\n"


def decode_entries(data: bytes) -> tuple[list[LedgerEntry], int]:
    """Read the file.

    Returns:
        The entries in order of their first lines, each as its last line has it; and how many lines
        could not be understood.
    """
    entries: dict[str, LedgerEntry] = {}
    bad = 0
    for line in data.splitlines():
        if not line.strip():
            continue
        try:
            entry = _DECODER.decode(line)
        except msgspec.DecodeError:
            bad += 1
            continue
        entries[entry.id] = entry
    return list(entries.values()), bad


def worth_keeping(entries: Iterable[LedgerEntry], now_ms: int) -> list[LedgerEntry]:
    """What of a ledger still counts, or may still interest somebody.

    A time in the future was written when the clock was wrong: such a line is kept and counts. Nor
    is a clock believed that is ahead of every line: it would cost the whole count for good.
    """
    entries = list(entries)
    now_ms = min(now_ms, max((entry.utc_ms for entry in entries), default=now_ms))
    return [
        entry
        for entry in entries
        if entry.utc_ms > now_ms - (YEAR_MS if entry.wears else KEEP_ROUTINE_MS)
    ]


class LedgerBook:
    """What is counted, by unit and register."""

    def __init__(self, entries: Iterable[LedgerEntry] = ()) -> None:
        """Count what there is."""
        self._sends: dict[tuple[str, str], dict[str, LedgerEntry]] = {}
        """By unit and register: entries that wore something, by id."""
        self._last: dict[tuple[str, str], LedgerEntry] = {}
        for entry in entries:
            self.take(entry)

    def take(self, entry: LedgerEntry) -> bool:
        """Count one; a second of the same id replaces the first.

        Returns:
            Whether it is a write that wore something, and was not counted yet.
        """
        key = (entry.unit, entry.register)
        is_new = False
        if entry.wears:
            sends = self._sends.setdefault(key, {})
            if entry.sends:
                is_new = entry.id not in sends
                sends[entry.id] = entry
            else:  # Nothing was sent after all, or was never to be.
                sends.pop(entry.id, None)
        if entry.sends:
            self._last[key] = entry
        return is_new

    def in_year(self, unit: str, register: str, now_ms: int) -> int:
        """Writes of one register that wore something, in the 365 days before ``now_ms``."""
        # What is too old stays: the clock may have jumped ahead, and come back.
        entries = self._sends.get((unit, register), {}).values()
        return sum(entry.sends for entry in entries if entry.utc_ms > now_ms - YEAR_MS)

    def unit_in_year(self, unit: str, now_ms: int) -> int:
        """The same for all registers of a unit."""
        registers = [register for each, register in self._sends if each == unit]
        return sum(self.in_year(unit, register, now_ms) for register in registers)

    def last(self, unit: str, register: str) -> LedgerEntry | None:
        """The latest write of a register."""
        return self._last.get((unit, register))
