"""What a house's log says of its series: units and decimals, out of the register maps."""

from __future__ import annotations

from collections.abc import Mapping

from grug.codec.registers import RegisterMap
from grug.config.types import HouseConfig
from grug.storage.segment import SeriesFacts
from grug.storage.series import About


def about_series(config: HouseConfig, maps: Mapping[str, RegisterMap]) -> About:
    """Name of the house, and unit and decimals of each register that is polled."""
    facts: dict[str, SeriesFacts] = {}
    for name, device in config.device.items():
        polled = {register for poll in device.poll for register in poll.registers}
        for register in maps[device.map].select(sorted(polled)):
            facts[f"{name}/{register.name}"] = SeriesFacts(register.unit, register.decimals)
    return About(config.site.name, facts)
