"""Reads CSV as spreadsheets write it: any of three delimiters, cells of several lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

DELIMITERS = ",;\t"


def csv_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Give the rows that are not empty, each with the 1-based line where it begins.

    Raises:
        ValueError: the text is no CSV, with the reason.
    """
    lines = text.removeprefix("\ufeff").splitlines(keepends=True)
    header = next((line for line in lines if line.strip()), "")
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO("".join(lines), newline=""), delimiter=delimiter)
    end = 0
    try:
        for cells in reader:
            line, end = end + 1, reader.line_num
            if any(cell.strip() for cell in cells):
                yield line, cells
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num} is no CSV: {error}") from error
