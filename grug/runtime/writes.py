"""The one place where a wish to change a device becomes a WriteRegisters.

Every controller makes its writes here, so that a register that is never to be written, or a value
out of range, is refused before it can reach a bus.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from grug.codec.block import encode, encode_for_write, require_writable
from grug.codec.hints import did_you_mean
from grug.codec.registers import Register
from grug.errors import EncodeError
from grug.messages import WriteRegisters
from grug.model import Value


def make_write(
    register: Register, value: Value, *, unit_id: int, who: str, why: str, deadline_s: float
) -> WriteRegisters:
    """Make the request to write one register.

    Args:
        register: of the device's map.
        value: in the register's unit.
        unit_id: of the device, 1..247.
        who: the controller or person that wants it.
        why: the reason, for the ledger.
        deadline_s: monotonic; a write that could not start by then is not wanted any more.

    Raises:
        EncodeError: the value does not fit, or the register is never to be written.
    """
    block = encode_for_write(register, value)
    return WriteRegisters(unit_id, register.table, register.address, block, deadline_s, who, why)


def make_bits_write(
    register: Register,
    bits: Mapping[str, bool],
    *,
    unit_id: int,
    who: str,
    why: str,
    deadline_s: float,
) -> WriteRegisters:
    """Make the request to write some bits of a bit field, by their labels; the others stay.

    Args:
        register: a bit field of the device's map.
        bits: whether each label shall hold.
        unit_id: as of ``make_write``, like the three after it.
        who: likewise.
        why: likewise.
        deadline_s: likewise.

    Raises:
        EncodeError: there is no such label, or the register is never to be written.
    """
    require_writable(register)
    places = {bit.label: bit for bit in register.bits}
    unknown = [label for label in bits if label not in places]
    if unknown or not bits:
        label = unknown[0] if unknown else ""
        raise EncodeError(
            f"{register.name}: there is no bit {label!r}{did_you_mean(label, places)}"
        )
    mask = sum(1 << places[label].bit for label in bits)
    new = sum(
        1 << places[label].bit for label, holds in bits.items() if holds != places[label].active_low
    )
    return make_mask_write(
        register, new, mask, unit_id=unit_id, who=who, why=why, deadline_s=deadline_s
    )


def make_mask_write(
    register: Register,
    number: int,
    mask: int,
    *,
    unit_id: int,
    who: str,
    why: str,
    deadline_s: float,
) -> WriteRegisters:
    """Make the request to write those bits of a register that are 1 in ``mask``; others stay.

    Raises:
        EncodeError: the register is never to be written, or has not so many bits; or it is no row
            of bits, but a value, whose range only a write of all of it keeps.
    """
    require_writable(register)
    has_range = bool(register.choices) or (register.minimum, register.maximum) != (None, None)
    if not register.kind.is_integer or register.is_scaled or (has_range and not register.bits):
        raise EncodeError(f"{register.name} is no row of bits: write all of it")
    words = replace(register, minimum=None, maximum=None, invalid=frozenset(), choices=(), bits=())
    return WriteRegisters(
        unit_id,
        register.table,
        register.address,
        encode(words, number & mask),
        deadline_s,
        who,
        why,
        mask=encode(words, mask),
    )
