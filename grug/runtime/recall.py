"""How an actor is told in a replay of a part what it knew: it begins anew with that.

In:    Recall, of one actor
Out:   nothing
Owns:  nothing
Stops: when cancelled
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from grug.messages import Message, Recall
from grug.runtime.feed import Feed


async def run_recalled(
    feed: Feed, who: str, run: Callable[[], Awaitable[object]], take: Callable[[bytes], None]
) -> None:
    """Run an actor's work; in a house that is all.

    Args:
        feed: where a replay says what was known.
        who: the actor's name.
        run: the work. It is cancelled and begun anew.
        take: told the memory between the two.
    """

    def is_ours(message: Message) -> bool:
        return isinstance(message, Recall) and message.who == who

    with feed.subscribe(f"{who} recalled", Recall, wanted=is_ours) as inbox:
        while True:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                messages = await inbox.receive_batch()
                nursery.cancel_scope.cancel()
            for message in messages:
                if isinstance(message, Recall):
                    take(message.memory)
