"""Value types that everything speaks of: register tables, spans, qualities.

Values only: nothing here decides, waits or touches the world.
"""

from __future__ import annotations

import enum
from typing import NamedTuple, TypeAlias

import msgspec

Value: TypeAlias = float | int | bool | str
"""One physical value, in the register's unit; text registers give ``str``."""


class Table(enum.StrEnum):
    """The four Modbus tables.

    Source: MODBUS Application Protocol V1.1b3, 4.3.
    """

    COIL = "coil"
    DISCRETE_INPUT = "discrete_input"
    HOLDING_REGISTER = "holding_register"
    INPUT_REGISTER = "input_register"

    is_bits: bool
    """Whether an address of this table holds one bit instead of one word."""

    def __init__(self, name: str) -> None:
        self.is_bits = name in ("coil", "discrete_input")


class Span(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """``count`` neighbouring addresses of one table, from a 0-based ``address``."""

    table: Table
    address: int
    count: int

    @property
    def end(self) -> int:
        """The first address after the span."""
        return self.address + self.count


class Quality(enum.StrEnum):
    """How far a value may be trusted. Control acts on ``GOOD`` alone."""

    GOOD = "good"
    BAD = "bad"
    """The device sent a sentinel or something implausible."""
    MISSING = "missing"
    """Nobody answered."""
    STALE = "stale"
    """It was good, longer ago than the consumer accepts."""


class Priority(enum.IntEnum):
    """Order of waiting requests on a line; a lower number goes first."""

    WRITE = 0
    CONTROL = 1
    """Reads that a control loop waits for."""
    NORMAL = 2
    BACKGROUND = 3
    """Dumps, probes, and whoever is curious."""


class Aim(enum.StrEnum):
    """What a wish for power is about."""

    OFFSET = "offset"
    """Watts added to the grid power that the inverters see; plus makes them export."""
    GRID = "grid"
    """Watts at the grid; plus = import."""
    BATTERY = "battery"
    """Watts into the battery; plus = charging."""
    EXPORT_MAX = "export_max"
    """No wish may make the house export more than this many watts."""
    IMPORT_MAX = "import_max"
    """No wish may make the house import more than this many watts."""


class WriteState(enum.StrEnum):
    """What became of a wish to write a register."""

    PENDING = "pending"
    """Sent, and not known yet: nobody could read it back."""
    APPLIED = "applied"
    """The device was seen to hold it."""
    REFUSED = "refused"
    """Not sent, or the device did not take it; the reason says which."""
    REVERTED = "reverted"
    """It was applied, and a later reading shows something else."""


class UnitHealth(enum.StrEnum):
    """What the bus thinks of a unit."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    OFFLINE = "offline"


class FailureKind(enum.StrEnum):
    """Why a request was not answered; the kind says what to do next."""

    NO_REPLY = "no_reply"
    GARBLED = "garbled"
    REFUSED = "refused"
    LINE_DOWN = "line_down"
    UNIT_OFFLINE = "unit_offline"
    EXPIRED = "expired"
    """Its deadline passed before the line was free."""


class Role(enum.StrEnum):
    """What grug is on a line."""

    CLIENT = "client"
    """It asks, as a bus owner."""
    SERVER = "server"
    """It is asked, as a fake meter."""


class WireFraming(enum.StrEnum):
    """How frames are wrapped on a line."""

    RTU = "rtu"
    MBAP = "mbap"


class Wire(NamedTuple):
    """One line as grug sees it."""

    line: str
    role: Role
    framing: WireFraming

    @property
    def name(self) -> str:
        """As the series table has it."""
        return f"{self.line}/{self.role}/{self.framing}"


class WireKind(enum.IntEnum):
    """What happened on a line, as it is recorded byte by byte."""

    OPENED = 1
    """It has no bytes, like the silence and the closing."""
    SENT = 2
    RECEIVED = 3
    """As the adapter handed it over: a frame may come in several records."""
    SILENCE = 4
    """The wait for a reply, or for the rest of one, was given up."""
    DISCARDED = 5
    """What came unasked was thrown away; the bytes are their number, four bytes little endian."""
    CLOSED = 6


class WireRecord(NamedTuple):
    """One thing that happened on one line."""

    wire: int
    """Which one: an index in the names that come with it."""
    kind: WireKind
    at_us: int
    """Monotonic."""
    data: bytes
