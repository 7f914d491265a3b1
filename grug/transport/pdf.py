"""Reads the tables of a PDF; the only importer of pdfplumber.

Tables that are drawn with lines are taken as they are drawn, with cells that span several rows or
columns. A page without any is read by where its words stand.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grug.errors import MapError, Problem
from grug.mapimport.layout import Word, table_of_words
from grug.mapimport.tables import Cells, FoundTable

if TYPE_CHECKING:
    from pdfplumber.page import Page

_END_MARK = b"startxref"
_TAIL_BYTES = 4096
_CONTEXT_LINES = 3
_BROKEN = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError)
"""What the library lets pass when a file is damaged, besides exceptions of its own."""


def is_pdf(data: bytes) -> bool:
    """Whether a file is a PDF; some have a few bytes of something else before it begins."""
    return b"%PDF-" in data[:1024]


def read_tables(path: Path, pages: tuple[int, int] | None = None) -> list[FoundTable]:
    """Read all tables.

    Args:
        path: of the PDF.
        pages: first and last page, 1-based; None reads all.

    Raises:
        MapError: pdfplumber is not installed, or the file is damaged, cut off, locked, or has no
            text in it.
    """
    try:
        import pdfplumber
        from pdfminer.psexceptions import PSException
        from pdfplumber.utils.exceptions import MalformedPDFException, PdfminerException
    except ImportError as error:
        advice = "PDFs need pdfplumber: pip install 'grug[pdf]'"
        raise MapError([Problem(str(path), 0, advice)]) from error
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MapError([Problem(str(path), 0, f"cannot be read: {error.strerror}")]) from error
    if not is_pdf(data):
        raise MapError([Problem(str(path), 0, "this is no PDF")])
    if _END_MARK not in data[-_TAIL_BYTES:]:
        raise MapError([Problem(str(path), 0, "the PDF is cut off: its end is missing")])
    # The library reports every oddity of a file; what matters of them shows in the tables.
    logging.getLogger("pdfminer").setLevel(logging.ERROR)
    broken = (PdfminerException, MalformedPDFException, PSException, *_BROKEN)
    try:
        with pdfplumber.open(BytesIO(data)) as document:
            return list(_tables_of(document, path, pages))
    except (*broken, struct.error, zlib.error, OSError) as error:
        reason = str(error) or type(error).__name__
        if "Password" in repr(error):
            reason = "it is locked by a password"
        raise MapError([Problem(str(path), 0, f"the PDF cannot be read: {reason}")]) from error


def _tables_of(document: Any, path: Path, pages: tuple[int, int] | None) -> Iterator[FoundTable]:
    first, last = pages or (1, len(document.pages))
    if first > len(document.pages):
        raise MapError([Problem(str(path), 0, f"there are only {len(document.pages)} pages")])
    has_text = False
    for page in document.pages[first - 1 : last]:
        has_text = has_text or bool(page.chars)
        yield from _tables_of_page(page)
        page.close()  # Else all pages stay in memory.
    if not has_text:
        text = "there is no text in the PDF, only pictures; an OCR program can add it"
        raise MapError([Problem(str(path), 0, text)])


def _tables_of_page(page: Page) -> Iterator[FoundTable]:
    number, above = 0, page.bbox[1]
    is_turned = 2 * sum(_reads_upwards(char) for char in page.chars) > len(page.chars)
    for table in page.find_tables():
        rows = tuple(tuple(row) for row in table.extract())
        if is_turned:
            rows = _turned(rows)
        if len(rows) < 2 or max(map(len, rows)) < 2:
            continue  # A frame around something.
        number += 1
        yield FoundTable(page.page_number, number, rows, _context(page, above, table.bbox[1]))
        above = table.bbox[3]
    if number or is_turned:
        return
    words = [
        Word(word["text"], word["x0"], word["x1"], word["top"]) for word in page.extract_words()
    ]
    rows_of_words = table_of_words(words)
    if rows_of_words:
        context = _context_of_words(words, rows_of_words[0])
        yield FoundTable(page.page_number, 1, tuple(rows_of_words), context)


def _reads_upwards(char: dict[str, Any]) -> bool:
    """Whether a character is turned to the left, so that its line goes from bottom to top."""
    _, rise, *_ = char["matrix"]
    return not char["upright"] and rise > 0


def _turned(rows: tuple[Cells, ...]) -> tuple[Cells, ...]:
    """Turn a table to the right: it lay on its left side, so every text is back to front."""
    width = max(map(len, rows))
    full = [(*row, *("",) * (width - len(row))) for row in rows]
    readable = [[None if cell is None else cell[::-1] for cell in row] for row in full]
    return tuple(zip(*reversed(readable), strict=True))


def _context(page: Page, top: float, bottom: float) -> str:
    """The last lines above a table."""
    if bottom - top < 5:
        return ""
    left, _, right, _ = page.bbox
    text = page.crop((left, max(top, page.bbox[1]), right, bottom)).extract_text() or ""
    return "\n".join(text.splitlines()[-_CONTEXT_LINES:])


def _context_of_words(words: list[Word], header: tuple[str, ...]) -> str:
    """What stands above the titles of a table without lines."""
    first_word = " ".join(header).split()[0]
    title_tops = [word.top for word in words if word.text == first_word]
    top = min(title_tops, default=0.0)
    return " ".join(word.text for word in words if word.top < top - 1)[-200:]
