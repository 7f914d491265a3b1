"""Starting the data process: whatever becomes of it, the control process goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from grug.transport.process import start_data_process


@pytest.mark.parametrize("count", [10, 5_000_000])
async def test_start_does_not_wait_until_the_settings_are_read(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Python takes a second to start on a Pi, in which inverters would wait."""
    never_reads = tmp_path / "python"
    never_reads.write_text("#!/bin/sh\nexec sleep 30\n")
    never_reads.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(never_reads))
    process = start_data_process(b"x" * count, in_virtual_time=False)
    assert await process.aclose(wait_s=0.0) == -9, "still there, and has to be killed"
