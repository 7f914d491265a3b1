"""Rules for all tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from typing import TypeVar

import pytest
from hypothesis import settings

settings.register_profile("grug", deadline=None)  # A busy machine is no failure.
settings.load_profile("grug")

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="grug-tests-")
"""Commands keep their ledger of writes there, not in the home of whoever runs the tests."""
IS_CI = os.environ.get("CI", "false") != "false"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Programs of others come first: some use select(), which knows only 1024 descriptors.

    The embedded database's threads open more than that.
    """
    items.sort(key=lambda item: "peers" not in item.path.parts)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI runs, a test that skips itself has failed: what it needs must be there."""
    report = yield
    return report if hasattr(report, "wasxfail") else _never_skipped_in_ci(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole file that skips itself."""
    return _never_skipped_in_ci((yield))


def _never_skipped_in_ci(report: Report) -> Report:
    if IS_CI and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped where CI runs: {reason}"
    return report
