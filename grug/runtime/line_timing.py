"""How long things last on a line, as far as house.toml says it; the rest is learned."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from grug.planner.gap import GAP_S_MIN, LearnedGap
from grug.planner.traits import WireTiming
from grug.protocol.framing import Framing, RtuFraming
from grug.protocol.rtu import CHARACTER_BITS, character_s, interframe_delay_s


@dataclass(frozen=True, slots=True)
class LineTiming:
    """How long things last on a serial line."""

    baudrate: int
    reply_timeout_s: float
    """How long a unit may take to begin its reply."""
    gap_s: float | None = None
    """Silence between two frames; None means at least 5 ms to begin with, and 3.5 characters once
    that has long gone well."""
    settle_s: float = 0.0
    """Pause after opening."""
    character_bits: int = CHARACTER_BITS
    """10 for 8N1, 11 with parity or two stop bits."""
    switch_gap_s: float = 0.0
    """Silence before another unit is asked than the last one, where that is more than the gap."""
    silence_s_max: float = math.inf
    """The line is opened anew when requests have had no reply for so long: a connection may be half
    open, which nothing else tells."""
    framing: Callable[[], Framing] = RtuFraming
    """Makes what wraps the requests of the line."""

    def learned_gap(self) -> LearnedGap:
        """What decides of the silence between two frames; one that was configured stays."""
        safe_s = self.on_wire().gap_s
        if self.gap_s is not None or not safe_s:
            return LearnedGap(safe_s, safe_s)
        return LearnedGap(safe_s, interframe_delay_s(self.baudrate))

    def on_wire(self) -> WireTiming:
        """The same in seconds, with the gap to begin with."""
        gap_s = self.gap_s
        is_numbered = self.framing().is_numbered
        if gap_s is None:  # A gateway keeps the gaps of its wire itself.
            gap_s = 0.0 if is_numbered else max(interframe_delay_s(self.baudrate), GAP_S_MIN)
        one_character_s = character_s(self.baudrate, self.character_bits)
        return WireTiming(one_character_s, gap_s, self.reply_timeout_s, is_numbered)
