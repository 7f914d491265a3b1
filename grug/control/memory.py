"""All that controllers decide by, as bytes: so that a recording tells it, too. Pure.

Most of it was learned from what the inverters did, and cannot be known to who begins to listen in
the middle. So controllers tell it from time to time, all at about the same time, and a replay of a
part of a recording goes on from there.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import msgspec

from grug.control.clockwork import ClockState
from grug.control.dispatch import DispatchState
from grug.control.facts import FactsKnown
from grug.control.images import GridOthers
from grug.control.ladder import Readings, Rung
from grug.control.offset import OffsetState
from grug.control.power_save import PowerState

REMEMBER_EVERY_S = 300.0
"""How often it is told what is known: some hundred kilobytes a day of the log."""
AFTER_OFFSET_S = 5.0
"""The others tell so much later what they know: when a replay hears it, the offset is already what
it was."""


def remember_next_s(now_s: float, after_s: float = 0.0) -> float:
    """When to tell next what is known: every controller by the same clock, ``after_s`` late."""
    return (math.floor((now_s - after_s) / REMEMBER_EVERY_S) + 1) * REMEMBER_EVERY_S + after_s


class OffsetKnown(msgspec.Struct, frozen=True):
    """What the offset controller knows at one moment."""

    state: OffsetState
    facts: FactsKnown
    """Of the inverters."""
    readings: Readings
    """Of the grid's power."""
    others: GridOthers
    rung: Rung | None
    """Where the grid's power came from at the last decision; None before the first."""
    now_s: float
    """Monotonic: of the last message or look."""
    look_s: float
    """When ages have to be looked at next."""


class DispatchKnown(msgspec.Struct, frozen=True):
    """What an inverter's dispatch knows while none of its questions or writes is under way."""

    state: DispatchState
    wanted_w: float | None
    """Of the inverter, by the offset controller's last decision."""
    wanted_s: float
    """When that was decided."""
    may_hold: bool
    """Whether the registers may say anything."""
    was_offline: bool


class KeeperKnown(msgspec.Struct, frozen=True):
    """What who looks after an inverter's switch and clock knows between two looks."""

    power: PowerState
    power_look_s: float
    """When to look next whether it is worth being on."""
    clock: ClockState


Known: TypeAlias = OffsetKnown | DispatchKnown | KeeperKnown

# Some of the state's mappings are read-only views, which msgspec does not know.
_ENCODER = msgspec.msgpack.Encoder(enc_hook=dict)
_DECODERS: tuple[msgspec.msgpack.Decoder[Known], ...] = (
    msgspec.msgpack.Decoder(OffsetKnown),
    msgspec.msgpack.Decoder(DispatchKnown),
    msgspec.msgpack.Decoder(KeeperKnown),
)
"""Their names tell them apart: none has a key less than it needs."""


def encode_known(known: Known) -> bytes:
    """Write it down; numbers keep all their digits."""
    return _ENCODER.encode(known)


def decode_known(data: bytes) -> Known | None:
    """Read what ``encode_known`` wrote; None for another version's, of which this is not known."""
    for decoder in _DECODERS:
        try:
            known = decoder.decode(data)
        except msgspec.MsgspecError:
            continue
        if isinstance(known, OffsetKnown) and known.readings.good == known.readings.first:
            # The very same: that is how it is known to be the latest.
            known.readings.good = known.readings.first
        return known
    return None
