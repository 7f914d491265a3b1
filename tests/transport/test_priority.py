"""The thread that answers inverters comes before usual programs; nothing that it starts does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LOOK = """
import os, threading
from grug.transport.priority import come_first
policies = []
look = lambda: policies.append(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK)
has_come = come_first()
look()
thread = threading.Thread(target=look)
thread.start()
thread.join()
child = os.fork()
if not child:
    os._exit(os.sched_getscheduler(0))
policies.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(has_come, *policies)
"""


def looked(*prefix: str) -> list[str]:
    command = [*prefix, sys.executable, "-c", LOOK]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_one_thread_comes_first_and_what_it_starts_is_usual():
    has_come, *policies = looked()
    first = os.SCHED_RR if has_come == "True" else os.SCHED_OTHER
    assert policies == [str(first), str(os.SCHED_OTHER), str(os.SCHED_OTHER)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take its own rights away")
def test_where_it_is_not_allowed_all_goes_on_as_usual():
    usual = str(os.SCHED_OTHER)
    assert looked("setpriv", "--reuid=65534", "--clear-groups") == ["False", usual, usual, usual]
