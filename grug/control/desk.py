"""Registers by name, as people and programs ask for them over the command socket. Pure.

::

    {"command": "write", "device": "solis1", "values": {"timed_charge_current": 20}, "who": "cli",
     "why": "cheap hour", "masks": {}, "ordered": false, "force": false, "dry_run": false}
    {"command": "read", "device": "solis1", "registers": ["real_time_clock"], "who": "cli"}

A person's word is enough for guarded registers; ``force`` lifts interval and budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from grug.control.commands import TEXT_MAX, Refused
from grug.messages import GetRegisters, RegistersSet, SetRegisters
from grug.model import Value

PATIENCE_S = 10.0
"""How long a command may wait for a busy line."""
REGISTERS_MAX = 100
_INTEGERS = range(-(1 << 63), 1 << 64)
"""What a message can carry, and more than any register holds."""


class _Write(msgspec.Struct, forbid_unknown_fields=True):
    command: str
    device: str
    values: dict[str, Value]
    who: str
    why: str
    masks: dict[str, int] = {}
    ordered: bool = False
    force: bool = False
    dry_run: bool = False


class _Read(msgspec.Struct, forbid_unknown_fields=True):
    command: str
    device: str
    registers: list[str]
    who: str


def parse_write(request: Mapping[str, Any], now_s: float) -> SetRegisters | Refused:
    """Understand one request to write registers; names and values are the gate's to check."""
    try:
        wish = msgspec.convert(request, _Write)
    except msgspec.ValidationError as error:
        return Refused(str(error))
    if not wish.who.strip() or not wish.why.strip():
        return Refused("who asks, and why, are needed: both go into the ledger")
    if max(len(wish.who), len(wish.why)) > TEXT_MAX:
        return Refused(f"who and why have at most {TEXT_MAX} characters")
    if not 0 < len(wish.values) <= REGISTERS_MAX:
        return Refused(f"between 1 and {REGISTERS_MAX} values are written at once")
    numbers = [*wish.values.values(), *wish.masks.values()]
    if any(isinstance(each, int) and each not in _INTEGERS for each in numbers):
        return Refused("no register holds a number of more than 64 bits")
    if not wish.masks.keys() <= wish.values.keys():
        return Refused("a mask is for a register whose value is given")
    return SetRegisters(
        wish.device,
        tuple(wish.values.items()),
        now_s + PATIENCE_S,
        wish.who.strip(),
        wish.why.strip(),
        masks=tuple(wish.masks.items()),
        is_ordered=wish.ordered,
        may_guarded=True,
        is_forced=wish.force,
        is_dry_run=wish.dry_run,
    )


def parse_read(request: Mapping[str, Any], now_s: float) -> GetRegisters | Refused:
    """Understand one request to read registers."""
    try:
        wish = msgspec.convert(request, _Read)
    except msgspec.ValidationError as error:
        return Refused(str(error))
    if len(wish.registers) > REGISTERS_MAX:
        return Refused(f"at most {REGISTERS_MAX} registers are read at once")
    return GetRegisters(wish.device, tuple(wish.registers), now_s + PATIENCE_S, wish.who)


def answer_of(reply: RegistersSet) -> dict[str, Any]:
    """What became of a write, for whoever asked."""
    records = [
        {
            "register": record.register,
            "old": record.old,
            "new": record.new,
            "read_back": record.read_back,
            "state": record.state.value,
            "reason": record.reason,
            "sent": record.is_sent,
        }
        for record in reply.records
    ]
    return {"records": records} | ({"refused": reply.reason} if reply.reason else {})
