"""Simulated units: Modbus devices whose registers show the simulated house.

A unit answers from a register image. Before a read, the registers that it touches are filled from
the house as it is at that moment; nothing else is computed. What is written takes effect in the
house. Every source of a value is rounded as its device measures, so that the same numbers reach a
reader over the wire and through ``values``.

Source of the devices' resolutions and quirks: the seed's notes (SDM630 down to 0 W at 1 W, SDM120
zero below 50 W, ABB Terra's registers that must not be written).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from grug.codec.decimals import ratio_of
from grug.codec.image import RegisterImage
from grug.codec.registers import Register, RegisterMap
from grug.model import Span, Table, Value
from grug.planner.writes import OPTIONAL_FUNCTIONS, WRITE_WORD, masked
from grug.protocol.server import (
    ILLEGAL_DATA_ADDRESS,
    ILLEGAL_DATA_VALUE,
    ILLEGAL_FUNCTION,
    ServerRequest,
    exception_reply,
    read_reply,
    write_reply,
)
from grug.sim.charger import Charger
from grug.sim.house import House
from grug.sim.inverter import Inverter

Source: TypeAlias = Callable[[], Value]


class SimUnit:
    """One unit on a line."""

    def __init__(
        self, house: House, unit_id: int, register_map: RegisterMap, sources: Mapping[str, Source]
    ) -> None:
        """Make a unit.

        Args:
            house: what it measures and steers.
            unit_id: 1..247.
            register_map: its registers.
            sources: by register name, what a register shows. Names that the map does not have are
                left out; registers without a source keep what was written, zero at first.
        """
        self.house = house
        self.unit_id = unit_id
        self.register_map = register_map
        self.image = RegisterImage(register_map)
        self._registers = register_map.registers
        self.sources = {name: source for name, source in sources.items() if name in self._registers}
        self._by_range: dict[
            tuple[Table, int, int], tuple[tuple[str, ...], tuple[Source, ...]]
        ] = {}
        self._quantisers = {name: _quantiser(self._registers[name]) for name in self.sources}

    def answer(self, request: ServerRequest, now_s: float) -> bytes | None:
        """The ADU that answers a request; None when it is not for this unit."""
        if request.unit_id != self.unit_id:
            return None
        if request.fault:
            return exception_reply(request, request.fault)
        if request.is_read:
            block = self.read(Span(request.table, request.address, request.count), now_s)
            if isinstance(block, int):
                return exception_reply(request, block)
            return read_reply(request, block)
        facts = self.register_map.facts
        if (request.function == WRITE_WORD and facts.write_function == "multiple") or (
            request.function in OPTIONAL_FUNCTIONS and request.function not in facts.functions
        ):
            return exception_reply(request, ILLEGAL_FUNCTION)
        code = self.write(request.table, request.address, request.block, now_s, request.mask)
        if code or request.reads is None:
            return exception_reply(request, code) if code else write_reply(request)
        held = self.read(request.reads, now_s)
        return (
            exception_reply(request, held) if isinstance(held, int) else read_reply(request, held)
        )

    def read(self, span: Span, now_s: float) -> bytes | int:
        """The contents of a span as in ``RegistersRead.blocks``, or an exception code."""
        self.heard(now_s)
        if span.count > self.register_map.facts.words_max and not span.table.is_bits:
            return ILLEGAL_DATA_VALUE
        self.house.advance(now_s)
        key = (span.table, span.address, span.count)
        found = self._by_range.get(key)
        if found is None:
            found = self._by_range[key] = self._sources_within(span)
        names, sources = found
        if names:
            self.image.set_many(names, [source() for source in sources])
        block = self.image.read(*key)
        return ILLEGAL_DATA_ADDRESS if block is None else block

    def write(
        self, table: Table, address: int, block: bytes, now_s: float, mask: bytes = b""
    ) -> int:
        """Take a write, of the bits in the mask if there is one; returns 0 or an exception code."""
        self.heard(now_s)
        count = len(block) if table.is_bits else len(block) // 2
        touched = self._touched(Span(table, address, count))
        before = self.image.read(table, address, count)
        if before is None:
            return ILLEGAL_DATA_ADDRESS
        if mask:
            block = masked(before, block, mask)
        self.house.advance(now_s)
        self.image.write(table, address, block)
        for register in touched:
            self.written(register, self.image.get(register.name), now_s)
        return 0

    def values(self, names: Sequence[str], now_s: float) -> tuple[Value, ...]:
        """What a reader of these registers would get, without the bytes in between."""
        self.house.advance(now_s)
        return tuple(getter() for getter in self.getters(names))

    def getters(self, names: Sequence[str]) -> tuple[Source, ...]:
        """For each register a function that gives what a reader would get after ``advance``."""
        return tuple(self._getter(name) for name in names)

    def heard(self, now_s: float) -> None:
        """Any request for this unit came in."""

    def written(self, register: Register, value: Value, now_s: float) -> None:
        """A register was written; the house has been advanced to now."""

    def _getter(self, name: str) -> Source:
        source = self.sources.get(name)
        if source is None:
            return lambda: self.image.get(name)
        quantise = self._quantisers[name]
        if quantise is None:
            return source
        number: Callable[[], float] = source  # type: ignore[assignment]
        return lambda: quantise(number())

    def _touched(self, span: Span) -> list[Register]:
        """Registers that have at least one address in the span."""
        return [
            register
            for register in self._registers.values()
            if register.table is span.table
            and register.address < span.end
            and span.address < register.span.end
        ]

    def _sources_within(self, span: Span) -> tuple[tuple[str, ...], tuple[Source, ...]]:
        spans = [span]
        if span.table in self.register_map.facts.mirrored:
            spans.append(Span(Table.INPUT_REGISTER, span.address, span.count))
        names = tuple(
            register.name
            for each in spans
            for register in self._touched(each)
            if register.name in self.sources
        )
        return names, tuple(self.sources[name] for name in names)


def _quantiser(register: Register) -> Callable[[float], float] | None:
    """How a number changes on its way through the register; None when it does not."""
    if not register.kind.is_integer:
        return None
    numerator, offset, denominator = ratio_of(register.scale, register.offset)
    if denominator == 1:
        return lambda value: round((value - offset) / numerator) * numerator + offset
    return lambda value: (
        (round((value * denominator - offset) / numerator) * numerator + offset) / denominator
    )


def phase_voltage(house: House, phase: int) -> float:
    """Voltage of a phase at the house's connection, in V: the grid's own, less the line's drop."""
    slow = ((house.elapsed_s * (0.0031 + 0.0007 * phase)) % 2.0) - 1.0
    return 231.0 + 1.5 * (2.0 * abs(slow) - 1.0) - 0.0006 * house.phase_w[phase]


def frequency(house: House) -> float:
    """Frequency of the grid, in Hz."""
    return 50.0 + 0.02 * (abs((house.elapsed_s * 0.021) % 4.0 - 2.0) - 1.0)


def three_phase_meter_sources(house: House) -> dict[str, Source]:
    """Registers of a meter at the house's connection, named as in the SDM630's map."""
    phase_w = house.phase_w
    sources: dict[str, Source] = {
        "total_power": lambda: float(round(house.grid_w)),
        "total_volt_amps": lambda: float(round(sum(map(abs, phase_w)))),
        "total_power_factor": lambda: round(house.grid_w / max(1.0, sum(map(abs, phase_w))), 3),
        "frequency": lambda: round(frequency(house), 2),
        "total_import_kwh": lambda: round(sum(house.phase_import_ws) / 3.6e6, 3),
        "total_export_kwh": lambda: round(sum(house.phase_export_ws) / 3.6e6, 3),
        "average_line_to_neutral_volts": lambda: round(
            sum(phase_voltage(house, phase) for phase in range(3)) / 3, 1
        ),
        "sum_of_line_currents": lambda: round(
            sum(abs(phase_w[phase]) / phase_voltage(house, phase) for phase in range(3)), 2
        ),
    }
    for phase in range(3):
        sources |= _phase_sources(house, phase)
    return sources


def _phase_sources(house: House, phase: int) -> dict[str, Source]:
    """Registers of one phase of the SDM630."""
    phase_w, name = house.phase_w, f"phase_{phase + 1}"
    return {
        f"{name}_line_to_neutral_volts": lambda: round(phase_voltage(house, phase), 1),
        f"{name}_current": lambda: round(abs(phase_w[phase]) / phase_voltage(house, phase), 2),
        f"{name}_power": lambda: float(round(phase_w[phase])),
        f"{name}_volt_amps": lambda: float(round(abs(phase_w[phase]))),
        f"{name}_power_factor": lambda: 1.0 if phase_w[phase] >= 0 else -1.0,
        f"l{phase + 1}_import_kwh": lambda: round(house.phase_import_ws[phase] / 3.6e6, 3),
        f"l{phase + 1}_export_kwh": lambda: round(house.phase_export_ws[phase] / 3.6e6, 3),
    }


ZERO_BELOW_W = 50.0
"""An SDM120 shows nothing below this. Source: the seed's notes."""


def single_phase_meter_sources(
    house: House,
    phase: int,
    power_w: Callable[[], float],
    import_ws: Callable[[], float],
    export_ws: Callable[[], float],
) -> dict[str, Source]:
    """Registers of a meter on one phase, named as in the SDM120's map.

    Args:
        house: for voltage and frequency.
        phase: 0..2.
        power_w: what it measures, plus = taken from the house's mains.
        import_ws: energy taken since the start, in W s.
        export_ws: energy given back since the start, in W s.
    """

    def shown_w() -> float:
        measured_w = power_w()
        return float(round(measured_w)) if abs(measured_w) >= ZERO_BELOW_W else 0.0

    return {
        "active_power": shown_w,
        "apparent_power": lambda: abs(shown_w()),
        "voltage": lambda: round(phase_voltage(house, phase), 1),
        "current": lambda: round(abs(power_w()) / phase_voltage(house, phase), 2),
        "power_factor": lambda: 1.0 if power_w() >= 0 else -1.0,
        "frequency": lambda: round(frequency(house), 2),
        "import_active_energy": lambda: round(import_ws() / 3.6e6, 3),
        "export_active_energy": lambda: round(export_ws() / 3.6e6, 3),
        "total_active_energy": lambda: round((import_ws() + export_ws()) / 3.6e6, 3),
    }


def inverter_meter_sources(house: House, inverter: Inverter) -> dict[str, Source]:
    """The meter at an inverter's AC port; as seen from the mains: plus is what it takes."""
    return single_phase_meter_sources(
        house,
        inverter.setup.phase,
        lambda: -inverter.ac_w,
        lambda: inverter.import_ws,
        lambda: inverter.export_ws,
    )


def charger_meter_sources(house: House, charger: Charger) -> dict[str, Source]:
    """The meter before a charger: plus is what the car takes."""
    return single_phase_meter_sources(
        house,
        charger.setup.phase,
        lambda: charger.power_w,
        lambda: charger.energy_ws,
        lambda: 0.0,
    )
