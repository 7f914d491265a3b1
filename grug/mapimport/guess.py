"""Tells in which format a text is, and hands it to the importer."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from grug.codec.registers import Kind
from grug.errors import MapError, Problem
from grug.mapimport.addresses import Convention
from grug.mapimport.csvtext import csv_rows
from grug.mapimport.datasheet import import_tables
from grug.mapimport.homeassistant import import_home_assistant
from grug.mapimport.rows import Import
from grug.mapimport.seed import import_seed
from grug.mapimport.solarman import import_solarman
from grug.mapimport.sunspec import import_sunspec
from grug.mapimport.tables import FoundTable
from grug.mapimport.telegraf import import_telegraf
from grug.mapimport.wirenboard import import_wirenboard
from grug.model import Table


class Format(enum.StrEnum):
    """What can be imported."""

    SEED = "seed"
    """CSV of grug's predecessor."""
    HOME_ASSISTANT = "homeassistant"
    TELEGRAF = "telegraf"
    SOLARMAN = "solarman"
    WIRENBOARD = "wirenboard"
    SUNSPEC = "sunspec"
    TABLE = "table"
    """CSV with any titles, such as a table pasted from a document into a spreadsheet."""
    PDF = "pdf"


@dataclass(frozen=True, slots=True)
class Reading:
    """How to understand a source that does not say it itself."""

    base: int | None = None
    """Of a SunSpec model: the wire address of its ID."""
    convention: Convention = Convention.AUTO
    table: Table | None = None
    kind: Kind | None = None


def guess_format(text: str) -> Format | None:
    """Tell the format by what is in the text; None when nothing is familiar."""
    head = text.removeprefix("\ufeff").lstrip()
    if head.startswith(("{", "//", "/*")):
        is_model = re.search(r'"group"\s*:', text) and re.search(r'"points"\s*:', text)
        return Format.SUNSPEC if is_model else Format.WIRENBOARD
    if re.search(r"^\s*\[\[\s*inputs\.modbus", text, re.MULTILINE):
        return Format.TELEGRAF
    if re.search(r"^parameters\s*:", text, re.MULTILINE) and "registers" in text:
        return Format.SOLARMAN
    is_hub = re.search(r"^[\s-]*(?:modbus|sensors|binary_sensors|switches)\s*:", text, re.MULTILINE)
    is_list = re.search(r"^\s*-?\s*(?:data_type|input_type)\s*:", text, re.MULTILINE)
    if is_hub or is_list:
        return Format.HOME_ASSISTANT
    titles = re.split(r"[,;\t]", head.partition("\n")[0].lower().replace('"', ""))
    titles = [title.strip() for title in titles]
    if {"function", "addr"} <= set(titles):
        return Format.SEED
    return Format.TABLE if len(titles) > 1 else None


def import_text(
    text: str, source: str, style: Format | None = None, reading: Reading | None = None
) -> Import:
    """Import a text.

    Args:
        text: of the whole file.
        source: its name, for messages.
        style: the format; None guesses it.
        reading: how to understand what the text does not say.

    Raises:
        MapError: the text cannot be read at all. What is wrong with single rows is in the result.
    """
    reading = reading or Reading()
    style = style or guess_format(text)
    if style is None or style is Format.PDF:
        named = ", ".join(each for each in Format if each is not Format.PDF)
        message = f"nothing familiar in it; say what it is by --format: {named}"
        raise MapError([Problem(source, 0, message)])
    if style is Format.SUNSPEC:
        return import_sunspec(text, source, reading.base)
    if style is Format.TABLE:
        return import_pasted(text, source, reading)
    importers = {
        Format.SEED: import_seed,
        Format.HOME_ASSISTANT: import_home_assistant,
        Format.TELEGRAF: import_telegraf,
        Format.SOLARMAN: import_solarman,
        Format.WIRENBOARD: import_wirenboard,
    }
    imported = importers[style](text, source)
    imported.notes.insert(0, f"read as {style}")
    return imported


def import_pasted(text: str, source: str, reading: Reading) -> Import:
    """Import a CSV with titles of its own."""
    try:
        rows = list(csv_rows(text))
    except ValueError as error:
        raise MapError([Problem(source, 0, str(error))]) from error
    lines = tuple(line for line, _ in rows)
    if rows and {"name", "table", "address", "kind"} <= {cell.strip() for cell in rows[0][1]}:
        message = "it is a map already; `grug map check` checks it"
        raise MapError([Problem(source, lines[0], message)])
    found = FoundTable(1, 1, tuple(tuple(cells) for _, cells in rows), lines=lines)
    return import_tables([found], source, reading.convention, reading.table, reading.kind)
