"""What a house's log says of the house: its configuration, and what its series are."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from grug.codec.registers import RegisterMap
from grug.config.types import HouseConfig
from grug.messages import RunStarted
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


HIDDEN = "hidden"
"""In the place of whatever is secret."""
_SECRET = re.compile("token|password|secret|api_?key", re.IGNORECASE)
_LOGIN = re.compile(r"//[^/@\s]+@")


def started(config: HouseConfig, maps: Mapping[str, RegisterMap], started_s: float) -> RunStarted:
    """The message with which a house begins; ``started_s`` is monotonic."""
    plain = _without_secrets(msgspec.to_builtins(config))
    data = msgspec.json.encode(plain, order="deterministic")
    digests = {
        model: _digest(msgspec.json.encode(register_map, order="deterministic"))
        for model, register_map in maps.items()
    }
    version = importlib.metadata.version("grug")
    return RunStarted(version, data.decode(), _digest(data), digests, started_s)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _without_secrets(plain: Any, name: str = "") -> Any:
    """The same plain values, with no password or token in them."""
    match plain:
        case dict():
            return {key: _without_secrets(value, str(key)) for key, value in plain.items()}
        case list():
            return [_without_secrets(value, name) for value in plain]
        case str() if plain:
            return HIDDEN if _SECRET.search(name) else _LOGIN.sub(f"//{HIDDEN}@", plain)
    return plain
