"""What ``grug identify-plant`` prints, and how it puts keys into a house.toml."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from grug.app.load import load_house
from grug.config.edit import EditError, with_keys
from grug.control.identify import Fit
from grug.control.margin import FACTORS, Margin
from grug.errors import GrugError


def keys_of(found: Fit) -> dict[str, float | str]:
    """The keys of ``[inverter.NAME]`` that say it."""
    plant = found.plant
    return {
        "gain": round(plant.gain_per_s, 2),
        "dead_time": f"{plant.dead_s:.2f}s",
        "lag": f"{plant.lag_s:.2f}s",
    }


def report(fits: Mapping[str, Fit], margin: Margin | None) -> str:
    """For a person."""
    width = max(8, *map(len, fits))
    lines = [
        f"{'inverter':<{width}}  gain 1/s       dead time  lag      delay in all   explained  slew"
    ]
    for name, found in fits.items():
        if found.problem:
            lines.append(f"{name:<{width}}  nothing to propose: {found.problem}")
            continue
        plant = found.plant
        lines.append(
            f"{name:<{width}}  {plant.gain_per_s:.2f} +-{found.gain_doubt_per_s:.2f}"
            f"    {plant.dead_s:.2f} s     {plant.lag_s:.2f} s"
            f"   {plant.dead_s + plant.lag_s:.2f} +-{found.delay_doubt_s:.2f} s"
            f"  {100.0 * found.explained:3.0f} %"
            f"      at least {found.slew_w_per_s:.0f} W/s"
        )
    if margin is not None:
        lines += ["", *_margin_lines(margin), "", "for house.toml:"]
    for name, found in fits.items():
        if not found.problem:
            lines += [f"[inverter.{name}]", *map(_line, keys_of(found).items())]
    return "\n".join(lines) + "\n"


def _margin_lines(margin: Margin) -> list[str]:
    if not margin.is_steady:
        return ["margin: none; the house would swing with these, do not use them"]
    return [
        f"margin: the house comes to rest while true gains are {_range(margin.gain)} these;",
        f"        or while true dead times are {_range(margin.dead)} these",
    ]


def _range(factors: tuple[float, float]) -> str:
    low, high = factors
    least = f"1/{1.0 / low:g}" if low < 1.0 else "1"
    more = " or more" if high == FACTORS[-1] else ""
    return f"{least} to {high:g}{more} times"


def _line(key_value: tuple[str, float | str]) -> str:
    key, value = key_value
    return f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value!r}"


def plain_of(fits: Mapping[str, Fit], margin: Margin | None) -> dict[str, Any]:
    """For a program; what is not known is null."""
    inverters = {}
    for name, found in fits.items():
        plain = {
            "gain": found.plant.gain_per_s,
            "dead_time_s": found.plant.dead_s,
            "lag_s": found.plant.lag_s,
            "gain_doubt": found.gain_doubt_per_s,
            "delay_doubt_s": found.delay_doubt_s,
            "explained": found.explained,
            "changes": found.changes,
            "slew_w_per_s": found.slew_w_per_s,
        }
        known = {key: value if math.isfinite(value) else None for key, value in plain.items()}
        inverters[name] = known | {"problem": found.problem}
    return {
        "inverters": inverters,
        "margin": None if margin is None else msgspec.to_builtins(margin),
    }


def problem_of_house(house: Path, inverters: Iterable[str]) -> str:
    """Why keys of these inverters could not be put into a house.toml, or an empty text."""
    try:
        known = load_house(house).house.inverter
        text = house.read_bytes().decode()
        for name in inverters or known:
            with_keys(text, ("inverter", name), {"gain": 1.0})
    except (OSError, EditError, UnicodeDecodeError, GrugError, ExceptionGroup) as error:
        return f"{house}: {error}"
    return ""


def write_keys(house: Path, keys: Mapping[str, Mapping[str, float | str]]) -> str:
    """Put keys of inverters into a house.toml; why that was not done, or an empty text.

    The new file is checked before it takes the place of the old one, of which a copy stays.
    """
    path = house.resolve()
    new = path.with_name(f".{path.name}.new")
    try:
        text = path.read_bytes().decode()
        for name, of in keys.items():
            text = with_keys(text, ("inverter", name), of)
        shutil.copyfile(path, new)
        shutil.copymode(path, new)
        new.write_bytes(text.encode())
        load_house(new)
        backup = _backup_of(path)
        shutil.copy2(path, backup)
        os.replace(new, path)
    except (OSError, EditError, UnicodeDecodeError, GrugError, ExceptionGroup) as error:
        new.unlink(missing_ok=True)
        return str(error)
    sys.stderr.write(f"{house} has the new keys, {backup} is what it was; start grug again\n")
    return ""


def _backup_of(path: Path) -> Path:
    """A name beside it that is not taken."""
    number = 1
    while (backup := path.with_name(f"{path.name}.bak{number}")).exists():
        number += 1
    return backup
