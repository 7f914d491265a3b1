"""Reads JSON with exact numbers; comments, which some programs allow in it, are skipped."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

from grug.errors import MapError, Problem

_STRING_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)


def load_json(text: str, source: str) -> Any:
    """Read a JSON text.

    Raises:
        MapError: it is none.
    """

    def blank(match: re.Match[str]) -> str:
        found = match[0]
        # Line breaks stay, so that messages name the right line.
        return found if found.startswith('"') else re.sub(r"[^\n]", " ", found)

    try:
        return json.loads(
            _STRING_OR_COMMENT.sub(blank, text.removeprefix("\ufeff")), parse_float=Decimal
        )
    except json.JSONDecodeError as error:
        raise MapError([Problem(source, error.lineno, f"no valid JSON: {error.msg}")]) from error
    except RecursionError as error:
        raise MapError([Problem(source, 0, "nested too deep")]) from error
    except (ValueError, ArithmeticError) as error:  # Numbers of thousands of digits.
        raise MapError([Problem(source, 0, f"no valid JSON: {error}")]) from error


def list_of(value: object) -> list[Any]:
    """The list, or an empty one where a file has something else in its place."""
    return value if isinstance(value, list) else []
