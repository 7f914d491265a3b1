"""Datasheets as vendors make them, drawn for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table

GRID = [("GRID", (0, 0), (-1, -1), 0.5, "black"), ("FONTSIZE", (0, 0), (-1, -1), 8)]
Rows = Sequence[Sequence[str]]
Part = str | tuple[Rows, Sequence[tuple[object, ...]]]


def draw(path: Path, *parts: Part, repeat: int = 1) -> Path:
    """Make a PDF of headings and ruled tables; titles are repeated on every page."""
    styles = getSampleStyleSheet()
    story: list[object] = []
    for part in parts:
        if isinstance(part, str):
            story.append(Paragraph(part, styles["Heading2"]))
        else:
            rows, style = part
            story.append(
                Table([list(row) for row in rows], repeatRows=repeat, style=[*GRID, *style])
            )
        story.append(Spacer(1, 12))
    SimpleDocTemplate(str(path), pagesize=A4, invariant=1).build(story)
    return path


def draw_without_lines(path: Path, columns: Sequence[float], rows: Rows) -> Path:
    """Make a PDF whose table is only text in columns."""
    canvas = Canvas(str(path), pagesize=A4, invariant=1)
    for index, row in enumerate(rows):
        for left, text in zip(columns, row, strict=True):
            canvas.drawString(left, 780 - 16 * index, text)
    canvas.save()
    return path


def meter(path: Path) -> Path:
    """References, a length, type, unit and scale; many rows, so that titles come again."""
    titles = ["Register address", "Name", "Length", "Data type", "Unit", "Scale", "R/W"]
    rows = [
        [f"{40001 + 2 * index}", f"Energy of tariff {index}", "2", "UINT32", "kWh", "0.01", "R"]
        for index in range(120)
    ]
    return draw(path, "Holding registers", ([titles, *rows], []))


def hybrid(path: Path) -> Path:
    """Hexadecimal addresses in two tables, each of another function."""
    titles = ["Addr. (hex)", "Parameter", "Type", "Unit", "Gain"]
    readings = [
        ["0000", "PV1 voltage", "U16", "V", "10"],
        ["0001", "PV1 current", "U16", "A", "10"],
        ["000A", "Grid power", "S32", "W", "1"],
        ["001F", "Temperature", "S16", "°C", "10"],
    ]
    settings = [["0100", "Export limit", "U16", "%", "1"], ["010B", "Mode", "ENUM16", "", ""]]
    return draw(
        path,
        "Input registers (function code 04)",
        ([titles, *readings], []),
        "Holding registers (function code 03)",
        ([titles, *settings], []),
    )


def ranges(path: Path) -> Path:
    """Ranges of references, and a type beside three rows at once."""
    rows = [
        ["No.", "Register", "Description", "Format", "Unit"],
        ["1", "30001-30002", "Voltage L1", "Float", "V"],
        ["2", "30003-30004", "Current L1", "", "A"],
        ["3", "30005-30006", "Active power", "", "W"],
        ["4", "30007", "Reserved", "", ""],
        ["5", "30010 - 30017", "Serial number", "ASCII", ""],
    ]
    return draw(path, ([*rows], [("SPAN", (3, 1), (3, 3))]))


def merged(path: Path) -> Path:
    """Three columns; the name of a value of two words spans both of its rows."""
    rows = [
        ["Address", "Content", "Unit"],
        ["Measured values (input registers)", "", ""],
        ["100", "Total energy", "0.1kWh"],
        ["101", "", ""],
        ["102", "Frequency", "0.01Hz"],
        ["103", "Power factor", "0.001"],
    ]
    style = [("SPAN", (0, 1), (-1, 1)), ("SPAN", (1, 2), (1, 3)), ("SPAN", (2, 2), (2, 3))]
    return draw(path, (rows, style))


def two_bytes(path: Path) -> Path:
    """Titles in two rows; references, and beside them the address in two bytes."""
    rows = [
        ["Address", "Parameter", "", "Start address", ""],
        ["(Register)", "Description", "Units", "Hi Byte", "Lo Byte"],
        ["30001", "Phase 1 line to neutral volts", "Volts", "00", "00"],
        ["30013", "Phase 1 power", "W", "00", "0C"],
        ["30343", "Total active energy", "kWh", "01", "56"],
    ]
    style = [("SPAN", (1, 0), (2, 0)), ("SPAN", (3, 0), (4, 0))]
    return draw(path, (rows, style), repeat=2)


def plain_text(path: Path) -> Path:
    """A table without any lines."""
    rows = [
        ["Address", "Name of value", "Type", "Unit"],
        ["33029", "Total generation", "U32", "1kWh"],
        ["33035", "Generation today", "U16", "0.1kWh"],
        ["33079", "Active power", "S32", "1W"],
    ]
    return draw_without_lines(path, [60, 140, 320, 400], rows)


def turned(path: Path) -> Path:
    """A wide table that lies on its side, on an upright page."""
    titles = ["Address", "Name", "Type", "Unit"]
    rows = [["0x0010", "Grid voltage", "U16", "0.1V"], ["0x0011", "Grid power", "S32", "W"]]
    table = Table([titles, *rows], style=GRID)
    canvas = Canvas(str(path), pagesize=A4, invariant=1)
    canvas.rotate(90)
    table.wrapOn(canvas, 400, 400)
    table.drawOn(canvas, 100, -300)
    canvas.save()
    return path


def prose(path: Path) -> Path:
    """A document without any table of registers."""
    rows = [["Model", "Weight"], ["A", "3 kg"], ["B", "4 kg"]]
    return draw(path, "Installation manual", (rows, []))
