"""Values for several registers into the fewest writes: neighbours together, never a hole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from grug.codec.registers import Register
from grug.errors import EncodeError
from grug.messages import WriteRegisters
from grug.model import Span, Table
from grug.protocol.client import WRITE_BITS_MAX, WRITE_WORDS_MAX


@dataclass(frozen=True, slots=True)
class JoinedWrite:
    """One write on the wire, and what it is made of."""

    request: WriteRegisters
    registers: tuple[Register, ...]

    @property
    def span(self) -> Span:
        """The addresses that it writes."""
        width = 1 if self.request.table.is_bits else 2
        return Span(self.request.table, self.request.address, len(self.request.block) // width)

    @property
    def names(self) -> str:
        """Its registers, for messages."""
        return ", ".join(register.name for register in self.registers)


def join_writes(
    writes: Sequence[tuple[Register, WriteRegisters]], words_max: int, *, ordered: bool = False
) -> tuple[JoinedWrite, ...]:
    """Join the writes of neighbouring registers.

    Args:
        writes: one register each.
        words_max: the most words that the device takes or gives at once.
        ordered: keep the order; only neighbours that follow each other are joined then.

    Returns:
        Writes without holes. A value is never split: one that is longer than ``words_max`` is a
        write of its own.

    Raises:
        EncodeError: two of the registers share an address.
    """
    by_address = sorted(writes, key=lambda write: write[0].span)
    for (one, _), (other, _) in pairwise(by_address):
        if one.table is other.table and other.address < one.span.end:
            raise EncodeError(f"{one.name} and {other.name} share an address: write one of them")
    joined: list[JoinedWrite] = []
    for register, request in writes if ordered else by_address:
        last = joined[-1] if joined else None
        if last is not None and _may_follow(last.span, register.span, words_max):
            request = msgspec.structs.replace(
                last.request, block=last.request.block + request.block
            )
            joined[-1] = JoinedWrite(request, (*last.registers, register))
        else:
            joined.append(JoinedWrite(request, (register,)))
    return tuple(joined)


def _may_follow(last: Span, following: Span, words_max: int) -> bool:
    is_coil = last.table is Table.COIL
    count_max = WRITE_BITS_MAX if is_coil else min(WRITE_WORDS_MAX, words_max)
    return (
        following.table is last.table
        and following.address == last.end
        and last.count + following.count <= count_max
    )
