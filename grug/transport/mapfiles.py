"""Files of maps and of what they are imported from: reads any encoding, writes all or nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from grug.errors import MapError, Problem

SOURCE_BYTES_MAX = 64 * 1024 * 1024
"""Register lists are far smaller; a wrong file shall not fill a small machine's memory."""


def read_source(path: Path) -> bytes:
    """Read a file that a person named.

    Raises:
        MapError: it is not there, no file, or much too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(SOURCE_BYTES_MAX + 1)
    except OSError as error:
        raise MapError([Problem(str(path), 0, f"cannot be read: {error.strerror}")]) from error
    if len(data) > SOURCE_BYTES_MAX:
        raise MapError([Problem(str(path), 0, "larger than 64 MiB: that is no list of registers")])
    return data


def decode_text(data: bytes) -> str:
    """Decode UTF-8 and UTF-16, or else what Windows spreadsheets write in their place."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def write_together(texts: Mapping[Path, str], *, replace: bool = False) -> None:
    """Write several files, or none of them.

    Args:
        texts: by path; directories are made.
        replace: whether files may be there already.

    Raises:
        MapError: a file is there already, or cannot be written; nothing has changed then.
    """
    present = [path for path in texts if path.exists()]
    if present and not replace:
        text = "there already; --force replaces it"
        raise MapError([Problem(str(path), 0, text) for path in present])
    written: list[tuple[Path, Path]] = []
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.{os.getpid()}.part")
            written.append((part, path))
            part.write_text(text, encoding="utf-8", newline="")
        for part, path in written:
            part.replace(path)
    except OSError as error:
        for part, _ in written:
            part.unlink(missing_ok=True)
        raise MapError([Problem(str(path), 0, f"cannot be written: {error.strerror}")]) from error
