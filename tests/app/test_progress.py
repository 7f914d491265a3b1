"""What a person is told while a log is shipped."""

from __future__ import annotations

from grug.app.progress import Arrived, CatchUp, live_line


def test_rate_and_rest_are_those_of_this_run() -> None:
    catch_up = CatchUp(begin_seq=1000, goal_seq=3000, started_s=50.0)
    arrived = Arrived(seq=1500, rows=1_234_567, size_bytes=2_500_000, at_s=60.0)
    said = catch_up.line(arrived)
    assert "25%" in said
    assert "block 1500 of 3000, 1 234 567 rows, 2.5 MB, 123 457 rows/s, 30 s left" in said
    assert catch_up.bar(arrived).startswith("[######..................]  25%")
    assert not catch_up.is_done(arrived)


def test_weeks_and_beginnings_have_words() -> None:
    catch_up = CatchUp(begin_seq=-1, goal_seq=100_000, started_s=0.0)
    assert catch_up.line(Arrived(0, 0, 0, 0.2)).endswith("0 rows, 0.0 MB")
    assert catch_up.line(Arrived(0, 0, 9, 5.0)).endswith("0 rows/s"), "no rate, no end in sight"
    assert catch_up.line(Arrived(1000, 5, 9, 100.0)).endswith("2 h 45 min left")
    assert catch_up.line(Arrived(50_000, 5, 9, 100.0)).endswith("1 min 40 s left")


def test_the_end_is_said_also_when_there_was_nothing_to_do() -> None:
    catch_up = CatchUp(begin_seq=10, goal_seq=10, started_s=0.0)
    arrived = Arrived(10, 0, 0, 0.4)
    assert catch_up.is_done(arrived)
    assert catch_up.share(arrived) == 1.0
    assert catch_up.end(arrived) == "caught up: 0 rows, 0.0 MB in 0 s"
    assert live_line(Arrived(11, 2000, 5, 9.0)) == "following: block 11, 2 000 rows"
