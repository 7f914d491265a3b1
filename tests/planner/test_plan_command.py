"""``grug plan`` tells what a house's lines will be asked, in text, JSON and a picture."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from grug.cli.plan import plan_file
from grug.config.loads import line_loads
from grug.config.planned import planned_lines
from grug.config.types import DeviceConfig, HouseConfig, LineConfig, PollConfig, Seconds
from grug.errors import ConfigError
from grug.transport.maps import load_map

EXAMPLE = Path(__file__).parents[2] / "examples" / "house.toml"


def test_the_example_house_meets_its_bound_and_nothing_is_late(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "lines.svg"
    assert plan_file(EXAMPLE, as_json=True, svg=picture) == 0
    told = json.loads(capsys.readouterr().out)
    assert [line["line"] for line in told["lines"]] == ["grid", "solis1", "solis2", "evse"]
    for line in told["lines"]:
        assert line["late"] == []
        assert line["lower_bound"] * 0.999 < line["used"] < line["lower_bound"] * 1.05
        assert line["used"] * 1.9 < line["one_by_one"]
        assert line["used"] == pytest.approx(sum(unit["used"] for unit in line["units"]))
        assert len(line["timeline"]) == pytest.approx(
            line["cycle_s"] * sum(unit["reads_per_s"] for unit in line["units"])
        )
    root = ElementTree.fromstring(picture.read_text(encoding="utf-8"))
    titles = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert any("solis1_ac: input_register 0+14 for 500 ms" in title for title in titles)


def test_the_text_has_a_row_for_each_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert plan_file(EXAMPLE, as_json=False, svg=None) == 0
    text = capsys.readouterr().out
    assert "line solis1, 9600 baud 8N1: 39% busy" in text.replace("38.6%", "39%")
    assert "solis1 (unit 1, solis_s5_eh1p, 15 ms turnaround, 95 ms silence)" in text
    assert "200 ms + 1 s" in text
    assert "nothing is late in each cycle of 10 s" in text


BESIDE_EACH_OTHER = """
[line.one]
port = "/dev/serial/by-id/one"

[device.fast]
line = "one"
unit = 1
map = "eastron_sdm120"
poll = [{ every = "90ms", registers = ["active_power", "voltage"] }]

[device.slow]
line = "one"
unit = 2
map = "eastron_sdm120"
poll = [{ every = "450ms", registers = ["active_power", "import_active_energy"] }]
"""


def test_what_is_not_in_time_is_told_and_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "house.toml"
    hasty = BESIDE_EACH_OTHER.replace('"90ms"', '"90ms", priority = "background"')
    path.write_text(hasty, encoding="utf-8")
    assert plan_file(path, as_json=False, svg=tmp_path / "late.svg") == 1
    text = capsys.readouterr().out
    assert "LATE: fast, 90 ms:" in text
    assert "nothing proves that another order could not be in time" in text
    assert "LATE: fast 90 ms" in (tmp_path / "late.svg").read_text(encoding="utf-8")


def test_what_cannot_be_in_time_is_refused_with_what_could_do(tmp_path: Path) -> None:
    path = tmp_path / "house.toml"
    path.write_text(BESIDE_EACH_OTHER.replace("90ms", "70ms"), encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        plan_file(path, as_json=False, svg=None)
    (problem,) = raised.value.problems
    assert "cannot carry its polls in any order" in problem.text
    assert "what could do: every = '100ms' here, or baudrate = 14400" in problem.text
    assert "with 15 ms for each answer" in problem.text
    assert problem.text.endswith("devices that answer sooner may say so, with 'turnaround'")


def test_a_device_that_says_how_fast_it_answers_is_planned_with_that(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "house.toml"
    hasty = BESIDE_EACH_OTHER.replace("90ms", "70ms")
    path.write_text(hasty.replace("unit = ", 'turnaround = "2ms"\nunit = '), encoding="utf-8")
    assert plan_file(path, as_json=False, svg=None) == 0
    assert "fast (unit 1, eastron_sdm120, 2 ms turnaround)" in capsys.readouterr().out
    slow = hasty.replace("unit = 2", 'unit = 2\nturnaround = "30ms"')
    path.write_text(slow, encoding="utf-8")
    with pytest.raises(ConfigError, match="with 15 to 30 ms for each answer"):
        plan_file(path, as_json=False, svg=None)
    of_line = slow.replace("port =", 'turnaround = "30ms"\nport =')
    path.write_text(of_line, encoding="utf-8")
    with pytest.raises(ConfigError, match="with 30 ms for each answer"):
        plan_file(path, as_json=False, svg=None)


def test_a_line_that_is_feasible_for_any_phases_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "house.toml"
    path.write_text(BESIDE_EACH_OTHER.replace("90ms", "900ms"), encoding="utf-8")
    assert plan_file(path, as_json=False, svg=None) == 0
    assert "feasible for any phases" in capsys.readouterr().out


def test_estimates_of_the_check_and_of_the_schedule_agree() -> None:
    maps = {"eastron_sdm120": load_map("eastron_sdm120")}
    fast = PollConfig(every=Seconds(0.5), registers=("active_power", "voltage"))
    slow = PollConfig(every=Seconds(5.0), registers=("import_active_energy",))
    house = HouseConfig(
        line={"one": LineConfig(port="x"), "idle": LineConfig(port="y")},
        device={
            name: DeviceConfig(line="one", unit=unit, map="eastron_sdm120", poll=(fast, slow, slow))
            for unit, name in enumerate(("a", "b"), 1)
        },
    )
    (line,) = planned_lines(house, maps)
    assert line.line == "one"
    assert line.schedule.utilisation == pytest.approx(line_loads(house, maps)["one"])
    assert {group for _, group in line.schedule.ticks} == {"500 ms", "5 s (2)", "5 s (3)"}


def test_a_snapshot_is_one_read_and_named_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    grid = text.index("[[device.grid.poll]]")
    path = tmp_path / "house.toml"
    marked = text[grid:].replace("every =", "snapshot = true\nevery =", 1)
    path.write_text(text[:grid] + marked, encoding="utf-8")
    assert plan_file(path, as_json=True, svg=None) == 0
    line = json.loads(capsys.readouterr().out)["lines"][0]
    reads = [read for unit in line["units"] for read in unit["reads"]]
    assert any("200 ms snapshot" in read["brings"] for read in reads)
    assert line["late"] == []


LONG_NAME = "a_meter_with_a_very_long_name"


def test_a_picture_has_room_for_long_names_and_a_colour_for_each_of_many_groups(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path, picture = tmp_path / "house.toml", tmp_path / "lines.svg"
    many = ["voltage", "current", "active_power", "apparent_power", "frequency", "power_factor"]
    polls = ", ".join(
        f'{{ every = "{at}s", registers = ["{name}"] }}' for at, name in enumerate(many, 1)
    )
    house = BESIDE_EACH_OTHER.replace("[device.fast]", f"[device.{LONG_NAME}]")
    poll = house.index("poll =")
    path.write_text(house[:poll] + f"poll = [{polls}]\n" + house[house.index("[device.slow]") :])
    assert plan_file(path, as_json=False, svg=picture) == 0
    root = ElementTree.fromstring(picture.read_text(encoding="utf-8"))
    svg = "{http://www.w3.org/2000/svg}"
    left = min(float(line.attrib["x1"]) for line in root.iter(f"{svg}line"))
    assert left > 7 * len(LONG_NAME)
    legend = [each for each in root.iter(f"{svg}rect") if each.get("height") == "14"]
    assert len({each.attrib["fill"] for each in legend}) == len(legend) == len(many) + 1


def test_a_house_that_polls_nothing_has_an_empty_plan_and_picture(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path, picture = tmp_path / "house.toml", tmp_path / "lines.svg"
    path.write_text(BESIDE_EACH_OTHER.replace("poll = ", "poll = [] # "), encoding="utf-8")
    assert plan_file(path, as_json=False, svg=picture) == 0
    assert "nothing is polled" in capsys.readouterr().out
    assert ElementTree.fromstring(picture.read_text(encoding="utf-8")).tag.endswith("svg")
