"""When a connection has done its service, and a new one is worth opening.

Some gateways close after each reply, some drop a connection without a word, and some take one that
carries nothing. What is remembered outlives the connections of a line.
"""

from __future__ import annotations

import math

LAST_REPLIES_MIN = 2
"""Connections in a row that ended right after their only reply, until that is not waited for any
more: a request that crosses the closing would be lost."""

LAST_REPLY_S_MAX = 1.0
"""A connection that ends later than this after its reply ended for want of work."""

CARRIES_S_MIN = 1.0
"""A connection that ends sooner than this without a reply is one that is refused."""


class Renewals:
    """Judges the connections of one line, one after the other."""

    def __init__(self, silence_s_max: float, now_s: float) -> None:
        """Begin before the first connection.

        Args:
            silence_s_max: a connection on which requests had no reply for so long may be half open.
            now_s: now.
        """
        self._silence_s_max = silence_s_max
        self._heard_s = now_s
        """When anything was last received."""
        self._begun_s = -math.inf
        self._replies = 0
        """On this connection."""
        self._last_replies = 0
        """Connections in a row that ended right after their only reply."""

    def begun(self, now_s: float, *, is_first: bool) -> None:
        """A connection was opened; the first one after the line was down, or one more."""
        self._replies = 0
        self._begun_s = now_s
        if is_first:
            self._heard_s = now_s

    def line_lost(self) -> None:
        """It could not be opened, or broke."""
        self._last_replies = 0

    def is_worn_out(self, now_s: float, *, is_answered: bool) -> bool:
        """Something was received; tells whether the other end will close after that, as always."""
        self._heard_s = now_s
        self._replies += is_answered
        return is_answered and self._last_replies >= LAST_REPLIES_MIN

    def is_mute(self, now_s: float) -> bool:
        """Nothing was received; tells whether that has been so for too long, once each time."""
        if now_s - self._heard_s <= self._silence_s_max:
            return False
        self._heard_s = now_s
        return True

    def is_refused(self, now_s: float) -> bool:
        """Whether a connection that ends now has carried nothing.

        To open it again at once would go on for ever.
        """
        return not self._replies and now_s - self._begun_s < CARRIES_S_MIN

    def ended(self, now_s: float) -> None:
        """The other end has closed it: does it always, right after one reply?"""
        is_last = self._replies == 1 and now_s - self._heard_s < LAST_REPLY_S_MAX
        self._last_replies = self._last_replies + 1 if is_last else 0
