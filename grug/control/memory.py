"""All that the offset controller decides by, as bytes: so that a recording tells it, too. Pure.

Most of it was learned from what the inverters did, and cannot be known to who begins to listen in
the middle. So the controller tells it from time to time, and a replay of a part of a recording goes
on from there.
"""

from __future__ import annotations

import msgspec

from grug.control.facts import FactsKnown
from grug.control.images import GridOthers
from grug.control.ladder import Readings, Rung
from grug.control.offset import OffsetState


class OffsetKnown(msgspec.Struct, frozen=True):
    """What the controller knows at one moment."""

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


# Some of the state's mappings are read-only views, which msgspec does not know.
_ENCODER = msgspec.msgpack.Encoder(enc_hook=dict)
_DECODER = msgspec.msgpack.Decoder(OffsetKnown)


def encode_known(known: OffsetKnown) -> bytes:
    """Write it down; numbers keep all their digits."""
    return _ENCODER.encode(known)


def decode_known(data: bytes) -> OffsetKnown | None:
    """Read what ``encode_known`` wrote; None for another version's, of which this is not known."""
    try:
        known = _DECODER.decode(data)
    except msgspec.MsgspecError:
        return None
    readings = known.readings
    if readings.good == readings.first:
        readings.good = readings.first  # The very same: that is how it is known to be the latest.
    return known
