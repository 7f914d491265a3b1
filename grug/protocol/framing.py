"""How requests and replies are wrapped on a line: what a bus owner needs to know of it, and RTU.

A framing lives as long as its line does, through all connections, and remembers what that takes.
"""

from __future__ import annotations

from typing import Protocol

from grug.model import Span, Table
from grug.protocol.client import (
    MaskWriteTransaction,
    ReadTransaction,
    ReadWriteTransaction,
    WriteTransaction,
)


class Exchange(Protocol):
    """One request, and the search for its reply in what arrives."""

    @property
    def adu(self) -> bytes:
        """The bytes to send."""

    @property
    def reply_bytes(self) -> int:
        """Length of the reply that is hoped for."""

    @property
    def has_received(self) -> bool:
        """Whether anything but our own echo has arrived."""

    @property
    def what_came(self) -> str:
        """Why what has arrived is no answer, for people."""

    @property
    def missing_bytes(self) -> int:
        """How many bytes have yet to come of what has begun; 0 where nobody knows."""

    def receive(self, data: bytes) -> bytes | None:
        """Add what arrived.

        Returns:
            What was read (``b""`` for a write) once it is all there; None while more is needed.

        Raises:
            ExceptionReply: the unit refused.
            RemoteProtocolError: nothing that follows could be understood.
        """


class Framing(Protocol):
    """Makes exchanges for one line, one after the other."""

    is_numbered: bool
    """Whether replies say which request they answer, so that a late one is never mistaken."""
    is_stored: bool
    """Whether something between us and the wire passes replies on only when it has all of them."""

    def begin(self) -> None:
        """A new connection begins: nothing of the last one will come any more."""

    def read(self, unit_id: int, span: Span) -> Exchange:
        """A read; raises LocalProtocolError when Modbus has no such request."""

    def write(
        self, unit_id: int, table: Table, address: int, block: bytes, *, always_multiple: bool
    ) -> Exchange:
        """A write; raises LocalProtocolError when Modbus has no such request."""

    def mask_write(self, unit_id: int, address: int, block: bytes, mask: bytes) -> Exchange:
        """A write of some bits of a holding register; raises LocalProtocolError likewise."""

    def read_write(self, unit_id: int, address: int, block: bytes, read: Span) -> Exchange:
        """A write, then a read, of holding registers; raises LocalProtocolError likewise."""

    def ended(self, *, is_answered: bool) -> str:
        """Learn from the exchange that has just ended.

        Returns:
            Why only a new connection can help; empty while this one will do.
        """


class RtuFraming:
    """Unit id, PDU and checksum; see ``Framing``."""

    is_numbered = False
    is_stored = False

    def __init__(self) -> None:
        self._line_echoes = False
        self._exchange: (
            ReadTransaction | WriteTransaction | MaskWriteTransaction | ReadWriteTransaction | None
        ) = None

    def begin(self) -> None:
        """See ``Framing.begin``: the adapter is most likely the same."""

    def read(self, unit_id: int, span: Span) -> ReadTransaction:
        """See ``Framing.read``."""
        self._exchange = exchange = ReadTransaction(unit_id, span)
        return exchange

    def write(
        self, unit_id: int, table: Table, address: int, block: bytes, *, always_multiple: bool
    ) -> WriteTransaction:
        """See ``Framing.write``."""
        self._exchange = exchange = WriteTransaction(
            unit_id,
            table,
            address,
            block,
            always_multiple=always_multiple,
            line_echoes=self._line_echoes,
        )
        return exchange

    def mask_write(
        self, unit_id: int, address: int, block: bytes, mask: bytes
    ) -> MaskWriteTransaction:
        """See ``Framing.mask_write``."""
        self._exchange = exchange = MaskWriteTransaction(
            unit_id, address, block, mask, line_echoes=self._line_echoes
        )
        return exchange

    def read_write(
        self, unit_id: int, address: int, block: bytes, read: Span
    ) -> ReadWriteTransaction:
        """See ``Framing.read_write``."""
        self._exchange = exchange = ReadWriteTransaction(unit_id, address, block, read)
        return exchange

    def ended(self, *, is_answered: bool) -> str:
        """See ``Framing.ended``: an adapter that hears itself does so always."""
        if self._exchange is not None and self._exchange.saw_echo:
            self._line_echoes = True
        return ""


class StoredRtuFraming(RtuFraming):
    """RTU behind a server that hands a reply on only when it has all of it; see ``Framing``."""

    is_stored = True
