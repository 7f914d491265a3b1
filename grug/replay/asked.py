"""What inverters asked their fake meters, and whether the replayed images give the answers. Pure.

Questions and answers are those of the ring of frames, byte by byte. An answer is right when one of
the images says it that the fake meter may have had by then: an image is decided at the time of its
reading, and reaches the fake meter when that reading is decoded and everybody has had a turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from grug.codec.served import ServedImage
from grug.errors import EncodeError
from grug.messages import MeterImage
from grug.model import Role, Wire, WireFraming, WireKind
from grug.protocol.server import RequestFramer, ServerRequest, read_reply
from grug.replay.judge import Judge

UNDER_WAY_S = 0.5
"""From a reading's time until its image is what the fake meter tells, at most; as much as a line
that several devices share may take for one reading."""
_IMAGES_MAX = 16
"""Of one fake meter, remembered: more than are made in that time."""


class TracedRecord(Protocol):
    """One thing that happened on one line; see ``grug.transport.framereads.Traced``."""

    @property
    def wire(self) -> Wire:
        """Where."""

    @property
    def kind(self) -> WireKind:
        """What."""

    @property
    def at_us(self) -> int:
        """Monotonic."""

    @property
    def data(self) -> bytes:
        """The bytes."""


class Asked(NamedTuple):
    """One question of an inverter."""

    at_s: float
    """Monotonic: of the answer, or of the question when there was none."""
    line: str
    request: ServerRequest
    reply: bytes
    """Empty when nothing was said."""


def questions(records: Iterable[TracedRecord], baudrates: Mapping[str, int]) -> Iterator[Asked]:
    """Put questions and answers together.

    Args:
        records: of the ring of frames, in their order.
        baudrates: by line, of those where grug is asked.
    """
    framers = {line: RequestFramer(baudrate) for line, baudrate in baudrates.items()}
    open_questions: dict[str, Asked] = {}
    for record in records:
        wire, at_s = record.wire, record.at_us / 1e6
        framer = framers.get(wire.line)
        if framer is None or wire.role is not Role.SERVER or wire.framing is not WireFraming.RTU:
            continue
        if record.kind is WireKind.SENT and wire.line in open_questions:
            asked = open_questions.pop(wire.line)
            yield asked._replace(at_s=at_s, reply=record.data)
        elif record.kind is WireKind.RECEIVED:
            for request in framer.receive(record.data, at_s):
                if wire.line in open_questions:
                    yield open_questions.pop(wire.line)
                open_questions[wire.line] = Asked(at_s, wire.line, request, b"")


class AskedMeter(NamedTuple):
    """One fake meter, as far as its answers go."""

    name: str
    unit_id: int
    served: ServedImage


class _Shown(NamedTuple):
    at_s: float
    image: MeterImage


class Witness:
    """Compares the recorded answers with what the replayed images say."""

    def __init__(
        self, asked: Iterator[Asked], meters: Mapping[str, AskedMeter], judge: Judge
    ) -> None:
        """Begin.

        Args:
            asked: what was asked, in the order of time.
            meters: by line.
            judge: told the outcome.
        """
        self._asked = asked
        self._next = next(asked, None)
        self._meters = meters
        self._judge = judge
        self._shown: dict[str, deque[_Shown]] = {}

    def show(self, image: MeterImage, at_s: float) -> None:
        """An image is told from now on."""
        shown = self._shown.setdefault(image.fakemeter, deque(maxlen=_IMAGES_MAX))
        shown.append(_Shown(at_s, image))

    def hear(self, until_s: float) -> None:
        """Look at everything that was asked until then."""
        while self._next is not None and self._next.at_s < until_s:
            self._look(self._next)
            self._next = next(self._asked, None)

    def _look(self, asked: Asked) -> None:
        meter = self._meters.get(asked.line)
        shown = self._shown.get(meter.name) if meter is not None else None
        if meter is None or not shown or asked.request.unit_id != meter.unit_id:
            return
        if not asked.request.is_read or asked.request.fault or not asked.reply:
            return  # A silence may be one of a grug that was held up; what it says counts.
        newest = ""
        successor_s = asked.at_s
        for each in reversed(shown):
            if successor_s < asked.at_s - UNDER_WAY_S:
                break
            reply = _reply(meter.served, each.image, asked)
            if reply == asked.reply:
                self._judge.answered(asked.at_s, meter.name, "", "")
                return
            newest = newest or ("silence" if reply is None else reply.hex(" "))
            successor_s = each.at_s
        if newest:
            self._judge.answered(asked.at_s, meter.name, asked.reply.hex(" "), newest)


def _reply(served: ServedImage, image: MeterImage, asked: Asked) -> bytes | None:
    """What is answered by an image; None is silence, also to what the profile does not have."""
    if asked.at_s > image.valid_until_s:
        return None
    try:
        served.take(image.names, image.values)
    except EncodeError:
        return None
    request = asked.request
    block = served.registers.read(request.table, request.address, request.count)
    if block is None:
        return asked.reply  # What the profile does not have is answered by a rule, not by an image.
    return read_reply(request, block)
