"""The whole error taxonomy on one screen; the class says what to do next.

::

    GrugError ── MapError             a map row is wrong      NEVER: all rows are reported at once
              ├─ ConfigError          a config line is wrong  NEVER: all lines are reported at once
              ├─ EncodeError          a value does not fit    NEVER
              ├─ UnknownRegisterError no such name in the map NEVER
              ├─ LocalProtocolError   we broke Modbus         NEVER: a bug, crash
              ├─ BusError ── NoReplyError         silence     AFTER_BACKOFF, per unit
              │           ├─ RemoteProtocolError  noise       NEXT_CYCLE
              │           ├─ ExceptionReply       refusal     NEVER; codes 5 and 6 NEXT_CYCLE
              │           ├─ RefusedError         the same, as a library's caller sees it
              │           ├─ UnitOfflineError     silent for long; asked now and then
              │           ├─ ExpiredError         too late    NEXT_CYCLE
              │           ├─ BadValueError        "no value"  NEXT_CYCLE
              │           ├─ NotTakenError        read-back differs: look before writing again
              │           └─ LineError            adapter     AFTER_BACKOFF, whole line
              │              └─ ConnectionEndedError  closed between requests: open it anew, at once
              ├─ StorageError         disk full, torn segment AFTER_BACKOFF; torn: skipped
              ├─ ShipError            unreachable, rejected   AFTER_BACKOFF; the batch is kept
              │    └─ SupersededError  another shipper came   once that one is quiet
              ├─ LinkError            the other process went  AFTER_BACKOFF
              └─ BusyError            somebody else has it    NEVER: the person decides
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from grug.model import FailureKind


class Problem(NamedTuple):
    """One thing wrong in a file that a person wrote."""

    file: str
    line: int
    """1-based; 0 when the file as a whole is meant."""
    text: str
    """What is wrong, and what was probably meant."""

    def __str__(self) -> str:
        """Say it the way compilers do, so that editors can jump there."""
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


class GrugError(Exception):
    """Anything that grug itself raises on purpose."""


class ProblemsError(GrugError):
    """Bad input from a person, every problem at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class MapError(ProblemsError):
    """A register map has bad rows."""


class ConfigError(ProblemsError):
    """A configuration has bad lines."""


class EncodeError(GrugError):
    """A value does not fit the register that it is meant for."""


class UnknownRegisterError(GrugError, KeyError):
    """The map has no register of that name; the text says which was probably meant."""

    def __str__(self) -> str:
        """Give the text as it is; a KeyError would quote it."""
        return str(self.args[0])


class LocalProtocolError(GrugError):
    """We tried to send what Modbus forbids: a bug of ours."""


class BusError(GrugError):
    """A request was not answered well; a fact of life, never a bug."""

    kind = FailureKind.GARBLED


class NoReplyError(BusError):
    """The unit stayed silent for its whole reply timeout."""

    kind = FailureKind.NO_REPLY


class RemoteProtocolError(BusError):
    """What came was not an answer to what was asked."""

    kind = FailureKind.GARBLED


EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledged, takes long",
    6: "device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target does not respond",
}
"""Source: MODBUS Application Protocol V1.1b3, 7."""


def exception_text(code: int) -> str:
    """What a unit says by a Modbus exception code, 0..255."""
    return f"exception {code} ({EXCEPTIONS.get(code, 'no code of Modbus')})"


class ExceptionReply(BusError):
    """The unit refused, with a Modbus exception code."""

    kind = FailureKind.REFUSED

    def __init__(self, code: int) -> None:
        super().__init__(exception_text(code))
        self.code = code
        """Exception code, 1..255. Source: MODBUS Application Protocol V1.1b3, 7."""


class LineError(BusError):
    """The adapter or the connection is gone."""

    kind = FailureKind.LINE_DOWN


class ConnectionEndedError(LineError):
    """The other end closed the connection; to open it anew may be all that it takes."""


class RefusedError(BusError):
    """The unit refused, or Modbus cannot say it; asking again will not help."""

    kind = FailureKind.REFUSED


class UnitOfflineError(BusError):
    """The unit was silent several times; it is asked again only now and then."""

    kind = FailureKind.UNIT_OFFLINE


class ExpiredError(BusError):
    """The line was busy until the request was too old, or another write took its place."""

    kind = FailureKind.EXPIRED


class BadValueError(BusError):
    """The unit answered with its mark for "no value", or with something implausible."""


class NotTakenError(BusError):
    """The unit acknowledged a write, but holds something else."""


class NotAllowedError(GrugError):
    """The rules of writing forbid it just now: written too soon before, or too often this year."""


class StorageError(GrugError):
    """The log cannot be written or read as asked."""


class ShipError(GrugError):
    """The database is away or refuses the rows; they stay in the log."""


class SupersededError(ShipError):
    """Another shipper brings this log now; this one may go on when that one has ended."""


class BusyError(GrugError):
    """Another process uses what can be used by one at a time."""


class LinkError(GrugError):
    """The process at the other end of a link is gone."""


_BUS_ERRORS: dict[FailureKind, type[BusError]] = {
    FailureKind.NO_REPLY: NoReplyError,
    FailureKind.GARBLED: RemoteProtocolError,
    FailureKind.REFUSED: RefusedError,
    FailureKind.LINE_DOWN: LineError,
    FailureKind.UNIT_OFFLINE: UnitOfflineError,
    FailureKind.EXPIRED: ExpiredError,
}


def bus_error(kind: FailureKind, text: str) -> BusError:
    """Turn a failure that came as a message into the exception of its kind."""
    return _BUS_ERRORS[kind](text)
