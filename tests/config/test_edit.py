"""Single keys of a house.toml are set, and nothing else changes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from grug.config.edit import EditError, with_keys

KEYS = {"gain": 0.5, "dead_time": "0.60s"}
TABLE = ("inverter", "solis1")
EXAMPLE = Path(__file__).parents[2] / "examples" / "house.toml"


def test_new_keys_come_below_the_header_and_old_ones_keep_place_and_comment() -> None:
    text = (
        "# mine\n[inverter.solis1]  # east\ndevice = 'x'\n  gain   =  0.45  # guessed\n\n"
        "[inverter.solis2]\ngain = 1\n"
    )
    assert with_keys(text, TABLE, KEYS) == (
        "# mine\n[inverter.solis1]  # east\ndead_time = \"0.60s\"\ndevice = 'x'\n"
        "  gain   =  0.5  # guessed\n\n[inverter.solis2]\ngain = 1\n"
    )


def test_the_example_changes_by_the_new_lines_alone() -> None:
    before = EXAMPLE.read_text()
    after = with_keys(before, TABLE, KEYS)
    lines = [
        line for line in after.splitlines() if line not in ("gain = 0.5", 'dead_time = "0.60s"')
    ]
    assert lines == before.splitlines()
    assert with_keys(after, TABLE, KEYS) == after
    assert tomllib.loads(after)["inverter"]["solis1"]["gain"] == 0.5


@pytest.mark.parametrize(
    "text",
    ["[inverter.solis1]", '[ inverter . "solis1" ]\r\ngain=1\r\n', "[inverter.solis1]\n'gain' = 1"],
)
def test_ends_of_lines_spaces_and_quotes_are_understood(text: str) -> None:
    after = with_keys(text, TABLE, KEYS)
    assert tomllib.loads(after)["inverter"]["solis1"] == KEYS
    assert after.count("\r\n") == (text.count("\r\n") and after.count("\n"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[inverter.solis2]\n", "no line"),
        ("[inverter]\nsolis1.device = 'x'\n", "no line"),
        ("inverter = { solis1 = { gain = 1 } }\n", "no line"),
        ("[inverter.solis1.power_save]\nsoc_on = 3\n", "no line"),
        ("[inverter.solis1]\ngain = [1,\n 2]\n", "unusual"),
        ("[inverter.solis1\n", "no TOML"),
    ],
)
def test_what_is_written_in_another_way_is_refused(text: str, problem: str) -> None:
    with pytest.raises(EditError, match=problem):
        with_keys(text, TABLE, KEYS)
