"""The one place where a wish to change a device becomes a WriteRegisters.

Every controller makes its writes here, so that a register that is never to be written, or a value
out of range, is refused before it can reach a bus.
"""

from __future__ import annotations

from grug.codec.block import encode_for_write
from grug.codec.registers import Register
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
