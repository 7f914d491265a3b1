"""docs/config.md has every key of house.toml, with its default, and no others."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from grug.config.build import PRIORITIES, parse_duration
from grug.config.types import HouseConfig, Struct

DOCS = (Path(__file__).parent.parent.parent / "docs" / "config.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|.*\|$", re.MULTILINE)


def tables(kind: type[Struct], path: str = "") -> Iterator[tuple[str, type[Struct]]]:
    """Heading and type of each table that a house may have."""
    for field in msgspec.structs.fields(kind):
        name, inner, heading = f"{path}{field.name}", field.type, "[{}]"
        if typing.get_origin(inner) is types.UnionType:
            inner = typing.get_args(inner)[0]
        if typing.get_origin(inner) is dict:
            name, inner = f"{name}.NAME", typing.get_args(inner)[1]
        elif typing.get_origin(inner) is tuple:
            inner, heading = typing.get_args(inner)[0], "[[{}]]"
        if isinstance(inner, type) and issubclass(inner, Struct):
            yield heading.format(name), inner
            yield from tables(inner, f"{name}.")


TABLES = dict(tables(HouseConfig))


def rows_of(heading: str) -> dict[str, str]:
    """Keys of one section and what it says of their defaults."""
    found = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", DOCS, re.DOTALL | re.MULTILINE)
    assert found, f"docs/config.md has no section {heading}"
    return {key: default.strip().strip("`") for key, _, default in ROW.findall(found[1])}


def meaning_of(text: str) -> object:
    """What a documented default stands for; None for a key that must be there."""
    if text in ("", "none"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if text.startswith('"'):
        return PRIORITIES.get(text.strip('"'), text.strip('"'))
    if text in ("true", "false"):
        return text == "true"
    return parse_duration(float(text.replace("_", "")))


def default_of(field: Any) -> object:
    return None if field.default in (msgspec.NODEFAULT, None, "", ()) else field.default


def test_the_sections_are_the_tables() -> None:
    assert set(re.findall(r"^## (\[.*\])$", DOCS, re.MULTILINE)) == set(TABLES)


@pytest.mark.parametrize("heading", TABLES)
def test_each_key_is_described_with_its_default(heading: str) -> None:
    rows = rows_of(heading)
    fields = {field.name: field for field in msgspec.structs.fields(TABLES[heading])}
    assert list(rows) == list(fields), "the same keys, in the same order"
    for name, field in fields.items():
        assert (meaning_of(rows[name]) or None) == (default_of(field) or None), name
        assert (rows[name] == "") == field.required, name
