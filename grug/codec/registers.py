"""What a register is, and what a device's map is: values that maps are loaded into.

Only facts are held here. ``csvmap`` reads them from text, ``block`` and ``image`` act on them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeAlias

from grug.model import Span, Table


class Kind(enum.StrEnum):
    """How the bits of a register are to be understood."""

    BOOL = "bool"
    """One bit of a bit table, or a word that is zero or not."""
    U16 = "u16"
    S16 = "s16"
    U32 = "u32"
    S32 = "s32"
    U64 = "u64"
    S64 = "s64"
    F32 = "f32"
    F64 = "f64"
    TEXT = "text"
    """Two ASCII characters a word, padded with NUL or spaces at the end."""

    @property
    def words(self) -> int:
        """Words that one value takes; 0 for text, whose length the map states."""
        return _WORDS[self]

    @property
    def is_integer(self) -> bool:
        """Whether the raw value is a whole number."""
        return self.value[0] in "us"

    @property
    def is_float(self) -> bool:
        """Whether the raw value is an IEEE 754 number."""
        return self.value[0] == "f"

    @property
    def raw_range(self) -> tuple[int, int]:
        """Smallest and largest raw value of an integer kind; 0 and 1 for bool."""
        if self is Kind.BOOL:
            return 0, 1
        bits = 16 * self.words
        if self.value[0] == "s":
            return -(1 << bits - 1), (1 << bits - 1) - 1
        return 0, (1 << bits) - 1


_WORDS = {
    Kind.BOOL: 1,
    Kind.U16: 1,
    Kind.S16: 1,
    Kind.U32: 2,
    Kind.S32: 2,
    Kind.U64: 4,
    Kind.S64: 4,
    Kind.F32: 2,
    Kind.F64: 4,
    Kind.TEXT: 0,
}


class WordOrder(enum.StrEnum):
    """Order on the wire of a value whose bytes are A (highest), B, C, D; longer ones alike.

    A single word and text know only their two bytes: ``BADC`` and ``DCBA`` swap them.
    """

    ABCD = "ABCD"
    CDAB = "CDAB"
    BADC = "BADC"
    DCBA = "DCBA"

    @property
    def swaps_words(self) -> bool:
        """Whether the lowest word comes first."""
        return self in (WordOrder.CDAB, WordOrder.DCBA)

    @property
    def swaps_bytes(self) -> bool:
        """Whether the lower byte of each word comes first."""
        return self in (WordOrder.BADC, WordOrder.DCBA)


class Access(enum.StrEnum):
    """Who may write a register."""

    READ = "read"
    """Nobody: the device does not take writes."""
    FREE = "free"
    """Controllers, as often as they like."""
    GUARDED = "guarded"
    """A person, or a controller that was told to; rarely."""
    NEVER = "never"
    """Nobody, although the device would take it: it does harm."""


class Storage(enum.StrEnum):
    """Where the device keeps a written value; ``UNKNOWN`` is to be treated as ``EEPROM``."""

    RAM = "ram"
    EEPROM = "eeprom"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Bit:
    """One named bit of a bit field."""

    bit: int
    """0 is the lowest bit of the register."""
    label: str
    active_low: bool = False
    """The label holds while the bit is 0."""


@dataclass(frozen=True, slots=True)
class Register:
    """One value of a device: where it is, and what its bits mean."""

    name: str
    table: Table
    address: int
    """0-based, as on the wire."""
    kind: Kind
    words: int = 0
    """Words it takes, or 1 bit in a bit table; 0 stands for what the kind needs."""
    order: WordOrder = WordOrder.ABCD
    scale: Decimal = Decimal(1)
    """value = raw * scale + offset, exactly."""
    offset: Decimal = Decimal(0)
    unit: str = ""
    decimals: int = 0
    """Digits behind the point to show; nothing is rounded to them."""
    access: Access = Access.READ
    storage: Storage = Storage.UNKNOWN
    invalid: frozenset[int] = frozenset()
    """Raw values that say "no value"; for f32 and f64 their bit patterns."""
    minimum: Decimal | None = None
    """Smallest plausible value, in the unit; also the smallest that may be written."""
    maximum: Decimal | None = None
    note: str = ""
    bits: tuple[Bit, ...] = ()
    """Labels of a bit field; the value itself stays the whole number."""

    def __post_init__(self) -> None:
        """Fill in the length that the kind implies."""
        if not self.words:
            object.__setattr__(self, "words", self.kind.words)

    @property
    def span(self) -> Span:
        """The addresses that it takes; they are never read or written apart."""
        return Span(self.table, self.address, self.words)

    @property
    def is_writable(self) -> bool:
        """Whether anything may ever write it."""
        return self.access in (Access.FREE, Access.GUARDED)

    @property
    def is_scaled(self) -> bool:
        """Whether the value differs from the raw number."""
        return self.scale != 1 or self.offset != 0

    def labels_of(self, raw: int) -> tuple[str, ...]:
        """Labels of a bit field that hold for ``raw``, lowest bit first."""
        return tuple(
            bit.label for bit in self.bits if bool(raw >> bit.bit & 1) is not bit.active_low
        )


WriteFunction: TypeAlias = Literal["shortest", "multiple"]
"""``shortest``: functions 5 and 6 for one value, else 15 and 16; ``multiple``: always 15 and 16."""


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What holds for a device model as a whole."""

    title: str = ""
    manufacturer: str = ""
    source: str = ""
    """Where the map comes from."""
    verified: str = ""
    """How it was checked, and on what."""
    words_max: int = 125
    """Most words that the device gives in one read. Source of 125: MODBUS V1.1b3, 6.3."""
    gap_s: float = 0.0
    """Least silence before a request, beyond what the line itself keeps."""
    holes: Literal["learned", "never"] = "learned"
    """Whether addresses between registers may be read over until the device refuses."""
    mirrored: tuple[Table, ...] = ()
    """Tables that also show what the map says of the input registers."""
    write_function: WriteFunction = "shortest"
    identify: str = ""
    """Name of the register that tells this model from others; empty when none does."""
    baudrate: int = 9600
    framing: str = "8N1"
    unit_id: int = 1
    """As it leaves the factory, like the two above."""


@dataclass(frozen=True, slots=True)
class RegisterMap:
    """All that is known of a device model."""

    model: str
    registers: dict[str, Register]
    """By name, in the order of the file."""
    facts: DeviceFacts = field(default_factory=DeviceFacts)

    def __getitem__(self, name: str) -> Register:
        """The register of that name."""
        return self.registers[name]

    def select(self, names: Iterable[str]) -> tuple[Register, ...]:
        """Registers of these names, in this order."""
        return tuple(self.registers[name] for name in names)
