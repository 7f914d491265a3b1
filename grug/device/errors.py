"""What a library user catches, beyond ``grug.errors``: what became of one request to one unit."""

from __future__ import annotations

from collections.abc import Iterable

from grug.codec.hints import did_you_mean
from grug.errors import BusError, GrugError, LineError, NoReplyError, RemoteProtocolError
from grug.model import FailureKind


class UnknownRegisterError(GrugError, KeyError):
    """The map has no register of that name; the text says which was probably meant."""

    def __init__(self, model: str, unknown: Iterable[str], known: Iterable[str]) -> None:
        names = tuple(known)
        super().__init__(
            "\n".join(
                f"{model} has no register {name!r}{did_you_mean(name, names)}" for name in unknown
            )
        )

    def __str__(self) -> str:
        """Give the text as it is; a KeyError would quote it."""
        return str(self.args[0])


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


_ERRORS: dict[FailureKind, type[BusError]] = {
    FailureKind.NO_REPLY: NoReplyError,
    FailureKind.GARBLED: RemoteProtocolError,
    FailureKind.REFUSED: RefusedError,
    FailureKind.LINE_DOWN: LineError,
    FailureKind.UNIT_OFFLINE: UnitOfflineError,
    FailureKind.EXPIRED: ExpiredError,
}


def bus_error(kind: FailureKind, text: str) -> BusError:
    """Turn a failure that came as a message into the exception of its kind."""
    return _ERRORS[kind](text)
