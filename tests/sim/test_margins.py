"""``grug sim evaluate --margins``: the table, and what it must show."""

from __future__ import annotations

import json

import pytest

from grug.demo.margins import FACTORS, HEADER, STEP_S, Row, margins, row_text, stretched
from grug.sim.evaluate import Score
from grug.sim.scenarios import SCENARIOS


def test_inverters_of_another_day_differ_in_strength_and_dead_time_alone() -> None:
    clear = SCENARIOS[0]
    other = stretched(clear, 2.0, 0.5)
    for before, after in zip(clear.inverters, other.inverters, strict=True):
        assert after.gain_per_s == 2.0 * before.gain_per_s
        assert after.dead_time_s == pytest.approx(before.dead_time_s + 0.5)
        assert (after.phase, after.battery) == (before.phase, before.battery)
    assert other.load == clear.load
    assert stretched(clear, 1.0, -9.0).inverters[0].dead_time_s == STEP_S


def test_columns_stand_under_their_titles() -> None:
    row = Row("clear", 0.5, 2.0, "plain", Score(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0))
    assert len(row_text(row)) == len(HEADER)
    assert row_text(row).split()[:4] == ["clear", "x0.5", "x2", "plain"]


@pytest.mark.slow
def test_nothing_stale_and_every_step_settles_unless_plain_does_not_either(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert margins((), ("plain", "grug"), [1], 0.2, as_json=True) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 2 * len(FACTORS) ** 2
    settles_s = {
        (row["gain"], row["dead_time"], row["law"]): row["score"]["settle_s"] for row in rows
    }
    for (gain, dead_time, law), settle_s in settles_s.items():
        if law == "grug" and (gain, dead_time) != (2.0, 2.0):
            assert settle_s <= max(10.0, settles_s[gain, dead_time, "plain"])
