"""The simulated house behind a configuration: the same file that the app runs with.

The config says which device is the grid meter, which are the inverters' COM ports and AC meters,
on which lines they ask for their meter, and which is the charger and its meter; the units and
lines follow from that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import trio

from grug.codec.registers import RegisterMap
from grug.config.types import HouseConfig
from grug.errors import LineError
from grug.sim.charger import ChargerSetup
from grug.sim.devices import SolisUnit, TerraUnit
from grug.sim.faults import Fault, FaultKind, SimFaults, parse_fault
from grug.sim.house import House, HouseSetup
from grug.sim.household import PHASES
from grug.sim.inverter import InverterSetup
from grug.sim.line import QUERIES_PER_S, MeterQuestion, SimLine, SimMeterPort, SimPort
from grug.sim.units import (
    SimUnit,
    Source,
    charger_meter_sources,
    inverter_meter_sources,
    single_phase_meter_sources,
    three_phase_meter_sources,
)
from grug.transport.line import Line, LineOpener
from grug.transport.maps import load_map

METER_TYPE_ACREL = 1
METER_TYPE_EASTRON = 4
"""Values of the Solis' meter setting. Source: the seed's notes."""


class SimulatedHouse:
    """House, units and lines for one configuration."""

    def __init__(
        self,
        config: HouseConfig,
        seed: int,
        *,
        start_hour: float = 9.0,
        setup: HouseSetup | None = None,
        origin_s: float | None = None,
        queries_per_s: float = QUERIES_PER_S,
        maps: Callable[[str], RegisterMap] = load_map,
    ) -> None:
        """Build all of it.

        Args:
            config: as the app has it.
            seed: weather, appliances, faults and moods follow from it.
            start_hour: solar time at the start, 0..24; ignored when ``setup`` is given.
            setup: another house; inverters and chargers beyond those of the config are dropped,
                missing ones are added with the usual data.
            origin_s: the clock's time at the start; None is now.
            queries_per_s: how often inverters ask their meter.
            maps: gives a register map for a model's name.
        """
        self.config = config
        origin_s = trio.current_time() if origin_s is None else origin_s
        setup = setup or HouseSetup(start_hour=start_hour)
        self.house = House(_fitted(config, setup), seed, origin_s)
        self.faults = SimFaults(seed, origin_s)
        self._changed = trio.Event()
        self._maps = {
            model: maps(model)
            for model in sorted(
                {device.map for device in config.device.values()}
                | {fakemeter.profile for fakemeter in config.fakemeter.values()}
            )
        }
        self.units = {name: self._unit(name) for name in config.device}
        """By device name."""
        self.meter_ports: dict[str, SimMeterPort] = {}
        """By fake meter name."""
        self.ports: dict[str, SimPort] = {}
        """By line name."""
        self._lay_lines(queries_per_s)

    def opener(self, line_name: str) -> LineOpener:
        """Opens a line of the config, in memory."""
        port = self.ports.get(line_name)
        if port is not None:
            return port.open

        async def refuse() -> Line:
            await trio.lowlevel.checkpoint()
            raise LineError(f"{line_name}: nothing is connected to it")

        return refuse

    def unit_at(self, line_name: str, unit_id: int) -> SimUnit | None:
        """The unit with this id on a line."""
        for name, device in self.config.device.items():
            if device.line == line_name and device.unit == unit_id:
                return self.units[name]
        return None

    def apply(self, fault: Fault | str) -> None:
        """Let something go wrong; see ``parse_fault`` for the text.

        Raises:
            ValueError: it names nothing of this house, or is no fault.
        """
        if isinstance(fault, str):
            fault = parse_fault(fault, self.house.seconds_at(trio.current_time()))
        check_target(fault, self.config)
        self.faults.add(fault)
        self._changed.set()
        self._changed = trio.Event()

    async def run(self) -> None:
        """What happens by itself: readers are told when an adapter is unplugged. Runs for ever."""
        while True:
            now_s = self.house.seconds_at(trio.current_time())
            for port in self.ports.values():
                if port.is_unplugged:
                    port.wake()
            starts_s = [
                fault.start_s
                for fault in self.faults.faults
                if fault.kind is FaultKind.UNPLUG and fault.start_s > now_s
            ]
            wake_s = min(starts_s, default=float("inf")) + self.house.origin_s
            with trio.move_on_at(wake_s):
                await self._changed.wait()

    def truth(self) -> dict[str, float]:
        """Energies, powers and states as they really are now. See ``House.truth``."""
        self.house.advance(trio.current_time())
        return self.house.truth()

    def _lay_lines(self, queries_per_s: float) -> None:
        config = self.config
        for name, line in config.line.items():
            units = {
                key: self.units[key] for key, each in config.device.items() if each.line == name
            }
            if units:
                self.ports[name] = SimLine(
                    name,
                    units,
                    baudrate=line.baudrate,
                    framing=line.framing,
                    faults=self.faults,
                )
        for index, inverter_config in enumerate(config.inverter.values()):
            if not inverter_config.fakemeter:
                self.house.truly_metered.append(self.house.inverters[index])
                continue
            fakemeter = config.fakemeter[inverter_config.fakemeter]
            line = config.line[fakemeter.line]
            port = SimMeterPort(
                fakemeter.line,
                MeterQuestion(self._maps[fakemeter.profile], fakemeter.unit),
                self.house,
                self.house.inverters[index],
                fakemeter=inverter_config.fakemeter,
                baudrate=line.baudrate,
                framing=line.framing,
                queries_per_s=queries_per_s,
                faults=self.faults,
            )
            self.ports[fakemeter.line] = self.meter_ports[inverter_config.fakemeter] = port

    def _unit(self, name: str) -> SimUnit:
        """The unit that a device of the config stands for."""
        config, house, device = self.config, self.house, self.config.device[name]
        register_map = self._maps[device.map]
        for index, inverter_config in enumerate(config.inverter.values()):
            inverter = house.inverters[index]
            if name == inverter_config.device and device.map.startswith("solis"):
                meter = config.fakemeter.get(inverter_config.fakemeter)
                is_eastron = meter is not None and meter.profile.startswith("eastron")
                meter_type = METER_TYPE_EASTRON if is_eastron else METER_TYPE_ACREL
                return SolisUnit(house, device.unit, register_map, inverter, meter_type)
        for index, evse in enumerate(config.evse.values()):
            if name == evse.device and device.map.startswith("abb"):
                return TerraUnit(house, device.unit, register_map, house.chargers[index])
        return SimUnit(house, device.unit, register_map, self._meter_sources(name))

    def _meter_sources(self, name: str) -> dict[str, Source]:
        """What a meter shows, by where the config says it is; nothing when it does not say."""
        config, house = self.config, self.house
        if config.grid is not None and name in (
            config.grid.device,
            config.grid.second_series[0],
        ):
            return three_phase_meter_sources(house) | single_phase_meter_sources(
                house,
                0,
                lambda: house.grid_w,
                lambda: house.import_ws,
                lambda: house.export_ws,
            )
        for index, inverter_config in enumerate(config.inverter.values()):
            if name == inverter_config.meter:
                return inverter_meter_sources(house, house.inverters[index])
        for index, evse in enumerate(config.evse.values()):
            if name == evse.meter:
                return charger_meter_sources(house, house.chargers[index])
        return {}


def _fitted(config: HouseConfig, setup: HouseSetup) -> HouseSetup:
    """The setup with as many inverters and chargers as the config has, named as there."""
    inverters = []
    for index, name in enumerate(config.inverter):
        has = index < len(setup.inverters)
        part = setup.inverters[index] if has else InverterSetup(phase=index % PHASES)
        inverters.append(replace(part, name=name))
    chargers = [
        setup.chargers[index] if index < len(setup.chargers) else ChargerSetup()
        for index in range(len(config.evse))
    ]
    return replace(setup, inverters=tuple(inverters), chargers=tuple(chargers))


def check_target(fault: Fault, config: HouseConfig) -> None:
    """See that a fault is about something in the house.

    Raises:
        ValueError: it is not; the text says what there is.
    """
    known = dict.fromkeys([*config.device, *config.fakemeter, *config.line])
    if fault.target not in known:
        raise ValueError(f"{fault.target!r} is not in this house; there are {', '.join(known)}")
