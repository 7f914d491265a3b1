"""The whole error taxonomy on one screen; the class says what to do next.

::

    GrugError ── MapError             a map row is wrong      NEVER: all rows are reported at once
              ├─ ConfigError          a config line is wrong  NEVER: all lines are reported at once
              ├─ EncodeError          a value does not fit    NEVER
              ├─ LocalProtocolError   we broke Modbus         NEVER: a bug, crash
              ├─ BusError ── NoReplyError         silence     AFTER_BACKOFF, per unit
              │           ├─ RemoteProtocolError  noise       NEXT_CYCLE
              │           ├─ ExceptionReply       refusal     NEVER; codes 5 and 6 NEXT_CYCLE
              │           └─ LineError            adapter     AFTER_BACKOFF, whole line
              ├─ StorageError         disk full, torn segment AFTER_BACKOFF; torn: skipped
              ├─ ShipError            unreachable, rejected   AFTER_BACKOFF; the batch is kept
              └─ LinkError            the other process went  AFTER_BACKOFF
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


class ExceptionReply(BusError):
    """The unit refused, with a Modbus exception code."""

    kind = FailureKind.REFUSED

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code
        """Exception code, 1..255. Source: MODBUS Application Protocol V1.1b3, 7."""


class LineError(BusError):
    """The adapter or the connection is gone."""

    kind = FailureKind.LINE_DOWN


class StorageError(GrugError):
    """The log cannot be written or read as asked."""


class ShipError(GrugError):
    """The database is away or refuses the rows; they stay in the log."""


class LinkError(GrugError):
    """The process at the other end of a link is gone."""
