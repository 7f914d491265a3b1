"""How a write goes over the wire: by which function, and whether other bits must be read first.

Pure; takes plain values. A write of some bits of a register (a *masked* one) is safe in two ways
only: the unit does it itself with function 22, or the register's other bits are read just before
and written back. The other bits are never guessed.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from grug.model import Table

WRITE_COIL = 5
WRITE_WORD = 6
WRITE_COILS = 15
WRITE_WORDS = 16
MASK_WRITE = 22
READ_WRITE = 23
"""Source: MODBUS Application Protocol V1.1b3, 6.5, 6.6, 6.11, 6.12, 6.16, 6.17."""

OPTIONAL_FUNCTIONS = frozenset({MASK_WRITE, READ_WRITE})
"""Functions that few units have; a map says which of them its device has."""

READ_WRITE_WORDS_MAX = 121
"""Source: MODBUS Application Protocol V1.1b3, 6.17."""

ILLEGAL_FUNCTION = 1
"""The exception code of a unit that does not have a function. Source: as above, 7."""

BASE_AGE_S_MAX = 0.5
"""How old the other bits may be when they are written back: they are read right before, and only a
unit that wants long silences ever makes that take longer than a few milliseconds."""


def write_function(
    table: Table,
    count: int,
    *,
    functions: AbstractSet[int] = frozenset(),
    is_multiple: bool = False,
    is_masked: bool = False,
    reads_back: bool = False,
) -> int:
    """Which function writes neighbouring values.

    Args:
        table: coils or holding registers.
        count: how many of them, at least 1.
        functions: which of ``OPTIONAL_FUNCTIONS`` the unit has.
        is_multiple: the unit wants functions 15 and 16 for a single value too.
        is_masked: only some of the bits are to be written.
        reads_back: whoever writes would like to know what the unit holds afterwards.

    Returns:
        5, 6, 15, 16, 22 or 23; 0 where the other bits have to be read first.
    """
    if table.is_bits:
        return WRITE_COIL if count == 1 and not is_multiple else WRITE_COILS
    if is_masked:
        return MASK_WRITE if count == 1 and MASK_WRITE in functions else 0
    if reads_back and READ_WRITE in functions and count <= READ_WRITE_WORDS_MAX:
        return READ_WRITE
    return WRITE_WORD if count == 1 and not is_multiple else WRITE_WORDS


def masked(before: bytes, block: bytes, mask: bytes) -> bytes:
    """Words after a write of those of their bits that are 1 in the mask; all of one length."""
    whole = int.from_bytes(mask, "big")
    new = int.from_bytes(block, "big") & whole | int.from_bytes(before, "big") & ~whole
    return new.to_bytes(len(before), "big")


def overwrites(block: bytes, mask: bytes, old_block: bytes, old_mask: bytes) -> bool:
    """Whether a write makes an earlier one from the same address pointless.

    Args:
        block: what is to be written.
        mask: which of its bits; empty says all of them.
        old_block: what was to be written before.
        old_mask: likewise.
    """
    if len(old_block) > len(block):
        return False
    if not mask:
        return True
    if not old_mask:
        return False
    written = int.from_bytes(mask[: len(old_mask)], "big")
    return int.from_bytes(old_mask, "big") & ~written == 0
