"""Replay: the app in virtual time over a recorded session, its answers beside the recorded ones.

A recording is a regression test in five lines::

    from grug.replay import replay


    def test_a_night_with_a_lost_meter() -> None:
        assert replay("recordings/lost-meter.grug").divergence is None
"""

from grug.replay.run import Replayed, load_other, replay

__all__ = ["Replayed", "load_other", "replay"]
