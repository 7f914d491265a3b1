"""The feed: published facts reach every subscriber, and nobody slows the publisher.

A subscription is either *conflated* (only the latest message per key is kept: what controllers and
displays want) or *queued* up to a bound. When a queue is full its oldest message goes and the
reader is told by a ``Lagged`` in its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Self

import trio

from grug.messages import Lagged, Message


class Subscription:
    """One reader's view of the feed; iterate over it, or ``drain`` it."""

    def __init__(
        self,
        feed: Feed,
        name: str,
        kinds: tuple[type[Message], ...],
        bound: int,
        key: Callable[[Message], Hashable] | None,
        wanted: Callable[[Message], bool] | None = None,
        wakes: Callable[[Message], bool] | None = None,
    ) -> None:
        self.name = name
        self.kinds = kinds
        self._feed = feed
        self._bound = bound
        self._key = key
        self._wanted = wanted
        self._wakes = wakes
        self._queue: deque[Message] = deque()
        self._latest: dict[Hashable, Message] = {}
        self._dropped = 0
        self._waiter: trio.lowlevel.Task | None = None

    def __len__(self) -> int:
        """Messages waiting."""
        return len(self._queue) + len(self._latest)

    def put(self, message: Message) -> None:
        """Called by the feed; never blocks."""
        if self._wanted is not None and not self._wanted(message):
            return
        if self._key is not None:
            self._latest[self._key(message)] = message
        else:
            if len(self._queue) >= self._bound:
                self._queue.popleft()
                self._dropped += 1
            self._queue.append(message)
        if self._waiter is not None and (self._wakes is None or self._wakes(message)):
            waiter, self._waiter = self._waiter, None
            trio.lowlevel.reschedule(waiter)

    def drain(self) -> list[Message]:
        """Take everything that waits, oldest first; a ``Lagged`` leads if messages were dropped."""
        messages: list[Message] = []
        if self._dropped:
            messages.append(Lagged(self.name, self._dropped))
            self._dropped = 0
        if self._key is not None:
            messages.extend(self._latest.values())
            self._latest.clear()
        else:
            messages.extend(self._queue)
            self._queue.clear()
        return messages

    async def receive_batch(self) -> list[Message]:
        """Wait until there is something, then take everything that waits."""
        if not (self._queue or self._latest):
            if self._waiter is not None:
                raise trio.BusyResourceError(f"two tasks read the subscription {self.name}")
            self._waiter = trio.lowlevel.current_task()

            def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
                self._waiter = None
                return trio.lowlevel.Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(abort)
        return self.drain()

    def close(self) -> None:
        """Stop receiving; closing twice is fine."""
        self._feed.unsubscribe(self)

    def __enter__(self) -> Self:
        """Close on leaving the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


class Feed:
    """Where actors publish, and where they subscribe."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._by_kind: dict[type[Message], tuple[Subscription, ...]] = {}

    def publish(self, message: Message) -> None:
        """Give the message to every subscriber of its kind, now and without waiting."""
        kind = type(message)
        readers = self._by_kind.get(kind)
        if readers is None:
            readers = self._by_kind[kind] = tuple(
                reader for reader in self._subscriptions if issubclass(kind, reader.kinds)
            )
        for reader in readers:
            reader.put(message)

    def subscribe(
        self,
        name: str,
        *kinds: type[Message],
        bound: int = 1000,
        key: Callable[[Message], Hashable] | None = None,
        wanted: Callable[[Message], bool] | None = None,
        wakes: Callable[[Message], bool] | None = None,
    ) -> Subscription:
        """Subscribe to messages of these kinds (``Message`` itself means all).

        Args:
            name: the reader, as it is named in ``Lagged``.
            kinds: message types.
            bound: how many messages may wait; unused when conflated.
            key: conflate: of messages with equal keys only the latest is kept.
            wanted: messages for which it is false neither wait nor wake the reader; it is called
                within ``publish`` and must be quick.
            wakes: messages for which it is false wait, in their order, until another one wakes the
                reader or it looks by itself.
        """
        subscription = Subscription(self, name, kinds, bound, key, wanted, wakes)
        self._subscriptions.append(subscription)
        self._by_kind.clear()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """See ``Subscription.close``."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
            self._by_kind.clear()
