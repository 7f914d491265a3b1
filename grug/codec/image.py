"""The registers of a device as bytes, ready to be served: the server side of a map.

Values are encoded when they are set, so that a read is a slice. Fake meters and simulated units
answer from it. Who may write, and whether an address that holds nothing is refused, is theirs to
decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

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
        registers = tuple(register_map.registers.values())
        for register in registers:
            area = self._areas[register.table]
            start = (register.address - area.base) * area.width
            place = slice(start, start + register.words * area.width)
            if register.scale_by is None:
                encoder = encoder_of(register)
            else:
                encoder = partial(self._encode_scaled, register)
            self._setters[register.name] = (encoder, area.data, place)
        self._factors = {each.scale_by.name for each in registers if each.scale_by is not None}
        self._pending: dict[str, Value] = {}
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

        Powers of ten among them hold for what they scale among the others, in any order.

        Raises:
            EncodeError: a value does not fit; the image is as before.
            KeyError: the map has no such register.
        """
        encoded = []
        pairs = list(zip(names, values, strict=True))
        if self._factors:
            self._pending = {name: value for name, value in pairs if name in self._factors}
        try:
            for name, value in pairs:
                encoder, data, place = self._setters[name]
                encoded.append((data, place, encoder(value)))
        finally:
            self._pending = {}
        for data, place, block in encoded:
            data[place] = block

    def _encode_scaled(self, register: Register, value: Value) -> bytes:
        """Encode by the power of ten that the image holds, or is about to."""
        assert register.scale_by is not None, "only for registers that another one scales"
        factor = register.scale_by.name
        exponent = self._pending[factor] if factor in self._pending else self.get(factor)
        return encoder_of(register.at_exponent(int(exponent)))(value)

    def get(self, name: str) -> Value:
        """The value of one register; the raw number if it is not a good one."""
        decoder = self._decoders.get(name)
        if decoder is None:
            register = self.register_map[name]
            runs = [register.span]
            if register.scale_by is not None:
                runs.append(register.scale_by.span)
            decoder = self._decoders[name] = BlockDecoder((register,), runs)
        blocks = [self.read(run.table, run.address, run.count) or b"" for run in decoder.runs]
        values, _ = decoder.decode(blocks)
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
