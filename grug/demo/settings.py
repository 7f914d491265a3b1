"""What a demo is asked to be, and the house that it runs: the example configuration."""

from __future__ import annotations

import datetime
from pathlib import Path

import msgspec

import grug
from grug.app.load import load_house
from grug.config.types import HouseConfig

FAST_DAY = datetime.datetime(2026, 6, 21, tzinfo=datetime.UTC)
"""The day that virtual time lives in."""


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


def example_house() -> Path:
    """The example configuration: inside the installed package, or beside it in a checkout."""
    package = Path(grug.__file__).parent
    inside = package / "house.toml"
    return inside if inside.is_file() else package.parent / "examples" / "house.toml"


def demo_house(settings: DemoSettings, state: Path) -> HouseConfig:
    """The example house with the demo's state directory and offset."""
    config = load_house(example_house()).house
    return msgspec.structs.replace(
        config,
        site=msgspec.structs.replace(config.site, name="demo", state=str(state)),
        offset=msgspec.structs.replace(config.offset, power=settings.offset_w),
    )
