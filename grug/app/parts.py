"""Who exists in a house: configuration to parts, the one table of actors.

*Sources* bring the world in (lines, pollers, fake meters); *controllers* command something. Both
live in the control process; ``grug.app.data`` has the other process. Tests and the demo put other
sources in place of these: all they have to do is publish the same messages and answer the calls.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

import trio

from grug.actors import agenda, bus, commands, evse, fakemeter, offset, poller
from grug.app.control import House
from grug.app.inverters import inverter_parts
from grug.app.writing import Writes
from grug.codec.registers import RegisterMap
from grug.codec.served import power_range_w
from grug.config.checks.steering import LIMIT_REGISTER
from grug.config.loads import group_name, line_schedule, spans_of, unit_traits
from grug.config.schedule import entry_of
from grug.config.types import DeviceConfig, GridConfig, HouseConfig, InverterConfig
from grug.control.carried import Carrier
from grug.control.circulation import CirculationSettings
from grug.control.images import IMAGE_NAMES
from grug.control.ladder import LadderSettings
from grug.control.meterport import MeterTally
from grug.control.offset import OffsetSettings, SteeredInverter
from grug.control.plant import Plant
from grug.control.steering import DriveSettings
from grug.control.wishes import WishLimits
from grug.model import Priority, Role, Wire, WireFraming
from grug.planner.schedule import Ticks
from grug.planner.verdicts import VerdictStore
from grug.protocol.ports import tcp_port
from grug.protocol.rtu import character_bits
from grug.runtime.calls import BusCaller, BusCalls, open_calls
from grug.runtime.clock import WallClock, is_clock_set, wall_s
from grug.runtime.supervisor import Part
from grug.transport.line import LineOpener
from grug.transport.maps import load_map
from grug.transport.ports import port_framing, port_opener
from grug.transport.tap import WireTap
from grug.transport.verdicts import VerdictFile

SILENCE_S_MIN = 120.0
SILENT_POLLS_MAX = 3
"""A TCP connection is opened anew after this long without any reply, and after no fewer polls."""


Maps: TypeAlias = Mapping[str, RegisterMap]


VOLTAGES = ("phase_1_line_to_neutral_volts", "voltage")
"""Registers of a meter that the inverters are told as their voltage, by the maps' names."""

LIVE_S = 0.7
LIVE_POLLS = 1.5
"""How old a live reading of the grid may be at least, in seconds and in periods of its poll."""


class Sources(NamedTuple):
    """What brings the world in, and how to call each line's owner."""

    parts: list[Part]
    buses: Mapping[str, BusCaller]
    """By line."""


def load_maps(config: HouseConfig, own: Path | None = None) -> dict[str, RegisterMap]:
    """The maps that a house needs, by model.

    Args:
        config: the house.
        own: directory of maps that come before grug's; need not be there.

    Raises:
        MapError: one is missing or wrong.
    """
    models = {device.map for device in config.device.values()}
    models |= {meter.profile for meter in config.fakemeter.values()}
    return {model: load_map(model, own) for model in sorted(models)}


def real_openers(config: HouseConfig) -> dict[str, LineOpener]:
    """How to open each line of a house with real adapters and gateways."""
    return {
        name: port_opener(line.port, line.baudrate, line.framing, line.rs485)
        for name, line in config.line.items()
    }


def tap_of(config: HouseConfig) -> WireTap | None:
    """What gathers the frames of a house; None for one that keeps none."""
    return WireTap() if config.log.frames else None


def tapped(
    config: HouseConfig, openers: Mapping[str, LineOpener], tap: WireTap | None
) -> Mapping[str, LineOpener]:
    """The same openers, with a tap on each line."""
    if tap is None:
        return openers
    meter_lines = {meter.line for meter in config.fakemeter.values()}
    return {
        name: tap.tapped(
            Wire(
                name,
                Role.SERVER if name in meter_lines else Role.CLIENT,
                _wire_framing(config.line[name].port),
            ),
            open_line,
        )
        for name, open_line in openers.items()
    }


def wire_sources(
    house: House,
    maps: Maps,
    openers: Mapping[str, LineOpener],
    verdicts: VerdictStore | None = None,
) -> Sources:
    """Bus owners, pollers and fake meters on lines that carry bytes.

    Args:
        house: what is configured.
        maps: by model.
        openers: by line.
        verdicts: where it is kept what units refuse.
    """
    config = house.config
    parts: list[Part] = []
    buses: dict[str, BusCaller] = {}
    meter_lines = {meter.line for meter in config.fakemeter.values()}
    for name in config.line:
        if name not in meter_lines:
            buses[name], part = _bus(house, maps, name, openers[name], verdicts)
            parts.append(part)
    ticks = {name: line_schedule(config, maps, name).ticks for name in buses}
    for name, device in config.device.items():
        groups = list(_poll_groups(config, maps, name, ticks[device.line]))
        if groups:
            start = partial(
                poller.run,
                buses[device.line],
                house.feed,
                device=name,
                unit_id=device.unit,
                groups=groups,
            )
            parts.append(Part(f"poller {name}", start))
    for name, meter in config.fakemeter.items():
        start = partial(
            fakemeter.run,
            house.feed,
            meter_settings(config, maps, name),
            open_line=openers[meter.line],
            tally=MeterTally(),
        )
        parts.append(Part(f"fake meter {name}", start))
    return Sources(parts, buses)


def meter_settings(config: HouseConfig, maps: Maps, name: str) -> fakemeter.MeterSettings:
    """What a fake meter needs to know."""
    meter = config.fakemeter[name]
    return fakemeter.MeterSettings(
        name=name,
        unit_id=meter.unit,
        profile=maps[meter.profile],
        baudrate=config.line[meter.line].baudrate,
        line_name=meter.line,
        turnaround_s=meter.turnaround,
        phases=meter.phases,
        identity=meter.identity,
        unknown=meter.unknown,
    )


def controllers(house: House, maps: Maps, gate: Writes) -> list[Part]:
    """Everything that commands the house."""
    config = house.config
    parts = []
    settings = offset_settings(config, maps)
    if settings is not None:
        start = partial(
            offset.run,
            house.feed,
            settings=settings,
            stopping=house.stopping,
            memory=offset.OffsetMemory(house.feed),
        )
        parts.append(Part("offset", start))
    parts += inverter_parts(house, gate)
    for name, charger in config.evse.items():
        charging = evse.EvseSettings(
            device=charger.device,
            register=LIMIT_REGISTER,
            limit_a=charger.limit,
            resend_s=charger.resend,
            on_stop_a=charger.on_stop,
        )
        start = partial(
            evse.run, gate.caller, house.feed, settings=charging, stopping=house.stopping
        )
        parts.append(Part(f"evse {name}", start))
    return parts


def desk(house: House, maps: Maps, gate: Writes) -> list[Part]:
    """Where other processes bring their wishes; only a house with real time has one."""
    path = Path(house.config.site.state) / commands.SOCKET
    start = partial(
        commands.run,
        house.feed,
        socket_path=path,
        settings=offset_settings(house.config, maps),
        writes=gate.caller,
        values=gate.questions,
    )
    return [Part("commands", start, is_vital=False)]


def schedule(
    house: House,
    wall: WallClock,
    zone: dt.tzinfo,
    is_set: Callable[[], bool] = is_clock_set,
) -> list[Part]:
    """What asks for the schedule's wishes.

    Args:
        house: what is configured.
        wall: the clock that its times are on.
        zone: the zone that its times are in.
        is_set: whether that clock can be believed.
    """
    entries = [entry_of(name, entry) for name, entry in house.config.schedule.items()]
    if not entries:
        return []

    def wall_now() -> dt.datetime:
        return dt.datetime.fromtimestamp(wall.utc_ms(trio.current_time()) / 1000, zone)

    start = partial(
        agenda.run,
        house.feed,
        entries=entries,
        wall_now=wall_now,
        is_clock_set=is_set,
        memory=agenda.AgendaMemory(),
    )
    return [Part("schedule", start, is_vital=False)]


def offset_settings(config: HouseConfig, maps: Maps) -> OffsetSettings | None:
    """What the offset controller needs to know; None for a house that steers nothing."""
    if config.grid is None or not config.inverter:
        return None
    inverters = []
    for name, inverter in config.inverter.items():
        device = config.device[inverter.device]
        steered = SteeredInverter(
            name=name,
            fakemeter=inverter.fakemeter,
            share=inverter.share,
            line=device.line,
            unit_id=device.unit,
            device=inverter.device,
            meter=inverter.meter,
            plant=_plant_of(inverter),
            carrier=Carrier(inverter.control),
        )
        if inverter.fakemeter:
            meter = config.fakemeter[inverter.fakemeter]
            low_w, high_w = power_range_w(maps[meter.profile])
            steered = replace(
                steered,
                max_age_s=meter.max_age,
                image_names=IMAGE_NAMES,
                power_w_min=low_w,
                power_w_max=high_w,
            )
        inverters.append(steered)
    grid = config.device[config.grid.device]
    polled = _polled_of(grid)
    second = config.device.get(config.grid.second_series[0])
    second_polled = _polled_of(second) if second is not None else set()
    return OffsetSettings(
        grid_device=config.grid.device,
        grid_register=config.grid.register,
        inverters=tuple(inverters),
        ladder=LadderSettings(
            live_s=_live_s(config.grid, config.device[config.grid.device]),
            second_s=config.grid.second_max_age,
            max_age_s=max(inverter.max_age_s for inverter in inverters),
        ),
        second_device=config.grid.second_series[0],
        second_register=config.grid.second_series[1],
        second_sign=config.grid.second_sign,
        is_second_relayed=config.grid.second_series[0]
        in {inverter.device for inverter in config.inverter.values()},
        second_voltage_register=_first_of(second_polled, *VOLTAGES),
        second_frequency_register=_first_of(second_polled, "frequency"),
        limits=WishLimits(
            power_w=config.offset.power,
            limit_w=config.offset.limit,
            export_w_max=_bound_w(config.offset.export_max),
            import_w_max=_bound_w(config.offset.import_max),
        ),
        slew_w_per_s=config.offset.slew,
        drive=DriveSettings(
            reserve_w=config.offset.reserve,
            circulation=CirculationSettings(
                config.offset.circulation, config.offset.circulation_time
            ),
        ),
        voltage_register=_first_of(polled, *VOLTAGES),
        frequency_register=_first_of(polled, "frequency"),
        import_energy_register=_first_of(polled, "total_import_kwh", "import_active_energy"),
        export_energy_register=_first_of(polled, "total_export_kwh", "export_active_energy"),
    )


def _live_s(grid: GridConfig, device: DeviceConfig) -> float:
    """How old a live reading may be."""
    if grid.live is not None:
        return grid.live
    periods = [poll.every for poll in device.poll if grid.register in poll.registers]
    return max(LIVE_S, LIVE_POLLS * min(periods, default=0.0))


def _bus(
    house: House,
    maps: Maps,
    name: str,
    open_line: LineOpener,
    verdicts: VerdictStore | None,
) -> tuple[BusCaller, Part]:
    line = house.config.line[name]
    units = {
        device.unit: replace(
            unit_traits(house.config, maps, device),
            identity=f"{device.map} {name}/{device.unit}",
        )
        for device in house.config.device.values()
        if device.line == name
    }
    timing = bus.LineTiming(
        baudrate=line.baudrate,
        reply_timeout_s=line.timeout,
        gap_s=line.gap,
        settle_s=line.settle,
        character_bits=character_bits(line.framing),
        switch_gap_s=line.switch_gap,
        silence_s_max=_silence_s_max(house.config, name),
        framing=port_framing(line.port),
    )
    caller: BusCaller
    calls: BusCalls
    caller, calls = open_calls()

    async def start() -> None:
        await bus.run(
            calls,
            house.feed,
            line_name=name,
            open_line=open_line,
            timing=timing,
            units=units,
            verdicts=verdicts,
        )

    return caller, Part(f"bus {name}", start)


def _wire_framing(port: str) -> WireFraming:
    place = tcp_port(port)
    return WireFraming.RTU if place is None or place.is_rtu else WireFraming.MBAP


def verdicts_of(config: HouseConfig) -> VerdictFile:
    """Where a house keeps what its units refuse."""
    return VerdictFile(Path(config.site.state) / "verdicts.json", wall_s)


def _silence_s_max(config: HouseConfig, line: str) -> float:
    """How long a connection may be without a reply, until it is thought to be half open."""
    if tcp_port(config.line[line].port) is None:
        return math.inf
    devices = [device for device in config.device.values() if device.line == line]
    slowest_s = max((poll.every for device in devices for poll in device.poll), default=0.0)
    return max(SILENCE_S_MIN, SILENT_POLLS_MAX * slowest_s)


def _poll_groups(
    config: HouseConfig,
    maps: Maps,
    name: str,
    ticks: Mapping[tuple[str, str], Ticks],
) -> Iterator[poller.PollGroup]:
    device = config.device[name]
    register_map = maps[device.map]
    for number, poll in enumerate(device.poll):
        registers = register_map.select(poll.registers)
        yield poller.PollGroup(
            every_s=poll.every,
            registers=registers,
            spans=spans_of(registers),
            priority=Priority(poll.priority),
            ticks=ticks.get((name, group_name(device, number))),
            is_snapshot=poll.snapshot,
        )


def _plant_of(inverter: InverterConfig) -> Plant:
    """How an inverter answers to its meter, if that was measured."""
    if inverter.gain is None or inverter.dead_time is None:
        return Plant(is_measured=False)
    return Plant(inverter.gain, inverter.dead_time, inverter.lag)


def _bound_w(bound_w: float | None) -> float:
    """A bound that is not there bounds nothing."""
    return math.inf if bound_w is None else bound_w


def _polled_of(device: DeviceConfig) -> set[str]:
    return {name for poll in device.poll for name in poll.registers}


def _first_of(polled: Set[str], *names: str) -> str:
    return next((name for name in names if name in polled), "")
