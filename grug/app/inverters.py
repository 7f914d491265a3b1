"""What is told to inverters by their registers: configuration to parts."""

from __future__ import annotations

import datetime as dt
from functools import partial

import trio

from grug.actors import dispatch, solis
from grug.app.control import House
from grug.app.writing import Writes
from grug.config.types import HouseConfig
from grug.control.dispatch import DispatchSettings
from grug.control.power_save import PowerSaveSettings
from grug.runtime.clock import WallClock, is_clock_set, local_zone
from grug.runtime.supervisor import Part


def inverter_parts(house: House, gate: Writes) -> list[Part]:
    """Dispatch, and whoever looks after clock and switch, of each inverter that wants it."""
    parts = []
    for dispatched in dispatch_settings(house.config):
        start = partial(
            dispatch.run,
            gate.caller,
            gate.questions,
            house.feed,
            settings=dispatched,
            stopping=house.stopping,
        )
        parts.append(Part(f"dispatch {dispatched.inverter}", start))
    for kept in solis_settings(house.config):
        start = partial(
            solis.run,
            gate.caller,
            gate.questions,
            house.feed,
            settings=kept,
            local_time=partial(_local_time, gate.wall, local_zone()),
            stopping=house.stopping,
        )
        parts.append(Part(f"solis {kept.inverter}", start))
    return parts


def solis_settings(config: HouseConfig) -> list[solis.SolisSettings]:
    """Of the inverters whose clock or switch is looked after."""
    kept = []
    for name, inverter in config.inverter.items():
        saving = inverter.power_save
        thresholds = None
        if saving is not None:
            thresholds = PowerSaveSettings(
                soc_off_pct=saving.soc_off,
                soc_on_pct=saving.soc_on,
                pv_off_v=saving.pv_off,
                pv_on_v=saving.pv_on,
                off_after_s=saving.off_after,
                on_after_s=saving.on_after,
                rest_s=saving.rest,
            )
        if thresholds is not None or inverter.keep_clock:
            kept.append(solis.SolisSettings(name, inverter.device, thresholds, inverter.keep_clock))
    return kept


def _local_time(wall: WallClock, zone: dt.tzinfo) -> dt.datetime | None:
    """Local time; None while the system's clock is not to be believed."""
    if wall.origin_s is None and not is_clock_set():
        return None
    return dt.datetime.fromtimestamp(wall.utc_ms(trio.current_time()) / 1000.0, zone)


def dispatch_settings(config: HouseConfig) -> list[DispatchSettings]:
    """Of the inverters that are told by their registers."""
    total = sum(inverter.share for inverter in config.inverter.values())
    return [
        DispatchSettings(
            inverter=name,
            device=inverter.device,
            # A true meter sees all of the grid's power, and its inverter aims at all of the offset.
            share=inverter.share / total if inverter.fakemeter else 1.0,
            failsafe_min=round(inverter.failsafe / 60.0),
            falls_back=inverter.control == "both",
            has_fakemeter=bool(inverter.fakemeter),
            power_w_max=config.offset.limit,
            line=config.device[inverter.device].line,
            unit_id=config.device[inverter.device].unit,
        )
        for name, inverter in config.inverter.items()
        if inverter.control != "mitm"
    ]
