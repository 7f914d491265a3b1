"""Every message that may cross a channel, and the codec that carries them between processes.

Facts are in the past tense, requests in the imperative. All are frozen and hold plain values, so
that the same message crosses an in-memory channel and a Unix socket. Times named ``_s`` are seconds
of the runtime's monotonic clock, the same in all of grug's processes.
"""

from __future__ import annotations

import math
from typing import Any, Union

import msgspec

from grug.model import (
    Aim,
    FailureKind,
    Priority,
    Quality,
    Span,
    Table,
    UnitHealth,
    Value,
    WireRecord,
    WriteState,
)


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Base of all messages."""


# Poller, controllers, command line -> bus, and back


class ReadRegisters(Message, frozen=True):
    """Anyone -> bus: read these spans of one unit. Answered by RegistersRead or ReadFailed."""

    unit_id: int
    spans: tuple[Span, ...]
    deadline_s: float
    """An answer after this is worth nothing; the bus may drop the request."""
    priority: Priority = Priority.NORMAL
    who: str = ""
    max_age_s: float = 0.0
    """What was read so recently may be the answer; never anything older."""
    is_partial: bool = False
    """Whether an answer without those spans that the unit refuses is worth having."""
    is_snapshot: bool = False
    """Whether all of it has to be of one moment, and so of one transaction."""
    next_s: float = math.inf
    """When the same will be asked for again: no read is begun that would make that late."""
    next_deadline_s: float = math.inf
    """And when that has to be answered."""


class RegistersRead(Message, frozen=True):
    """Bus -> asker: the contents of all the spans that were asked for."""

    blocks: tuple[bytes, ...]
    """One per span, in the order asked: big-endian words as on the wire (2 bytes each), or for
    coils and discrete inputs one byte (0 or 1) per bit."""
    read_s: float
    """End of the transaction that read the oldest of it."""
    refused: tuple[tuple[int, int], ...] = ()
    """For a partial request: index of each span that the unit refused, whose block is empty, and
    the exception code."""


class ReadFailed(Message, frozen=True):
    """Bus -> asker: no answer, and why."""

    kind: FailureKind
    text: str
    failed_s: float
    code: int = 0
    """The exception code that the unit refused with, 1..255; 0 when it did not."""


class WriteRegisters(Message, frozen=True):
    """Controllers -> bus: write one contiguous block. Answered by WriteDone or WriteFailed."""

    unit_id: int
    table: Table
    address: int
    block: bytes
    """Big-endian words, or one byte per coil, as in RegistersRead.blocks."""
    deadline_s: float
    """A write that could not start by then is dropped: an old command is not obeyed."""
    who: str
    why: str
    mask: bytes = b""
    """Of words: only those bits are written that are 1 here; empty says all of them."""
    reads_back: bool = False
    """Whether to say in WriteDone what the unit holds then, if that comes with the same frame."""


class WriteDone(Message, frozen=True):
    """Bus -> asker, recorder (write ledger): the unit acknowledged the write."""

    line: str
    request: WriteRegisters
    done_s: float
    read_back: bytes = b""
    """What the unit says that it holds now, where that was asked for and came along."""


class WriteFailed(Message, frozen=True):
    """Bus -> asker, recorder (write ledger): the write was refused, expired or not acknowledged."""

    line: str
    request: WriteRegisters
    kind: FailureKind
    text: str
    failed_s: float
    code: int = 0
    """The exception code that the unit refused with, 1..255; 0 when it did not."""


# Controllers, command line, library -> gate, and back


class SetRegisters(Message, frozen=True):
    """Whoever wants something written -> gate. Answered by RegistersSet, always."""

    device: str
    values: tuple[tuple[str, Value], ...]
    """Register names of the device's map and values in their units, in order."""
    deadline_s: float
    """What could not be sent by then is refused: an old command is not obeyed."""
    who: str
    why: str
    masks: tuple[tuple[str, int], ...] = ()
    """Registers of which only these bits are meant; the others stay as they are just then."""
    is_ordered: bool = False
    """Each step is read back before the next is sent."""
    may_guarded: bool = False
    """A person said so, or a controller that was told to: guarded registers, too."""
    is_forced: bool = False
    """The least interval and the yearly budget do not count; ``why`` says the reason."""
    is_dry_run: bool = False
    """Nothing is sent; the answer says what would be."""
    keeps_alive: bool = False
    """To be sent though it changes nothing: the device forgets it. Only for what does not wear."""
    verifies: bool = True
    """Read the old values before, and what the device holds after."""
    is_watched: bool = True
    """Whether later readings are compared with it."""
    safe: tuple[tuple[str, Value], ...] = ()
    """Sent when a step fails after another was sent: leaves the device in a safe state."""
    is_taped: bool = False
    """The answer is recorded: whoever asks decides by it, and a replay runs it again."""


class GetRegisters(Message, frozen=True):
    """Command line, controllers -> gate: what registers of one device hold just now.

    Answered by RegistersGot.
    """

    device: str
    names: tuple[str, ...]
    deadline_s: float
    who: str
    is_taped: bool = False
    """See ``SetRegisters``."""


class RegistersGot(Message, frozen=True):
    """Gate -> asker: the values, in the order asked."""

    values: tuple[Value | None, ...]
    """None for what the device refused to tell."""
    reason: str
    """Why there are none at all; else empty."""


class WriteRecorded(Message, frozen=True):
    """Gate -> asker, recorder, view: what became of one register of a request, or is known now."""

    device: str
    register: str
    who: str
    why: str
    new: Value
    old: Value | None
    """None where it was not read before."""
    read_back: Value | None
    state: WriteState
    reason: str
    recorded_s: float
    is_sent: bool = True
    kind: FailureKind | None = None
    """How the bus failed, where that is the reason."""


class RegistersSet(Message, frozen=True):
    """Gate -> asker: what became of each register that was asked for, in the order asked."""

    records: tuple[WriteRecorded, ...]
    """Those of the safe state follow, where it was needed."""
    reason: str
    """Empty when every register holds what was wanted, or nothing says otherwise."""
    is_known: bool = True
    """False only where the gate itself failed: then nobody knows what was sent."""

    @property
    def may_be_sent(self) -> bool:
        """Whether anything of it may have left; nobody's word for it is a yes."""
        return not self.is_known or any(record.is_sent for record in self.records)

    @property
    def is_applied(self) -> bool:
        """Whether each register was seen to hold what was wanted."""
        return not self.reason and all(
            record.state is WriteState.APPLIED for record in self.records
        )


# Published on the feed


class GateAnswered(Message, frozen=True):
    """Gate -> recorder: what a controller was answered that asked for registers or wrote some."""

    who: str
    device: str
    names: tuple[str, ...]
    values: tuple[Value | None, ...]
    """What they hold, or what was to be written."""
    reason: str
    """Of the answer."""
    answered_s: float
    is_write: bool = False
    why: str = ""
    """Of a write."""
    is_sent: bool = False
    """Of a write: whether anything of it may have been sent."""
    has_records: bool = True
    """Of a write: whether the answer said what became of each register."""


class Readings(Message, frozen=True):
    """Poller -> everyone: values of one device, read together."""

    device: str
    read_s: float
    names: tuple[str, ...]
    """Register names of the device's map; the tuple is the same object from poll to poll."""
    values: tuple[Value, ...]
    """In the registers' units; where the quality is not GOOD the value is the raw number."""
    qualities: tuple[Quality, ...] = ()
    """Empty when all are GOOD, as nearly always."""


class ReadingsMissing(Message, frozen=True):
    """Poller -> everyone: a poll of these registers failed; their last values are growing old."""

    device: str
    names: tuple[str, ...]
    kind: FailureKind
    text: str
    failed_s: float


class SetOffset(Message, frozen=True):
    """Schedule, command line, later MQTT and page -> offset controller: ask for a power offset.

    It may be given by what it shall reach, its aim.
    """

    power_w: float
    """What it and its plus mean is the aim's; plus of a plain offset makes the inverters export."""
    expires_s: float
    who: str
    why: str
    target: str = ""
    """The inverter that shall carry it; empty leaves that to the balance."""
    aim: Aim = Aim.OFFSET
    per_soc_w: float = 0.0
    """Added to ``power_w`` for each percent of the batteries' state of charge."""


class DispatchChanged(Message, frozen=True):
    """Dispatch controller -> offset controller, recorder, view: what an inverter's registers carry.

    Its meter need not say what its registers do.
    """

    inverter: str
    power_w: float
    """At the grid, plus = export; 0 when the inverter is left to itself."""
    until_s: float
    """Monotonic; after this the inverter has taken back control, unless it is told again."""
    reason: str
    changed_s: float
    is_doubt: bool = False
    """Until then they may carry that, or what they carried before, or nothing: nobody knows. The
    meter must not say an offset meanwhile."""


class MeterImage(Message, frozen=True):
    """Offset controller -> fake meter: what to tell the inverter, and until when it is true."""

    fakemeter: str
    names: tuple[str, ...]
    """Register names of the fake meter's profile."""
    values: tuple[float, ...]
    read_s: float
    """When the real measurement behind it was read."""
    valid_until_s: float
    """The fake meter is silent after this."""


class Decided(Message, frozen=True):
    """Any controller -> recorder, view: what was decided, from what, and why."""

    controller: str
    decided_s: float
    names: tuple[str, ...]
    values: tuple[float, ...]
    reason: str
    """The cause, as text; repeated unchanged while nothing changes."""


class Remembered(Message, frozen=True, tag="OffsetRemembered"):
    """A controller -> recorder: all that it knows, once it has heard what came before this.

    Said every few minutes; see ``grug.control.memory``. The offset controller did before others,
    and its name is in logs.
    """

    memory: bytes
    remembered_s: float
    who: str = "offset"


class Recall(Message, frozen=True):
    """Replay -> a controller: go on from what was remembered at this place. No house says it.

    ``memory`` is that of a ``Remembered``.
    """

    who: str
    memory: bytes


ANSWERS = ("answers",)
"""A fake meter -> controllers: ``Readings`` of this name, once a second, with the number of its
answers since the start, at the time of the last one. From two of them follows when an inverter will
ask, and so which of the values that it is told it will hear."""


class FakeMeterCounted(Message, frozen=True):
    """Fake meter -> recorder, view: once a second, what the inverter asked and got."""

    fakemeter: str
    counted_s: float
    queries_per_s: float
    answered: int
    """Since start, like the other counters."""
    silent_stale: int
    """Queries for this meter left unanswered because the image had expired."""
    refused: int
    foreign: int
    """Frames for other unit ids."""
    age_s: float
    """Age of the image's measurement at the last query; NaN before the first image."""
    unknown: int = 0
    """Queries that touched no register of the profile, whatever the answer."""
    silent_late: int = 0
    """Queries left unanswered because they may have waited for too long, and times that we were
    held up ourselves and threw away what had come meanwhile."""
    latency_p50_ms: float = math.nan
    """From reading the query to writing its reply, of the latest replies; NaN before the first."""
    latency_p99_ms: float = math.nan
    latency_max_ms: float = math.nan


class MeterQuestion(msgspec.Struct, frozen=True, gc=False):
    """One question that an inverter asks its meter again and again."""

    function: int
    address: int
    """0-based."""
    count: int
    asked: int
    """Times, since start."""
    per_s: float
    answer: str
    """What became of it the last time that there was a fresh image."""
    last_s: float


class FakeMeterAsked(Message, frozen=True):
    """Fake meter -> commands: all that it was ever asked; a new one every few seconds."""

    fakemeter: str
    counted_s: float
    questions: tuple[MeterQuestion, ...]
    """The most frequent first."""
    other_questions: int
    """Asked when too many different ones were known already."""


class BeliefEstimated(Message, frozen=True):
    """Belief check -> recorder, commands: how an inverter's word follows what it was told."""

    inverter: str
    estimated_s: float
    scale: float
    """Reported power over served power; 1 when all is well. NaN, like the next three, while it is
    not known."""
    offset_w: float
    lag_s: float
    fit: float
    """Share of the reports' variance that what was served explains, 0..1."""
    reports: int
    verdict: str
    """One word, see ``grug.control.belief.Verdict``."""
    reason: str
    advice: str


class LineCounted(Message, frozen=True):
    """Bus -> recorder, view: once a second, how the line is doing."""

    line: str
    counted_s: float
    utilisation_pct: float
    """Share of the last second in which the line was busy."""
    transactions: int
    """Since start, like the other counters."""
    failures: int
    waiting: int
    """Requests in the queue."""


class LineChanged(Message, frozen=True):
    """Bus, fake meter -> everyone: the line was opened or lost."""

    line: str
    is_up: bool
    cause: str
    changed_s: float


class UnitChanged(Message, frozen=True):
    """Bus -> everyone: a unit's health changed."""

    line: str
    unit_id: int
    health: UnitHealth
    cause: str
    changed_s: float


class FakeMeterChanged(Message, frozen=True):
    """Fake meter -> everyone: it went live or silent."""

    fakemeter: str
    is_live: bool
    cause: str
    changed_s: float


class ActorFailed(Message, frozen=True):
    """Supervisor -> everyone: an actor crashed on a bug; it restarts after the delay."""

    actor: str
    text: str
    restart_delay_s: float
    failed_s: float


class Lagged(Message, frozen=True):
    """Feed -> one slow reader: this many messages were dropped for it."""

    reader: str
    count: int


class Noted(Message, frozen=True):
    """Anyone -> recorder, view: something a person may want to know, as text."""

    source: str
    text: str
    noted_s: float


class RunStarted(Message, frozen=True):
    """Composition root -> recorder: a house begins, and this is all that decides what it does."""

    version: str
    """Of grug."""
    config: str
    """The configuration as JSON, without what is secret."""
    digest: str
    """Of that, short: two runs with one digest had one configuration."""
    maps: dict[str, str]
    """Digest of each register map, by model."""
    started_s: float


class RunStopping(Message, frozen=True):
    """Composition root -> recorder: from now on controllers leave safe outputs behind."""

    cause: str
    stopping_s: float


class WireTraced(Message, frozen=True):
    """Tap -> tracer: what was on the wires since the last one."""

    wires: tuple[str, ...]
    """Names of all wires, see ``grug.storage.frames.Wire``; more may follow, none changes."""
    records: tuple[WireRecord, ...]


class LogCounted(Message, frozen=True):
    """Recorder -> view, summary: the state of the log on disk."""

    blocks: int
    samples: int
    """Samples accepted since start, with those that the log already had."""
    bytes_written: int
    total_bytes: int
    last_seq: int
    counted_s: float


class ShipCounted(Message, frozen=True):
    """Shipper -> view, summary: how far the database is."""

    rows: int
    """Rows acknowledged by the database since start."""
    shipped_seq: int
    waiting_blocks: int
    cause: str
    """Empty while all is well."""
    counted_s: float


class StopRecording(Message, frozen=True):
    """Control process -> data process: the run is over: flush, ship what can be, count, end."""

    ship: bool


_ALL: Any = Message.__subclasses__()
_DECODER: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
    type=Union[tuple(_ALL)]  # noqa: UP007  the members are only known at run time
)
_ENCODER = msgspec.msgpack.Encoder()


def encode_message(message: Message) -> bytes:
    """Turn a message into msgpack bytes, its type included."""
    return _ENCODER.encode(message)


def decode_message(data: bytes) -> Message:
    """Turn what ``encode_message`` made back into the message.

    Raises:
        msgspec.DecodeError: the bytes are not a message of this version.
    """
    message: Message = _DECODER.decode(data)
    return message
