"""Where registers lie in the joined blocks of their runs, and which structs unpack them.

Four byte orders need no work per register: a value whose words and bytes are both reversed is a
little-endian number, and one whose bytes or words alone are reversed is a plain number, big- or
little-endian, in a copy of the block with the bytes of every word swapped, which is one step in C.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from grug.codec.registers import Kind, Register
from grug.model import Span

FORMATS = {
    Kind.U16: "H",
    Kind.S16: "h",
    Kind.U32: "I",
    Kind.S32: "i",
    Kind.U64: "Q",
    Kind.S64: "q",
    Kind.F32: "f",
    Kind.F64: "d",
    Kind.BCD16: "H",
    Kind.BCD32: "I",
    Kind.UNIX32: "I",
}


@dataclass(frozen=True, slots=True)
class Layer:
    """Values that one struct unpacks at once."""

    is_swapped: bool
    """Unpack the copy with swapped bytes."""
    layout: struct.Struct
    slots: tuple[int, ...]
    """Which of the registers they are."""


class Blocks:
    """The blocks of some runs, joined: those of words first, so that words can be swapped."""

    def __init__(self, runs: Sequence[Span]) -> None:
        self.runs = tuple(runs)
        order = sorted(range(len(runs)), key=lambda index: runs[index].table.is_bits)
        self._order = None if order == list(range(len(runs))) else order
        self._starts: list[tuple[Span, int]] = []
        self.size = 0
        self.words_size = 0
        """Bytes of words, before those of bits."""
        for index in order:
            self._starts.append((runs[index], self.size))
            self.size += bytes_of(runs[index])
            if not runs[index].table.is_bits:
                self.words_size = self.size
        self._exact = dict(self._starts)

    def place_of(self, register: Register) -> int:
        """Where the register begins, in bytes.

        Raises:
            ValueError: it is not whole within one of the runs.
        """
        span = register.span
        if span in self._exact:
            return self._exact[span]
        for run, start in self._starts:
            if run.table is span.table and run.address <= span.address and span.end <= run.end:
                return start + (span.address - run.address) * (1 if span.table.is_bits else 2)
        raise ValueError(f"{register.name} is not within {self.runs}")

    def join(self, blocks: Sequence[bytes]) -> bytes:
        """Join the contents of the runs.

        Raises:
            ValueError: they are together not as long as the runs.
        """
        if self._order is not None:
            if len(blocks) != len(self.runs):
                raise ValueError(f"{len(blocks)} blocks for {len(self.runs)} runs")
            blocks = [blocks[index] for index in self._order]
        block = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        if len(block) != self.size:
            raise ValueError(f"{len(block)} bytes do not fill the runs {self.runs}")
        return block

    def swap(self, block: bytes) -> array[int]:
        """The words of a joined block with their bytes swapped."""
        words = array("H", block[: self.words_size])
        words.byteswap()
        return words

    def layers_of(self, registers: Sequence[Register]) -> list[Layer]:
        """The fewest structs that unpack all of these; more than one per order only for overlaps.

        Raises:
            ValueError: as ``place_of``.
        """
        sequences: dict[tuple[bool, str, int], list[tuple[int, int]]] = {}
        ends: dict[tuple[bool, str, int], int] = {}
        for place, slot in sorted((self.place_of(each), i) for i, each in enumerate(registers)):
            register = registers[slot]
            view = _view_of(register)
            level = 0
            while ends.get((*view, level), 0) > place:
                level += 1
            sequences.setdefault((*view, level), []).append((place, slot))
            ends[(*view, level)] = place + bytes_of(register.span)
        layers = []
        for (is_swapped, endian, _), places in sequences.items():
            size = self.words_size if is_swapped else self.size
            layout = endian + _fields_of(places, registers, size)
            slots = tuple(slot for _, slot in places)
            layers.append(Layer(is_swapped, struct.Struct(layout), slots))
        return layers


def bytes_of(span: Span) -> int:
    """How many bytes a block of this span has."""
    return span.count if span.table.is_bits else 2 * span.count


def byte_order(register: Register) -> list[int]:
    """Where the bytes of the value, highest first, lie in the register's words."""
    if register.table.is_bits:
        return [0]
    words = list(range(register.words))
    if register.order.swaps_words and not register.kind.is_bytes:
        words.reverse()
    swap = 1 if register.order.swaps_bytes else 0
    return [2 * word + (byte ^ swap) for word in words for byte in (0, 1)]


def format_of(register: Register) -> str:
    """How ``struct`` calls the raw value."""
    if register.kind.is_bytes:
        return f"{2 * register.words}s"
    if register.kind is Kind.BOOL:
        return "?" if register.table.is_bits else "H"
    return FORMATS[register.kind]


def _view_of(register: Register) -> tuple[bool, str]:
    """Whether the value is to be taken from swapped bytes, and which end it begins with."""
    swaps_bytes = register.order.swaps_bytes and not register.table.is_bits
    if register.kind.is_bytes:
        return swaps_bytes, ">"
    if register.words == 1:
        return False, "<" if swaps_bytes else ">"
    swaps_words = register.order.swaps_words
    return swaps_bytes is not swaps_words, "<" if swaps_words else ">"


def _fields_of(places: Iterable[tuple[int, int]], registers: Sequence[Register], size: int) -> str:
    end, fields = 0, ""
    for place, slot in places:
        fields += f"{place - end}x{format_of(registers[slot])}"
        end = place + bytes_of(registers[slot].span)
    return f"{fields}{size - end}x"
