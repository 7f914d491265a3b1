"""From a house.toml on disk to a checked configuration."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from grug.config.check import CheckedHouse, check_house
from grug.errors import ConfigError, Problem
from grug.runtime.clock import local_zone, wall_s
from grug.transport.maps import load_map, map_models


def load_house(path: Path) -> CheckedHouse:
    """Read and check one house.

    Raises:
        ConfigError: the file cannot be read, or has mistakes: all of them.
        MapError: a register map is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        problem = Problem(str(path), 0, f"cannot be read: {error.strerror}")
        raise ConfigError([problem]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), 0, f"is not UTF-8: {error.reason}")]) from error
    own = own_maps(path)
    maps = {model: load_map(model, own) for model in map_models(own)}
    today = dt.datetime.fromtimestamp(wall_s(), local_zone()).date()
    return check_house(text, str(path), maps, today)


def own_maps(path: Path) -> Path:
    """Where the maps of a house's own are: beside its file; they come before grug's."""
    return path.parent / "maps"
