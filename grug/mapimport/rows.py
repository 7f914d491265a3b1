"""What every importer produces: registers as the source has them, with doubts, and what is wrong.

Values only. An importer never gives up at the first fault: it notes the problem, leaves the row out
and goes on, so that a person sees all of them at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal

from grug.codec.registers import Access, Bit, Choice, DeviceFacts, Kind, WordOrder
from grug.errors import Problem
from grug.model import Table


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """One register as a source describes it."""

    name: str
    """As a person wrote it; the writer makes an identifier of it."""
    table: Table
    address: int
    """0-based, as on the wire."""
    kind: Kind
    words: int = 0
    """0 stands for what the kind needs."""
    count: int = 1
    """Of an array, the values that follow each other."""
    order: WordOrder = WordOrder.ABCD
    scale: Decimal = Decimal(1)
    offset: Decimal = Decimal(0)
    scale_by: str = ""
    """Name of the row that holds the power of ten to scale by."""
    unit: str = ""
    decimals: int = 0
    access: Access = Access.READ
    invalid: tuple[int, ...] = ()
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    note: str = ""
    bits: tuple[Bit, ...] = ()
    choices: tuple[Choice, ...] = ()
    bit: int | None = None
    """The row is only this bit of a word; the writer gathers the bits of a word into one field."""
    unit_id: int | None = None
    """Of the unit on the bus, where the source knows several."""
    line: int = 0
    """Of the source, 1-based; 0 when it has none."""
    place: str = ""
    """Where in the source it was, when a line does not say it: a page, the number of a field."""
    doubts: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """Addresses that one value takes."""
        return self.words or self.kind.words

    def doubting(self, *doubts: str) -> ImportedRow:
        """The same row with more doubts; empty ones are ignored."""
        return replace(self, doubts=(*self.doubts, *(doubt for doubt in doubts if doubt)))


@dataclass(slots=True)
class Import:
    """What was read from a source; importers fill it."""

    source: str
    """File name, for messages."""
    rows: list[ImportedRow] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    """What cannot be imported, so that nothing is written."""
    left_out: list[Problem] = field(default_factory=list)
    """Rows that are not imported, where some are expected: in a document for people."""
    is_tolerant: bool = False
    """Whether rows that cannot be in a map are left out, instead of being problems."""
    notes: list[str] = field(default_factory=list)
    """What was taken for what, and what was left out on purpose."""
    facts: DeviceFacts = field(default_factory=DeviceFacts)

    def complain(self, text: str, line: int = 0, place: str = "") -> None:
        """Note a problem, or a row left out where that is expected."""
        problem = Problem(self.source, line, f"{place}: {text}" if place else text)
        (self.left_out if self.is_tolerant and (line or place) else self.problems).append(problem)
