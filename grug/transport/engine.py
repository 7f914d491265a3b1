"""Opening a database's driver, and its errors as ours. The only importer of the driver.

``chdb:///directory`` is the engine inside this process, which locks the directory; ``chdb://`` is
one that is gone when it is closed; ``http://`` and ``https://`` addresses are servers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from grug.errors import ShipError

Result = TypeVar("Result")

MEMORY_URL = "chdb://"
"""An engine of this process that is gone when it is closed."""

_EMBEDDED_OPTIONS = {
    "max_server_memory_usage": 400_000_000,
    "mark_cache_size": 16_000_000,
    "primary_index_cache_size": 16_000_000,
    "query_condition_cache_size": 4_000_000,
    "compiled_expression_cache_size": 4_000_000,
}
"""The engine expects a server's memory; on a Raspberry Pi it shall leave most of it to others."""

_EMBEDDED_SETTINGS = {
    "max_threads": 1,
    "max_insert_threads": 1,
    "max_memory_usage": 300_000_000,
    "max_block_size": 32_768,
    "compile_expressions": 0,
}


def connect(url: str) -> Any:
    """Open a client. The driver takes half a second to import, so only who ships pays for it."""
    try:
        import clickhouse_connect
    except ImportError as error:
        raise ShipError(f"the database needs `pip install grug[db]`: {error}") from error
    if not url.startswith("chdb:"):
        return mapped(lambda: clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False))
    options = {name: str(value) for name, value in _EMBEDDED_OPTIONS.items()}
    try:
        return mapped(
            lambda: clickhouse_connect.get_client(
                dsn=url, chdb_options=options, settings=_EMBEDDED_SETTINGS
            )
        )
    except ImportError as error:
        raise ShipError(f"the embedded database needs `pip install grug[db]`: {error}") from error
    except ShipError as error:
        raise ShipError(
            f"{url} cannot be opened; another process may hold it, or a second engine be open in"
            f" this one: {error}"
        ) from error


def mapped(work: Callable[[], Result]) -> Result:
    """Run the driver; what it raises when the database is away or unwilling becomes a ShipError."""
    from clickhouse_connect.driver.exceptions import ClickHouseError
    from urllib3.exceptions import HTTPError

    try:
        return work()
    except (ClickHouseError, HTTPError, OSError, RuntimeError) as error:
        text = str(error).strip().splitlines()
        raise ShipError(text[0] if text else type(error).__name__) from error
