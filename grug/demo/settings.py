"""What a demo is asked to be, and the house that it runs: the example configuration."""

from __future__ import annotations

import datetime
from pathlib import Path

import msgspec

import grug
from grug.app.load import load_house
from grug.config.types import HouseConfig, Seconds

FAST_DAY = datetime.datetime(2026, 6, 21, tzinfo=datetime.UTC)
"""The day that virtual time lives in."""


DEMO_TOKEN = "demo-is-no-secret"


class DemoSettings(msgspec.Struct, frozen=True):
    """Options of ``grug demo`` that decide what happens."""

    seed: int = 1
    start_hour: float = 0.0
    """Solar time at the start, 0..24."""
    hours: float | None = None
    """None runs until it is stopped."""
    offset_w: float = 0.0
    faults: tuple[str, ...] = ()
    fidelity: str = "wire"
    state: Path = Path("demo-state")
    serve: str = ""
    """Host and port where ``grug ship`` and others may fetch the log, with ``DEMO_TOKEN``."""


def example_house() -> Path:
    """The example configuration: inside the installed package, or beside it in a checkout."""
    package = Path(grug.__file__).parent
    inside = package / "house.toml"
    return inside if inside.is_file() else package.parent / "examples" / "house.toml"


MEASURED = {"gain": 0.45, "dead_time": Seconds(0.55), "lag": Seconds(0.1)}
"""What ``grug sim identify-plant`` finds of the simulated inverters."""


def measured(config: HouseConfig) -> HouseConfig:
    """The house as ``grug identify-plant --write`` would leave it: its inverters are known."""
    inverters = {
        name: msgspec.structs.replace(inverter, **MEASURED)
        for name, inverter in config.inverter.items()
    }
    return msgspec.structs.replace(config, inverter=inverters)


def demo_house(settings: DemoSettings, state: Path) -> HouseConfig:
    """The example house with the demo's state directory and offset."""
    config = measured(load_house(example_house()).house)
    return msgspec.structs.replace(
        config,
        site=msgspec.structs.replace(config.site, name="demo", state=str(state)),
        offset=msgspec.structs.replace(config.offset, power=settings.offset_w),
        log=msgspec.structs.replace(config.log, serve=settings.serve, token=DEMO_TOKEN),
    )
