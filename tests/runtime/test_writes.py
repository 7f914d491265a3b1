"""Making writes: what is never to be written never becomes a request."""

from __future__ import annotations

from decimal import Decimal

import pytest

from grug.codec.registers import Access, Kind, Register
from grug.errors import EncodeError
from grug.messages import WriteRegisters
from grug.model import Table
from grug.runtime.writes import make_write


def register(access: Access) -> Register:
    return Register(
        "current_limit",
        Table.HOLDING_REGISTER,
        0x4100,
        Kind.U32,
        scale=Decimal("0.001"),
        access=access,
        minimum=Decimal(0),
        maximum=Decimal(32),
    )


def make(access: Access, value: float) -> WriteRegisters:
    return make_write(register(access), value, unit_id=1, who="test", why="because", deadline_s=9.0)


def test_write_carries_the_encoded_value_and_its_reason() -> None:
    block = (16_000).to_bytes(4, "big")
    assert make(Access.FREE, 16.0) == WriteRegisters(
        1, Table.HOLDING_REGISTER, 0x4100, block, 9.0, "test", "because"
    )


@pytest.mark.parametrize("access", [Access.NEVER, Access.READ])
def test_registers_that_must_not_be_written_are_refused_by_name(access: Access) -> None:
    with pytest.raises(EncodeError, match="current_limit is not to be written"):
        make(access, 16.0)


@pytest.mark.parametrize("value", [-1.0, 32.1, float("nan"), 1e12])
def test_values_out_of_range_are_refused(value: float) -> None:
    with pytest.raises(EncodeError, match="current_limit"):
        make(Access.FREE, value)
