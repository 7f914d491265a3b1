"""A bus owner's queue on a line that takes exactly as long as is said, in virtual time."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping

from grug.messages import ReadFailed, ReadRegisters, RegistersRead, WriteDone, WriteFailed
from grug.model import Priority, Span
from grug.planner.queue import BusQueue, ReadJob
from grug.planner.traits import UnitTraits, WireTiming


class Asked:
    """A call, when it was made, and when it was answered."""

    is_abandoned = False

    def __init__(self, request: ReadRegisters, asked_s: float) -> None:
        self.request = request
        self.asked_s = asked_s
        self.done_s = math.inf
        self.answer: RegistersRead | ReadFailed | WriteDone | WriteFailed | None = None

    def reply(self, reply: RegistersRead | ReadFailed | WriteDone | WriteFailed) -> None:
        assert self.answer is None
        self.answer = reply

    @property
    def is_in_time(self) -> bool:
        return isinstance(self.answer, RegistersRead) and self.done_s <= self.request.deadline_s


class PlayedLine:
    """Requests that are due at given times, and the transactions that answer them."""

    def __init__(self, timing: WireTiming, traits: Mapping[int, UnitTraits]) -> None:
        self.timing = timing
        self.traits = traits
        self.queue = BusQueue("line", timing, traits, lambda _: None)
        self.queue.line_opened(0.0)
        self.asked: list[Asked] = []
        self.reads: list[tuple[float, int, Span]] = []
        """When each began, from which unit, and what was read."""
        self.waiting_max = 0
        self.busy_s = 0.0
        self.again: Callable[[Asked], ReadRegisters | None] = lambda _: None
        """What somebody asks once he has been answered, if anything."""
        self._due: list[tuple[float, int, ReadRegisters]] = []
        self._waiting: list[Asked] = []

    def at(self, due_s: float, request: ReadRegisters) -> None:
        """Somebody will ask this then."""
        heapq.heappush(self._due, (due_s, len(self._due) + len(self.asked), request))

    def poll(
        self,
        unit_id: int,
        spans: tuple[Span, ...],
        every_s: float,
        until_s: float,
        priority: Priority = Priority.CONTROL,
        *,
        who: str = "poll",
        phase_s: float = 0.0,
    ) -> None:
        """Somebody asks this again and again, and says so."""
        for number in range(int(until_s / every_s)):
            at_s = phase_s + number * every_s
            request = ReadRegisters(
                unit_id,
                spans,
                at_s + every_s,
                priority,
                who,
                next_s=at_s + every_s,
                next_deadline_s=at_s + 2 * every_s,
            )
            self.at(at_s, request)

    def run(self, until_s: float) -> None:
        """Let the time go by."""
        now_s = 0.0
        while now_s < until_s:
            while self._due and self._due[0][0] <= now_s:
                due_s, _, request = heapq.heappop(self._due)
                asked = Asked(request, due_s)
                self.queue.add(asked, now_s)
                self.asked.append(asked)
                self._waiting.append(asked)
            self.waiting_max = max(self.waiting_max, len(self.queue))
            job = self.queue.pick(now_s)
            if job is None:
                self._answered(now_s)
                next_s = self._due[0][0] if self._due else until_s
                now_s = max(min(next_s, self.queue.wake_s), math.nextafter(now_s, math.inf))
                continue
            assert isinstance(job, ReadJob)
            now_s = self._carry_out(job, now_s)

    def _carry_out(self, job: ReadJob, now_s: float) -> float:
        """When the line is free again."""
        span = job.transaction.span
        traits = self.traits[job.unit.unit_id]
        cost_s = traits.read_cost(self.timing).read_s(span.table, span.count)
        free_s = now_s + cost_s - traits.rest_s(self.timing)
        ended_s = free_s - self.timing.gap_s
        self.reads.append((now_s, job.unit.unit_id, span))
        self.busy_s += free_s - now_s
        width = 1 if span.table.is_bits else 2
        self.queue.succeeded(job, bytes(width * span.count), now_s, ended_s)
        self._answered(ended_s)
        return free_s

    def _answered(self, now_s: float) -> None:
        """Note who has got an answer by now, and let him ask again."""
        for asked in self._waiting:
            if asked.answer is not None:
                asked.done_s = now_s
                request = self.again(asked)
                if request is not None:
                    self.at(now_s, request)
        self._waiting = [each for each in self._waiting if each.answer is None]

    def asked_by(self, who: str) -> list[Asked]:
        """All that somebody asked for and that was answered."""
        return [each for each in self.asked if each.request.who == who and each.answer is not None]
