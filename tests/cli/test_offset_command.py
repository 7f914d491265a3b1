"""``grug offset`` as a person types it."""

from __future__ import annotations

import asyncclick as click
import pytest
from asyncclick.testing import CliRunner

from grug.cli import offset


async def test_help_shows_examples_line_by_line() -> None:
    result = await CliRunner().invoke(offset.command, ["--help"])
    assert "\n  grug offset house -200 --as grid --for 3h      the house exports 200 W\n" in (
        result.output
    )


@pytest.mark.parametrize(
    "words",
    [
        ["house", "nan", "--for", "1h"],
        ["house", "-inf", "--for", "1h"],
        ["house", "100", "--per-soc", "nan", "--for", "1h"],
        ["house", "100", "--for", "-5m"],
        ["house", "100", "--for", "nan"],
        ["house", "100", "--for", "1e9h"],
        ["house", "100"],
        ["house", "--for", "1h"],
        ["house", "much", "--for", "1h"],
        ["house", "100", "--for", "1h", "--as", "nonsense"],
    ],
)
async def test_what_is_no_offset_asks_nobody(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offset, "ask_house", None)  # Asking would crash.
    with pytest.raises(click.UsageError):
        job = await offset.command.main(words, standalone_mode=False)
        job()


async def test_a_wish_of_no_time_is_said_to_have_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wish = {"target": "house", "power_w": 500.0, "for_s": 0.0, "who": "cli/anna", "why": ""}
    answer = {"accepted": wish | {"aim": "offset", "per_soc_w": 0.0}}
    monkeypatch.setattr(offset, "ask_house", lambda request, state: answer)
    job = await offset.command.main(["house", "500", "--for", "0s"], standalone_mode=False)
    assert job() == 0
    assert capsys.readouterr().out == "ended: what cli/anna asked of house\n"
