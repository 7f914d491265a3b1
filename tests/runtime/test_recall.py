"""An actor that is told in a replay what it knew begins anew with that."""

from __future__ import annotations

import trio

from grug.messages import Recall
from grug.runtime.feed import Feed
from grug.runtime.recall import run_recalled


async def test_what_was_under_way_is_left_and_the_work_goes_on_from_what_was_known(
    autojump_clock: trio.testing.MockClock,
) -> None:
    feed, done = Feed(), list[str]()

    async def work() -> None:
        done.append(f"begun at {trio.current_time() - start_s:g}")
        await trio.sleep(10.0)
        done.append("done")
        await trio.sleep_forever()

    def take(memory: bytes) -> None:
        done.append(memory.decode())

    start_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_recalled, feed, "dispatch/one", work, take)
        await trio.sleep(3.0)
        feed.publish(Recall("dispatch/other", b"of another"))
        await trio.sleep(3.0)
        feed.publish(Recall("dispatch/one", b"known"))
        await trio.sleep(20.0)
        nursery.cancel_scope.cancel()
    assert done == ["begun at 0", "known", "begun at 6", "done"]
