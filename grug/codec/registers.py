"""What a register is, and what a device's map is: values that maps are loaded into.

Only facts are held here. ``csvmap`` reads them from text, ``block`` and ``image`` act on them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal, TypeAlias

from grug.codec.hints import did_you_mean
from grug.errors import EncodeError
from grug.model import Span, Table, Value


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
    BCD16 = "bcd16"
    """Four decimal digits, four bits each."""
    BCD32 = "bcd32"
    CLOCK6 = "clock6"
    """Year, month, day, hour, minute, second: a word each. The value is ISO 8601 text."""
    CLOCK3 = "clock3"
    """The same in a byte each; the year counts from 2000."""
    UNIX32 = "unix32"
    """Seconds since 1970 in UTC; the value is ISO 8601 text that ends in Z."""

    @property
    def words(self) -> int:
        """Words that one value takes; 0 for text, whose length the map states."""
        return _WORDS[self]

    @property
    def is_integer(self) -> bool:
        """Whether the raw value is a whole number in two's complement."""
        return self in _INTEGERS

    @property
    def is_float(self) -> bool:
        """Whether the raw value is an IEEE 754 number."""
        return self in (Kind.F32, Kind.F64)

    @property
    def is_bcd(self) -> bool:
        """Whether the raw value is a row of decimal digits."""
        return self in (Kind.BCD16, Kind.BCD32)

    @property
    def is_number(self) -> bool:
        """Whether the value is a number, which may have a scale, a range and a largest step."""
        return self.is_integer or self.is_float or self.is_bcd

    @property
    def is_bytes(self) -> bool:
        """Whether its words are a row of bytes, not one number: only bytes can be swapped."""
        return self in (Kind.TEXT, Kind.CLOCK6, Kind.CLOCK3)

    @property
    def raw_range(self) -> tuple[int, int]:
        """Smallest and largest raw value of whole numbers; 0 and 1 for bool."""
        if self is Kind.BOOL:
            return 0, 1
        if self.is_bcd:
            return 0, 10 ** (4 * self.words) - 1
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
    Kind.BCD16: 1,
    Kind.BCD32: 2,
    Kind.CLOCK6: 6,
    Kind.CLOCK3: 3,
    Kind.UNIX32: 2,
}
_INTEGERS = frozenset({Kind.U16, Kind.S16, Kind.U32, Kind.S32, Kind.U64, Kind.S64})


class WordOrder(enum.StrEnum):
    """Order on the wire of a value whose bytes are A (highest), B, C, D; longer ones alike.

    Single words, text and clocks know only the two bytes of each word: ``BADC`` and ``DCBA`` swap
    them.
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
class Choice:
    """One named number of an enumeration."""

    number: int
    label: str


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
    scale_by: Register | None = None
    """The register that holds the power of ten to scale by, as SunSpec has them. It is read with
    this one; while it is not from -10 to 10 ("not implemented" is -32768) the value is bad."""
    unit: str = ""
    decimals: int = 0
    """Digits behind the point to show; nothing is rounded to them."""
    access: Access = Access.READ
    storage: Storage = Storage.UNKNOWN
    invalid: frozenset[int] = frozenset()
    """Raw values that say "no value"; for floats and BCD their bit patterns."""
    minimum: Decimal | None = None
    """Smallest plausible value, in the unit; also the smallest that may be written."""
    maximum: Decimal | None = None
    step_max: Decimal | None = None
    """Largest plausible difference of two readings in a row, in the unit."""
    rate_max: Decimal | None = None
    """Largest plausible change in a second, in the unit."""
    confirmations: int = 0
    """Of a counter, which only grows: readings in a row that show a drop before it counts as a new
    beginning. 0 says that it is no counter."""
    note: str = ""
    bits: tuple[Bit, ...] = ()
    """Labels of a bit field; the value itself stays the whole number."""
    choices: tuple[Choice, ...] = ()
    """Labels of an enumeration; the value itself stays the number."""
    alias: str = ""
    """Another register with some of the same addresses; without it, sharing them is an error."""

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

    @property
    def is_watched(self) -> bool:
        """Whether a value is plausible or not by the ones before it; see ``plausible``."""
        return bool(self.confirmations) or self.step_max is not None or self.rate_max is not None

    def labels_of(self, value: Value) -> tuple[str, ...]:
        """What a value says in words.

        Returns:
            Of a bit field, the labels that hold, lowest bit first; of an enumeration, its label;
            nothing where there are none.
        """
        if not isinstance(value, int):
            return ()
        if self.choices:
            return tuple(choice.label for choice in self.choices if choice.number == value)
        return tuple(
            bit.label for bit in self.bits if bool(value >> bit.bit & 1) is not bit.active_low
        )

    def number_of(self, *labels: str) -> int:
        """The value that these labels say: one of an enumeration, any of a bit field.

        Raises:
            EncodeError: there is no such label, or not one label of an enumeration.
        """
        known = [bit.label for bit in self.bits] + [choice.label for choice in self.choices]
        for label in labels:
            if label not in known:
                hint = did_you_mean(label, known)
                raise EncodeError(f"{self.name}: there is no label {label!r}{hint}")
        if self.choices:
            numbers = [choice.number for choice in self.choices if choice.label in labels]
            if len(numbers) != 1:
                raise EncodeError(f"{self.name}: one label is needed, not {len(numbers)}")
            return numbers[0]
        return sum(1 << bit.bit for bit in self.bits if (bit.label in labels) is not bit.active_low)

    def at_exponent(self, exponent: int) -> Register:
        """This register, while the one that scales it holds ``exponent``.

        Raises:
            EncodeError: that is no exponent.
        """
        if exponent not in EXPONENTS:
            raise EncodeError(f"{self.name}: its scale is not known (exponent {exponent})")
        return replace(self, scale=Decimal(1).scaleb(exponent), scale_by=None)


EXPONENTS = range(-10, 11)
"""Powers of ten that a scaling register may hold. Source: SunSpec Device Information Model
Specification, sunssf."""


WriteFunction: TypeAlias = Literal["shortest", "multiple"]
"""``shortest``: functions 5 and 6 for one value, else 15 and 16; ``multiple``: always 15 and 16."""


UnknownReads: TypeAlias = Literal["exception", "zeros", "silent"]
"""What a read that touches no register of a served map is answered with: exception 2, zeros, or
not at all."""


@dataclass(frozen=True, slots=True)
class ServedFacts:
    """How grug serves a map in a meter's place; see ``grug.codec.served``."""

    unknown: UnknownReads = "exception"
    identity: Mapping[str, float] = field(default_factory=dict)
    """By register: what never changes and tells who the meter is, such as its model code."""
    shows: Mapping[str, str] = field(default_factory=dict)
    """By register: the quantity that it shows, with a ``-`` before it where the meter counts the
    other way round. A register that is called like a quantity needs no entry."""


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
    bits_max: int = 2000
    """Most bits in one read. Source of 2000: MODBUS V1.1b3, 6.1."""
    write_words_max: int = 123
    """Most words in one write. Source of 123: MODBUS V1.1b3, 6.12."""
    gap_s: float = 0.0
    """Least silence before a request, beyond what the line itself keeps."""
    holes: Literal["learned", "never"] = "learned"
    """Whether addresses between registers may be read over until the device refuses."""
    barriers: frozenset[tuple[Table, int]] = frozenset()
    """Addresses that are never read on the way to others."""
    mirrored: tuple[Table, ...] = ()
    """Tables that also show what the map says of the input registers."""
    write_function: WriteFunction = "shortest"
    functions: frozenset[int] = frozenset()
    """Which it has of those that few devices have: 22 writes some bits of a register, 23 writes and
    reads at once. Source: MODBUS V1.1b3, 6.16 and 6.17."""
    identify: str = ""
    """Name of the register that tells this model from others; empty when none does."""
    identify_values: tuple[int | str, ...] = ()
    """What that register reads on this model; empty when that is not known."""
    identity: tuple[str, ...] = ()
    """Names of registers that tell one unit of this model from another, and its firmware from an
    older one: what was learned of a unit holds for as long as these read the same."""
    baudrate: int = 9600
    framing: str = "8N1"
    unit_id: int = 1
    """As it leaves the factory, like the two above."""
    served: ServedFacts = field(default_factory=ServedFacts)


@dataclass(frozen=True, slots=True)
class RegisterMap:
    """All that is known of a device model."""

    model: str
    registers: dict[str, Register]
    """By name, in the order of the file."""
    facts: DeviceFacts = field(default_factory=DeviceFacts)
    arrays: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Rows of the map with a count, and the registers ``name_1`` … that they stand for."""

    def __getitem__(self, name: str) -> Register:
        """The register of that name."""
        return self.registers[name]

    def select(self, names: Iterable[str]) -> tuple[Register, ...]:
        """Registers of these names, in this order; the name of an array stands for all of it."""
        return tuple(
            self.registers[each] for name in names for each in self.arrays.get(name, (name,))
        )
