"""What a meter port remembers: what was asked, how quickly it was answered, what came too late.

Pure: times come in, decisions and numbers go out. The fake meter's actor owns one of each.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from dataclasses import dataclass

from grug.messages import MeterQuestion

REPLY_LATE_S_MAX = 0.2
"""Later than this after the question a reply would fall into the client's next exchange, and be
taken for its answer. A Solis gives up after about 0.3 s (the seed's notes)."""

LOOK_EVERY_S = 0.05
"""How long a wait for bytes may last before the port is known to have been empty until then."""

QUESTIONS_MAX = 64
"""Different questions that are told apart; an inverter has a handful, noise has any number."""

LATENCIES_MAX = 1000
"""The latest replies that are timed: more than a minute of the quickest inverter known."""


class Punctuality:
    """Decides whether a reply that is about to leave would still be on time.

    When bytes arrived cannot be known, since the kernel keeps them while we sleep, are stopped
    (SIGSTOP), starved of the processor, or hold our own loop. What can be known is when nothing had
    arrived yet. So every question counts as old as that, and the port is looked at often enough
    that this costs nothing while all is well. The clock counts while the machine is suspended.
    """

    def __init__(self, character_s: float, now_s: float) -> None:
        """Begin with an empty port.

        Args:
            character_s: time of a character on the wire; 0 where there is no wire.
            now_s: monotonic time.
        """
        self._character_s = character_s
        self._empty_s = now_s
        self._asked_s = now_s
        self._sent_s = -math.inf

    def empty_until(self, at_s: float) -> None:
        """Nothing had arrived at this time; times only go forward."""
        self._empty_s = at_s

    def received(self, now_s: float) -> bool:
        """Everything that had arrived was taken off the port.

        Returns:
            False when it may have waited for too long, so that it has to be thrown away.
        """
        self._asked_s, self._empty_s = self._empty_s, now_s
        return now_s - self._asked_s <= REPLY_LATE_S_MAX

    def is_late(self, now_s: float) -> bool:
        """Whether a reply to what was received last must not leave any more.

        What we sent before is still on the wire for as long as its characters take; a reply that
        would have to wait for that is as late as one that we wait with.
        """
        return max(now_s, self._sent_s) - self._asked_s > REPLY_LATE_S_MAX

    def sent(self, count: int, now_s: float) -> None:
        """So many bytes were handed to the port."""
        self._sent_s = max(now_s, self._sent_s) + count * self._character_s


class Answer(enum.StrEnum):
    """What became of a question."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """It is no read, or not one that any meter answers."""
    UNKNOWN_ZEROS = "unknown: zeros"
    UNKNOWN_REFUSED = "unknown: exception 2"
    UNKNOWN_IGNORED = "unknown: no answer"
    """A read that touches no register of the profile; what happens is the profile's policy."""
    STALE = "silent: no fresh image"
    LATE = "silent: too late"


UNKNOWN = (Answer.UNKNOWN_ZEROS, Answer.UNKNOWN_REFUSED, Answer.UNKNOWN_IGNORED)


@dataclass(slots=True)
class _Asked:
    """One question, counted."""

    function: int
    address: int
    count: int
    since_s: float
    asked: int = 0
    last_s: float = 0.0
    answer: Answer | None = None
    """None while there has never been a fresh image for it."""


class MeterTally:
    """Counters of one fake meter since grug started; they outlive a crash of the actor."""

    def __init__(self) -> None:
        self.queries = 0
        self.foreign = 0
        """Frames for other unit ids."""
        self.other_questions = 0
        """Asked when QUESTIONS_MAX others were known already."""
        self.held_up = 0
        """Times that bytes were thrown away because nobody knows how long they had waited."""
        self.counts = dict.fromkeys(Answer, 0)
        self._asked: dict[bytes, _Asked] = {}
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES_MAX)

    def note(
        self, request: bytes, function: int, address: int, count: int, answer: Answer, now_s: float
    ) -> bool:
        """Count one question and what became of it.

        Returns:
            Whether it is new, or is answered otherwise than before: worth telling a person.
        """
        self.counts[answer] += 1
        asked = self._asked.get(request)
        if asked is None:
            if len(self._asked) >= QUESTIONS_MAX:
                self.other_questions += 1
                return False
            asked = self._asked[request] = _Asked(function, address, count, now_s)
        asked.asked += 1
        asked.last_s = now_s
        if answer in (Answer.STALE, Answer.LATE):
            return False  # That is the house's state, not a property of the question.
        is_news = asked.answer is not answer
        asked.answer = answer
        return is_news

    def took(self, latency_s: float) -> None:
        """A reply left so long after its question was read."""
        self._latencies_s.append(latency_s)

    def latencies_ms(self) -> tuple[float, float, float]:
        """Median, 99th percentile and longest of the latest replies; NaN when there were none."""
        if not self._latencies_s:
            return math.nan, math.nan, math.nan
        ordered = sorted(self._latencies_s)
        last = len(ordered) - 1
        places = (len(ordered) // 2, math.ceil(0.99 * last), last)
        p50, p99, longest = (round(1000.0 * ordered[place], 3) for place in places)
        return p50, p99, longest

    def questions(self) -> tuple[MeterQuestion, ...]:
        """All that were asked, the most frequent first."""
        listed = sorted(self._asked.values(), key=lambda asked: -asked.asked)
        return tuple(
            MeterQuestion(
                asked.function,
                asked.address,
                asked.count,
                asked.asked,
                _rate(asked),
                asked.answer or Answer.STALE,
                asked.last_s,
            )
            for asked in listed
        )


def _rate(asked: _Asked) -> float:
    """Questions per second between the first and the last."""
    lasted_s = asked.last_s - asked.since_s
    return (asked.asked - 1) / lasted_s if lasted_s > 0.0 else 0.0
