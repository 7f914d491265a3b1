"""What README.md and the examples say can be typed as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import asyncclick as click
import pytest

from grug.cli.commands import cli
from grug.config.check import check_house
from grug.transport.maps import load_map, map_models

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def code_lines(markdown: str) -> list[str]:
    """Lines of indented and fenced code, without comments."""
    outside = re.sub(r"^```\w*\n.*?^```$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    fenced = re.findall(r"^```(?:sh|bash|console)?\n(.*?)^```$", markdown, re.DOTALL | re.MULTILINE)
    lines = [line for line in outside.splitlines() if line.startswith("    ")]
    lines += [line for block in fenced for line in block.splitlines()]
    return [line.strip() for line in lines]


def commands_of(markdown: str) -> list[list[str]]:
    """Commands in the code of a text, ``make demo ARGS=...`` as the grug command that it is."""
    found: list[list[str]] = []
    for line in code_lines(markdown):
        if not re.match(r"(sudo |grug |make )", line):
            continue
        words = shlex.split(line, comments=True)
        command: list[str] = []
        for word in [*words, "&&"]:
            if word in ("&&", "|"):
                found.append(command[1:] if command[:1] == ["sudo"] else command)
                command = []
            else:
                command.append(word)
    return found


COMMANDS = [command for path in DOCS for command in commands_of(path.read_text())]
GRUG_COMMANDS = [command[1:] for command in COMMANDS if command[0] == "grug"]


async def parse(arguments: list[str]) -> None:
    """Let the command line understand its arguments, without acting on them."""
    name, *rest = arguments
    assert name in cli.commands, f"there is no command grug {name}"
    context = click.Context(cli, info_name="grug")
    await cli.commands[name].make_context(name, rest, parent=context)


def test_readme_begins_with_the_two_commands() -> None:
    assert commands_of(README)[:2] == [["make", "demo"], ["grug", "run", "house.toml"]]


def test_readme_shows_every_command_of_a_first_day() -> None:
    assert {"run", "check", "demo", "sql"} <= {arguments[0] for arguments in GRUG_COMMANDS}


@pytest.mark.parametrize("arguments", GRUG_COMMANDS, ids=" ".join)
async def test_grug_understands_the_command(arguments: list[str]) -> None:
    await parse(arguments)


@pytest.mark.parametrize(
    "arguments", re.findall(r'make demo ARGS="([^"]*)"', README + (ROOT / "Makefile").read_text())
)
async def test_grug_understands_the_options_given_to_make(arguments: str) -> None:
    await parse(["demo", *shlex.split(arguments)])


async def test_grug_understands_the_command_of_the_systemd_unit() -> None:
    unit = (ROOT / "examples" / "grug.service").read_text()
    (command,) = re.findall(r"^ExecStart=\S*/grug (.*)$", unit, re.MULTILINE)
    await parse(shlex.split(command))


async def test_an_option_that_does_not_exist_would_be_noticed() -> None:
    with pytest.raises(click.UsageError):
        await parse(["demo", "--no-such-option"])


def test_make_has_the_targets() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {command[1] for command in COMMANDS if command[0] == "make" and len(command) > 1}
    assert used <= targets


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_within_the_repository_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_the_house_in_the_readme_is_good() -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    maps = {model: load_map(model) for model in map_models()}
    assert check_house(text, "README.md", maps).warnings == ()
