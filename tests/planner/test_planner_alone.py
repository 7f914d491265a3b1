"""The planner can be used without anything else: the example of docs/planner.md, as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "planner.md").read_text(encoding="utf-8")


def example() -> tuple[str, list[str]]:
    """The code, and the lines that it is said to print."""
    match = re.search(r"```python\n(.*?)```\n\n((?:    [^\n]*\n)+)", PAGE, re.DOTALL)
    assert match is not None
    return match[1], [line.strip() for line in match[2].splitlines()]


def test_the_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = example()
    assert len(code.splitlines()) <= 10
    exec(compile(code, "docs/planner.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == said


@pytest.mark.slow
def test_it_needs_no_event_loop_and_no_port() -> None:
    code = "import sys, grug.planner.schedule, grug.planner.writes\nprint(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"trio", "serial", "asyncclick", "pymodbus"}.intersection(loaded)
