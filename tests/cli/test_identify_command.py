"""grug identify-plant: what a person sees, and what becomes of house.toml."""

from __future__ import annotations

import json
import math
import shutil
import tomllib
from pathlib import Path

import pytest

from grug.cli import identify
from grug.cli.identify_report import write_keys
from grug.control.identify import Fit
from grug.control.margin import Margin
from grug.control.plant import Plant

EXAMPLE = Path(__file__).parents[2] / "examples" / "house.toml"
GOOD = Fit(Plant(0.447, 0.5, 0.3), 0.93, 300, "", 0.02, 0.05, 812.3)
BAD = Fit(Plant(), 0.1, 300, "it explains only 10 % of what the AC port did")
MARGIN = Margin((1.0 / 3.0, 2.5), (0.25, 4.0))


def test_report_has_numbers_with_their_doubt_margin_and_keys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = identify.tell({"solis1": GOOD, "solis2": BAD}, MARGIN, as_json=False, house=None)
    text = capsys.readouterr().out
    assert status == 1, "nothing can be said of one of them"
    assert "0.45 +-0.02" in text
    assert "0.80 +-0.05 s" in text
    assert "at least 812 W/s" in text
    assert "solis2    nothing to propose: it explains only 10 %" in text
    assert "true gains are 1/3 to 2.5 times these" in text
    assert "true dead times are 1/4 to 4 or more times these" in text
    keys = tomllib.loads(text.partition("for house.toml:")[2])
    assert keys == {"inverter": {"solis1": {"gain": 0.45, "dead_time": "0.50s", "lag": "0.30s"}}}


def test_json_has_null_for_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert identify.tell({"solis2": BAD}, None, as_json=True, house=None) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["margin"] is None
    assert found["inverters"]["solis2"]["gain_doubt"] is None
    assert math.isclose(found["inverters"]["solis2"]["explained"], 0.1)


def test_write_sets_the_keys_of_good_fits_and_keeps_a_backup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house = Path(shutil.copy(EXAMPLE, tmp_path / "house.toml"))
    fits = {"solis1": GOOD, "solis2": BAD}
    for number in (1, 2):
        identify.tell(fits, MARGIN, as_json=False, house=house)
        backup = tmp_path / f"house.toml.bak{number}"
        assert f"{backup} is what it was" in capsys.readouterr().err
        inverters = tomllib.loads(house.read_text())["inverter"]
        assert (inverters["solis1"]["gain"], inverters["solis1"]["lag"]) == (0.45, "0.30s")
        assert "gain" not in inverters["solis2"]
    assert (tmp_path / "house.toml.bak1").read_text() == EXAMPLE.read_text()


def test_a_file_that_would_not_be_right_stays_as_it_was(tmp_path: Path) -> None:
    house = Path(shutil.copy(EXAMPLE, tmp_path / "house.toml"))
    assert "gain" in write_keys(house, {"solis1": {"gain": -3.0}})
    assert "no line [inverter.solis3]" in write_keys(house, {"solis3": {"gain": 0.5}})
    assert house.read_text() == EXAMPLE.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["house.toml"]


def test_no_house_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert identify.identify((), tmp_path, 400.0, as_json=False, house=None) == 1
    assert "no house runs" in capsys.readouterr().err


def test_a_file_that_cannot_take_the_keys_is_told_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "nosuch.toml"
    assert identify.identify((), tmp_path, 400.0, as_json=False, house=missing) == 2
    assert "nosuch.toml" in capsys.readouterr().err
    house = Path(shutil.copy(EXAMPLE, tmp_path / "house.toml"))
    assert identify.identify(("solis3",), tmp_path, 400.0, as_json=False, house=house) == 2
    assert "no line [inverter.solis3]" in capsys.readouterr().err
