"""What an image says beside its power: what was measured, and what follows from the power. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

VOLTAGE_V_MIN = 50.0
"""Under it there is no grid to speak of, and no current is worked out from the power."""

IMAGE_NAMES = (
    "voltage",
    "current",
    "active_power",
    "reactive_power",
    "apparent_power",
    "power_factor",
    "frequency",
    "import_active_energy",
    "export_active_energy",
)
"""Registers of a one-phase meter that an image can fill, as the maps name them."""


class GridOthers(msgspec.Struct, frozen=True):
    """What else the grid meter said; each a (value, read_s), None when never read well."""

    voltage_v: tuple[float, float] | None = None
    frequency_hz: tuple[float, float] | None = None
    import_energy_kwh: tuple[float, float] | None = None
    export_energy_kwh: tuple[float, float] | None = None


def known_others(others: GridOthers) -> dict[str, float]:
    """What is passed on from the grid meter, by the name that fake meters have for it.

    What the house does not poll is zero: what a meter's unused registers hold.
    """
    return {
        "voltage": others.voltage_v[0] if others.voltage_v else 0.0,
        "frequency": others.frequency_hz[0] if others.frequency_hz else 0.0,
        "import_active_energy": others.import_energy_kwh[0] if others.import_energy_kwh else 0.0,
        "export_active_energy": others.export_energy_kwh[0] if others.export_energy_kwh else 0.0,
    }


def values_of(
    names: Sequence[str], power_w: float, known: Mapping[str, float]
) -> tuple[float, ...]:
    """Values of one image, by ``names``: measured where measured, else what follows from the power.

    The offset is active power alone, so apparent power is its magnitude and reactive power zero.
    Every name is always given, so that the fake meter never keeps an old value.
    """
    magnitude_w = abs(power_w)
    voltage_v = known["voltage"]
    values = {
        **known,
        "active_power": power_w,
        "apparent_power": magnitude_w,
        "reactive_power": 0.0,
        "power_factor": 1.0 if power_w >= 0 else -1.0,
        "current": magnitude_w / voltage_v if voltage_v > VOLTAGE_V_MIN else 0.0,
    }
    return tuple([values[name] for name in names])
