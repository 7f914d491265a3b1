"""A recorded configuration, also one of a version of grug that had other keys. Pure.

People's own files are read strictly: a key that is not known is a mistake. A recording is what it
is: a key that is gone cannot be replayed, and is named.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from grug.config.types import HouseConfig

_UNKNOWN = re.compile(r"unknown field `([^`]*)`(?: - at `\$([^`]*)`)?")
UNKNOWN_MAX = 1000
"""More keys than any house has; so many are left out, and no more."""


def recorded_config(data: str) -> tuple[HouseConfig, list[str]]:
    """Read the configuration of a recording.

    Args:
        data: JSON, as ``RunStarted`` has it.

    Returns:
        The configuration, and the keys that were left out.

    Raises:
        msgspec.MsgspecError: it cannot be understood even so: a value is of another kind now.
    """
    plain = msgspec.json.decode(data)
    gone: list[str] = []
    for _ in range(UNKNOWN_MAX):
        try:
            return msgspec.convert(plain, HouseConfig), gone
        except msgspec.ValidationError as error:
            found = _UNKNOWN.search(str(error))
            if found is None:
                raise
            key, path = found.group(1), found.group(2) or ""
            tokens = re.findall(r"\[\.\.\.\]|\[\d+\]|[^.\[\]]+", path)
            left_out = list(_leave_out(plain, tokens, key, ""))
            if not left_out:
                raise
            gone += left_out
    return msgspec.convert(plain, HouseConfig), gone


def _leave_out(plain: Any, tokens: list[str], key: str, where: str) -> list[str]:
    """Take a key out of every place that a path may mean; returns those places."""
    if not tokens:
        if not isinstance(plain, dict) or key not in plain:
            return []
        del plain[key]
        return [f"{where}.{key}".lstrip(".")]
    token, rest = tokens[0], tokens[1:]
    if token.startswith("["):
        if isinstance(plain, dict):
            parts = [(name, each) for name, each in plain.items()]
        elif isinstance(plain, list):
            parts = [(str(number), each) for number, each in enumerate(plain)]
        else:
            return []
    else:
        parts = [(token, plain.get(token))] if isinstance(plain, dict) else []
    return [
        found for name, each in parts for found in _leave_out(each, rest, key, f"{where}.{name}")
    ]
