"""What the tests need is installed, or its lack is said aloud."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "install_packages"


def run(
    directory: Path, *, is_ci: bool, installed: str = "", **commands: str
) -> subprocess.CompletedProcess[str]:
    """Run the script on a machine that has these commands (shell) and these packages alone."""
    (directory / "list").write_text("# what the tests need\nfirst # why\n\nsecond\n")
    commands["dpkg-query"] = (
        f'case " {installed} " in *" $4 "*) echo -n "install ok installed";; *) exit 1;; esac'
    )
    for name, script in {"id": "echo 1000", **commands}.items():
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)
    for name in ("sed", "env", "sh"):
        (directory / name).symlink_to(f"/bin/{name}")
    environment = {"PATH": str(directory)} | ({"CI": "true"} if is_ci else {})
    return subprocess.run(
        ["/bin/sh", SCRIPT, directory / "list"], env=environment, capture_output=True, text=True
    )


def test_nothing_is_done_or_said_when_all_is_there(tmp_path: Path) -> None:
    done = run(tmp_path, is_ci=True, installed="first second")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("is_ci", [False, True])
def test_what_cannot_be_had_is_named_and_fails_in_ci(tmp_path: Path, is_ci: bool) -> None:
    done = run(tmp_path, is_ci=is_ci, installed="first")
    assert "second" in done.stderr
    assert "first" not in done.stderr
    assert "no apt-get" in done.stderr
    assert done.returncode == (1 if is_ci else 0)


def test_without_root_a_sudo_that_asks_is_not_used(tmp_path: Path) -> None:
    done = run(tmp_path, is_ci=False, sudo="exit 1", **{"apt-get": "exit 0"})
    assert "sudo apt-get install first second" in done.stderr


def test_packages_are_installed_after_an_update_when_the_lists_are_old(tmp_path: Path) -> None:
    log = tmp_path / "log"
    apt = (
        f'echo "$*" >> {log}; [ "$1" = update ] && echo > {tmp_path}/fresh; [ -e {tmp_path}/fresh ]'
    )
    done = run(tmp_path, is_ci=True, id="echo 0", **{"apt-get": apt})
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in log.read_text().splitlines()] == [
        "install",
        "update",
        "install",
    ]


def test_a_failed_installation_fails_in_ci(tmp_path: Path) -> None:
    done = run(tmp_path, is_ci=True, id="echo 0", **{"apt-get": "echo no network >&2; exit 100"})
    assert done.returncode == 1
    assert "no network" in done.stderr
