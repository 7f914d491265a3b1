"""Writing what is heard in blocks: when one is due, and whether its times are to be believed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from grug.messages import Message, StopRecording
from grug.runtime.clock import WallClock
from grug.runtime.feed import Subscription
from grug.storage.segment import FrameFlag

CLOCK_WAIT_S = 600.0
"""Without a network nobody sets the clock; then its times are taken as they are."""


async def keep(
    source: Subscription,
    *,
    block_s: float,
    take: Callable[[Message], bool],
    write: Callable[[], Awaitable[None]],
    rest: Callable[[], None] = lambda: None,
) -> StopRecording:
    """Gather what comes until StopRecording, which is returned once the last block is written.

    Args:
        source: messages, StopRecording among them.
        block_s: what waits is written when nothing has come for so long.
        take: gathers one message; says whether a block is complete.
        write: writes what waits.
        rest: called whenever all that had come is gathered.
    """
    while True:
        messages: list[Message] = []
        with trio.move_on_after(block_s):
            messages = await source.receive_batch()
        for message in messages:
            if isinstance(message, StopRecording):
                await write()
                return message
            if take(message):
                await write()
        if not messages:
            await write()
        rest()


class ClockWatch:
    """Whether the system's clock is to be believed."""

    def __init__(self, wall: WallClock, note: Callable[[str], None] = lambda text: None) -> None:
        """Begin; ``note`` is told when blocks are held back for the clock, and when no longer."""
        self._wall = wall
        self._note = note
        self._was_set = False
        """Once it was, it is only a little wrong however long the time service is away."""
        self._waiting_since_s: float | None = None
        self._unset_ms = 0

    def flags(self, now_s: float) -> int:
        """What to say of a block that begins now; see ``FrameFlag``."""
        self._was_set = self._was_set or self._wall.is_synchronised()
        if self._was_set:
            return 0
        if not self._wall.will_be_set():
            return FrameFlag.UNSYNCHRONISED | FrameFlag.FINAL
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
            self._unset_ms = self._wall.utc_ms(now_s)
            self._note(
                "the clock is not synchronised yet: blocks are written, but held back until it is,"
                f" {CLOCK_WAIT_S / 60:g} min at most"
            )
        if now_s - self._waiting_since_s > CLOCK_WAIT_S:
            return FrameFlag.UNSYNCHRONISED | FrameFlag.FINAL
        return FrameFlag.UNSYNCHRONISED

    def note_set(self, now_s: float) -> None:
        """Say by how much the clock was wrong, now that it is set."""
        if self._waiting_since_s is None:
            return
        waited_s = now_s - self._waiting_since_s
        wrong_s = (self._wall.utc_ms(now_s) - self._unset_ms) / 1000 - waited_s
        self._note(
            f"the clock is synchronised: {waited_s:.0f} s before that are corrected"
            f" by {wrong_s:+g} s"
        )
