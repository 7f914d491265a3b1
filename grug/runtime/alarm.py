"""An alarm that is moved on, time and again, before it rings."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio


class Alarm:
    """Wakes whoever waits for what is overdue.

    One scope serves for many waits, since to enter one takes as long as to find a reply in what
    arrives, and so does moving its deadline: it rings at the first time that was set, and if what
    is due now is due later, that is the next time it rings.
    """

    def __init__(self) -> None:
        self.due_s = math.inf
        """When to wake; may be put off at any time, and is brought forward by ``set``."""
        self._scope = trio.CancelScope()
        self._rings_s = math.inf

    def set(self, due_s: float) -> None:
        """Wake at this time, at once if it is over, and not when was said before."""
        self.due_s = due_s
        if due_s < self._rings_s:
            self._rings_s = self._scope.deadline = due_s

    async def ring(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` whenever something is overdue, for ever."""
        while True:
            with trio.CancelScope() as self._scope:
                self._rings_s = math.inf
                if self.due_s > trio.current_time():
                    self.set(self.due_s)
                await trio.sleep_forever()
            if self.due_s <= trio.current_time():
                wake()
