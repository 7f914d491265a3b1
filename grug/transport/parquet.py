"""Rows as a Parquet file, made by the engine in this process."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from grug.errors import ShipError
from grug.transport.engine import MEMORY_URL, connect, mapped


def write_parquet(blocks: Iterable[bytes], output: Path) -> int:
    """Write rows of ``readings`` as a Parquet file with series, ts and value. Blocks.

    The engine in this process makes it, from a file that it can read piece by piece.

    Args:
        blocks: as ``Rows.data`` has them.
        output: replaced when it is there.

    Returns:
        The number of rows.

    Raises:
        ShipError: the engine is not installed, or cannot write there.
    """
    target = output.resolve()
    source = target.with_name(target.name + ".rows")
    part = target.with_name(target.name + ".part")
    client = connect(MEMORY_URL)
    try:
        with source.open("wb") as file:
            file.writelines(blocks)
        part.unlink(missing_ok=True)
        rows = f"file({_quoted(source)}, Native)"
        mapped(
            lambda: client.command(
                f"INSERT INTO FUNCTION file({_quoted(part)}, Parquet) SELECT series, ts,"
                f" if(e < 0, reinterpretAsFloat64(m), m / exp10(e)) AS value FROM {rows}"
            )
        )
        (count,) = mapped(lambda: client.query(f"SELECT count() FROM {rows}")).result_rows[0]
        part.replace(target)
    except OSError as error:
        raise ShipError(f"{output} cannot be written: {error}") from error
    finally:
        client.close()
        source.unlink(missing_ok=True)
        part.unlink(missing_ok=True)
    return int(count)


def _quoted(path: Path) -> str:
    """A path as a string of SQL."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
