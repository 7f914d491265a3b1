"""The writes that wait for one line: never joined, the oldest first, none after its deadline.

Pure; a part of ``BusQueue``, which asks it first whenever the line is free. Each write is answered
exactly once, and what became of it is published too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from grug.messages import Message, WriteDone, WriteFailed, WriteRegisters
from grug.model import FailureKind
from grug.planner.plan import Transaction
from grug.planner.waiting import (
    Job,
    ReadJob,
    WaitingWrite,
    WriteJob,
    clearing,
    expiry_s,
    look_of,
)
from grug.planner.writes import overwrites


class WriteQueue:
    """The writes of one line in the order in which they go, and their answers."""

    def __init__(self, line: str, publish: Callable[[Message], None]) -> None:
        self.waiting: list[WaitingWrite] = []
        self._line = line
        self._publish = publish

    def add(self, write: WaitingWrite, now_s: float) -> None:
        """Let a write wait; one that it wholly overwrites is pointless, and fails."""
        request = write.request
        for at, other in enumerate(self.waiting):
            if _supersedes(request, other.request):
                del self.waiting[at]
                self.fail(other, FailureKind.EXPIRED, f"superseded by {request.who}", now_s)
                break
        self.waiting.append(write)

    def pick(self, now_s: float) -> tuple[Job | None, float]:
        """The oldest write that may go now, or the read that has to go before it.

        Returns:
            It, and where there is none, when to pick again.
        """
        self.waiting = [write for write in self.waiting if self._is_live(write, now_s)]
        wake_s = math.inf
        for at, write in enumerate(self.waiting):
            unit = write.unit
            if unit.ready_s <= now_s:
                function = write.function(now_s)
                if unit.may_mistake(look_of(write, function), now_s):
                    return clearing(write, now_s), wake_s
                if not function:
                    return ReadJob(unit, Transaction(write.span, ()), base_of=write), wake_s
                del self.waiting[at]
                return WriteJob(write, function), wake_s
            wake_s = min(wake_s, unit.ready_s, expiry_s(write.request))
        return None, wake_s

    def _is_live(self, write: WaitingWrite, now_s: float) -> bool:
        """Whether somebody still waits for a write; who waits in vain is answered."""
        if write.asker.is_abandoned:
            return False
        if write.request.deadline_s < now_s:
            self.fail(write, FailureKind.EXPIRED, "the line was not free in time", now_s)
            return False
        if write.unit.is_resting(now_s):
            self.fail(write, FailureKind.UNIT_OFFLINE, write.unit.cause, now_s)
            return False
        return True

    def put_back(self, job: WriteJob) -> None:
        """Nothing was written: it goes again, before all others."""
        self.waiting.insert(0, job.write)

    def done(self, job: WriteJob, block: bytes, ended_s: float) -> None:
        """Answer a write that the unit has acknowledged; ``block`` is what it read back."""
        done = WriteDone(self._line, job.request, ended_s, block)
        job.asker.reply(done)
        self._publish(done)

    def fail(
        self,
        write: WaitingWrite | WriteJob,
        kind: FailureKind,
        text: str,
        now_s: float,
        code: int = 0,
    ) -> None:
        """Answer a write that does not wait any more."""
        failed = WriteFailed(self._line, write.request, kind, text, now_s, code)
        write.asker.reply(failed)
        self._publish(failed)

    def fail_all(self, kind: FailureKind, text: str, now_s: float) -> None:
        """Answer all that wait."""
        waiting, self.waiting = self.waiting, []
        for write in waiting:
            self.fail(write, kind, text, now_s)


def _supersedes(request: WriteRegisters, old: WriteRegisters) -> bool:
    """Whether nothing would be left of what an older write says."""
    return (
        old.unit_id == request.unit_id
        and old.table is request.table
        and old.address == request.address
        and overwrites(request.block, request.mask, old.block, old.mask)
    )
