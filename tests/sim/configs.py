"""A small house's configuration: grid meter, two inverters with AC meters, charger with meter."""

from __future__ import annotations

from grug.config.types import (
    DeviceConfig,
    EvseConfig,
    FakeMeterConfig,
    GridConfig,
    HouseConfig,
    InverterConfig,
    LineConfig,
    PollConfig,
    Seconds,
)
from grug.model import Priority

SOLIS_NAMES = ("pv_power", "battery_power", "bms_battery_soc", "meter_total_active_power")
METER_NAMES = ("active_power", "voltage", "current")


def small_house(profile: str = "acrel_1_phase") -> HouseConfig:
    """The seed system's wiring, with few registers."""
    lines = {
        "grid": LineConfig(port="/dev/null/grid", baudrate=19200),
        "com1": LineConfig(port="/dev/null/com1"),
        "com2": LineConfig(port="/dev/null/com2"),
        "meter1": LineConfig(port="/dev/null/meter1"),
        "meter2": LineConfig(port="/dev/null/meter2"),
        "evse": LineConfig(port="/dev/null/evse"),
    }
    devices = {
        "grid": _device("grid", 1, "eastron_sdm630", 0.2, ("total_power", "phase_1_power")),
        "solis1": _device("com1", 1, "solis_s5_eh1p", 1.0, SOLIS_NAMES),
        "solis2": _device("com2", 2, "solis_s5_eh1p", 1.0, SOLIS_NAMES),
        "ac1": _device("com1", 3, "eastron_sdm120", 0.5, METER_NAMES),
        "ac2": _device("com2", 3, "eastron_sdm120", 0.5, METER_NAMES),
        "evse": _device("evse", 1, "abb_terra", 1.0, ("charge_state", "current", "active_power")),
        "car": _device("evse", 3, "eastron_sdm120", 0.5, METER_NAMES),
    }
    return HouseConfig(
        line=lines,
        device=devices,
        grid=GridConfig(device="grid"),
        fakemeter={
            "fake1": FakeMeterConfig(line="meter1", unit=1, profile=profile),
            "fake2": FakeMeterConfig(line="meter2", unit=2, profile=profile),
        },
        inverter={
            "solis1": InverterConfig(device="solis1", fakemeter="fake1", meter="ac1"),
            "solis2": InverterConfig(device="solis2", fakemeter="fake2", meter="ac2"),
        },
        evse={"garage": EvseConfig(device="evse", limit=10.0, meter="car")},
    )


def _device(
    line: str, unit: int, model: str, every_s: float, names: tuple[str, ...]
) -> DeviceConfig:
    priority = Priority.CONTROL if every_s < 0.3 else Priority.NORMAL
    poll = PollConfig(every=Seconds(every_s), registers=names, priority=priority)
    return DeviceConfig(line=line, unit=unit, map=model, poll=(poll,))
