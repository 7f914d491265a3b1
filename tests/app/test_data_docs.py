"""docs/data.md as it is read: each question is asked of a demo, and has a sensible answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grug.demo.fast import simulate
from grug.demo.settings import DemoSettings
from grug.sim.seeded import run_seeded
from grug.storage.segment import FRAME_HEADER_BYTES, FRAME_MAGIC, SEGMENT_HEADER_BYTES
from grug.transport.asking import embedded_url
from grug.transport.clickhouse import Database

DOCS = (Path(__file__).parent.parent.parent / "docs" / "data.md").read_text(encoding="utf-8")
QUESTIONS: dict[str, str] = dict(re.findall(r"^([^\n]+\?)\n\n```sql\n([^`]*)```", DOCS, re.M))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Half an hour before an hour's end and some after it, with a silent grid meter and unit."""
    state = tmp_path_factory.mktemp("state")
    settings = DemoSettings(
        start_hour=10.8,
        hours=0.4,
        fidelity="message",
        faults=("grid:silent@300+20", "solis1:silent@600+30"),
        state=state,
    )
    return {**run_seeded(simulate, settings, seed=1), "state": state / "fast"}


@pytest.fixture(scope="module")
def database(summary: dict[str, Any]) -> Iterator[Database]:
    opened = Database(embedded_url(summary["state"]))
    yield opened
    opened.close()


def ask(database: Database, words: str) -> list[dict[str, Any]]:
    """The answer to the one question with these words."""
    (sql,) = [sql for question, sql in QUESTIONS.items() if words in question]
    answer = database.query(sql)
    return [dict(zip(answer.names, row, strict=True)) for row in answer.rows]


def test_there_are_ten_questions() -> None:
    assert len(QUESTIONS) == 10


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_question_has_an_answer(database: Database, question: str) -> None:
    rows = database.query(QUESTIONS[question]).rows
    assert rows
    assert all(value is not None for row in rows for value in row)


def test_energies_are_those_of_the_house(database: Database, summary: dict[str, Any]) -> None:
    energy = summary["energy"]
    (grid,) = ask(database, "import and export")
    assert grid["imported_kwh"] <= energy["import_wh"] / 1000 + 0.002
    sun_kwh = sum(row["kwh"] for row in ask(database, "panels"))
    assert sun_kwh == pytest.approx(energy["pv_wh"] / 1000, rel=0.1)
    (car,) = ask(database, "car")
    assert car["car_kwh"] == pytest.approx(energy["car_wh"] / 1000, rel=0.1, abs=0.01)
    assert car["not_from_grid_kwh"] <= car["car_kwh"]
    charged_kwh = sum(row["charged_kwh"] for row in ask(database, "batteries"))
    assert charged_kwh == pytest.approx(energy["battery_in_wh"] / 1000, rel=0.15, abs=0.01)


def test_hours_and_phases_are_all_there(database: Database) -> None:
    assert len(ask(database, "worst hours")) == 2
    assert len(ask(database, "held at zero")) == 2
    assert [row["series"][:12] for row in ask(database, "voltage")] == [
        "grid/phase_1",
        "grid/phase_2",
        "grid/phase_3",
    ]


def test_troubles_are_those_that_were_made(database: Database) -> None:
    troubled = {row["line"] for row in ask(database, "trouble") if row["troubles"]}
    assert {"line/grid", "line/solis1"} <= troubled
    for fakemeter in ask(database, "fake meters"):
        assert fakemeter["silences"] > 1
        assert 0 < fakemeter["mean_ms"] < fakemeter["oldest_ms"] < 2000
    (written,) = ask(database, "Who wrote")
    assert (written["who"], written["failed"]) == ("evse/evse", 0)
    assert written["target"] == "unit 1 holding_register 16640"


def test_layout_is_as_described() -> None:
    assert f"segment header, {SEGMENT_HEADER_BYTES} bytes" in DOCS
    assert f"frame header, {FRAME_HEADER_BYTES} bytes" in DOCS
    assert FRAME_MAGIC.decode() in DOCS
