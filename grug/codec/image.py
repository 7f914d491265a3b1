"""The registers of a device as bytes, ready to be served: the server side of a map.

Values are encoded when they are set, so that a read is a slice. Fake meters and simulated units
answer from it. Who may write, and whether an address that holds nothing is refused, is theirs to
decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from grug.codec.block import BlockDecoder, encoder_of
from grug.codec.registers import Register, RegisterMap
from grug.model import Table, Value

_MARGIN = 2000
"""Addresses kept before and after the used ones, so that any legal read that touches a register is
one slice: 2000 bits. Source: MODBUS Application Protocol V1.1b3, 6.1."""


class _Area:
    """One table: its bytes, and which of its addresses belong to which register."""

    def __init__(self, registers: Sequence[Register]) -> None:
        spans = [register.span for register in registers]
        self.width = 1 if spans[0].table.is_bits else 2
        self.base = max(0, min(span.address for span in spans) - _MARGIN)
        self.end = max(span.end for span in spans) + _MARGIN
        self.data = bytearray((self.end - self.base) * self.width)
        self.used = bytearray(self.end - self.base)
        self.owners: dict[int, list[Register]] = {}
        for register, span in zip(registers, spans, strict=True):
            for address in range(span.address, span.end):
                self.used[address - self.base] = 1
                self.owners.setdefault(address, []).append(register)


class RegisterImage:
    """All registers of a map, zero at first."""

    def __init__(self, register_map: RegisterMap) -> None:
        """Lay out the tables and compile an encoder for every register."""
        self.register_map = register_map
        by_table: dict[Table, list[Register]] = {}
        for register in register_map.registers.values():
            by_table.setdefault(register.table, []).append(register)
        self._areas = {table: _Area(registers) for table, registers in by_table.items()}
        self._setters: dict[str, tuple[Callable[[Value], bytes], bytearray, slice]] = {}
        for register in register_map.registers.values():
            area = self._areas[register.table]
            start = (register.address - area.base) * area.width
            place = slice(start, start + register.words * area.width)
            self._setters[register.name] = (encoder_of(register), area.data, place)
        self._decoders: dict[str, BlockDecoder] = {}
        if Table.INPUT_REGISTER in self._areas:
            for table in register_map.facts.mirrored:
                self._areas.setdefault(table, self._areas[Table.INPUT_REGISTER])

    def set(self, name: str, value: Value) -> None:
        """Set one register.

        Raises:
            EncodeError: the value does not fit; the image is as before.
            KeyError: the map has no such register.
        """
        encoder, data, place = self._setters[name]
        data[place] = encoder(value)

    def set_many(self, names: Iterable[str], values: Iterable[Value]) -> None:
        """Set several registers, all or none.

        Raises:
            EncodeError: a value does not fit; the image is as before.
            KeyError: the map has no such register.
        """
        encoded = []
        for name, value in zip(names, values, strict=True):
            encoder, data, place = self._setters[name]
            encoded.append((data, place, encoder(value)))
        for data, place, block in encoded:
            data[place] = block

    def get(self, name: str) -> Value:
        """The value of one register; the raw number if it is not a good one."""
        decoder = self._decoders.get(name)
        if decoder is None:
            register = self.register_map[name]
            decoder = self._decoders[name] = BlockDecoder((register,), (register.span,))
        _, data, place = self._setters[name]
        values, _ = decoder.decode((bytes(data[place]),))
        return values[0]

    def read(self, table: Table, address: int, count: int) -> bytes | None:
        """Serve a read.

        Args:
            table: which; a mirrored one shows the input registers.
            address: 0-based.
            count: words or bits, 1..2000.

        Returns:
            Big-endian words, or a byte (0 or 1) per bit, with zeros between registers; None when
            the range touches no register at all.
        """
        area = self._areas.get(table)
        if area is None:
            return None
        start = address - area.base
        end = start + count
        if start < 0 or area.used.find(1, start, end) < 0:
            return None
        return bytes(area.data[start * area.width : end * area.width])

    def write(self, table: Table, address: int, block: bytes) -> list[str]:
        """Take a write as it came.

        Args:
            table: which.
            address: 0-based.
            block: big-endian words, or one byte per bit.

        Returns:
            Names of the registers whose bytes changed, in the order of their addresses.
        """
        area = self._areas.get(table)
        if area is None:
            return []
        count = len(block) // area.width
        touched = {
            register.name
            for offset in range(count)
            for register in area.owners.get(address + offset, ())
            if register.table is table  # What a mirror shows cannot be written through it.
        }
        start = (address - area.base) * area.width
        changed = []
        for name in sorted(touched, key=lambda name: self._setters[name][2].start):
            _, data, place = self._setters[name]
            first, last = max(start, place.start), min(start + len(block), place.stop)
            before = bytes(data[first:last])
            data[first:last] = block[first - start : last - start]
            if data[first:last] != before:
                changed.append(name)
        return changed
