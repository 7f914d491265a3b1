"""Finds register maps on disk: the user's own directory first, then those that come with grug."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import grug
from grug.codec.csvmap import parse_map
from grug.codec.hints import did_you_mean
from grug.codec.registers import RegisterMap
from grug.errors import MapError, Problem


@cache
def shipped_directory() -> Path:
    """The maps that come with grug: inside the installed package, or beside it in a checkout."""
    package = Path(grug.__file__).parent
    inside = package / "maps"
    return inside if inside.is_dir() else package.parent / "maps"


def map_models(user_directory: Path | None = None) -> tuple[str, ...]:
    """Names of all maps that can be loaded, sorted."""
    names: set[str] = set()
    for directory in _directories(user_directory):
        names.update(path.stem for path in directory.glob("*.csv"))
    return tuple(sorted(names))


def load_map(model: str, user_directory: Path | None = None) -> RegisterMap:
    """Load a map by name.

    Args:
        model: file name of the map without ``.csv``.
        user_directory: looked into first; may be absent.

    Raises:
        MapError: there is no such map, or it is wrong, with all that is wrong.
    """
    for directory in _directories(user_directory):
        path = directory / f"{model}.csv"
        if "/" not in model and path.is_file():
            return _load(model, path)
    hint = did_you_mean(model, map_models(user_directory))
    raise MapError([Problem(f"{model}.csv", 0, f"there is no map {model!r}{hint}")])


def _directories(user_directory: Path | None) -> tuple[Path, ...]:
    shipped = shipped_directory()
    return (shipped,) if user_directory is None else (user_directory, shipped)


def _load(model: str, path: Path) -> RegisterMap:
    sidecar = path.with_suffix(".toml")
    try:
        csv_text = _text_of(path)
        sidecar_text = _text_of(sidecar) if sidecar.is_file() else ""
    except OSError as error:
        raise MapError([Problem(str(path), 0, f"cannot be read: {error.strerror}")]) from error
    return parse_map(model, csv_text, sidecar_text, str(path))


def _text_of(path: Path) -> str:
    """Read UTF-8, or what Windows spreadsheets write in its place."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")
