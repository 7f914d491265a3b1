"""Which process runs first when all want to: the one that inverters wait for."""

from __future__ import annotations

import contextlib
import os

__all__ = ["come_first", "yield_to_others"]

NICENESS = 10
"""Of the data process: whatever it does, an inverter is answered first. At 10 it still gets a tenth
of a processor that all want (weight 110 against 1024; Linux, kernel/sched/core.c)."""

REALTIME_PRIORITY = 1
"""The lowest there is: before all usual programs, behind the kernel's own threads."""


def come_first() -> bool:
    """Run this thread before all usual programs, where the system allows it.

    Threads and processes that are started afterwards are usual ones again. The system allows it to
    root, and to services that have ``LimitRTPRIO=1``; to hold the processor for ever is prevented
    by the kernel (sched(7): 5 % are left to others) and by ``LimitRTTIME`` of the service.

    Returns:
        Whether it does.
    """
    try:
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(REALTIME_PRIORITY))
    except (AttributeError, OSError):  # Another system than Linux, or it does not allow it.
        return False
    return True


def yield_to_others() -> None:
    """Make this process one that runs when others do not want to; to be called by its first thread.

    Threads that are started afterwards, those of the database included, are just as modest.
    """
    with contextlib.suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, 0) < NICENESS:
            os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
