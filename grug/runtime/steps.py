"""One register of a request to write: encoded, compared, shown."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass

from grug.codec.block import BlockDecoder
from grug.codec.registers import Access, Kind, Register, Storage
from grug.control.writes import Target, Writability
from grug.messages import WriteRegisters
from grug.model import Value
from grug.planner.writes import masked

CLOCK_SLACK_S = 15.0
"""How far a clock may have gone on by the time that it is read back."""


@dataclass(slots=True)
class Step:
    """One register on its way."""

    id: str
    register: Register
    """Scaled as it is just now."""
    value: Value
    request: WriteRegisters
    old: bytes | None = None
    is_sent: bool = False
    is_acknowledged: bool = False
    is_seen: bool = False
    """The acknowledgement came with what it holds now, and that is what was written."""

    @property
    def target(self) -> Target:
        """What the rules look at."""
        register = self.register
        wears = register.storage is not Storage.RAM
        return Target(register.name, _WRITABILITY[register.access], wears, register.note)

    @property
    def new(self) -> bytes:
        """The words that it shall hold; of some bits, with those that it had beside them."""
        if self.request.mask and self.old is not None:
            return masked(self.old, self.request.block, self.request.mask)
        return self.request.block

    def is_held_by(self, block: bytes) -> bool:
        """Whether words have what was written, in the bits that were."""
        mask = self.request.mask
        return (
            block == self.request.block
            if not mask
            else masked(block, self.request.block, mask) == block
        )

    @property
    def stays(self) -> bool:
        """Whether it should still hold the same later: a clock goes on by itself."""
        return self.register.kind not in _CLOCKS

    @property
    def old_value(self) -> Value | None:
        """What it held before."""
        return None if self.old is None else value_of(self.register, self.old)

    def holds(self, block: bytes) -> bool:
        """Whether words that were read back are what was written."""
        if self.is_held_by(block):
            return True
        return self.register.kind in _CLOCKS and self.holds_value(value_of(self.register, block))

    def holds_value(self, value: Value) -> bool:
        """The same for a value."""
        wanted = value_of(self.register, self.new)
        if self.request.mask and isinstance(value, int) and isinstance(wanted, int):
            mask = value_of(self.register, self.request.mask)
            return not (value ^ wanted) & int(mask)
        if self.register.kind not in _CLOCKS:
            return value == wanted
        try:
            apart_s = _moment(value) - _moment(wanted)
        except ValueError:
            return False
        return abs(apart_s.total_seconds()) <= CLOCK_SLACK_S


_CLOCKS = (Kind.CLOCK6, Kind.CLOCK3, Kind.UNIX32)
_WRITABILITY: dict[Access, Writability] = {
    Access.READ: "read",
    Access.FREE: "free",
    Access.GUARDED: "guarded",
    Access.NEVER: "never",
}


def _moment(value: Value) -> datetime.datetime:
    return datetime.datetime.fromisoformat(str(value).removesuffix("Z"))


def value_of(register: Register, block: bytes) -> Value:
    """What words of a register mean; the raw number where they mean nothing."""
    span = (register.span,)
    value = BlockDecoder((register,), span).decode((block,))[0][0]
    return value if not isinstance(value, float) or math.isfinite(value) else 0.0


def shown(register: Register, value: Value) -> str:
    """A value as a person reads it, with its unit and its labels."""
    labels = register.labels_of(value)
    text = show_value(register, value)
    return f"{text} ({', '.join(labels)})" if labels else text


def show_value(register: Register, value: Value) -> str:
    """A value as a person reads it, with its unit."""
    if isinstance(value, bool):
        return "on" if value else "off"
    exponent = register.scale.as_tuple().exponent
    decimals = register.decimals or (max(0, -exponent) if isinstance(exponent, int) else 0)
    if isinstance(value, float) and (decimals or value.is_integer()):
        text = f"{value:.{decimals}f}"
    else:
        text = str(value)
    return f"{text} {register.unit}".rstrip()
